"""Class counts, and weights w_c made of them."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import UsageError

Weighting = Literal["sqrt", "none", "inverse"]


def checked_counts(class_counts: ArrayLike) -> NDArray[np.float64]:
    """Return the (K,) counts as floats.

    Raises:
        UsageError: not K numbers of at least 0 with a positive sum.
    """
    counts = np.asarray(class_counts, np.float64)
    if counts.ndim != 1 or counts.size == 0 or counts.min() < 0 or counts.sum() == 0:
        raise UsageError(
            f"class counts must be K numbers >= 0 with at least one sample, found {counts.tolist()}"
        )
    return counts


def with_mean_one(raw: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale weights so that their mean over the training samples is 1: by ``sum(N) / sum(N_c w_c)``.

    This keeps the loss, and with it the learning rate, comparable between all weightings.
    """
    return np.asarray(raw * (counts.sum() / (counts * raw).sum()), np.float64)


def class_weights(class_counts: ArrayLike, weighting: str = "sqrt") -> NDArray[np.float64]:
    """Return the (K,) weights w_c, scaled so that their mean over the training samples is 1.

    ``sqrt``: 1/sqrt(N_c + 1) (paper 3.2). ``inverse``: 1/(N_c + 1). ``none``: 1.
    A class without a sample gets the largest weight; it meets no target, so it changes nothing.

    >>> class_weights([3, 0, 8]).round(4).tolist()
    [1.32, 2.64, 0.88]
    """
    counts = checked_counts(class_counts)
    if weighting not in get_args(Weighting):
        raise UsageError(f"weighting '{weighting}' is unknown (known: {', '.join(get_args(Weighting))})")
    raw = {"sqrt": 1 / np.sqrt(counts + 1), "inverse": 1 / (counts + 1), "none": np.ones_like(counts)}[
        weighting
    ]
    return with_mean_one(raw, counts)


def log_prior(class_counts: ArrayLike) -> NDArray[np.float64]:
    """Return (K,) log pi_c of the training clips.

    A class without a sample counts as one with a single sample: log 0 would take it out of the softmax, and
    its logit, never held down while training, could then win at the test.
    """
    counts = np.maximum(checked_counts(class_counts), 1.0)
    return np.asarray(np.log(counts / counts.sum()), np.float64)
