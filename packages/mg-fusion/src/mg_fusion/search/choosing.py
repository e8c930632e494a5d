"""How a search chooses: temperatures, method and engine for one set of labelled clips."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np

from mg_fusion.calibration import fit_temperature
from mg_fusion.convex import lowest_nll
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.search.bounds import Judge, best_settings
from mg_fusion.search.climb import climb
from mg_fusion.search.found import Found, middle
from mg_fusion.search.objective import METRICS, IntArray, Metric, VoteObjective, compositions
from mg_fusion.search.regions import connected_regions
from mg_fusion.vote import BoolArray, FloatArray, check_temperature, soft_vote

Temperature = Literal["grid", "nll", "per-model"]
Method = Literal["auto", "grid", "ascent", "newton"]
Engine = Literal["auto", "numpy", "numba"]

# 0.25, 0.50 ... 7.50: holds the paper's 2.5.
TEMPERATURE_GRID: tuple[float, ...] = tuple(0.25 * step for step in range(1, 31))
LARGEST_FULL_SIMPLEX = 5
# A finer step than this many settings falls back to coordinate ascent.
_MOST_SETTINGS = 20_000_000
# Settings times clips from which on compiling pays, where numba is not imported yet.
_WORTH_COMPILING = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings of a search, checked."""

    temperature: Temperature | float
    steps: int
    metric: Metric
    method: Method
    engine: Engine


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a search chose, in the order of the models given."""

    found: Found
    weights: FloatArray
    region: FloatArray
    temperature: float
    own: FloatArray
    grid: FloatArray
    method: str
    objective: VoteObjective

    def vote(self, scores: FloatArray, mask: BoolArray) -> FloatArray:
        """Return (N, K) probabilities; a clip that no chosen model answers is uniform."""
        answered = (mask & (self.weights > 0)[:, None]).any(axis=0)
        probs = np.full(scores.shape[1:], 1 / scores.shape[2])
        probs[answered] = soft_vote(
            scores[:, answered], self.weights, self.temperature * self.own, mask[:, answered]
        )
        return probs


def check_plan(
    temperature: Temperature | float, weight_step: float, metric: Metric, method: Method, engine: Engine
) -> Plan:
    if metric not in METRICS:
        raise SettingError(f"metric: found {metric!r}, wanted one of {', '.join(METRICS)}")
    if isinstance(temperature, str):
        if temperature not in ("grid", "nll", "per-model"):
            raise SettingError(
                f"temperature: found {temperature!r}, wanted 'grid', 'nll', 'per-model' or a number above 0"
            )
    else:
        check_temperature(temperature)
    if method not in ("auto", "grid", "ascent", "newton"):
        raise SettingError(f"method: found {method!r}, wanted 'auto', 'grid', 'ascent' or 'newton'")
    if method == "newton" and metric != "nll":
        raise SettingError(f"method: 'newton' is for the metric 'nll', found {metric!r}")
    if engine not in ("auto", "numpy", "numba"):
        raise SettingError(f"engine: found {engine!r}, wanted 'auto', 'numpy' or 'numba'")
    steps = round(1 / weight_step) if 0 < weight_step <= 1 else 0
    if steps < 1 or abs(steps * weight_step - 1) > 1e-9:
        raise SettingError(f"weight step: found {weight_step}, wanted a share that divides 1, such as 0.05")
    return Plan(temperature=temperature, steps=steps, metric=metric, method=method, engine=engine)


def _canonical_order(logits: FloatArray) -> list[int]:
    """Return an order of the models that does not depend on how models, clips or classes were ordered.

    Sums of floating-point numbers depend on their order in the last bit, and a search compares such sums.
    """
    return sorted(range(len(logits)), key=lambda model: np.sort(logits[model], axis=None).tobytes())


def _judge(engine: Engine, metric: Metric, work: int) -> Callable[[VoteObjective, FloatArray], Judge] | None:
    """Return numba's judge if it is asked for, or if it is there and the work is worth its start."""
    if metric == "nll" or engine == "numpy":
        return None
    if engine == "auto" and (
        importlib.util.find_spec("numba") is None or not ("numba" in sys.modules or work >= _WORTH_COMPILING)
    ):
        return None
    try:
        from mg_fusion.search.fast import judge_of
    except (ImportError, RuntimeError) as error:
        # RuntimeError: no folder to keep compiled code in.
        if engine == "auto":
            return None
        raise SettingError(
            f"engine: 'numba' cannot be used: {error}; pip install 'mg-fusion[fast]'"
        ) from error
    return judge_of(metric)


