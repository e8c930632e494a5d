"""Drawn frames as one picture (a contact sheet) or as a video. Images are RGB uint8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mg_data.contract.errors import UsageError
from mg_data.store import publish

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAPER, _INK = 250, 30
_CAPTION_PIXELS = 34
_GAP = 6
# A clip whose frames do not fit beside one another goes on in the next row.
_MOST_WIDE = 6000


@dataclass(frozen=True)
class Tile:
    """One drawn frame, and what is written into its corner."""

    image: NDArray[np.uint8]
    label: str = ""


def printable(text: str) -> str:
    r"""Return text that OpenCV can draw: other characters as escapes.

    >>> printable("Zoë")
    'Zo\\xeb'
    """
    escaped = text.encode("ascii", "backslashreplace").decode()
    return "".join(character if character.isprintable() else "?" for character in escaped)


def _write(
    image: NDArray[np.uint8], text: str, corner: tuple[int, int], size: float, ink: int, rim: int
) -> None:
    """Draw text on an image in place, with a rim that keeps it legible on any ground."""
    import cv2

    for grey, thickness in ((rim, 3), (ink, 1)):
        cv2.putText(
            image,
            printable(text),
            corner,
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            (grey, grey, grey),
            thickness,
            cv2.LINE_AA,
        )


def _labelled(tile: Tile) -> NDArray[np.uint8]:
    image = np.ascontiguousarray(tile.image).copy()
    if tile.label:
        _write(image, tile.label, (6, image.shape[0] - 8), 0.5, 255, 0)
    return image


def contact_sheet(clips: Sequence[tuple[str, Sequence[Tile]]]) -> NDArray[np.uint8]:
    """Return one picture: a row of tiles for each clip, its caption above.

    Args:
        clips: caption and tiles of each clip; tiles may differ in size.

    Returns:
        (H, W, 3) uint8.
    """
    blocks: list[NDArray[np.uint8]] = []
    for caption, tiles in clips:
        head = np.full((_CAPTION_PIXELS, max(1, 11 * len(printable(caption))), 3), _PAPER, np.uint8)
        _write(head, caption, (4, _CAPTION_PIXELS - 11), 0.6, _INK, _PAPER)
        blocks.append(head)
        widest = max((tile.image.shape[1] for tile in tiles), default=1) + _GAP
        per_row = max(1, _MOST_WIDE // widest)
        blocks += [
            _beside([_labelled(tile) for tile in tiles[first : first + per_row]])
            for first in range(0, len(tiles), per_row)
        ]
    width = max((block.shape[1] for block in blocks), default=1)
    return np.concatenate([_padded(block, block.shape[0] + _GAP, width) for block in blocks])


def _beside(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(image.shape[0] for image in images)
    return np.concatenate([_padded(image, height, image.shape[1] + _GAP) for image in images], axis=1)


def _padded(image: NDArray[np.uint8], height: int, width: int, paper: int = _PAPER) -> NDArray[np.uint8]:
    """Return the image at the upper left of a larger one."""
    canvas = np.full((height, width, 3), paper, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def write_png(path: Path, image: NDArray[np.uint8]) -> tuple[int, int]:
    """Write a PNG and return its width and height.

    Raises:
        StoreError: the file cannot be written.
    """
    import cv2

    done, encoded = cv2.imencode(".png", image[..., ::-1])
    if not done:
        raise UsageError(f"{path}: a picture of {image.shape[1]}x{image.shape[0]} cannot be a PNG")
    with publish(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
    return image.shape[1], image.shape[0]


def write_video(path: Path, clips: Iterable[tuple[str, Iterable[Tile]]], fps: float) -> tuple[int, int]:
    """Write an mp4 (H.264) of all clips, one after another, and return its width and height.

    Each frame has its clip's caption above. The first frame decides the size; frames of another shape are
    fitted into it.

    Raises:
        UsageError: there is no frame, or this build of PyAV has no H.264 encoder.
        StoreError: the file cannot be written.
    """
    import av

    if "libx264" not in av.codecs_available:
        raise UsageError(f"{path}: this build of PyAV has no H.264 encoder; write a .png instead")
    size: tuple[int, int] | None = None
    with publish(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "threads": "1"}
        for image in _video_frames(clips):
            if size is None:
                # yuv420p halves both sides.
                size = image.shape[1] + image.shape[1] % 2, image.shape[0] + image.shape[0] % 2
                stream.width, stream.height = size
            frame = av.VideoFrame.from_ndarray(_fitted(image, *size), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        if size is None:
            raise UsageError(f"{path}: there is no frame to write")
        for packet in stream.encode():
            container.mux(packet)
    return size


def _video_frames(clips: Iterable[tuple[str, Iterable[Tile]]]) -> Iterator[NDArray[np.uint8]]:
    for caption, tiles in clips:
        for tile in tiles:
            image = _labelled(tile)
            head = np.zeros((_CAPTION_PIXELS, image.shape[1], 3), np.uint8)
            _write(head, caption, (6, _CAPTION_PIXELS - 11), 0.55, 255, 0)
            yield np.concatenate([head, image])


def _fitted(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return the image in a frame of another size: as it is if it fits, else shrunk."""
    import cv2

    share = min(1.0, width / image.shape[1], height / image.shape[0])
    if share < 1.0:
        to = max(1, int(image.shape[1] * share)), max(1, int(image.shape[0] * share))
        image = np.asarray(cv2.resize(image, to, interpolation=cv2.INTER_AREA), np.uint8)
    return _padded(image, height, width, 0)
