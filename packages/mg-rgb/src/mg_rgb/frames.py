"""Frames of a clip as arrays: which ones a sample takes, and how a window is cut out. numpy and OpenCV.

All randomness comes from the generator that is given; nothing here keeps state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_rgb.windows import Window

# Up to this ratio of sides a frame is interpolated down, beyond it areas are averaged.
_LINEAR_UP_TO = 4 / 3
# Just below the most that glibc's threshold grows to, 32 MiB.
_SPARE_BYTES = 31 << 20

# (T, H, W[, C]), or as many frames of one shape and type, perhaps not decoded yet.
Frames = Iterable[NDArray[Any]]


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


class Cutter:
    """Cuts a window out of frames of one shape, to (size, size[, C]).

    An upright window inside the frame is cut at whole pixels and resized, as torchvision's ``resized_crop``
    does; any other one is interpolated, and outside the frame lies its border or 0. Where it gets much
    smaller, areas are averaged.

    ``displacement`` (2, 2) turns a displacement in pixels of a frame into one in pixels of the sample.

    Args:
        like: a frame. repeat_border: whether the border goes on outside the frame.
    """

    def __init__(self, like: NDArray[Any], window: Window, size: int, *, repeat_border: bool) -> None:
        height, width = like.shape[:2]
        self._rectangle = window.rectangle(width, height)
        self._size = size
        if self._rectangle is not None:
            left, top, right, bottom = self._rectangle
            self.displacement = np.diag([size / (right - left), size / (bottom - top)])
            return
        # Brought down once to a little more than is shown, so that the warp, which only interpolates, does
        # not alias.
        shown = max(window.width, window.height)
        side = min(max(height, width), round(size / shown * _LINEAR_UP_TO))
        self._matrix = window.matrix(side, size)
        self._square = (
            None if (height, width) == (side, side) else np.empty((side, side, *like.shape[2:]), like.dtype)
        )
        self._border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
        # The matrix takes places of the sample to places of the frame; a displacement goes the other way.
        back = np.linalg.inv(self._matrix[:, :2].astype(np.float64))
        self.displacement = back @ np.diag([side / width, side / height])

    def __call__(self, frame: NDArray[Any], out: NDArray[Any]) -> None:
        """Cut one frame into ``out``, (size, size[, C]) of its type."""
        if self._rectangle is not None:
            left, top, right, bottom = self._rectangle
            _resize(frame[top:bottom, left:right], out)
            return
        if self._square is not None:
            _resize(frame, self._square)
            frame = self._square
        cv2.warpAffine(
            frame,
            self._matrix,
            (self._size, self._size),
            dst=out,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=self._border,
            borderValue=0,
        )


def _resize(frame: NDArray[Any], out: NDArray[Any]) -> None:
    height, width = out.shape[:2]
    if frame.shape[:2] == (height, width):
        out[...] = frame
        return
    much_smaller = max(frame.shape[0] / height, frame.shape[1] / width) > _LINEAR_UP_TO
    method = cv2.INTER_AREA if much_smaller else cv2.INTER_LINEAR
    cv2.resize(frame, (width, height), dst=out, interpolation=method)


def split_channels(picture: NDArray[Any], planes: NDArray[Any]) -> None:
    """Write an (H, W, C) picture into (C, H, W) planes, each of them contiguous."""
    # Several times faster than numpy's strided copy and than OpenCV's mixChannels.
    cv2.split(picture, list(planes))


def settle_process() -> None:
    """Prepare this process for many frames: one thread, and memory that stays once it was taken.

    The loader's processes are the parallelism; OpenCV's own threads would only fight them.
    """
    cv2.setNumThreads(0)
    # The C library hands blocks as large as a sample back to the system, and takes them anew page by page,
    # until it has seen one of this size freed. It is never touched.
    np.empty(_SPARE_BYTES, np.uint8)


def mirrored(sample: NDArray[Any]) -> NDArray[Any]:
    """Return a (C, T, H, W) sample with its width reversed; a copy."""
    tall = sample.reshape(-1, sample.shape[-1])
    return np.asarray(cv2.flip(tall, 1)).reshape(sample.shape)
