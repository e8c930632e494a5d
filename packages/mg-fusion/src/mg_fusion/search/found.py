"""What a search found: a setting of temperature and weights, and the others that are as good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mg_fusion.search.objective import IntArray, VoteObjective
from mg_fusion.search.regions import centrality
from mg_fusion.vote import FloatArray


@dataclass(frozen=True)
class Found:
    """Outcome of one strategy: the setting chosen, and the region around it."""

    temperature: float
    weights: FloatArray
    best: float
    settings: int
    tied: int
    regions: int
    region_temperatures: FloatArray
    region_weights: FloatArray


def middle(
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
