"""Scores that both sides of a comparison make for themselves, so that only the peers' answers are stored.

PCG64's raw stream is fixed by numpy's compatibility policy (distributions are not), so the numbers are the
same under any numpy. Imported by ``tools/parity_calibration.py`` (in the peers' environment) and the tests.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

# name -> (clips, classes, how much a model favours the truth, what its logits are multiplied by)
PROBLEMS: dict[str, tuple[int, int, float, float]] = {
    "few": (40, 3, 1.0, 1.0),
    "sure": (500, 5, 1.2, 3.0),
    "unsure": (300, 10, 2.5, 0.3),
    "many": (777, 32, 3.0, 1.5),
    "two": (200, 2, 0.8, 2.0),
}
BINS = (5, 10, 15)


def uniform(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return numbers in [0, 1) that depend on the name alone."""
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    share = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return share.reshape(shape)


def problem(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (N, K) logits and (N,) labels of a problem."""
    clips, classes, strength, scale = PROBLEMS[name]
    labels = (uniform(f"{name}/labels", (clips,)) * classes).astype(np.int64)
    # The sum of four uniform numbers is nearly normal.
    noise = (uniform(f"{name}/noise", (4, clips, classes)) - 0.5).sum(axis=0) * 3**0.5 * 1.5
    return (noise + strength * np.eye(classes)[labels]) * scale, labels


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax, in the simplest way."""
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))
