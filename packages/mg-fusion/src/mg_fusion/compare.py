"""Two results on the same clips: who is right where the other is wrong, and whether chance explains it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_fusion.calibration import check_labels, check_probs
from mg_fusion.errors import ScoresError
from mg_fusion.intervals import bootstrap_interval


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Of the clips on which just one of two results is right, either is as often right under the null
    hypothesis: min(1, 2 P(X <= min(b, c))) with X binomial(b + c, 1/2). Clips count as independent; those of
    one video or subject are not, so look at the interval over groups too.

    Args:
        only_first, only_second: b and c, clips that only the first, only the second result has right.

    >>> round(mcnemar(2, 8), 6)
    0.109375
    """
    few, total = min(only_first, only_second), only_first + only_second
    if few < 0:
        raise ScoresError(f"McNemar: found counts {only_first} and {only_second}, wanted at least 0")
    if not total:
        return 1.0
    # log of binomial(total, i) for i = 0..few
    steps = np.arange(few, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((total - steps) / (steps + 1)))])
    top = logs.max()
    tail = top + np.log(np.exp(logs - top).sum()) - total * np.log(2.0)
    return float(min(1.0, 2 * np.exp(tail)))


def compare_results(
    probs: ArrayLike,
    against: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two results on the same clips.

    Args:
        probs, against: (N, K). labels: (N,) in 0..K-1. groups: (N,) video or subject, or None.

    Returns:
        ``n``, ``both_right``, ``only_this``, ``only_other``, ``both_wrong``, ``p_value`` (McNemar, exact);
        for each of ``accuracy``, ``macro_f1`` and ``nll`` the ``gain`` over the other result (above 0 is
        better) with ``low`` and ``high`` of its 95 % interval over groups; and ``groups``, their number.

    Raises:
        ScoresError: shapes that differ, values that are no probabilities, labels out of range.

    >>> found = compare_results([[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.6, 0.4]], [0, 1])
    >>> found["only_this"], found["p_value"], found["accuracy"]["gain"]
    (1, 1.0, 0.5)
    """
    ours, theirs = check_probs(probs), check_probs(against)
    if ours.shape != theirs.shape:
        raise ScoresError(f"compare: found shapes {ours.shape} and {theirs.shape}, wanted equal ones")
    truth: NDArray[np.int64] = check_labels(labels, *ours.shape)
    right, other = ours.argmax(axis=1) == truth, theirs.argmax(axis=1) == truth
    only_this, only_other = int((right & ~other).sum()), int((other & ~right).sum())
    gains = {}
    for metric in ("accuracy", "macro_f1", "nll"):
        found = bootstrap_interval(ours, theirs, truth, metric, groups, rounds=rounds, seed=seed)
        gains[metric] = {"gain": found["gain"], "low": found["gain_low"], "high": found["gain_high"]}
    return {
        "n": len(truth),
        "both_right": int((right & other).sum()),
        "only_this": only_this,
        "only_other": only_other,
        "both_wrong": int((~right & ~other).sum()),
        "p_value": mcnemar(only_this, only_other),
        **gains,
        "groups": found["groups"],
    }
