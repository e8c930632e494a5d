"""Built-in fusers: several models' logits -> probabilities. Registered through the hook like anyone's.

Each takes logits (M, N, K), present (M, N) and returns (N, K) rows that sum to 1. ``weights`` default to
equal ones; where a model is missing, the weights of the others are scaled to sum 1 for that clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mg_data.contract import DataError
from mg_fusion.vote import (
    BoolArray,
    FloatArray,
    check_scores,
    check_temperature,
    check_weights,
    softmax,
)
from mg_fusion.vote import soft_vote as _soft_vote


def _shares(weights: Sequence[float] | None, present: BoolArray) -> FloatArray:
    """Return (M, N) weights that sum to 1 over the models that answer a clip."""
    models = len(present)
    shares = check_weights(np.ones(models) if weights is None else weights, models)[:, None] * present
    total = shares.sum(axis=0)
    if (total == 0).any():
        raise DataError(
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
    return softmax(np.einsum("mn,mnk->nk", _shares(weights, mask), scores), check_temperature(temperature))


def majority(logits: FloatArray, present: BoolArray, *, weights: Sequence[float] | None = None) -> FloatArray:
    """Share of the (weighted) votes each class gets; a model votes for its first maximum."""
    scores, mask = check_scores(logits, present)
    ballots = np.eye(scores.shape[2])[scores.argmax(axis=2)]
    return np.asarray(np.einsum("mn,mnk->nk", _shares(weights, mask), ballots))
