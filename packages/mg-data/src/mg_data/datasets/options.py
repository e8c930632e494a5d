"""Options that several importers read the same way."""

from __future__ import annotations

import re
from pathlib import Path

from mg_data.contract import DataError, UsageError


def stated_size(dataset: str, text: str) -> tuple[int, int] | None:
    """Return (width, height) of the option ``image_size``, None if it is not given.

    >>> stated_size("openpose", "1280x720")
    (1280, 720)

    Raises:
        UsageError: it is not WIDTHxHEIGHT.
    """
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", str(text))
    if match is None:
        raise UsageError(
            f"{dataset}: option image_size is '{text}', wanted WIDTHxHEIGHT in pixels, such as 1280x720"
        )
    return int(match[1]), int(match[2])


def check_whole(dataset: str, name: str, value: object, low: int, high: int) -> None:
    """Raise UsageError unless an option is a whole number within limits; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{dataset}: option {name} is {value!r}, wanted a whole number from {low} to {high}")


def check_size(
    path: Path | None,
    found: tuple[int, int],
    wanted: tuple[int, int],
    advice: str = "import them apart, or state image_size",
) -> None:
    """Raise DataError for a video of another (width, height) than the first, which a store tells of all."""
    if found != wanted:
        raise DataError(
            f"{path}: has frames of {found[0]}x{found[1]}, but those of the first video are of "
            f"{wanted[0]}x{wanted[1]} ({advice})"
        )


def check_video_size(path: Path, wanted: tuple[int, int], **advice: str) -> None:
    """Raise DataError as :func:`check_size` if a video is there and can be read."""
    if not path.is_file():
        return
    from mg_data.video.decode import video_size

    try:
        found = video_size(path)
    except DataError:
        return  # nothing is read of it here: what cuts it has to say that it is damaged
    check_size(path, found, wanted, **advice)