def _search_grid(
    objective: VoteObjective,
    temperatures: FloatArray,
    steps: IntArray,
    metric: Metric,
    judge: Callable[[VoteObjective, FloatArray], Judge] | None,
) -> Found:
    weights = steps / int(steps[0].sum())
    best, tied = best_settings(objective, temperatures, steps, metric, judge)
    if best == -np.inf:
        raise ScoresError(
            "search: no weights on this grid answer every clip; leave out clips that models lack"
        )
    regions = connected_regions(tied, steps)
    largest = len(regions.members[0])
    candidates = [members for members in regions.members if len(members) == largest]
    row, column, members = middle(objective, candidates, temperatures, weights)
    return Found(
        temperature=float(temperatures[row]),
        weights=weights[column],
        best=best,
        settings=tied.size,
        tied=regions.total,
        regions=len(regions.members),
        region_temperatures=temperatures[members[:, 0]],
        region_weights=weights[members[:, 1]],
    )


def _newton(objective: VoteObjective, temperatures: FloatArray) -> Found:
    """Return the exact weights of lowest NLL at the best temperature of the grid."""
    options = []
    for tau in temperatures:
        probs = objective.probabilities(tau)
        weights = lowest_nll(objective.truths(probs), objective.present)
        options.append((float(objective.evaluate("nll", probs, weights[None])[0]), float(tau), weights))
    value, tau, weights = max(options, key=lambda option: option[0])
    return Found(
        temperature=tau,
        weights=weights,
        best=value,
        settings=len(temperatures),
        tied=1,
        regions=1,
        region_temperatures=np.array([tau]),
        region_weights=weights[None],
    )


def _temperatures(
    plan: Plan, scores: FloatArray, mask: BoolArray, truth: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return the grid of tau, and (M,) what each model's logits are divided by besides."""
    own = np.ones(len(scores))
    if plan.temperature == "grid":
        return np.array(TEMPERATURE_GRID), own
    if plan.temperature == "nll":
        rows = np.concatenate([scores[m][mask[m]] for m in range(len(scores))])
        labels = np.concatenate([truth[mask[m]] for m in range(len(scores))])
        return np.array([fit_temperature(rows, labels)]), own
    if plan.temperature == "per-model":
        for m in range(len(scores)):
            if mask[m].any():
                own[m] = fit_temperature(scores[m][mask[m]], truth[mask[m]])
        return np.ones(1), own
    return np.array([float(plan.temperature)]), own


def choose(scores: FloatArray, mask: BoolArray, truth: IntArray, plan: Plan) -> Chosen:
    """Search on labelled clips; the answer does not depend on the order of models, clips or classes."""
    grid, own = _temperatures(plan, scores, mask, truth)
    order = _canonical_order(scores)
    objective = VoteObjective((scores / own[:, None, None])[order], truth, mask[order])
    models = len(scores)
    size = comb(plan.steps + models - 1, models - 1) * len(grid)
    method: str = plan.method
    if method == "auto":
        small = models <= LARGEST_FULL_SIMPLEX and size <= _MOST_SETTINGS
        method = "grid" if small else "newton" if plan.metric == "nll" else "ascent"
    if method == "grid":
        if size > _MOST_SETTINGS:
            raise SettingError(
                f"method: 'grid' would be {size} settings, at most {_MOST_SETTINGS} are searched; "
                "take a larger weight_step or method='ascent'"
            )
        steps = np.array(list(compositions(plan.steps, models)), dtype=np.int64)
        judge = _judge(plan.engine, plan.metric, size * objective.clips)
        found = _search_grid(objective, grid, steps, plan.metric, judge)
    elif method == "newton":
        found = _newton(objective, grid)
    else:
        method = "coordinate-ascent"
        found = climb(objective, grid, 1 / plan.steps, plan.metric)
    place = np.argsort(order)
    return Chosen(
        found=found,
        weights=found.weights[place],
        region=found.region_weights[:, place],
        temperature=found.temperature,
        own=own,
        grid=grid,
        method=method,
        objective=objective,
    )
