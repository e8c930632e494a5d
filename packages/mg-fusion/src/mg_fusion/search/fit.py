"""Temperature and weights by search on validation clips (paper section 3.4: tau and W_m by grid search).

Up to five models: every temperature of the grid with every share of the weight in whole steps, exactly (see
:mod:`mg_fusion.search.bounds` for how most of it is skipped). Beyond: coordinate ascent
(:mod:`mg_fusion.search.climb`), or the exact convex optimum where the NLL is what is minimised
(:mod:`mg_fusion.convex`). Many settings are usually equally good on a few hundred clips; the answer is the
middle of the largest connected set of them, not the first one found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.calibration import check_labels
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.folds import group_folds
from mg_fusion.intervals import bootstrap_interval, group_index
from mg_fusion.metrics import classification_metrics
from mg_fusion.search.choosing import (
    TEMPERATURE_GRID,
    Chosen,
    Engine,
    Method,
    Plan,
    Temperature,
    check_plan,
    choose,
)
from mg_fusion.search.objective import IntArray, Metric, VoteObjective
from mg_fusion.vote import BoolArray, FloatArray, SoftVote, check_scores, soft_vote, softmax

__all__ = ["TEMPERATURE_GRID", "Method", "Temperature", "fit_soft_vote"]


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


def _summary(probs: FloatArray, labels: IntArray, metric: Metric) -> dict[str, float]:
    measured = classification_metrics(probs, labels)
    return {
        "accuracy": measured.accuracy,
        "macro_f1": measured.macro_f1,
        "nll": measured.nll,
        "ece": measured.ece,
        "value": getattr(measured, metric),
    }


def _alone(scores: FloatArray, mask: BoolArray) -> FloatArray:
    """Return one model's probabilities at tau 1; on clips it does not answer it knows nothing (uniform)."""
    return np.where(mask[:, None], softmax(scores), 1 / scores.shape[1])


def _best_single(rows: dict[str, dict[str, float]], metric: Metric) -> str:
    """Return the key of the best model; equal values: the lower NLL, then the key."""
    sign = -1 if metric == "nll" else 1
    return min(rows, key=lambda key: (-sign * rows[key]["value"], round(rows[key]["nll"], 9), key))


def _cross_fitted(
    scores: FloatArray,
    mask: BoolArray,
    truth: IntArray,
    keys: Sequence[str],
    groups: ArrayLike | None,
    folds: int,
    plan: Plan,
) -> dict[str, Any]:
    """Search on all folds but one, vote on that one: what the search is worth on clips it has not seen.

    The best single model is chosen in the same way, so that neither side has seen the clips it is judged on.
    """
    # Folds are dealt out in an order of the clips that does not depend on how they were given.
    content = np.sort(scores.transpose(1, 0, 2).reshape(len(truth), -1), axis=1)
    rank = np.lexsort(np.concatenate([content.T, truth[None]]))
    fold = np.empty(len(truth), dtype=np.int64)
    names = None if groups is None else np.asarray(groups)[rank]
    dealt = group_folds(truth[rank], names, folds)
    if dealt is None:
        count = len(np.unique(group_index(groups, len(truth))))
        raise SettingError(f"folds: found {folds} for {count} groups of clips, wanted at least 2 of each")
    fold[rank] = dealt
    fused, single = np.empty(scores.shape[1:]), np.empty(scores.shape[1:])
    parts = []
    for number in range(int(fold.max()) + 1):
        out = fold == number
        chosen = choose(scores[:, ~out], mask[:, ~out], truth[~out], plan)
        fused[out] = chosen.vote(scores[:, out], mask[:, out])
        rows = {
            key: _summary(_alone(scores[m][~out], mask[m][~out]), truth[~out], plan.metric)
            for m, key in enumerate(keys)
        }
        leader = _best_single(rows, plan.metric)
        single[out] = _alone(scores[keys.index(leader)][out], mask[keys.index(leader)][out])
        parts.append(
            {
                "clips": int(out.sum()),
                "temperature": chosen.temperature,
                "weights": dict(zip(keys, np.round(chosen.weights, 12).tolist(), strict=True)),
                "best_single": leader,
            }
        )
    equal = soft_vote(scores, np.ones(len(scores)), 1.0, mask)
    versus_equal = bootstrap_interval(fused, equal, truth, plan.metric, groups)
    versus_single = bootstrap_interval(fused, single, truth, plan.metric, groups)

    def gain(interval: dict[str, Any]) -> dict[str, float]:
        return {"value": interval["gain"], "low": interval["gain_low"], "high": interval["gain_high"]}

    return {
        "folds": len(parts),
        **_summary(fused, truth, plan.metric),
        "low": versus_equal["low"],
        "high": versus_equal["high"],
        "equal_weight": _summary(equal, truth, plan.metric)["value"],
        "best_single": _summary(single, truth, plan.metric)["value"],
        "gain_over_equal_weight": gain(versus_equal),
        "gain_over_best_single": gain(versus_single),
        "parts": parts,
    }


