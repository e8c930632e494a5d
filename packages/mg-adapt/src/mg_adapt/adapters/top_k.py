"""So many labels for each class: the most confident clips of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_adapt.adapters.choice import checked_share, class_frequencies, pick, top_class
from mg_data.contract import PseudoLabels, TargetScores, UsageError


def quotas(prior: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return (K,) whole numbers of sum ``total`` in proportion to ``prior``: largest remainders first.

    >>> quotas(np.array([0.5, 0.3, 0.2]), 4).tolist()
    [2, 1, 1]
    """
    exact = prior / prior.sum() * total
    whole: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return whole


def balanced_top_k(
    scores: TargetScores, *, share: float = 0.5, prior: str = "source", least: float = 0.0
) -> PseudoLabels:
    """Label each class's k_c most confident clips: ``sum_c k_c = share N``, k_c in proportion to a prior.

    A class that is predicted less often than k_c gives what it has; nobody takes its place. Of equally
    confident clips the earlier one in order of clip id is taken.

    Args:
        share: part of the target's clips, in (0, 1].
        prior: ``source``: class frequencies of the labelled source; ``uniform``.
        least: probability that a clip must exceed in any case.

    Raises:
        UsageError: an unknown prior, or a share or probability out of range.
    """
    if not 0 < share <= 1:
        raise UsageError(f"share must lie in (0, 1], found {share}")
    frequencies = class_frequencies(scores, prior)
    labels, confidence = top_class(scores)
    allowed = confidence > checked_share(least, "least")
    rows: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for label, quota in enumerate(quotas(frequencies, round(share * len(labels)))):
        own = np.flatnonzero((labels == label) & allowed)
        rows.append(own[np.argsort(-confidence[own], kind="stable")[:quota]])
    return pick(scores, np.sort(np.concatenate(rows)))
