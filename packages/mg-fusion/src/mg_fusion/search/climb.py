"""Weights of many models by coordinate ascent, where the whole grid is too large to try.

Costs M (M-1) / step evaluations a round instead of binom(1 / step + M - 1, M - 1).
"""

from __future__ import annotations

import numpy as np

from mg_fusion.convex import lowest_nll
from mg_fusion.search.bounds import TOLERANCE
from mg_fusion.search.found import Found, middle
from mg_fusion.search.objective import Metric, VoteObjective
from mg_fusion.vote import FloatArray


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


def _random_starts(models: int, count: int, steps: int, seed: int) -> FloatArray:
    """Return (R, M) random shares in whole steps, for the models in the order they are searched in."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(steps, generator.dirichlet(np.ones(models), size=count)) / steps


def climb(
    objective: VoteObjective,
    temperatures: FloatArray,
    step: float,
    metric: Metric,
    *,
    restarts: int = 2,
    seed: int = 0,
) -> Found:
    """Coordinate ascent on (metric, then -NLL) over moves of weight between two models.

    At each temperature it starts from equal weights, the best single model, the weights of lowest NLL and
    ``restarts`` random ones; the best of all summits is found, which need not be the best of all settings.
    A start that leaves a clip without an answer is passed over.

    Args:
        objective: of clips that some model answers, so that equal weights answer them all.
        temperatures: (T,) ascending. step: share of weight moved, in whole multiples. seed: of the restarts.
    """
    models = objective.models
    tried: dict[tuple[float, ...], float] = {}
    random = _random_starts(models, restarts, max(1, round(1 / step)), seed)
    for tau in temperatures:
        probs = objective.probabilities(tau)
        corners = np.eye(models)
        single = objective.evaluate(metric, probs, corners) + 1e-6 * np.maximum(
            objective.evaluate("nll", probs, corners), -1e5
        )
        likely = lowest_nll(objective.truths(probs), objective.present)
        for start in (np.full(models, 1 / models), corners[int(single.argmax())], likely, *random):
            score = (-np.inf, -np.inf)
            options = start[None]
            while True:
                found = objective.evaluate(metric, probs, options)
                for weights, value in zip(options, found, strict=True):
                    tried[(float(tau), *np.round(weights, 12))] = float(value)
                top = np.flatnonzero(found >= found.max() - TOLERANCE)
                loss = objective.evaluate("nll", probs, options[top])
                pick = top[int(loss.argmax())]
                reached = (float(found[pick]), float(loss.max()))
                gain, saved = reached[0] - score[0], reached[1] - score[1]
                # The NLL decides on a plateau of the metric, but an endless crawl along it is not worth it.
                if not (gain > TOLERANCE or (gain >= -TOLERANCE and saved > 1e-6)):
                    break
                current, score = options[pick], reached
                options = _moves(current, step)
                if not len(options):  # one model has no weight to move
                    break
    settings = np.array(list(tried))
    values = np.array(list(tried.values()))
    best = float(values.max())
    tied = settings[values >= best - TOLERANCE]
    members = np.stack([np.searchsorted(temperatures, tied[:, 0]), np.arange(len(tied))], axis=1)
    weights = tied[:, 1:] / tied[:, 1:].sum(axis=1, keepdims=True)
    row, column, _ = middle(objective, [members], temperatures, weights)
    return Found(
        temperature=float(temperatures[row]),
        weights=weights[column],
        best=best,
        settings=len(settings),
        tied=len(tied),
        regions=1,
        region_temperatures=tied[:, 0],
        region_weights=weights,
    )
