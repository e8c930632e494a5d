"""Where on the grid of temperatures and weights several settings are equally good, and the middle of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mg_fusion.vote import BoolArray, FloatArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Regions:
    """Connected sets of equally good settings.

    Args:
        members: for each region the (size, 2) pairs of temperature row and weight row, largest region first.
        total: number of equally good settings in all.
    """

    members: tuple[IntArray, ...]
    total: int


def neighbours(steps: IntArray) -> IntArray:
    """Return (S, M (M-1)) rows reached by moving one step of weight from one model to another, -1 if none.

    Args:
        steps: (S, M) whole steps of weight, rows share one sum and are unique.
    """
    settings, models = steps.shape
    base = int(steps.sum(axis=1).max()) + 1
    place = base ** np.arange(models, dtype=np.int64)
    codes = steps @ place
    order = np.argsort(codes)
    table = np.full((settings, models * (models - 1)), -1, dtype=np.int64)
    column = 0
    for source in range(models):
        for target in range(models):
            if source == target:
                continue
            moved = codes - place[source] + place[target]
            found = order[np.minimum(np.searchsorted(codes, moved, sorter=order), settings - 1)]
            hit = (codes[found] == moved) & (steps[:, source] > 0)
            table[hit, column] = found[hit]
            column += 1
    return table


def connected_regions(best: BoolArray, steps: IntArray) -> Regions:
    """Split the best settings into regions: neighbours differ by one temperature or one step of weight.

    Args:
        best: (T, S) True where a setting is among the best. steps: (S, M).
    """
    table = neighbours(steps) if steps.shape[1] > 1 else np.full((len(steps), 0), -1, dtype=np.int64)
    unseen = best.copy()
    found: list[IntArray] = []
    up = np.array([1, 0])
    for start in np.flatnonzero(best):
        row = divmod(int(start), best.shape[1])
        if not unseen[row]:
            continue
        unseen[row] = False
        frontier = np.array([row], dtype=np.int64)
        parts = [frontier]
        while len(frontier):
            hot, cold = frontier[frontier[:, 0] + 1 < len(best)], frontier[frontier[:, 0] > 0]
            beside = np.stack(
                [np.repeat(frontier[:, 0], table.shape[1]), table[frontier[:, 1]].ravel()], axis=1
            )
            reached = np.concatenate([hot + up, cold - up, beside[beside[:, 1] >= 0]])
            reached = reached[unseen[reached[:, 0], reached[:, 1]]]
            frontier = np.unique(reached, axis=0) if len(reached) else reached
            unseen[frontier[:, 0], frontier[:, 1]] = False
            parts.append(frontier)
        found.append(np.concatenate(parts))
    # sorted() is stable, so regions of one size keep the order of the grid.
    return Regions(tuple(sorted(found, key=len, reverse=True)), int(best.sum()))


def centrality(members: IntArray, temperatures: FloatArray, weights: FloatArray) -> FloatArray:
    """Return (size,) distances from the region's mean, temperatures scaled to [0, 1] like the weights.

    Distances are rounded to 1e-9, so that equal ones compare equal whatever the order of the models.
    """
    span = float(temperatures[-1] - temperatures[0]) or 1.0
    points = np.concatenate(
        [((temperatures[members[:, 0]] - temperatures[0]) / span)[:, None], weights[members[:, 1]]], axis=1
    )
    return np.asarray(np.round(((points - points.mean(axis=0)) ** 2).sum(axis=1), 9))
