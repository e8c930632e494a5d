"""A threshold, and models that vote for the label themselves."""

from __future__ import annotations

import numpy as np

from mg_adapt.adapters.choice import model_votes, pick, top_class
from mg_adapt.adapters.threshold import threshold_rows
from mg_data.contract import PseudoLabels, TargetScores, UsageError


def agreement(scores: TargetScores, *, threshold: float = 0.65, models: int = 0) -> PseudoLabels:
    """Label clips above alpha on which at least ``models`` models vote for the fused label themselves.

    Every model has one vote, whatever its weight in the fused probability, also one of weight 0. ``models``
    = 0 asks all models that answer for the clip, and at least two of them.

    Raises:
        UsageError: more models are asked for than there are, or alpha is outside [0, 1).
    """
    if not 0 <= models <= len(scores.model_names):
        raise UsageError(f"models must lie in 0..{len(scores.model_names)}, found {models}")
    chosen = threshold_rows(scores, threshold)
    agreeing = (model_votes(scores) == top_class(scores)[0][:, None]).sum(axis=1)
    wanted = np.full(len(agreeing), models) if models else np.maximum(scores.present.sum(axis=0), 2)
    return pick(scores, chosen[agreeing[chosen] >= wanted[chosen]])
