"""Fusers that need no labelled clips: means of probabilities, votes, ranks.

``weights`` default to equal ones; where a model is missing, the weights of the others are scaled to sum 1
for that clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mg_fusion.errors import ScoresError
from mg_fusion.vote import (
    BoolArray,
    FloatArray,
    check_scores,
    check_temperature,
    check_weights,
    softmax,
)
from mg_fusion.vote import soft_vote as _soft_vote


def shares_of(weights: Sequence[float] | None, present: BoolArray) -> FloatArray:
    """Return (M, N) weights that sum to 1 over the models that answer a clip."""
    models = len(present)
    shares = check_weights(np.ones(models) if weights is None else weights, models)[:, None] * present
    total = shares.sum(axis=0)
    if (total == 0).any():
        raise ScoresError(
            f"fusion: {int((total == 0).sum())} of {len(total)} clips have no answer from a model "
            "of positive weight; leave these clips out or give another model weight"
        )
    return np.asarray(shares / total, dtype=np.float64)


def soft_vote(
    logits: FloatArray,
    present: BoolArray,
    *,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> FloatArray:
    """Weighted mean of softmax(L / tau) (paper Eq. 2-3)."""
    return _soft_vote(logits, np.ones(len(logits)) if weights is None else weights, temperature, present)


def log_mean(
    logits: FloatArray,
    present: BoolArray,
    *,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> FloatArray:
    """Weighted geometric mean of the probabilities: softmax of the weighted mean of L / tau.

    The answer (first maximum) is that of the weighted sum of the raw logits, whatever tau.
    """
    scores, mask = check_scores(logits, present)
    return softmax(np.einsum("mn,mnk->nk", shares_of(weights, mask), scores), check_temperature(temperature))


def majority(logits: FloatArray, present: BoolArray, *, weights: Sequence[float] | None = None) -> FloatArray:
    """Share of the (weighted) votes each class gets; a model votes for its first maximum."""
    scores, mask = check_scores(logits, present)
    ballots = np.eye(scores.shape[2])[scores.argmax(axis=2)]
    return np.asarray(np.einsum("mn,mnk->nk", shares_of(weights, mask), ballots))


def rank(logits: FloatArray, present: BoolArray, *, weights: Sequence[float] | None = None) -> FloatArray:
    """Borda count: of K classes a model gives its best K-1 points, the next K-2 ... its last none.

    Tied classes share the points of their places. How confident a model is does not matter, only its order;
    the share of all points is returned as the probability, so it is never near 1.

    >>> rank(np.array([[[3.0, 1.0, 2.0]]]), np.array([[True]])).round(3).tolist()
    [[0.667, 0.0, 0.333]]
    """
    scores, mask = check_scores(logits, present)
    classes = scores.shape[2]
    if classes == 1:
        return np.ones(scores.shape[1:])
    shares = shares_of(weights, mask)
    points = np.zeros(scores.shape[1:])
    for model in np.flatnonzero(shares.any(axis=1)):
        points += shares[model][:, None] * _places(scores[model])
    return np.asarray(points / (classes * (classes - 1) / 2))


def _places(scores: FloatArray) -> FloatArray:
    """Return (N, K): how many classes stand below each class, half of those that stand beside it."""
    order = np.argsort(scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    classes = scores.shape[1]
    place = np.arange(classes)
    new = np.ones(scores.shape, dtype=np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    # First and last place of the run of equal scores that each place belongs to.
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ends = np.ones(scores.shape, dtype=np.bool_)
    ends[:, :-1] = new[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, classes - 1)[:, ::-1], axis=1)[:, ::-1]
    result = np.empty(scores.shape)
    np.put_along_axis(result, order, (first + last) / 2, axis=1)
    return result
