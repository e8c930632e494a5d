"""How far confidence can be trusted, and the one number that mends most of it (the temperature)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError, UsageError
from mg_fusion.vote import FloatArray, check_scores, softmax


def check_labels(labels: ArrayLike, rows: int, classes: int) -> NDArray[np.int64]:
    """Return (N,) int64 labels in 0..K-1.

    Raises:
        DataError: wrong length or a label out of range (-1 = unknown is out of range here).
    """
    values = np.asarray(labels)
    if values.shape != (rows,):
        raise DataError(f"labels: found shape {values.shape}, wanted ({rows},), one for each clip")
    if not rows:
        raise DataError("labels: found no clip, wanted at least one")
    if not np.issubdtype(values.dtype, np.integer):
        raise DataError(f"labels: found dtype {values.dtype}, wanted integers")
    if values.min() < 0 or values.max() >= classes:
        bad = int(((values < 0) | (values >= classes)).sum())
        raise DataError(
            f"labels: {bad} of {rows} are outside 0..{classes - 1} (unknown labels cannot be used here)"
        )
    return values.astype(np.int64)


def check_probs(probs: ArrayLike) -> FloatArray:
    """Return (N, K) float64 probabilities whose rows sum to 1 within 1e-3.

    Raises:
        DataError: wrong shape, non-finite, negative, or rows that do not sum to 1.
    """
    values = np.asarray(probs, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"probs: found shape {values.shape}, wanted (clips, classes)")
    if not np.isfinite(values).all() or (values < 0).any():
        raise DataError("probs: found a negative or non-finite value")
    if len(values) and np.abs(values.sum(axis=1) - 1.0).max() > 1e-3:
        worst = values.sum(axis=1)[np.abs(values.sum(axis=1) - 1.0).argmax()]
        raise DataError(f"probs: a row sums to {worst:.6g}, wanted 1; pass probabilities, not logits")
    return values


def reliability(probs: ArrayLike, labels: ArrayLike, bins: int = 15) -> dict[str, list[float]]:
    """Return the bins of a reliability diagram (equal width, upper edge included).

    Args:
        probs: (N, K). labels: (N,). bins: number of bins over (0, 1].

    Returns:
        ``lower``, ``upper`` edges, ``count``, mean ``confidence`` and ``accuracy`` of each bin (0 if empty).
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    if bins < 1:
        raise UsageError(f"bins: found {bins}, wanted at least 1")
    confidence = values.max(axis=1)
    right = values.argmax(axis=1) == truth
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    safe = np.maximum(count, 1)
    edges = np.linspace(0.0, 1.0, bins + 1)
    return {
        "lower": edges[:-1].tolist(),
        "upper": edges[1:].tolist(),
        "count": count.astype(float).tolist(),
        "confidence": (np.bincount(index, weights=confidence, minlength=bins) / safe).tolist(),
        "accuracy": (np.bincount(index, weights=right, minlength=bins) / safe).tolist(),
    }


def expected_calibration_error(probs: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Return the gap between confidence and accuracy, averaged over clips (ECE, equal-width bins).

    Args:
        probs: (N, K) rows sum to 1. labels: (N,) in 0..K-1. bins: number of equal bins over (0, 1].

    Returns:
        A number in [0, 1]; 0 is perfectly calibrated.

    >>> expected_calibration_error([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    0.5
    """
    table = reliability(probs, labels, bins)
    count = np.array(table["count"])
    gap = np.abs(np.array(table["confidence"]) - np.array(table["accuracy"]))
    return float((count * gap).sum() / count.sum())


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, *, bounds: tuple[float, float] = (0.05, 20.0)
) -> float:
    """Return the temperature that minimises the NLL of softmax(L / tau).

    The NLL is convex in 1/tau, so its slope crosses zero once; bisection between the bounds cannot diverge
    or turn negative. Separable logits end at the lower bound, logits without information at the upper one,
    logits that are constant over the classes (every tau is as good) at 1.

    Args:
        logits: (N, K) finite. labels: (N,) in 0..K-1. bounds: smallest and largest tau.

    Raises:
        DataError: non-finite logits or labels out of range. UsageError: bounds out of order.
    """
    scores = check_scores(np.asarray(logits, dtype=np.float64)[None], None)[0][0]
    truth = check_labels(labels, *scores.shape)
    low, high = float(bounds[0]), float(bounds[1])
    if not 0 < low < high < np.inf:
        raise UsageError(f"bounds: found {bounds}, wanted 0 < lowest < highest")
    centred = scores - scores.max(axis=1, keepdims=True)
    if not centred.any():
        return float(np.clip(1.0, low, high))
    target = centred[np.arange(len(centred)), truth]

    def slope(tau: float) -> float:
        # d NLL / d(1/tau) = mean(E_p[L] - L_y), which grows with 1/tau.
        return float(((softmax(centred, tau) * centred).sum(axis=1) - target).mean())

    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    left, right = np.log(low), np.log(high)
    for _ in range(60):
        middle = (left + right) / 2
        if slope(float(np.exp(middle))) > 0:
            left = middle
        else:
            right = middle
    return float(np.exp((left + right) / 2))
