"""A smooth function's minimum by L-BFGS: what calibration and stacking need, and no more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.vote import FloatArray

Objective = Callable[[FloatArray], tuple[float, FloatArray]]

_MEMORY = 20
# A step is taken if it saves this share of what the slope promises (Armijo).
_ENOUGH = 1e-4


def minimise(
    objective: Objective, start: FloatArray, *, steps: int = 2000, tolerance: float = 1e-7
) -> FloatArray:
    """Return the parameters at which the objective is lowest, starting from ``start``.

    The value never rises from step to step; a convex objective ends at its minimum, with every component of
    the gradient within ``tolerance`` (times the value, where that is above 1), or where float64 sees no
    descent.

    Args:
        objective: (P,) -> value and (P,) gradient. start: (P,). steps: at most so many.
    """
    point = np.array(start, dtype=np.float64)
    value, slope = objective(point)
    pairs: list[tuple[FloatArray, FloatArray, float]] = []
    for _ in range(steps):
        if np.abs(slope).max(initial=0.0) <= tolerance * max(1.0, abs(value)):
            break
        direction = _direction(slope, pairs)
        promise = float(direction @ slope)
        if promise >= 0:  # rounding spoiled the memory: begin anew with the steepest descent
            pairs.clear()
            direction = -slope
            promise = float(direction @ slope)
        step = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(slope).sum()))
        while True:
            found = point + step * direction
            new_value, new_slope = objective(found)
            if np.isfinite(new_value) and new_value <= value + _ENOUGH * step * promise:
                break
            step /= 2
            if step < 1e-16:
                return point
        moved, turned = found - point, new_slope - slope
        curvature = float(moved @ turned)
        if curvature > 1e-14 * float(turned @ turned):
            pairs = [*pairs[1 - _MEMORY :], (moved, turned, curvature)]
        point, value, slope = found, new_value, new_slope
    return point


def _direction(slope: FloatArray, pairs: list[tuple[FloatArray, FloatArray, float]]) -> FloatArray:
    """Return minus the inverse Hessian, as far as the last steps told it, times the slope."""
    rest = -slope
    amounts = []
    for moved, turned, curvature in reversed(pairs):
        amount = float(moved @ rest) / curvature
        rest = rest - amount * turned
        amounts.append(amount)
    if pairs:
        _, turned, curvature = pairs[-1]
        rest = rest * (curvature / float(turned @ turned))
    for (moved, turned, curvature), amount in zip(pairs, reversed(amounts), strict=True):
        rest = rest + (amount - float(turned @ rest) / curvature) * moved
    return np.asarray(rest)


def fit_linear(
    features: FloatArray,
    labels: ArrayLike,
    *,
    classes: int,
    ridge: float,
    start: tuple[FloatArray, FloatArray] | None = None,
    ridge_bias: float = 0.0,
) -> tuple[FloatArray, FloatArray]:
    """Return W (K, D) and b (K,) of the softmax regression z = W x + b with the lowest penalised likelihood.

    sum_n NLL(softmax(W x_n + b), y_n) + ridge / 2 |W - W0|^2 + ridge_bias / 2 |b - b0|^2, convex.

    Args:
        features: (N, D). labels: (N,) in 0..K-1. start: W0 and b0, zeros unless given.
    """
    rows, width = features.shape
    truth = np.asarray(labels, dtype=np.int64)
    index = np.arange(rows)
    # In the directions of the features' own spread, scaled by how steeply the likelihood may bend there, all
    # parameters matter alike; along the raw ones L-BFGS needs several times as many steps.
    spread, turn = np.linalg.eigh(features.T @ features)
    scale = np.sqrt(np.maximum(spread, 0.0) / classes + max(ridge, 1e-9))
    turned = features @ (turn / scale)
    pull = ridge / scale**2
    first_w = np.zeros((classes, width)) if start is None else start[0] @ turn * scale
    first_b = np.zeros(classes) if start is None else start[1]
    # The same for the biases.
    step = np.sqrt(rows / classes + ridge_bias)

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        matrix, bias = flat[: classes * width].reshape(classes, width), flat[classes * width :] / step
        scores = turned @ matrix.T + bias
        scores -= scores.max(axis=1, keepdims=True)
        wrong = np.exp(scores)
        total = wrong.sum(axis=1)
        apart_w, apart_b = matrix - first_w, bias - first_b
        value = float((np.log(total) - scores[index, truth]).sum())
        value += float((pull * apart_w**2).sum()) / 2 + ridge_bias / 2 * float((apart_b**2).sum())
        wrong /= total[:, None]
        wrong[index, truth] -= 1
        slope_w = wrong.T @ turned + pull * apart_w
        slope_b = (wrong.sum(axis=0) + ridge_bias * apart_b) / step
        return value, np.concatenate([slope_w.ravel(), slope_b])

    best = minimise(objective, np.concatenate([first_w.ravel(), first_b * step]))
    return best[: classes * width].reshape(classes, width) / scale @ turn.T, best[classes * width :] / step
