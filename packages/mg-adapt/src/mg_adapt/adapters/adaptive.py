"""A threshold for each class, by how well the class is learnt: the ideas of FlexMatch and FreeMatch.

Both come from training under way, where statistics grow step by step. Here the labels are given once, so
they are taken over the whole target at once, and a floor holds where a class is hardly ever predicted:
without it such a
class's threshold would be next to 0, and with no further step nothing would take wrong labels back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_adapt.adapters.choice import checked_share, pick, top_class
from mg_data.contract import PseudoLabels, TargetScores


def flexmatch_thresholds(scores: TargetScores, alpha: float, floor: float) -> NDArray[np.float64]:
    """Return (K,) ``T_c = alpha M(beta_c)``, at least min(floor, alpha) (Zhang et al. 2021).

    sigma_c counts the clips that exceed alpha with class c; ``beta_c = sigma_c / max(max sigma, N - sum
    sigma)``, where the second term is the paper's warm-up for a target of which little exceeds alpha; the
    mapping is the paper's convex ``M(x) = x / (2 - x)``.
    """
    labels, confidence = top_class(scores)
    learnt = np.bincount(labels[confidence > alpha], minlength=scores.probs.shape[1]).astype(np.float64)
    beta = learnt / max(learnt.max(), len(labels) - learnt.sum(), 1.0)
    return np.asarray(np.maximum(alpha * beta / (2 - beta), min(floor, alpha)), np.float64)


def freematch_thresholds(scores: TargetScores, floor: float) -> NDArray[np.float64]:
    """Return (K,) ``T_c = T p_c / max p``, at least min(floor, T) (Wang et al. 2023).

    T is the mean of the largest probabilities, p_c the mean probability of class c, both over the answered
    target clips (the paper's moving averages, at their end). There is no alpha.
    """
    _, confidence = top_class(scores)
    answered = scores.probs[confidence > 0]
    if not len(answered):
        return np.ones(scores.probs.shape[1])
    overall = float(answered.max(axis=1).mean())
    local = answered.mean(axis=0)
    return np.asarray(np.maximum(overall * local / local.max(), min(floor, overall)), np.float64)


def _above(scores: TargetScores, thresholds: NDArray[np.float64]) -> PseudoLabels:
    labels, confidence = top_class(scores)
    return pick(scores, np.flatnonzero(confidence > thresholds[labels]))


def flexmatch(scores: TargetScores, *, threshold: float = 0.65, floor: float = 0.4) -> PseudoLabels:
    """Label clips above their class's threshold, lower where few clips exceed alpha (FlexMatch's idea).

    Args:
        threshold: alpha, the threshold of the class that is learnt best. floor: least threshold.

    Raises:
        UsageError: alpha or floor outside [0, 1).
    """
    alpha, least = checked_share(threshold, "--threshold"), checked_share(floor, "floor")
    return _above(scores, flexmatch_thresholds(scores, alpha, least))


def freematch(scores: TargetScores, *, floor: float = 0.4) -> PseudoLabels:
    """Label clips above their class's threshold, which the target's own confidence sets (FreeMatch's idea).

    Args:
        floor: least threshold.

    Raises:
        UsageError: floor outside [0, 1).
    """
    return _above(scores, freematch_thresholds(scores, checked_share(floor, "floor")))
