"""Pseudo-labels whose class frequencies are those of the source: distribution alignment."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mg_adapt.adapters.choice import class_frequencies, pick
from mg_adapt.adapters.threshold import threshold_rows
from mg_data.contract import PseudoLabels, TargetScores, UsageError

# A probability of 0 could not be scaled to any frequency.
_LEAST = 1e-12
_ROUNDS = 1000
_TOLERANCE = 1e-6


def aligned(
    probs: NDArray[np.float64], frequencies: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Return (N, K) ``q_ic = u_i p_ic v_c`` with rows of sum 1, nearest to ``probs`` in relative entropy.

    With strength 1 the columns sum to ``N f_c`` (Sinkhorn's scaling, Cuturi 2013; for pseudo-labels, Kim et
    al. 2020). Below 1 they are drawn towards that, and what is left of the difference costs relative entropy
    (Chizat et al. 2018): ``v_c = (N f_c / sum_i u_i p_ic) ** strength``. With 0 nothing changes.

    Args:
        probs: (N, K), rows of sum 1. frequencies: (K,) of sum 1.
    """
    scaled = np.maximum(probs, _LEAST)
    wanted = len(probs) * frequencies
    columns = np.ones(len(frequencies))
    for _ in range(_ROUNDS if strength else 0):
        rows = 1 / (scaled @ columns)
        before, columns = columns, (wanted / (rows @ scaled)) ** strength
        # Only ratios of columns matter: rows take up any common factor.
        columns /= columns.max()
        if np.abs(columns - before).max() < _TOLERANCE * before.max():
            break
    scaled = scaled * columns
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True), np.float64)


def distribution_alignment(
    scores: TargetScores, *, threshold: float = 0.65, prior: str = "source", strength: float = 1.0
) -> PseudoLabels:
    """Label every clip whose aligned probability exceeds alpha; label and confidence are the aligned ones.

    A clip may get another class than the vote gives it: where one is called too often, the least certain of
    its clips go to classes that are called too seldom. This supposes that classes are as frequent in the
    target as in the prior; with ``strength`` below 1 a target that differs is followed in part. A class that
    the prior does not have gets no label.

    Args:
        prior: ``source``: class frequencies of the labelled source; ``uniform``.
        strength: from 0 (the adapter ``threshold``) to 1 (the target's frequencies are the prior's).

    Raises:
        UsageError: an unknown prior, a strength outside [0, 1], or alpha outside [0, 1).
    """
    if not 0 <= strength <= 1:
        raise UsageError(f"strength must lie in [0, 1], found {strength}")
    frequencies = class_frequencies(scores, prior)
    answered = scores.probs.sum(axis=1) > 0
    probs = np.zeros_like(scores.probs)
    if answered.any():
        probs[answered] = aligned(scores.probs[answered], frequencies, strength)
    changed = dataclasses.replace(scores, probs=probs)
    return pick(changed, threshold_rows(changed, threshold))
