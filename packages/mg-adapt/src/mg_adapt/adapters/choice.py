"""What all adapters do: read the models' votes, and make pseudo-labels of the rows they choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import PseudoLabels, TargetScores, UsageError

PRIORS = ("source", "uniform")


def model_votes(scores: TargetScores) -> NDArray[np.int32]:
    """Return (N, M) the class each model votes for, -1 where it has no answer."""
    votes = scores.model_probs.argmax(axis=2).astype(np.int32)
    return np.where(scores.present, votes, -1).T.astype(np.int32)


def top_class(scores: TargetScores) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (N,) the class of the largest fused probability, and (N,) that probability.

    A clip that no model answers has probability 0: no adapter may choose it.
    """
    if not len(scores.clip_ids):
        return np.empty(0, np.int64), np.empty(0, np.float64)
    return scores.probs.argmax(axis=1), scores.probs.max(axis=1)


def checked_share(value: float, name: str) -> float:
    """Return a number in [0, 1); UsageError otherwise."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} must lie in [0, 1), found {value}")
    return value


def class_frequencies(scores: TargetScores, prior: str) -> NDArray[np.float64]:
    """Return (K,) class frequencies of sum 1: those of the labelled ``source``, or ``uniform``.

    Raises:
        UsageError: another prior, or a source without a labelled clip.
    """
    classes = scores.probs.shape[1]
    if prior == "uniform":
        return np.full(classes, 1 / classes)
    if prior != "source":
        raise UsageError(f"prior '{prior}' is unknown (known: {', '.join(PRIORS)})")
    if scores.prior.sum() <= 0:
        raise UsageError("prior 'source': the split has no labelled clip, take prior 'uniform'")
    return np.asarray(scores.prior / scores.prior.sum(), np.float64)


def pick(scores: TargetScores, rows: NDArray[np.int64]) -> PseudoLabels:
    """Label the chosen rows (S,) with the class of their largest fused probability."""
    probs = scores.probs[rows]
    return PseudoLabels(
        rows=rows,
        labels=probs.argmax(axis=1).astype(np.int32),
        confidence=probs.max(axis=1).astype(np.float32) if len(rows) else np.empty(0, np.float32),
        probs=probs.astype(np.float32),
    )
