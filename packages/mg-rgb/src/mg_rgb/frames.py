"""Frames of a clip as arrays: which ones a sample takes, and how a window is cut out. numpy and OpenCV.

All randomness comes from the generator that is given; nothing here keeps state.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def frame_numbers(
    length: int,
    count: int,
    *,
    stride: int,
    rng: np.random.Generator | None,
    part: float = 1.0,
    phase: float = 0.5,
) -> NDArray[np.int64]:
    """Choose ``count`` frame numbers in ``[0, length)``, ascending.

    ``stride`` 0 spreads them over the clip: one frame in each of ``count`` equal bins, at random in training
    (after a random cut to between ``part`` and all of the clip), at ``phase`` of the bin in the test. A
    positive stride takes a window of ``count * stride`` frames, at random in training, at ``phase`` of the
    room in the test; past the end the last frame is repeated.

    >>> frame_numbers(8, 4, stride=0, rng=None).tolist()
    [1, 3, 5, 7]
    >>> frame_numbers(9, 3, stride=2, rng=None).tolist()
    [2, 4, 6]
    """
    steps = np.arange(count)
    positions: NDArray[Any]
    if stride > 0:
        room = max(0, length - (count - 1) * stride - 1)
        begin = int(rng.integers(0, room + 1)) if rng is not None else int(room * phase)
        positions = begin + steps * stride
    elif rng is not None:
        span = rng.uniform(part, 1.0) * length
        positions = rng.uniform(0, length - span) + (steps + rng.uniform(0, 1, count)) * (span / count)
    else:
        positions = (steps + phase) * (length / count)
    return np.clip(np.floor(positions).astype(np.int64), 0, length - 1)


def shrink(frame: NDArray[Any], side: int) -> NDArray[Any]:
    """Return a frame as (side, side[, C]), averaging areas when it gets smaller."""
    height, width = frame.shape[:2]
    if (height, width) == (side, side):
        return frame
    smaller = side < max(height, width)
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(frame, (side, side), interpolation=method)


def warp(
    frame: NDArray[Any],
    matrix: NDArray[np.float32],
    size: int,
    *,
    repeat_border: bool,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the (size, size[, C]) view of a frame that ``matrix`` describes; outside is 0 or the border."""
    return cv2.warpAffine(
        frame,
        matrix,
        (size, size),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def channels_first(video: NDArray[Any]) -> NDArray[Any]:
    """Return a (T, H, W, C) video as (C, T, H, W), contiguous."""
    count, height, width, channels = video.shape
    planes = np.empty((channels, count, height, width), video.dtype)
    # OpenCV's split of a frame is several times faster than numpy's strided copy.
    for number, frame in enumerate(video):
        for channel, plane in enumerate(cv2.split(frame)):
            planes[channel, number] = plane
    return planes