def fit_soft_vote(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Temperature | float = "grid",
    weight_step: float = 0.05,
    metric: Metric = "accuracy",
    groups: ArrayLike | None = None,
    present: ArrayLike | None = None,
    models: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    method: Method = "auto",
    folds: int = 0,
    engine: Engine = "auto",
) -> SoftVote:
    """Search tau and W_m of Eq. 2-3 on labelled clips.

    The best value of the metric on the grid is found exactly for up to five models. Among equally good
    settings the most central weights of the largest connected region are taken, at their temperature of
    lowest NLL.

    Args:
        logits: (M, N, K), finite where present. labels: (N,) in 0..K-1.
        temperature: ``"grid"`` tries 0.25, 0.50 ... 7.50; ``"nll"`` takes the one tau at which the models'
            own NLL, summed, is lowest; ``"per-model"`` gives each model the temperature of its own lowest
            NLL; a number keeps it fixed.
        weight_step: share of weight moved at a time; divides 1.
        metric: ``accuracy``, ``macro_f1`` (classes that occur) or ``nll`` (lower is better).
        groups: (N,) video or subject of each clip, for intervals and folds; None: each clip its own.
        present: (M, N) bool. Weights that leave a clip without an answer are never chosen.
        models: M keys for ``SoftVote.weights``, default "0", "1" ... class_names: K names to keep.
        method: ``grid``: exhaustive; ``ascent``: coordinate ascent with restarts; ``newton``: the convex
            optimum of the NLL, weights in no steps; ``auto``: grid up to five models, beyond it newton for
            the NLL and ascent for the rest.
        folds: if at least 2, ``search["cross_fitted"]`` says what the search is worth on clips it has not
            seen, and what it gains there over equal weights and the best single model: whole groups are
            left out in turn.
        engine: ``numpy``, ``numba`` (the extra ``fast``), or ``auto``: numba where it is installed and the
            search is large; the answer is the same.

    Returns:
        A SoftVote whose ``search`` names the method, the settings searched, the region of equally good ones,
        the interval, the tau of lowest NLL at the chosen weights (``calibrated_temperature``), the classes
        without a validation clip; ``baselines`` holds the accuracy of each model alone (``models``, details
        in ``singles``), the best of them by the metric, and equal weights at tau 1. Values are those on the
        clips searched on, so they flatter the search; ``cross_fitted`` does not.

    Raises:
        ScoresError (a DataError and a ValueError): shapes, labels out of range, a clip no model answers.
        SettingError (a UsageError and a ValueError): a setting out of range.

    >>> good, bad = [[4.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [2.0, 0.0]]
    >>> fit_soft_vote([good, bad], [0, 1], models=["good", "bad"]).value
    1.0
    """
    scores, mask = check_scores(logits, present)
    truth = check_labels(labels, *scores.shape[1:])
    keys = [str(index) for index in range(len(scores))] if models is None else [str(key) for key in models]
    if len(keys) != len(scores) or len(set(keys)) != len(keys):
        raise SettingError(f"models: found keys {keys}, wanted {len(scores)} different ones")
    if class_names and len(class_names) != scores.shape[2]:
        raise ScoresError(f"class names: found {len(class_names)}, wanted {scores.shape[2]}")
    plan = check_plan(temperature, weight_step, metric, method, engine)
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 0 or folds == 1:
        raise SettingError(f"folds: found {folds!r}, wanted 0 or a whole number of at least 2")
    group_index(groups, len(truth))
    if not mask.any(axis=0).all():
        raise ScoresError(
            f"search: {int((~mask.any(axis=0)).sum())} clips have no answer from any model; leave them out"
        )
    chosen = choose(scores, mask, truth, plan)
    found = chosen.found
    probs = soft_vote(scores, chosen.weights, chosen.temperature * chosen.own, mask)
    equal = soft_vote(scores, np.ones(len(scores)), 1.0, mask)
    sign = -1 if metric == "nll" else 1
    each: dict[str, dict[str, float]] = {
        key: {**_summary(_alone(scores[m], mask[m]), truth, metric), "answered": int(mask[m].sum())}
        for m, key in enumerate(keys)
    }
    leader = _best_single(each, metric)
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
    search = {
        "method": chosen.method,
        "temperatures": chosen.grid.tolist(),
        "weight_step": 1 / plan.steps,
        "settings": found.settings,
        "best": sign * found.best,
        "tied": found.tied,
        "regions": found.regions,
        "region": _region(chosen, keys),
        "fused": fused,
        "calibrated_temperature": _calibrated(chosen.objective, found.weights),
        "interval": bootstrap_interval(probs, equal, truth, metric, groups),
        "unseen_classes": [
            {"index": int(index), "name": class_names[int(index)] if class_names else str(index)}
            for index in unseen
        ],
    }
    if folds:
        search["cross_fitted"] = _cross_fitted(scores, mask, truth, keys, groups, folds, plan)
    own = dict(zip(keys, chosen.own.tolist(), strict=True)) if plan.temperature == "per-model" else {}
    return SoftVote(
        temperature=chosen.temperature,
        weights={key: float(np.round(weight, 12)) for key, weight in zip(keys, chosen.weights, strict=True)},
        class_names=tuple(class_names),
        metric=metric,
        value=fused["value"],
        search=search,
        baselines=baselines,
        fitted_on={"clips": len(truth)},
        model_temperatures=own,
    )


def _region(chosen: Chosen, keys: Sequence[str]) -> dict[str, Any]:
    """Return how far temperature and weights of equally good settings reach around the chosen one."""
    taus, weights = chosen.found.region_temperatures, np.round(chosen.region, 12)
    return {
        "size": len(weights),
        "temperature": [float(taus.min()), float(taus.max())],
        "weights": {
            key: [float(weights[:, m].min()), float(weights[:, m].max())] for m, key in enumerate(keys)
        },
    }
