"""The paper's adapter: one threshold alpha for all classes (3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_adapt.adapters.choice import checked_share, pick
from mg_data.contract import PseudoLabels, TargetScores


def threshold_rows(scores: TargetScores, alpha: float) -> NDArray[np.int64]:
    """Return the rows of clips whose fused probability exceeds alpha; UsageError if it is outside [0, 1)."""
    return np.flatnonzero(scores.probs.max(axis=1) > checked_share(alpha, "--threshold"))


def threshold(scores: TargetScores, *, threshold: float = 0.65) -> PseudoLabels:
    """Label every clip whose fused probability exceeds alpha: ``max_c P_final > alpha`` (paper 3.3).

    Raises:
        UsageError: alpha outside [0, 1).
    """
    return pick(scores, threshold_rows(scores, threshold))
