"""Cleaning and smoothing of tracked keypoints. Pure functions: no argument is changed.

Keypoints are (T, P, V, 3): x, y in pixels and a confidence. A missing point is 0, 0, 0; it is neither used
nor invented: what is missing before is missing after, and confidences stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Method = Literal["none", "one-euro", "gaussian"]
METHODS: tuple[Method, ...] = ("none", "one-euro", "gaussian")


def clean(joints: Array, image_size: tuple[int, int], min_confidence: float) -> tuple[Array, int]:
    """Turn points that cannot be used into missing ones (0, 0, 0).

    Args:
        joints: (T, P, V, 3). image_size: (width, height) in pixels; (0, 0) if unknown: nothing is outside.
        min_confidence: a point is removed if its confidence is below it, or not above 0.

    Returns:
        (T, P, V, 3) float32 and how many points were removed: outside the image, non-finite or not certain
        enough (points that were missing before are not counted).
    """
    x, y, confidence = joints[..., 0], joints[..., 1], joints[..., 2]
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(joints).all(axis=-1) & (confidence > 0) & (confidence >= min_confidence)
        if image_size[0] > 0 and image_size[1] > 0:
            usable &= (x >= 0) & (y >= 0) & (x <= image_size[0]) & (y <= image_size[1])
    given = (joints != 0).any(axis=-1)  # NaN differs from 0, too
    return np.where(usable[..., None], joints, 0).astype(np.float32), int((given & ~usable).sum())


def smooth(
    joints: Array,
    *,
    fps: float,
    method: Method = "none",
    sigma: float = 0.05,
    min_cutoff: float = 1.0,
    beta: float = 0.007,
    derivative_cutoff: float = 1.0,
) -> Array:
    """Smooth the positions of points over time.

    ``gaussian`` looks at the whole clip: a straight line fitted around each moment, weighted by a Gaussian
    in time and by confidence. It has no lag, and keeps motion of constant speed as it is up to the ends.
    ``one-euro`` looks back only (:class:`OneEuro`), as a stream must.

    Args:
        joints: (T, P, V, 3). fps: frames per second.
        sigma: seconds, of ``gaussian``.
        min_cutoff, beta, derivative_cutoff: Hz, Hz per pixel/s, Hz, of ``one-euro``.

    Returns:
        (T, P, V, 3) float32.

    Raises:
        ValueError: unknown method, or a number out of range.
    """
    if method not in METHODS:
        raise ValueError(f"method is '{method}', wanted one of: {', '.join(METHODS)}")
    if not (fps > 0 and np.isfinite(fps)):
        raise ValueError(f"fps is {fps}, wanted a number above 0")
    joints = np.asarray(joints, np.float32)
    if method == "none" or joints.size == 0:
        return joints.copy()
    if method == "gaussian":
        return _gaussian(joints, sigma * fps)
    stream = OneEuro(fps=fps, min_cutoff=min_cutoff, beta=beta, derivative_cutoff=derivative_cutoff)
    return np.stack([stream.step(frame) for frame in joints])


def present(joints: Array) -> NDArray[np.bool_]:
    """Return (...,) bool: which points of (..., 3) are there (finite, with a confidence above 0)."""
    return np.asarray(np.isfinite(joints).all(axis=-1) & (joints[..., 2] > 0))


def _gaussian(joints: Array, sigma: float) -> Array:
    """Fit a line around each moment, weighted by time (``sigma`` frames) and confidence."""
    from scipy.ndimage import correlate1d

    if not (sigma > 0 and np.isfinite(sigma)):
        raise ValueError(f"sigma is {sigma} frames, wanted a number above 0")
    radius = min(max(int(np.ceil(3 * sigma)), 1), max(len(joints) - 1, 1))
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    kernel = np.exp(-0.5 * np.square(offsets / sigma))
    seen = present(joints)
    weight = np.where(seen, joints[..., 2], 0).astype(np.float64)
    # Deviations from each point's first position: a point that stays is then kept to the last bit.
    first = np.take_along_axis(joints[..., :2], seen.argmax(axis=0)[None, ..., None], axis=0)
    moved = np.where(seen[..., None], joints[..., :2].astype(np.float64) - first, 0.0)

    def total(values: NDArray[np.float64], power: int) -> NDArray[np.float64]:
        return np.asarray(correlate1d(values, kernel * offsets**power, axis=0, mode="constant"))

    s0, s1, s2 = (total(weight, power) for power in range(3))
    t0, t1 = (total(moved * weight[..., None], power) for power in range(2))
    determinant = s0 * s2 - s1 * s1
    line = determinant > 1e-9 * s0 * (s0 + s2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = t0 / s0[..., None]
        fitted = (s2[..., None] * t0 - s1[..., None] * t1) / determinant[..., None]
    out = joints.copy()
    smoothed = np.where(line[..., None], fitted, mean) + first
    out[..., :2] = np.where(seen[..., None], smoothed, joints[..., :2])
    return out


class OneEuro:
    """The 1 € filter (Casiez, Roussel and Vogel, CHI 2012) for the points of a stream, frame by frame.

    A low-pass whose cutoff rises with speed: ``min_cutoff + beta * |speed|``. Each coordinate is filtered by
    itself. Its smoothing factor is multiplied by the point's confidence, so that uncertain points follow
    their past more closely; with confidence 1 it is the filter of the paper. After frames in which a point
    is missing the time that passed is accounted for; after ``reset_after`` seconds it starts anew.
    """

    def __init__(
        self,
        *,
        fps: float,
        min_cutoff: float = 1.0,
        beta: float = 0.007,
        derivative_cutoff: float = 1.0,
        reset_after: float = 0.5,
    ) -> None:
        if not (fps > 0 and min_cutoff > 0 and derivative_cutoff > 0 and beta >= 0):
            raise ValueError(
                "one-euro wants fps, min_cutoff and derivative_cutoff above 0 and beta not below 0; found "
                f"{fps}, {min_cutoff}, {derivative_cutoff} and {beta}"
            )
        self.fps = fps
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.derivative_cutoff = derivative_cutoff
        self.reset_after = reset_after
        self._raw: NDArray[np.float64] | None = None
        self._position: NDArray[np.float64]
        self._speed: NDArray[np.float64]
        self._away: NDArray[np.float64]

    def step(self, points: Array) -> Array:
        """Return the smoothed points of the next frame.

        Args:
            points: (..., 3), of the same shape in every frame.
        """
        seen = present(points)
        position = np.where(seen[..., None], points[..., :2], 0).astype(np.float64)
        if self._raw is None:
            self._raw = position.copy()
            self._position = position.copy()
            self._speed = np.zeros_like(position)
            self._away = np.full(seen.shape, np.inf)
        assert self._raw.shape == position.shape
        self._away += 1.0 / self.fps  # seconds since the point was last seen
        fresh = seen & (self._away > self.reset_after + 1.0 / self.fps)
        seconds = np.where(fresh | ~seen, 1.0 / self.fps, self._away)[..., None]
        confidence = np.clip(np.where(seen, points[..., 2], 0), 0, 1).astype(np.float64)[..., None]
        speed = (position - self._raw) / seconds
        factor = _factor(self.derivative_cutoff, seconds)
        speed = self._speed + factor * (speed - self._speed)
        factor = confidence * _factor(self.min_cutoff + self.beta * np.abs(speed), seconds)
        smoothed = self._position + factor * (position - self._position)
        smoothed[fresh], speed[fresh] = position[fresh], 0.0
        self._raw[seen], self._position[seen], self._speed[seen] = position[seen], smoothed[seen], speed[seen]
        self._away[seen] = 0.0
        out = np.asarray(points, np.float32).copy()
        out[..., :2][seen] = smoothed[seen]
        return out


def _factor(cutoff: float | NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smoothing factor of a first-order low-pass of that cutoff (Hz) after some seconds."""
    return np.asarray(1.0 / (1.0 + 1.0 / (2.0 * np.pi * cutoff * seconds)))
