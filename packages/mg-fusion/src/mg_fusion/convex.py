"""The weights of lowest NLL, exactly: at a given temperature the NLL of the vote is convex in the weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.metrics import SMALLEST_PROBABILITY
from mg_fusion.vote import FloatArray

_MOST_STEPS = 100
_GAP = 1e-10


def _loss(weights: FloatArray, target: FloatArray, present: FloatArray | None) -> float:
    """NLL, plus a term that is lowest where the weights sum to 1 and spares the solver that constraint."""
    total = float(weights.sum())
    value = -np.log(weights @ target).mean()
    if present is None:
        return float(value + total)
    return float(value + np.log(weights @ present).mean() + total - np.log(total))


def model_minimum(weights: FloatArray, slope: FloatArray, curve: FloatArray) -> FloatArray:
    """Return the minimum over weights >= 0 of the quadratic model around ``weights`` (active sets)."""
    scale = 1 / np.sqrt(np.diag(curve))
    found = weights.copy()
    free = (weights > 0) | (slope < 0)
    for _ in range(10 * len(weights)):
        steep = slope + curve @ (found - weights)
        chosen = np.flatnonzero(free)
        if len(chosen):
            unit = scale[chosen]
            system = curve[np.ix_(chosen, chosen)] * unit[:, None] * unit
            wanted = found[chosen] - unit * np.linalg.lstsq(system, unit * steep[chosen], rcond=1e-13)[0]
            falling = np.flatnonzero(wanted < 0)
            if len(falling):
                ratio = found[chosen[falling]] / (found[chosen[falling]] - wanted[falling])
                first = falling[ratio.argmin()]
                found[chosen] += float(ratio.min()) * (wanted - found[chosen])
                found[chosen[first]] = 0.0
                found = np.maximum(found, 0.0)
                free[chosen[first]] = False
                continue
            found[chosen] = wanted
        steep = np.where(free, 0.0, (slope + curve @ (found - weights)) * scale)
        if steep.min() >= -1e-12:
            break
        free[int(steep.argmin())] = True
    return found


def lowest_nll(target: ArrayLike, present: ArrayLike | None = None) -> FloatArray:
    """Return the (M,) weights >= 0 of sum 1 at which the vote's NLL is lowest.

    Projected Newton: the quadratic model is minimised over weights >= 0, then a line search, from equal
    weights, until the slope towards each model is within 1e-10 of the best, which proves the optimum. With
    missing answers the weights of the others are scaled up, the NLL is not convex any more, and what is found
    is a minimum next to equal weights.

    Args:
        target: (M, N) probability that each model gives the truth, 0 where absent.
        present: (M, N) bool, None if every model answers every clip.

    >>> lowest_nll([[0.9, 0.1], [0.1, 0.9]]).round(6).tolist()
    [0.5, 0.5]
    """
    # The floor of the NLL, taken for each model: convex, and equal to the vote's floor within 1e-12.
    likely = np.maximum(np.asarray(target, dtype=np.float64), SMALLEST_PROBABILITY)
    mask = None if present is None else np.asarray(present, dtype=np.float64)
    if mask is not None and mask.all():
        mask = None
    if mask is not None:
        likely = likely * mask
    models, clips = likely.shape
    weights = np.full(models, 1 / models)
    value = _loss(weights, likely, mask)
    for _ in range(_MOST_STEPS):
        ratio = likely / (weights @ likely)
        slope = 1 - ratio.mean(axis=1)
        curve = ratio @ ratio.T / clips
        if mask is not None:
            share, total = mask / (weights @ mask), weights.sum()
            slope += share.mean(axis=1) - 1 / total
            # What the masks subtract from the curvature is left out: steps go downhill all the same.
            curve += 1 / total**2
        if min(slope.min(), -np.abs(slope[weights > 0]).max()) > -_GAP:
            break
        step = model_minimum(weights, slope, curve) - weights
        fall = float(slope @ step)
        if fall > -1e-16:
            break
        size = 1.0
        while size > 1e-12:
            moved = weights + size * step
            if (moved @ likely).min() > 0 and _loss(moved, likely, mask) <= value + 1e-4 * size * fall:
                break
            size /= 2
        else:
            break
        weights, value = moved, _loss(moved, likely, mask)
    return np.asarray(weights / weights.sum(), dtype=np.float64)
