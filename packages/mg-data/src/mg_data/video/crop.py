"""Saliency crop (paper, section 3.1): the box of the person's keypoints, plus a margin, as a square.

Pure functions; the stage that walks over videos is ``mg_data.prepare.crop``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Camera = tuple[float, float, float, float]


def project(points: NDArray[Any], camera: Camera) -> NDArray[np.float64]:
    """Project camera-space points onto the image: u = fx x / z + cx, v = cy - fy y / z.

    Args:
        points: (..., 3) x, y, z; y points up, v down; z > 0 in front of the camera.
        camera: fx, fy, cx, cy in pixels.

    Returns:
        (..., 2) pixels; NaN where z is not positive.
    """
    focal_x, focal_y, centre_x, centre_y = camera
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(z > 0, 1.0 / z, np.nan)
    return np.stack([focal_x * x * inverse + centre_x, centre_y - focal_y * y * inverse], axis=-1)


def keypoint_extremes(
    joints: NDArray[np.float32],
    columns: tuple[str, ...],
    camera: Camera | None = None,
    min_confidence: float = 0.1,
) -> NDArray[np.float64] | None:
    """Return x0, y0, x1, y1: the extremes of all visible keypoints over the whole clip, pixels.

    Args:
        joints: (T, P, V, 3); columns ``x, y, confidence`` in pixels, or ``x, y, z`` in camera space.
        camera: needed for ``x, y, z``; a point is visible if it lies in front of the camera.
        min_confidence: a point of ``x, y, confidence`` is visible above it.

    Returns:
        (4,) array, or None if no keypoint is visible.
    """
    if columns[2] == "z":
        if camera is None:
            return None
        points = project(joints, camera)
        visible = np.isfinite(points).all(axis=-1) & np.any(joints != 0, axis=-1)
    else:
        points = joints[..., :2].astype(np.float64)
        visible = joints[..., 2] > min_confidence
    seen = points[visible]
    if len(seen) == 0:
        return None
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)])


def square_box(extremes: NDArray[np.float64], margin: float = 0.2) -> NDArray[np.float32]:
    """Move each side outwards by ``margin`` times the box's extent, then make it a square of whole pixels.

    The centre stays (to half a pixel); the box may reach beyond the image, which the crop pads.

    >>> square_box(np.array([100.0, 100.0, 200.0, 150.0])).tolist()
    [80.0, 55.0, 220.0, 195.0]
    """
    x0, y0, x1, y1 = (float(value) for value in extremes)
    side = max(1.0, np.ceil((1.0 + 2.0 * margin) * max(x1 - x0, y1 - y0)))
    left = np.round((x0 + x1 - side) / 2.0)
    top = np.round((y0 + y1 - side) / 2.0)
    return np.array([left, top, left + side, top + side], dtype=np.float32)


def full_frame_box(width: int, height: int) -> NDArray[np.float32]:
    """Return the smallest square that holds the whole frame, centred on it."""
    side = max(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return np.array([left, top, left + side, top + side], dtype=np.float32)


def crop_frame(frame: NDArray[Any], box: NDArray[np.float32], size: int) -> NDArray[Any]:
    """Cut a square box out of a frame, padding with 0 beyond its borders, and resize it.

    Colour is averaged when it shrinks and interpolated linearly when it grows. In 16-bit maps 0 means
    "nothing measured" and must not mix with distances: shrinking averages the measured pixels only (0
    where fewer than half are), growing repeats the nearest pixel.

    Args:
        frame: (H, W) or (H, W, 3), uint8 or uint16.
        box: x0, y0, x1, y1 in whole pixels, half-open, a square.
        size: side of the result in pixels.

    Returns:
        (size, size) or (size, size, 3) of the frame's type.
    """
    import cv2

    x0, y0, x1, y1 = (round(float(value)) for value in box)
    cut = frame[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if cut.shape[:2] != (y1 - y0, x1 - x0):
        padded = np.zeros((y1 - y0, x1 - x0, *frame.shape[2:]), frame.dtype)
        if cut.size:
            top, left = max(-y0, 0), max(-x0, 0)
            padded[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
        cut = padded
    if cut.shape[0] == size:
        return np.ascontiguousarray(cut)
    shrinks = size < cut.shape[0]
    if frame.dtype != np.uint16:
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=way))
    cut = np.ascontiguousarray(cut)
    if not shrinks:
        return np.asarray(cv2.resize(cut, (size, size), interpolation=cv2.INTER_NEAREST))
    measured = cv2.resize((cut > 0).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    total = cv2.resize(cut.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    kept = measured >= 0.5
    result = np.zeros((size, size), np.uint16)
    result[kept] = np.round(total[kept] / measured[kept]).astype(np.uint16)
    return result


def frame_choice(num_frames: int, max_frames: int) -> NDArray[np.int64]:
    """Return which frames of a clip are stored: all, or the middles of ``max_frames`` equal parts.

    >>> frame_choice(8, 4).tolist()
    [1, 3, 5, 7]
    """
    if max_frames <= 0 or num_frames <= max_frames:
        return np.arange(num_frames, dtype=np.int64)
    return np.floor((np.arange(max_frames) + 0.5) * num_frames / max_frames).astype(np.int64)
