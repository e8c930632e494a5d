"""How far a metric could have come out otherwise: bootstrap over groups of clips (videos or subjects)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_fusion.calibration import check_labels, check_probs
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.metrics import SMALLEST_PROBABILITY
from mg_fusion.vote import FloatArray

IntervalMetric = Literal["accuracy", "macro_f1", "mean_class_accuracy", "nll", "brier"]
INTERVAL_METRICS: tuple[IntervalMetric, ...] = get_args(IntervalMetric)
# Of these, less is better.
_LOWER_IS_BETTER = ("nll", "brier")


def group_index(groups: ArrayLike | None, rows: int) -> NDArray[np.int64]:
    """Return (N,) group numbers 0..G-1; without groups each clip is its own.

    Raises:
        ScoresError: not one group for each clip.
    """
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    try:
        names = np.asarray(groups)
        places = np.unique(names, return_inverse=True)[1]
    except (TypeError, ValueError) as error:
        # None among texts has no place in their order, and is no group.
        raise ScoresError(f"groups: wanted one text or number for each clip: {error}") from error
    if names.shape != (rows,):
        raise ScoresError(f"groups: found shape {names.shape}, wanted ({rows},), one for each clip")
    return places.astype(np.int64)


def _statistics(probs: FloatArray, labels: NDArray[np.int64], metric: IntervalMetric) -> FloatArray:
    """Return (N, F) per-clip counts whose sums over clips determine the metric."""
    rows, classes = probs.shape
    answer = probs.argmax(axis=1)
    if metric == "accuracy":
        return np.asarray((answer == labels).astype(np.float64)[:, None])
    if metric == "nll":
        target = probs[np.arange(rows), labels]
        return np.asarray(-np.log(np.maximum(target, SMALLEST_PROBABILITY))[:, None])
    if metric == "brier":
        target = probs[np.arange(rows), labels]
        return np.asarray(((probs**2).sum(axis=1) - 2 * target + 1)[:, None])
    eye = np.eye(classes)
    hit = eye[labels] * (answer == labels)[:, None]
    return np.concatenate([hit, eye[answer], eye[labels]], axis=1)


def _metric(sums: FloatArray, clips: FloatArray, metric: IntervalMetric) -> FloatArray:
    """Return (B,) metrics from (B, F) sums and (B,) numbers of clips."""
    if metric not in ("macro_f1", "mean_class_accuracy"):
        return np.asarray(sums[:, 0] / clips)
    right, predicted, support = np.split(sums, 3, axis=1)
    below = support if metric == "mean_class_accuracy" else (predicted + support) / 2
    f1 = right / np.where(below > 0, below, 1)
    seen = support > 0
    return np.asarray((f1 * seen).sum(axis=1) / seen.sum(axis=1))


def bootstrap_interval(
    probs: FloatArray,
    baseline: FloatArray,
    labels: NDArray[np.int64],
    metric: IntervalMetric,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return percentile intervals of a metric and of its difference to a baseline on the same clips.

    Whole groups are drawn with replacement, since clips of one video or subject are not independent.

    Args:
        probs, baseline: (N, K). labels: (N,). groups: (N,) names or None (each clip its own).
        level: share of the resamples inside. rounds: resamples. seed: of the generator made here.

    Returns:
        ``low``, ``high``, ``gain``, ``gain_low``, ``gain_high``, ``level``, ``groups``, ``rounds``, ``seed``;
        a gain above 0 means better than the baseline.
    """
    if metric not in INTERVAL_METRICS:
        raise SettingError(f"metric: found {metric!r}, wanted one of {', '.join(INTERVAL_METRICS)}")
    if not 0 < level < 1:
        raise SettingError(f"level: found {level}, wanted a share between 0 and 1, such as 0.95")
    if rounds < 1:
        raise SettingError(f"rounds: found {rounds}, wanted at least 1")
    group = group_index(groups, len(labels))
    count = int(group.max()) + 1
    ours, theirs = _statistics(probs, labels, metric), _statistics(baseline, labels, metric)
    width = ours.shape[1]
    table = np.concatenate([ours, theirs, np.ones((len(labels), 1))], axis=1)
    sums = np.zeros((count, table.shape[1]))
    np.add.at(sums, group, table)
    # The draw is by position; sorted positions make the answer the same however the clips were ordered.
    sums = sums[np.lexsort(np.round(sums, 9).T)]
    generator = np.random.default_rng(seed)
    values = np.empty((rounds, 2))
    step = max(1, min(100, 4_000_000 // count))
    for start in range(0, rounds, step):
        size = min(step, rounds - start)
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=size) @ sums
        values[start : start + size, 0] = _metric(drawn[:, :width], drawn[:, -1], metric)
        values[start : start + size, 1] = _metric(drawn[:, width : 2 * width], drawn[:, -1], metric)
    tail = (1 - level) / 2
    gain = (values[:, 0] - values[:, 1]) * (-1 if metric in _LOWER_IS_BETTER else 1)
    low, high = np.quantile(values[:, 0], [tail, 1 - tail])
    everything, clips = sums.sum(axis=0)[None], np.array([float(len(labels))])
    point = _metric(everything[:, :width], clips, metric) - _metric(
        everything[:, width : 2 * width], clips, metric
    )
    gain_low, gain_high = np.quantile(gain, [tail, 1 - tail])
    return {
        "low": float(low),
        "high": float(high),
        "gain": float(point[0]) * (-1 if metric in _LOWER_IS_BETTER else 1),
        "gain_low": float(gain_low),
        "gain_high": float(gain_high),
        "level": level,
        "groups": count,
        "rounds": rounds,
        "seed": seed,
    }


def metric_intervals(
    probs: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    metrics: Sequence[IntervalMetric] = INTERVAL_METRICS,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return intervals of metrics by bootstrap: how far they could have come out otherwise.

    Whole groups are drawn with replacement, since clips of one video or subject are not independent.

    Args:
        probs: (N, K), rows sum to 1. labels: (N,) in 0..K-1.
        groups: (N,) video or subject of each clip; None: each clip its own, which is narrower than it should
            be where clips of one video or subject resemble each other.
        metrics: some of accuracy, macro_f1, mean_class_accuracy, nll, brier.
        level: share of the resamples inside. rounds: resamples. seed: of the generator made here.

    Returns:
        metric -> ``low``, ``high``; and ``level``, ``groups`` (their number), ``rounds``, ``seed``.

    Raises:
        SettingError: an unknown metric, a level or number of rounds out of range.
        ScoresError: wrong shapes, values that are no probabilities, labels out of range.

    >>> found = metric_intervals([[0.9, 0.1], [0.2, 0.8]], [0, 1], metrics=["accuracy"])
    >>> found["accuracy"]
    {'low': 1.0, 'high': 1.0}
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    if not metrics:
        raise SettingError(f"metrics: found none, wanted some of {', '.join(INTERVAL_METRICS)}")
    found = {
        metric: bootstrap_interval(
            values, values, truth, metric, groups, level=level, rounds=rounds, seed=seed
        )
        for metric in metrics
    }
    rows: dict[str, Any] = {metric: {"low": row["low"], "high": row["high"]} for metric, row in found.items()}
    return {
        **rows,
        "level": level,
        "groups": next(iter(found.values()))["groups"],
        "rounds": rounds,
        "seed": seed,
    }
