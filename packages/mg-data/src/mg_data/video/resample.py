"""Cut a box of any position and size out of a picture and bring it to the output's size.

Both axes are resampled by sparse weights, so sub-pixel boxes move smoothly, planes of half resolution need
no detour over full size, and what lies beyond the border is a matter of weights too. Shrinking takes the
mean of what an output pixel covers (no aliasing), growing interpolates linearly; at scale 1 both agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDINGS = ("zero", "replicate", "reflect")

# In 16-bit maps an output pixel is kept if at least this part of what it covers was measured.
_MEASURED = 0.5
# A sum of weights above this is 1 up to rounding.
_WHOLE = 0.9999


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """How ``size`` output pixels are mixed from the input pixels ``begin`` .. ``end - 1`` of one axis.

    ``matrix`` is sparse, (size, end - begin) float32. ``cover`` (size,) is each row's sum: below 1 where the
    box leaves the picture and nothing is put in its place.
    """

    begin: int
    end: int
    matrix: Any
    cover: NDArray[np.float32]


@lru_cache(maxsize=8)
def covered(rows: AxisWeights, columns: AxisWeights) -> NDArray[np.float32] | None:
    """Return how much of each output pixel lies within the picture, transposed; None if all of all do."""
    if rows.cover.min() > _WHOLE and columns.cover.min() > _WHOLE:
        return None
    return np.outer(columns.cover, rows.cover)


def _taps(low: float, high: float, size: int, nearest: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (size, taps) input positions, also beyond the border, and their weights (rows sum to 1)."""
    scale = (high - low) / size
    if nearest:
        middle = low + scale * (np.arange(size) + 0.5)
        return np.floor(middle).astype(np.int64)[:, None], np.ones((size, 1))
    if scale >= 1.0:
        left = low + scale * np.arange(size)
        right = left + scale
        first = np.floor(left).astype(np.int64)
        position = first[:, None] + np.arange(int(np.ceil(scale)) + 1)
        covered = np.minimum(position + 1, right[:, None]) - np.maximum(position, left[:, None])
        return position, np.maximum(covered, 0.0) / scale
    middle = low + scale * (np.arange(size) + 0.5) - 0.5
    first = np.floor(middle).astype(np.int64)
    part = middle - first
    return first[:, None] + np.arange(2), np.stack([1.0 - part, part], axis=1)


@lru_cache(maxsize=64)
def axis_weights(
    low: float,
    high: float,
    size: int,
    length: int,
    padding: str = "zero",
    nearest: bool = False,
    halved: bool = False,
) -> AxisWeights:
    """Return the weights that bring the interval low..high of an axis to ``size`` pixels.

    Args:
        low, high: pixel edges, any real numbers with low < high; pixel i covers i .. i + 1.
        length: pixels of the axis.
        padding: what lies beyond: ``zero``, ``replicate`` (the border pixel) or ``reflect`` (mirrored at it).
        nearest: take the nearest pixel instead of a mean.
        halved: the samples lie in a plane of half resolution, each standing for two pixels (4:2:0 chroma).
    """
    from scipy.sparse import csr_array

    position, weight = _taps(low, high, size, nearest)
    if padding == "zero":
        weight = np.where((position >= 0) & (position < length), weight, 0.0)
    elif padding == "reflect" and length > 1:
        position = np.abs(position) % (2 * length - 2)
        position = np.minimum(position, 2 * length - 2 - position)
    position = np.clip(position, 0, length - 1)
    if halved:
        position //= 2
    begin, end = int(position.min()), int(position.max()) + 1
    limits = np.arange(0, position.size + 1, position.shape[1])
    matrix = csr_array(
        (weight.astype(np.float32).ravel(), (position - begin).astype(np.int32).ravel(), limits),
        shape=(size, end - begin),
    )
    return AxisWeights(begin, end, matrix, weight.sum(axis=1).astype(np.float32))


def resample_turned(plane: NDArray[Any], rows: AxisWeights, columns: AxisWeights) -> NDArray[np.float32]:
    """Mix a plane (H, W) into (size of columns, size of rows) float32: the result, transposed.

    The second axis must lie first for its weights, and turning eight-bit results back later is cheaper.
    """
    import cv2

    cut = plane[rows.begin : rows.end, columns.begin : columns.end].astype(np.float32)
    return np.asarray(columns.matrix @ cv2.transpose(rows.matrix @ cut), np.float32)


def resample(plane: NDArray[Any], rows: AxisWeights, columns: AxisWeights) -> NDArray[np.float32]:
    """Mix a plane (H, W) or (H, W, C) into (size of rows, size of columns[, C]) float32."""
    if plane.ndim == 2:
        return np.ascontiguousarray(resample_turned(plane, rows, columns).T)
    cut = plane[rows.begin : rows.end, columns.begin : columns.end].astype(np.float32)
    mixed = rows.matrix @ cut.reshape(cut.shape[0], -1)
    height, width, channels = mixed.shape[0], cut.shape[1], plane.shape[2]
    turned = np.ascontiguousarray(mixed.reshape(height, width, channels).swapaxes(0, 1))
    done = columns.matrix @ turned.reshape(width, -1)
    return np.ascontiguousarray(done.reshape(-1, height, channels).swapaxes(0, 1))


def to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round to the nearest whole number within 0..255."""
    return np.clip(np.rint(values), 0.0, 255.0).astype(np.uint8)


def crop_frame(
    frame: NDArray[Any], box: NDArray[Any], size: int | tuple[int, int], padding: str = "zero"
) -> NDArray[Any]:
    """Cut a box out of a frame and resize it.

    Colour is averaged when it shrinks and interpolated linearly when it grows. In 16-bit maps 0 means
    "nothing measured" and must not mix with distances: shrinking averages the measured pixels only (0
    where fewer than half are), growing repeats the nearest pixel.

    Args:
        frame: (H, W) or (H, W, 3), uint8 or uint16.
        box: x0, y0, x1, y1 in pixels, half-open, any real numbers; it may reach beyond the frame.
        size: side of the result in pixels, or its (width, height).
        padding: ``zero``, ``replicate`` or ``reflect``: what lies beyond the frame's border.

    Returns:
        (height, width) or (height, width, 3) of the frame's type.
    """
    width, height = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = (float(value) for value in box)
    deep = frame.dtype == np.uint16
    grows = deep and (x1 - x0) < width
    rows = axis_weights(y0, y1, height, frame.shape[0], padding, grows)
    columns = axis_weights(x0, x1, width, frame.shape[1], padding, grows)
    if not deep:
        return to_bytes(resample(frame, rows, columns))
    total = resample(frame, rows, columns)
    measured = resample(frame > 0, rows, columns)
    kept = measured >= _MEASURED
    result = np.zeros((height, width), np.uint16)
    result[kept] = np.rint(total[kept] / measured[kept]).astype(np.uint16)
    return result
