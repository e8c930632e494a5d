"""Forward decoding with PyAV: frame n is the n-th frame in order of presentation.

Seeking by frame number is wrong on videos of variable frame rate, so nothing here seeks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video stream")
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{path}: cannot be decoded: {error.strerror or error}") from error


def _upright(image: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """Turn a frame by the display rotation its container states (degrees, counter-clockwise)."""
    quarter_turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def video_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels of the first frame as it is shown.

    Raises:
        DataError: unreadable, or without a frame.
    """
    with _open(path) as container:
        for frame in container.decode(video=0):
            turned = round(getattr(frame, "rotation", 0) / 90) % 2
            return (frame.height, frame.width) if turned else (frame.width, frame.height)
    raise DataError(f"{path}: holds no frame")


def decode_frames(path: Path, frame_numbers: ArrayLike, *, threads: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of the given numbers, in one forward pass.

    Args:
        path: any video that FFmpeg reads.
        frame_numbers: strictly ascending, 0-based, in order of presentation.
        threads: decoder threads; 0 lets FFmpeg choose.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: unreadable, or fewer frames than asked for.
    """
    wanted = np.asarray(frame_numbers, dtype=np.int64)
    if len(wanted) == 0:
        return
    if wanted[0] < 0 or np.any(np.diff(wanted) <= 0):
        raise ValueError("frame numbers must be ascending and not negative")
    position = 0
    count = 0
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        for frame in container.decode(stream):
            if count == wanted[position]:
                yield _upright(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0))
                position += 1
                if position == len(wanted):
                    return
            count += 1
    raise DataError(f"{path}: has {count} frames, wanted frame {int(wanted[position])} (counted from 0)")
