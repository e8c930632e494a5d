"""What a pose estimator would make of the figure: noise, scores, lost and confused hands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.motion import smooth_noise
from mg_data.datasets.synthetic.plan import CorpusPlan
from mg_data.datasets.synthetic.skeleton import FACE, LEFT_HAND, RIGHT_HAND
from mg_data.datasets.synthetic.style import Style

# Hands nearer to each other than this share of a shoulder width are told apart badly.
_CROSSING = 0.25


def observe(
    points: NDArray[np.float64],
    visible: NDArray[np.float64],
    plan: CorpusPlan,
    scale: float,
    style: Style,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return (F, 137, 3) as a pose estimator would see it: noise, scores, missing points as 0, 0, 0.

    Args:
        points: (F, 137, 2) pixels. visible: (F, 137) in [0, 1]. scale: pixels a shoulder width.
    """
    num_frames = len(points)
    score = np.clip(visible * rng.normal(0.82, 0.07, visible.shape), 0, 0.99)
    # Noise grows where the score is low; now and then a frame is tracked badly.
    bad = 1.0 + 3.0 * (rng.random((num_frames, 1)) < 0.02)
    sigma = style.jitter * scale * bad * (1.6 - score)
    seen = points + rng.normal(0, 1, points.shape) * sigma[..., None]
    missing = (rng.random(score.shape) < style.dropout) | (score < 0.15)
    for block in (LEFT_HAND, RIGHT_HAND):
        missing[:, block] |= _lost(rng, num_frames, 0.012, 6)[:, None]
    outside = (seen < 0).any(-1) | (seen[..., 0] >= plan.width) | (seen[..., 1] >= plan.height)
    table = np.concatenate([seen, score[..., None]], axis=-1)
    table[missing | outside] = 0.0
    table = np.round(table, 3)
    if plan.scene == "press":
        # Rounding may lift a point of the last half thousandth onto the border.
        table[(table[..., 0] >= plan.width) | (table[..., 1] >= plan.height)] = 0.0
    return table


def _lost(rng: np.random.Generator, num_frames: int, rate: float, length: int) -> NDArray[np.bool_]:
    """Return (F,) frames in which a whole hand is lost, for ``length`` frames at a time."""
    begins = rng.random(num_frames) < rate
    return np.convolve(begins, np.ones(length), "full")[:num_frames] > 0


def dips(
    points: NDArray[np.float64], scale: float, fps: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return (F, 137) factors of visibility: slow dips of hands and face, blurred and crossing hands."""
    factor = np.ones(points.shape[:2])
    slow = smooth_noise(rng, len(points), fps, (3,))
    for column, block in enumerate((FACE, LEFT_HAND, RIGHT_HAND)):
        factor[:, block] *= 1.0 - 0.7 * np.clip(slow[:, column, None] - 1.1, 0, 1)
    for block in (LEFT_HAND, RIGHT_HAND):
        centre = points[:, block].mean(axis=1)
        speed = np.linalg.norm(np.gradient(centre, axis=0), axis=1) * fps / scale
        factor[:, block] *= (1.0 / (1.0 + (speed / 4.0) ** 2))[:, None]
    close = crossing(points, scale)
    for block in (LEFT_HAND, RIGHT_HAND):
        factor[close, block] *= 0.7
    return factor


def crossing(points: NDArray[np.float64], scale: float) -> NDArray[np.bool_]:
    """Return (F,) frames in which the hands are so close that one may be taken for the other."""
    between = points[:, LEFT_HAND].mean(axis=1) - points[:, RIGHT_HAND].mean(axis=1)
    close: NDArray[np.bool_] = np.linalg.norm(between, axis=1) < _CROSSING * scale
    return close


def confuse_hands(
    table: NDArray[np.float64], close: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Swap the hands' points, not the wrists, for a few frames now and then while they are close."""
    swapped = _lost(rng, len(table), 0.04, int(rng.integers(2, 7))) & close
    result = table.copy()
    for block, other in ((LEFT_HAND, RIGHT_HAND), (RIGHT_HAND, LEFT_HAND)):
        result[swapped, block] = table[swapped, other]
    return result
