"""Folds for cross-fitting: a video or subject is never on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import Console
from mg_fusion.errors import SettingError
from mg_fusion.intervals import group_index


def group_folds(
    labels: NDArray[np.int64], groups: ArrayLike | None, folds: int, seed: int = 0
) -> NDArray[np.int64] | None:
    """Return (N,) fold numbers 0..F-1, or None if there is no second fold to speak of.

    Whole groups are dealt out, the largest first, each to the fold that has fewest clips so far; groups of
    equal size are shuffled. Without groups each clip is its own, dealt class by class, so folds
    look alike.

    Args:
        labels: (N,). groups: (N,) names or None. folds: wanted; fewer if there are fewer groups.

    Raises:
        SettingError: a negative number of folds.
    """
    if folds < 0:
        raise SettingError(f"folds: found {folds}, wanted at least 0")
    generator = np.random.default_rng(seed)
    if groups is None:
        count = min(folds, len(labels))
        if count < 2:
            return None
        shuffled = generator.permutation(len(labels))
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
        result = np.empty(len(labels), dtype=np.int64)
        result[shuffled] = np.arange(len(labels)) % count
        return result
    group = group_index(groups, len(labels))
    sizes = np.bincount(group)
    count = min(folds, len(sizes))
    if count < 2:
        return None
    shuffled = generator.permutation(len(sizes))
    dealt = np.empty(len(sizes), dtype=np.int64)
    load = np.zeros(count, dtype=np.int64)
    for index in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        dealt[index] = int(load.argmin())
        load[dealt[index]] += sizes[index]
    return np.asarray(dealt[group])


def warn_ungrouped(groups: ArrayLike | None, console: Console) -> None:
    """Say that folds by clip are no honest measure where clips of one video resemble each other."""
    if groups is None:
        console.warn(
            "fit: the groups of the clips are unknown, so clips of one video may be on both sides of a fold: "
            "the cross-fitted numbers may be too good; give --groups"
        )
