"""A weight for each model and class: a model may be trusted for some classes and not for others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.calibration import check_labels
from mg_fusion.checks import fitted_array, fitted_table, positive
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.minimise import minimise
from mg_fusion.vote import BoolArray, FloatArray, check_scores, check_temperature, soft_vote, softmax

NAME = "class-weights"
# Where the temperature of the vote is looked for.
_TEMPERATURES = tuple(0.25 * step for step in range(1, 31))


def class_weights(
    logits: FloatArray,
    present: BoolArray,
    *,
    class_weights: Sequence[Sequence[float]] | None = None,
    temperature: float = 1.0,
    fitted: Mapping[str, Any] | None = None,
) -> FloatArray:
    """P(c) = sum_m W_mc softmax(L_m / tau)_c, scaled to sum 1 over c.

    Args:
        class_weights: (M, K) >= 0, in the order of the models; or ``fitted``, which holds them and tau.

    Raises:
        SettingError: neither, or weights out of range. ScoresError: a clip whose classes all get 0.
    """
    scores, mask = check_scores(logits, present)
    shape = (scores.shape[0], scores.shape[2])
    if class_weights is not None and fitted is None:
        weights = fitted_array({"class_weights": class_weights}, "class_weights", shape, NAME)
    else:
        table = fitted_table(fitted, NAME)
        weights = fitted_array(table, "class_weights", shape, NAME)
        temperature = float(fitted_array(table, "temperature", (), NAME))
    if (weights < 0).any() or not weights.any():
        raise SettingError(f"fuser '{NAME}': wanted weights of at least 0, one of them positive")
    total = _total(scores, mask, weights, check_temperature(temperature))
    mass = total.sum(axis=1, keepdims=True)
    if (mass <= 0).any():
        raise ScoresError(
            f"fuser '{NAME}': {int((mass <= 0).sum())} of {len(mass)} clips have no answer from a model of "
            "positive weight; leave these clips out or give another model weight"
        )
    return np.asarray(total / mass)


def _total(scores: FloatArray, mask: BoolArray, weights: FloatArray, tau: float) -> FloatArray:
    total = np.zeros(scores.shape[1:])
    for model in range(len(scores)):
        total += weights[model] * softmax(scores[model], tau) * mask[model][:, None]
    return total


def fit_class_weights(
    logits: FloatArray,
    labels: ArrayLike,
    present: BoolArray,
    *,
    temperature: float | None = None,
    shrinkage: float = 10.0,
) -> dict[str, Any]:
    """Fit W_mc = exp(theta_mc) by the likelihood, drawn towards equal weights.

    sum_n NLL + shrinkage / 2 |theta|^2: a class without a clip to fit on keeps nearly the weight 1 for every
    model, where a plain fit would be free to do anything.

    Args:
        temperature: tau; by default that of 0.25, 0.50 ... 7.50 at which the equal vote has its lowest NLL.
        shrinkage: > 0; the weight of "equal" against the clips.
    """
    scores, mask = check_scores(logits, present)
    models, rows, classes = scores.shape
    truth = check_labels(labels, rows, classes)
    strength = positive(shrinkage, "shrinkage")
    tau = (
        equal_vote_temperature(scores, truth, mask) if temperature is None else check_temperature(temperature)
    )
    probs = np.stack([softmax(scores[m], tau) * mask[m][:, None] for m in range(models)])
    index = np.arange(rows)

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        theta = flat.reshape(models, classes)
        parts = np.exp(theta)[:, None, :] * probs
        total = parts.sum(axis=0)
        mass = total.sum(axis=1)
        target = np.maximum(total[index, truth], 1e-300)
        value = float((np.log(mass) - np.log(target)).sum()) + strength / 2 * float((theta**2).sum())
        slope = (parts / mass[:, None]).sum(axis=1)
        own = parts[:, index, truth] / target
        for model in range(models):
            slope[model] -= np.bincount(truth, weights=own[model], minlength=classes)
        return value, (slope + strength * theta).ravel()

    theta = minimise(objective, np.zeros(models * classes), steps=500).reshape(models, classes)
    return {"class_weights": np.exp(theta).tolist(), "temperature": tau, "shrinkage": strength}


def equal_vote_temperature(scores: FloatArray, truth: ArrayLike, mask: BoolArray) -> float:
    """Return the temperature of the grid at which the equal-weight vote has its lowest NLL."""
    labels = np.asarray(truth)
    ones, rows = np.ones(len(scores)), np.arange(len(labels))
    losses = [
        -np.log(np.maximum(soft_vote(scores, ones, tau, mask)[rows, labels], 1e-300)).sum()
        for tau in _TEMPERATURES
    ]
    return _TEMPERATURES[int(np.argmin(losses))]
