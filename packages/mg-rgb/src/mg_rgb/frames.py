"""Frames of a clip as arrays: choosing, warping. numpy and OpenCV, no torch.

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


def warp_matrix(
    side: int,
    size: int,
    rng: np.random.Generator | None,
    *,
    zoom: float = 1.0,
    scale: float = 0.0,
    aspect: float = 0.0,
    shift: float = 0.0,
    rotation_degrees: float = 0.0,
) -> NDArray[np.float32]:
    """Return the (2, 3) matrix that maps pixels of a (size, size) output into a (side, side) frame.

    Without a generator it is the plain resize of the middle 1/zoom of the frame. With one, drawn once for a
    clip: the window's side times exp(U(-scale, scale)), its aspect times exp(U(-aspect, aspect)), its centre
    moved by U(-shift, shift) of the side, turned by U(-rotation_degrees, rotation_degrees).
    """
    ratio, stretch, angle = side / size / zoom, 1.0, 0.0
    move = np.zeros(2)
    if rng is not None:
        angle = np.deg2rad(rng.uniform(-rotation_degrees, rotation_degrees))
        ratio *= np.exp(rng.uniform(-scale, scale))
        stretch = np.exp(rng.uniform(-aspect, aspect))
        move = rng.uniform(-shift, shift, 2) * side
    linear = ratio * np.array(
        [[stretch * np.cos(angle), -np.sin(angle)], [stretch * np.sin(angle), np.cos(angle)]]
    )
    centre = (side - 1) / 2 + move - linear @ np.full(2, (size - 1) / 2)
    return np.concatenate([linear, centre[:, None]], axis=1).astype(np.float32)


def shrink(frame: NDArray[Any], side: int) -> NDArray[Any]:
    """Return a frame as (side, side[, C]), averaging areas when it gets smaller."""
    height, width = frame.shape[:2]
    if (height, width) == (side, side):
        return frame
    smaller = side < max(height, width)
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(frame, (side, side), interpolation=method)


def warp(frame: NDArray[Any], matrix: NDArray[np.float32], size: int, *, repeat_border: bool) -> NDArray[Any]:
    """Return the (size, size[, C]) view of a frame that ``matrix`` describes; outside is 0 or the border."""
    return cv2.warpAffine(
        frame,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def jitter_colour(video: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change brightness, contrast and saturation of a (T, H, W, 3) video, each by up to 1 +- strength."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    grey = np.array([0.299, 0.587, 0.114], np.float32)
    # All three are linear in the colour, so they make one 3x3 matrix and one offset.
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), grey))
    level = float(video.mean()) * brightness
    out: NDArray[Any] = video.astype(np.float32) @ matrix.T.astype(np.float32) + np.float32(
        (1 - contrast) * level
    )
    result: NDArray[np.uint8] = np.clip(np.rint(out), 0, 255).astype(np.uint8)
    return result


def erase_box(video: NDArray[Any], rng: np.random.Generator) -> None:
    """Set one random box (1/8 to 1/3 of the side) of a (T, H, W, ...) video to 0, in place."""
    height, width = video.shape[1:3]
    rows, columns = (int(rng.integers(max(1, n // 8), max(2, n // 3))) for n in (height, width))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    video[:, top : top + rows, left : left + columns] = 0
