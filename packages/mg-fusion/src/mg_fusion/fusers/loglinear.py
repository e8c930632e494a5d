"""The log-linear pool: softmax of a weighted sum of the models' logits, with weights of highest likelihood.

The geometric mean with fitted weights. Weights and temperatures are one: each model's logits are multiplied
by one number, so the fit is convex and of M numbers, too few to learn some hundred clips by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.calibration import check_labels, fit_temperature
from mg_fusion.checks import fitted_array, fitted_table, positive
from mg_fusion.convex import model_minimum
from mg_fusion.errors import ScoresError
from mg_fusion.vote import BoolArray, FloatArray, check_scores, softmax

NAME = "log-linear"
_MOST_STEPS = 100


def _filled(scores: FloatArray, mask: BoolArray) -> FloatArray:
    """Return (M, N, K) centred logits; a model that does not answer says what the others say on average."""
    answering = mask.sum(axis=0)
    if (answering == 0).any():
        raise ScoresError(
            f"fuser '{NAME}': {int((answering == 0).sum())} clips have no answer from any model; "
            "leave them out"
        )
    centred = np.asarray(scores - scores.mean(axis=2, keepdims=True))
    if mask.all():
        return centred
    mean = np.where(mask[:, :, None], centred, 0.0).sum(axis=0) / answering[:, None]
    return np.where(mask[:, :, None], centred, mean)


def log_linear(
    logits: FloatArray, present: BoolArray, *, fitted: Mapping[str, Any] | None = None
) -> FloatArray:
    """Return softmax(sum_m w_m L_m)."""
    scores, mask = check_scores(logits, present)
    weights = fitted_array(fitted_table(fitted, NAME), "weights", (len(scores),), NAME)
    return softmax(np.einsum("m,mnk->nk", weights, _filled(scores, mask)))


def fit_log_linear(
    logits: FloatArray, labels: ArrayLike, present: BoolArray, *, shrinkage: float = 10.0
) -> dict[str, Any]:
    """Find the weights >= 0 at which sum_n NLL + shrinkage / 2 sum_m (w_m / w_0 - 1)^2 is lowest.

    w_0 = 1 / (M tau), with tau the temperature of lowest NLL of the plain mean of the logits: the weights are
    drawn towards that mean, calibrated. Projected Newton; the loss is convex.

    Args:
        shrinkage: >= 0; with 10 a weight that is off by its whole size costs as much as 5 nats of likelihood.
    """
    scores, mask = check_scores(logits, present)
    truth = check_labels(labels, *scores.shape[1:])
    strength = positive(shrinkage, "shrinkage", zero=True)
    filled = _filled(scores, mask)
    models, rows = filled.shape[:2]
    tau = fit_temperature(filled.mean(axis=0), truth)
    unit = filled / (models * tau)
    index = np.arange(rows)
    target = unit[:, index, truth]

    def loss(weights: FloatArray) -> float:
        mixed = np.einsum("m,mnk->nk", weights, unit)
        top = mixed.max(axis=1)
        nll = np.log(np.exp(mixed - top[:, None]).sum(axis=1)) + top - weights @ target
        return float(nll.sum() + strength / 2 * ((weights - 1) ** 2).sum())

    weights = np.ones(models)
    value = loss(weights)
    for _ in range(_MOST_STEPS):
        probs = softmax(np.einsum("m,mnk->nk", weights, unit))
        mean = np.einsum("mnk,nk->mn", unit, probs)
        slope = (mean - target).sum(axis=1) + strength * (weights - 1)
        curve = np.einsum("mnk,nk,lnk->ml", unit, probs, unit, optimize=True) - mean @ mean.T
        # A little more than nothing where all models are constant or the answers are certain.
        curve += (strength + 1e-9) * np.eye(models)
        step = model_minimum(weights, slope, curve) - weights
        fall = float(slope @ step)
        if fall > -1e-12 * max(1.0, abs(value)):
            break
        size = 1.0
        while size > 1e-10 and loss(weights + size * step) > value + 1e-4 * size * fall:
            size /= 2
        if size <= 1e-10:
            break
        weights = weights + size * step
        value = loss(weights)
    return {"weights": (weights / (models * tau)).tolist(), "temperature": tau, "shrinkage": strength}
