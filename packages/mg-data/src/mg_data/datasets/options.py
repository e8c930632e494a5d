"""Options that several importers read the same way."""

from __future__ import annotations

import re

from mg_data.contract import UsageError


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
