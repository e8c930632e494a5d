"""Saliency crop (paper, section 3.1): the box of the person's keypoints, plus a margin, as a square.

Pure functions. Cutting the box out is :mod:`mg_data.video.resample`; the stage that walks over videos is
``mg_data.prepare.crop``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.video.resample import crop_frame

__all__ = [
    "Camera",
    "clip_extremes",
    "crop_frame",
    "frame_choice",
    "frame_extremes",
    "full_frame_box",
    "keypoint_extremes",
    "project",
    "shaped_boxes",
    "smooth_boxes",
    "square_box",
    "steady_points",
    "visible_points",
]

# Frames over which a keypoint's position is settled, and in how many of them it must be seen.
_WINDOW = 5
_SEEN = 3
# A narrower Gaussian than this has all its weight on one frame.
_LEAST_SIGMA = 0.1

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


def visible_points(
    joints: NDArray[np.float32],
    columns: tuple[str, ...],
    camera: Camera | None = None,
    min_confidence: float = 0.1,
) -> NDArray[np.float64] | None:
    """Return (T, P, V, 2) pixels, NaN where a keypoint is not visible.

    Args:
        joints: (T, P, V, 3); columns ``x, y, confidence`` in pixels, or ``x, y, z`` in camera space.
        camera: needed for ``x, y, z``; a point is visible if it lies in front of the camera.
        min_confidence: a point of ``x, y, confidence`` is visible above it.

    Returns:
        None if there is no camera to project ``x, y, z`` with.
    """
    if columns[2] == "z":
        if camera is None:
            return None
        points = project(joints, camera)
        visible = np.isfinite(points).all(axis=-1) & np.any(joints != 0, axis=-1)
    else:
        points = joints[..., :2].astype(np.float64)
        visible = (joints[..., 2] > min_confidence) & np.isfinite(points).all(axis=-1)
    return np.where(visible[..., None], points, np.nan)


def steady_points(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace each keypoint by its median over five frames, so that a tracker's short jumps vanish.

    A point that was seen in fewer than three of the five frames is taken for an error and dropped, unless
    nothing at all would be left: then the points come back as given. The first and last two frames take the
    median of the clip's first and last five. A motion of three frames or more keeps its extremes.

    Args:
        points: (T, P, V, 2) pixels, NaN where not visible.
    """
    if len(points) < _WINDOW:
        return points
    centres = len(points) - _WINDOW + 1
    # NaN sorts last, so the values that were seen come first.
    window = np.sort(np.stack([points[shift : shift + centres] for shift in range(_WINDOW)]), axis=0)
    seen = np.isfinite(window[..., 0]).sum(axis=0)
    lower = np.take_along_axis(window, (np.maximum(seen - 1, 0) // 2)[None, ..., None], axis=0)[0]
    upper = np.take_along_axis(window, np.minimum(seen // 2, _WINDOW - 1)[None, ..., None], axis=0)[0]
    steady = np.where((seen >= _SEEN)[..., None], 0.5 * (lower + upper), np.nan)
    if not np.isfinite(steady).any():
        return points
    half = _WINDOW // 2
    return np.pad(steady, ((half, half), (0, 0), (0, 0), (0, 0)), mode="edge")


def frame_extremes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (T, 4) x0, y0, x1, y1 of each frame's visible points, NaN where there are none.

    Args:
        points: (T, P, V, 2) pixels, NaN where not visible.
    """
    flat = points.reshape(len(points), -1, 2)
    unseen = np.isnan(flat)
    low = np.where(unseen, np.inf, flat).min(axis=1, initial=np.inf)
    high = np.where(unseen, -np.inf, flat).max(axis=1, initial=-np.inf)
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def clip_extremes(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return (4,) x0, y0, x1, y1 of all visible points of a clip, or None if there are none."""
    boxes = frame_extremes(points.reshape(1, -1, 1, 2))[0]
    return boxes if np.isfinite(boxes).all() else None


def keypoint_extremes(
    joints: NDArray[np.float32],
    columns: tuple[str, ...],
    camera: Camera | None = None,
    min_confidence: float = 0.1,
) -> NDArray[np.float64] | None:
    """Return x0, y0, x1, y1: the extremes of all visible keypoints over the whole clip, pixels.

    The arguments are those of :func:`visible_points`.

    Returns:
        (4,) array, or None if no keypoint is visible.
    """
    points = visible_points(joints, columns, camera, min_confidence)
    return None if points is None else clip_extremes(points)


def smooth_boxes(boxes: NDArray[np.float64], sigma: float = 4.0) -> NDArray[np.float64] | None:
    """Let a box follow the person from frame to frame without jitter.

    Frames without a box are interpolated (the nearest one beyond the ends). Each side is moved out to its
    extreme within 2 sigma frames and then averaged with Gaussian weights over as many, so the result holds
    the box of every frame, however short a reach.

    Args:
        boxes: (T, 4) x0, y0, x1, y1; NaN where nothing was visible.
        sigma: of the Gaussian, in frames; 0 only interpolates.

    Returns:
        (T, 4), or None if no frame has a box.
    """
    seen = np.isfinite(boxes).all(axis=1)
    if not seen.any():
        return None
    frames = np.arange(len(boxes))
    filled = np.stack([np.interp(frames, frames[seen], boxes[seen, side]) for side in range(4)], axis=1)
    if sigma < _LEAST_SIGMA:
        return filled
    radius = int(np.ceil(2 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    # Padded by its ends twice: once for the extreme, once for the mean.
    padded = np.pad(filled, ((2 * radius, 2 * radius), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=0)
    reach = np.concatenate([windows[:, :2].min(axis=-1), windows[:, 2:].max(axis=-1)], axis=1)
    smooth = np.lib.stride_tricks.sliding_window_view(reach, 2 * radius + 1, axis=0) @ weights
    return np.concatenate(
        [np.minimum(smooth[:, :2], filled[:, :2]), np.maximum(smooth[:, 2:], filled[:, 2:])], 1
    )


def shaped_boxes(boxes: NDArray[np.float64], margin: float, aspect: float) -> NDArray[np.float32]:
    """Move each side outwards by ``margin`` times the box's extent, then grow it to an aspect.

    Args:
        boxes: (..., 4) x0, y0, x1, y1. margin: share of the extent. aspect: width / height of the output.

    Returns:
        (..., 4) float32 about the same centres; sub-pixel, at least a pixel high and wide.
    """
    low, high = np.asarray(boxes[..., :2], np.float64), np.asarray(boxes[..., 2:], np.float64)
    extent = np.maximum((1.0 + 2.0 * margin) * (high - low), 1.0)
    width = np.maximum(extent[..., 0], aspect * extent[..., 1])
    half = 0.5 * np.stack([width, width / aspect], axis=-1)
    centre = 0.5 * (low + high)
    return np.concatenate([centre - half, centre + half], axis=-1).astype(np.float32)


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


def full_frame_box(width: int, height: int, aspect: float = 1.0) -> NDArray[np.float32]:
    """Return the smallest box of an aspect (width / height) that holds the whole frame, centred on it."""
    if aspect == 1.0:
        side = max(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return np.array([left, top, left + side, top + side], dtype=np.float32)
    return shaped_boxes(np.array([0.0, 0.0, width, height]), 0.0, aspect)


def frame_choice(num_frames: int, max_frames: int) -> NDArray[np.int64]:
    """Return which frames of a clip are stored: all, or the middles of ``max_frames`` equal parts.

    >>> frame_choice(8, 4).tolist()
    [1, 3, 5, 7]
    """
    if max_frames <= 0 or num_frames <= max_frames:
        return np.arange(num_frames, dtype=np.int64)
    return np.floor((np.arange(max_frames) + 0.5) * num_frames / max_frames).astype(np.int64)
