"""Adapters: which target clips get which label (paper 3.3). Registered through ``mg_register_adapters``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import PseudoLabels, TargetScores, UsageError


def model_votes(scores: TargetScores) -> NDArray[np.int32]:
    """Return (N, M) the class each model votes for, -1 where it has no answer."""
    votes = scores.model_probs.argmax(axis=2).astype(np.int32)
    return np.where(scores.present, votes, -1).T.astype(np.int32)


def threshold(scores: TargetScores, *, threshold: float = 0.65) -> PseudoLabels:
    """Label every clip whose fused probability exceeds alpha: ``max_c P_final > alpha`` (paper 3.3).

    Raises:
        UsageError: alpha outside [0, 1).
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"--threshold must lie in [0, 1), found {threshold}")
    confidence = scores.probs.max(axis=1)
    return _pick(scores, np.flatnonzero(confidence > threshold))


def agreement(scores: TargetScores, *, threshold: float = 0.65, models: int = 0) -> PseudoLabels:
    """Label clips above alpha on which at least ``models`` models vote for the fused label themselves.

    ``models`` = 0 asks all models that answer for the clip, and at least two of them.
    """
    if not 0 <= models <= len(scores.model_names):
        raise UsageError(f"models must lie in 0..{len(scores.model_names)}, found {models}")
    chosen = threshold_rows(scores, threshold)
    agreeing = (model_votes(scores) == scores.probs.argmax(axis=1)[:, None]).sum(axis=1)
    wanted = np.full(len(agreeing), models) if models else np.maximum(scores.present.sum(axis=0), 2)
    return _pick(scores, chosen[agreeing[chosen] >= wanted[chosen]])


def threshold_rows(scores: TargetScores, alpha: float) -> NDArray[np.int64]:
    """Return the rows of clips whose fused probability exceeds alpha."""
    return threshold(scores, threshold=alpha).rows


def _pick(scores: TargetScores, rows: NDArray[np.int64]) -> PseudoLabels:
    probs = scores.probs[rows]
    return PseudoLabels(
        rows=rows,
        labels=probs.argmax(axis=1).astype(np.int32),
        confidence=probs.max(axis=1).astype(np.float32) if len(rows) else np.empty(0, np.float32),
        probs=probs.astype(np.float32),
    )
