"""Which clips an epoch consists of, and in which order: a function of (seed, epoch) and of nothing else.

An epoch always has as many samples as there are clips, so the number of steps, the schedule and the time of a
training do not depend on the sampler. What changes is how often a class is met:

- ``uniform``: each clip once; class c has the share ``N_c / N``.
- ``square-root``: share ``sqrt(N_c) / sum_k sqrt(N_k)``.
- ``class-balanced``: the same share for every class that has a clip.

(Kang et al. 2020, Eq. 1, with q = 1, 1/2 and 0.) Samples are not drawn independently: a class's share of
the epoch is rounded at random to a whole number, and within the class every clip is met as often as any
other, give or take one. So under ``class-balanced`` a rare class's clips come several times an epoch, each
time augmented anew, and a frequent class is seen in full only over several epochs.

The class counts that losses are built with stay those of the clips: a sampler beside a loss that weighs or
adjusts by class corrects the same imbalance twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_adapt.recipe import SAMPLERS
from mg_data.contract import UsageError

# Streams of random numbers that share (seed, epoch) and must differ.
ORDER, TORCH, DRAW, MIXUP, CUTMIX = 1, 2, 3, 4, 5
_POWERS = dict(zip(SAMPLERS, (1.0, 0.5, 0.0)))


def stream(purpose: int, *numbers: int) -> np.random.Generator:
    """Return the generator of one purpose for (seed, epoch, ...)."""
    return np.random.default_rng(np.random.SeedSequence(list(numbers), spawn_key=(purpose,)))


def order_of(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the (N,) order of samples in an epoch."""
    return np.asarray(stream(ORDER, seed, epoch).permutation(count), np.int64)


def class_shares(labels: NDArray[np.int64], sampler: str) -> NDArray[np.float64]:
    """Return (K,) the share of an epoch that each class gets.

    >>> class_shares(np.array([0] * 9 + [1]), "square-root").tolist()
    [0.75, 0.25]
    """
    if sampler not in _POWERS:
        raise UsageError(f"sampler '{sampler}' is unknown (known: {', '.join(SAMPLERS)})")
    counts = np.bincount(labels).astype(np.float64)
    raw = np.where(counts > 0, counts ** _POWERS[sampler], 0.0)
    return np.asarray(raw / raw.sum(), np.float64)


def _whole(expected: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Round numbers of whole sum at random so that sum and expectations stay (systematic sampling)."""
    edges = np.floor(np.cumsum(expected) + rng.random()).astype(np.int64)
    edges[-1] = round(float(expected.sum()))  # exact, whatever rounding did to the last sum
    return np.asarray(np.diff(np.minimum(edges, edges[-1]), prepend=0), np.int64)


def samples_of(
    labels: NDArray[np.int64], sampler: str, seed: int, epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (N,) the samples of an epoch in order, and (N,) how often each was met earlier in the epoch.

    Args:
        labels: (N,) classes of the clips.
    """
    count = len(labels)
    if sampler == "uniform":
        return order_of(seed, epoch, count), np.zeros(count, np.int64)
    rng = stream(DRAW, seed, epoch)
    chosen: list[NDArray[np.int64]] = []
    for label, quota in enumerate(_whole(class_shares(labels, sampler) * count, rng)):
        clips = np.flatnonzero(labels == label)
        if quota:
            whole, rest = divmod(int(quota), len(clips))
            chosen += [clips] * whole + [rng.permutation(clips)[:rest]]
    drawn = rng.permutation(np.concatenate(chosen))
    # The number of equal entries before each one: its place among them in a stable order.
    by_clip = np.argsort(drawn, kind="stable")
    first = np.searchsorted(drawn[by_clip], drawn[by_clip], side="left")
    earlier = np.empty(count, np.int64)
    earlier[by_clip] = np.arange(count) - first
    return drawn, earlier
