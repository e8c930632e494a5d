"""Temperature and weights by search on validation clips (paper section 3.4: tau and W_m by grid search).

Up to five models: every temperature of the grid with every share of the weight in whole steps, exactly.
Beyond: coordinate ascent over moves of weight between two models, from the best single model and from equal
weights, at every temperature. Many settings are usually equally good on a few hundred clips; the answer is
the middle of the largest connected set of them, not the first one found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mg_data.contract import DataError, UsageError
from mg_fusion.calibration import check_labels
from mg_fusion.intervals import bootstrap_interval
from mg_fusion.metrics import classification_metrics
from mg_fusion.objective import METRICS, IntArray, Metric, VoteObjective, compositions
from mg_fusion.regions import centrality, connected_regions
from mg_fusion.vote import (
    BoolArray,
    FloatArray,
    SoftVote,
    check_scores,
    check_temperature,
    soft_vote,
    softmax,
)

# 0.25, 0.50 ... 7.50: holds the paper's 2.5.
TEMPERATURE_GRID: tuple[float, ...] = tuple(0.25 * step for step in range(1, 31))
LARGEST_FULL_SIMPLEX = 5
# A finer step than this many settings falls back to coordinate ascent.
_MOST_SETTINGS = 20_000_000
# Metrics are counts divided by N, or means of logarithms: closer than this is equal.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class _Found:
    """Outcome of one strategy: the setting chosen, and the region around it."""

    temperature: float
    weights: FloatArray
    best: float
    settings: int
    tied: int
    regions: int
    region_temperatures: FloatArray
    region_weights: FloatArray


def _step_count(weight_step: float) -> int:
    steps = round(1 / weight_step) if 0 < weight_step <= 1 else 0
    if steps < 1 or abs(steps * weight_step - 1) > 1e-9:
        raise UsageError(f"weight step: found {weight_step}, wanted a share that divides 1, such as 0.05")
    return steps


def _canonical_order(logits: FloatArray) -> list[int]:
    """Return an order of the models that does not depend on how models, clips or classes were ordered.

    Sums of floating-point numbers depend on their order in the last bit, and a search compares such sums.
    """
    return sorted(range(len(logits)), key=lambda model: np.sort(logits[model], axis=None).tobytes())


def _middle(
    objective: VoteObjective,
    candidates: list[IntArray],
    temperatures: FloatArray,
    weights: FloatArray,
) -> tuple[int, int, IntArray]:
    """Return (temperature row, weight row, region): the most central weights, at their best temperature.

    Within a region the metric cannot tell settings apart. Weights are taken from its middle, where a small
    error of the search costs least. A temperature from its middle would be an accident of the grid's end, as
    accuracy hardly depends on it, so the likelihood decides there: the answer stays calibrated.
    """
    options: list[tuple[float, float, tuple[float, ...], int, int, IntArray]] = []
    for members in candidates:
        distance = centrality(members, temperatures, weights)
        for central in np.unique(members[distance == distance.min(), 1]):
            same = (weights[members[:, 1]] == weights[central]).all(axis=1)
            for row, column in members[same]:
                probs = objective.probabilities(temperatures[row])
                loss = -objective.evaluate("nll", probs, weights[[column]])[0]
                setting = (round(float(loss), 9), float(temperatures[row]), tuple(weights[column]))
                options.append((*setting, row, column, members))
    _, _, _, row, column, members = min(options, key=lambda option: option[:3])
    return int(row), int(column), members


def _search_grid(
    objective: VoteObjective, temperatures: FloatArray, steps: IntArray, metric: Metric
) -> _Found:
    total = int(steps[0].sum())
    weights = steps / total
    values = np.stack(
        [objective.evaluate(metric, objective.probabilities(tau), weights) for tau in temperatures]
    )
    best = float(values.max())
    if best == -np.inf:
        raise DataError("search: no weights on this grid answer every clip; leave out clips that models lack")
    regions = connected_regions(values >= best - _TOLERANCE, steps)
    largest = len(regions.members[0])
    candidates = [members for members in regions.members if len(members) == largest]
    row, column, members = _middle(objective, candidates, temperatures, weights)
    return _Found(
        temperature=float(temperatures[row]),
        weights=weights[column],
        best=best,
        settings=values.size,
        tied=regions.total,
        regions=len(regions.members),
        region_temperatures=temperatures[members[:, 0]],
        region_weights=weights[members[:, 1]],
    )


def _calibrated(objective: VoteObjective, weights: FloatArray) -> float:
    """Return the tau in [0.05, 20] at which the vote with these weights has its lowest NLL.

    The best setting for accuracy can be far from calibrated: accuracy hardly sees the temperature. Who needs
    confidences that mean something, as pseudo-labelling does, takes this one.
    """

    def loss(log_tau: float) -> float:
        probs = objective.probabilities(float(np.exp(log_tau)))
        return -float(objective.evaluate("nll", probs, weights[None])[0])

    grid = np.linspace(np.log(0.05), np.log(20.0), 61)
    place = int(np.argmin([loss(value) for value in grid]))
    low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
    # Thirds, and not the golden section: two more evaluations, and no state to keep.
    while high - low > 1e-4:
        third = (high - low) / 3
        if loss(low + third) <= loss(high - third):
            high -= third
        else:
            low += third
    return float(np.round(np.exp((low + high) / 2), 3))


def _moves(weights: FloatArray, step: float) -> FloatArray:
    """Return (S, M): all weights reached by moving whole steps from one model to another."""
    reached = []
    for source in np.flatnonzero(weights > 0):
        for target in range(len(weights)):
            if source == target:
                continue
            for amount in [*np.arange(step, weights[source] - 1e-12, step), weights[source]]:
                moved = weights.copy()
                moved[source] -= amount
                moved[target] += amount
                reached.append(moved)
    return np.array(reached)


def _climb(objective: VoteObjective, temperatures: FloatArray, step: float, metric: Metric) -> _Found:
    """Coordinate ascent on (metric, then -NLL), from two starts at each temperature."""
    models = objective.models
    tried: dict[tuple[float, ...], float] = {}
    for tau in temperatures:
        probs = objective.probabilities(tau)
        corners = np.eye(models)
        single = objective.evaluate(metric, probs, corners) + 1e-6 * np.maximum(
            objective.evaluate("nll", probs, corners), -1e5
        )
        for start in (np.full(models, 1 / models), corners[int(single.argmax())]):
            current = start
            score = (-np.inf, -np.inf)
            options = start[None]
            while True:
                found = objective.evaluate(metric, probs, options)
                for weights, value in zip(options, found, strict=True):
                    tried[(float(tau), *np.round(weights, 12))] = float(value)
                top = np.flatnonzero(found >= found.max() - _TOLERANCE)
                loss = objective.evaluate("nll", probs, options[top])
                pick = top[int(loss.argmax())]
                reached = (float(found[pick]), float(loss.max()))
                gain, saved = reached[0] - score[0], reached[1] - score[1]
                # The NLL decides on a plateau of the metric, but an endless crawl along it is not worth it.
                if not (gain > _TOLERANCE or (gain >= -_TOLERANCE and saved > 1e-6)):
                    break
                current, score = options[pick], reached
                options = _moves(current, step)
    settings = np.array(list(tried))
    values = np.array(list(tried.values()))
    best = float(values.max())
    if best == -np.inf:
        raise DataError(
            "search: no weights that were tried answer every clip; leave out clips that models lack"
        )
    tied = settings[values >= best - _TOLERANCE]
    members = np.stack([np.searchsorted(temperatures, tied[:, 0]), np.arange(len(tied))], axis=1)
    weights = tied[:, 1:] / tied[:, 1:].sum(axis=1, keepdims=True)
    row, column, _ = _middle(objective, [members], temperatures, weights)
    return _Found(
        temperature=float(temperatures[row]),
        weights=weights[column],
        best=best,
        settings=len(settings),
        tied=len(tied),
        regions=1,
        region_temperatures=tied[:, 0],
        region_weights=weights,
    )


def _summary(probs: FloatArray, labels: IntArray, metric: Metric) -> dict[str, float]:
    measured = classification_metrics(probs, labels)
    return {
        "accuracy": measured.accuracy,
        "macro_f1": measured.macro_f1,
        "nll": measured.nll,
        "ece": measured.ece,
        "value": getattr(measured, metric),
    }


def _single(scores: FloatArray, mask: BoolArray, labels: IntArray, metric: Metric) -> dict[str, float]:
    """Measure one model at tau 1; on clips it does not answer it knows nothing (uniform)."""
    probs = np.where(mask[:, None], softmax(scores), 1 / scores.shape[1])
    return {**_summary(probs, labels, metric), "answered": int(mask.sum())}


def fit_soft_vote(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Literal["grid"] | float = "grid",
    weight_step: float = 0.05,
    metric: Metric = "accuracy",
    groups: ArrayLike | None = None,
    present: ArrayLike | None = None,
    models: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
) -> SoftVote:
    """Search tau and W_m of Eq. 2-3 on labelled clips.

    The best value of the metric is found exactly for up to five models. Among equally good settings the most
    central weights of the largest connected region are taken, at their temperature of lowest NLL.

    Args:
        logits: (M, N, K), finite where present. labels: (N,) in 0..K-1.
        temperature: ``"grid"`` tries 0.25, 0.50 ... 7.50; a number keeps it fixed.
        weight_step: share of weight moved at a time; divides 1.
        metric: ``accuracy``, ``macro_f1`` (classes that occur) or ``nll`` (lower is better).
        groups: (N,) video or subject of each clip, for the bootstrap interval; None: each clip its own.
        present: (M, N) bool. Weights that leave a clip without an answer are never chosen.
        models: M keys for ``SoftVote.weights``, default "0", "1" ... class_names: K names to keep.

    Returns:
        A SoftVote whose ``search`` names the method, the settings tried, the region of equally good ones,
        the interval, the tau of lowest NLL at the chosen weights (``calibrated_temperature``), the classes
        without a validation clip; ``baselines`` holds the accuracy of each model alone (``models``, details
        in ``singles``), the best of them by the metric, and equal weights at tau 1.

    Raises:
        DataError: shapes, labels out of range, a clip no model answers. UsageError: a setting out of range.
    """
    scores, mask = check_scores(logits, present)
    truth = check_labels(labels, *scores.shape[1:])
    keys = [str(index) for index in range(len(scores))] if models is None else [str(key) for key in models]
    if len(keys) != len(scores) or len(set(keys)) != len(keys):
        raise UsageError(f"models: found keys {keys}, wanted {len(scores)} different ones")
    if class_names and len(class_names) != scores.shape[2]:
        raise DataError(f"class names: found {len(class_names)}, wanted {scores.shape[2]}")
    if metric not in METRICS:
        raise UsageError(f"metric: found {metric!r}, wanted one of {', '.join(METRICS)}")
    if not mask.any(axis=0).all():
        raise DataError(
            f"search: {int((~mask.any(axis=0)).sum())} clips have no answer from any model; leave them out"
        )
    count = _step_count(weight_step)
    if isinstance(temperature, str):
        if temperature != "grid":
            raise UsageError(f"temperature: found {temperature!r}, wanted 'grid' or a number above 0")
        grid = np.array(TEMPERATURE_GRID)
    else:
        grid = np.array([check_temperature(temperature)])

    order = _canonical_order(scores)
    objective = VoteObjective(scores[order], truth, mask[order])
    steps = _simplex(count, len(scores), len(grid))
    if steps is None:
        found, method = _climb(objective, grid, 1 / count, metric), "coordinate-ascent"
    else:
        found, method = _search_grid(objective, grid, steps, metric), "grid"

    place = np.argsort(order)
    weights = found.weights[place]
    region = found.region_weights[:, place]
    probs = soft_vote(scores, weights, found.temperature, mask)
    equal = soft_vote(scores, np.ones(len(scores)), 1.0, mask)
    sign = -1 if metric == "nll" else 1
    each = {key: _single(scores[m], mask[m], truth, metric) for m, key in enumerate(keys)}
    # Equal values: the lower NLL, then the key, so that the order of the models does not matter.
    leader = min(each, key=lambda key: (-sign * each[key]["value"], round(each[key]["nll"], 9), key))
    fused = _summary(probs, truth, metric)
    unseen = np.flatnonzero(np.bincount(truth, minlength=scores.shape[2]) == 0)
    baselines: dict[str, Any] = {
        "models": {key: row["accuracy"] for key, row in each.items()},
        "singles": each,
        "best_single": {"model": leader, **each[leader]},
        "equal_weight": {"temperature": 1.0, **_summary(equal, truth, metric)},
    }
    # Gains are positive where the search is better, for the NLL too.
    baselines["gain_over_best_single"] = sign * (fused["value"] - each[leader]["value"])
    baselines["gain_over_equal_weight"] = sign * (fused["value"] - baselines["equal_weight"]["value"])
    return SoftVote(
        temperature=found.temperature,
        weights={key: float(np.round(weight, 12)) for key, weight in zip(keys, weights, strict=True)},
        class_names=tuple(class_names),
        metric=metric,
        value=fused["value"],
        search={
            "method": method,
            "temperatures": grid.tolist(),
            "weight_step": 1 / count,
            "settings": found.settings,
            "best": sign * found.best,
            "tied": found.tied,
            "regions": found.regions,
            "region": {
                "size": len(region),
                "temperature": [
                    float(found.region_temperatures.min()),
                    float(found.region_temperatures.max()),
                ],
                "weights": {
                    key: [float(np.round(region[:, m].min(), 12)), float(np.round(region[:, m].max(), 12))]
                    for m, key in enumerate(keys)
                },
            },
            "fused": fused,
            "calibrated_temperature": _calibrated(objective, found.weights),
            "interval": bootstrap_interval(probs, equal, truth, metric, groups),
            "unseen_classes": [
                {"index": int(index), "name": class_names[int(index)] if class_names else str(index)}
                for index in unseen
            ],
        },
        baselines=baselines,
        fitted_on={"clips": len(truth)},
    )


def _simplex(count: int, models: int, temperatures: int) -> IntArray | None:
    """Return (S, M) all shares of ``count`` steps, or None where there are too many models or settings."""
    if models > LARGEST_FULL_SIMPLEX:
        return None
    size = 1
    for index in range(1, models):
        size = size * (count + index) // index
    if size * temperatures > _MOST_SETTINGS:
        return None
    return np.array(list(compositions(count, models)), dtype=np.int64)
