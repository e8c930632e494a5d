"""How far confidence can be trusted, and the one number that mends most of it (the temperature)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.vote import BoolArray, FloatArray, as_numbers, check_scores

Scheme = Literal["width", "mass"]
SCHEMES: tuple[Scheme, ...] = ("width", "mass")
# Of log tau: the rounding of the slope lets it come a little nearer.
_CLOSE_ENOUGH, _MOST_STEPS = 1e-11, 200


def check_labels(labels: ArrayLike, rows: int, classes: int) -> NDArray[np.int64]:
    """Return (N,) int64 labels in 0..K-1.

    Raises:
        ScoresError: wrong length or a label out of range (-1 = unknown is out of range here).
    """
    try:
        values = np.asarray(labels)
    except ValueError as error:
        raise ScoresError(f"labels: wanted one whole number for each clip: {error}") from error
    if values.shape != (rows,):
        raise ScoresError(f"labels: found shape {values.shape}, wanted ({rows},), one for each clip")
    if not rows:
        raise ScoresError("labels: found no clip, wanted at least one")
    if not np.issubdtype(values.dtype, np.integer):
        raise ScoresError(f"labels: found dtype {values.dtype}, wanted integers")
    if values.min() < 0 or values.max() >= classes:
        bad = int(((values < 0) | (values >= classes)).sum())
        raise ScoresError(
            f"labels: {bad} of {rows} are outside 0..{classes - 1} (unknown labels cannot be used here)"
        )
    return values.astype(np.int64)


def check_probs(probs: ArrayLike) -> FloatArray:
    """Return (N, K) float64 probabilities whose rows sum to 1 within 1e-3.

    Raises:
        ScoresError: wrong shape, non-finite, negative, or rows that do not sum to 1.
    """
    values = as_numbers(probs, "probs")
    if values.ndim != 2:
        raise ScoresError(f"probs: found shape {values.shape}, wanted (clips, classes)")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ScoresError("probs: found a negative or non-finite value")
    if len(values) and np.abs(values.sum(axis=1) - 1.0).max() > 1e-3:
        worst = values.sum(axis=1)[np.abs(values.sum(axis=1) - 1.0).argmax()]
        raise ScoresError(f"probs: a row sums to {worst:.6g}, wanted 1; pass probabilities, not logits")
    return values


def _edges(values: FloatArray, bins: int, scheme: Scheme) -> FloatArray:
    """Return (B - 1,) inner edges: a value on an edge falls into the lower bin.

    With ``mass`` the bins hold equally many values as far as ties let them: equal values share a bin.
    """
    if scheme == "width":
        return np.arange(1, bins) / bins
    # What does not divide goes to the first bins, as in numpy's array_split.
    ordered = np.sort(values)
    size, more = divmod(len(ordered), bins)
    place = np.arange(1, bins) * size + np.minimum(np.arange(1, bins), more) - 1
    return np.asarray(ordered[np.maximum(place, 0)])


def _bin_of(values: FloatArray, bins: int, scheme: Scheme) -> NDArray[np.int64]:
    if bins < 1:
        raise SettingError(f"bins: found {bins}, wanted at least 1")
    if scheme not in SCHEMES:
        raise SettingError(f"scheme: found {scheme!r}, wanted one of {', '.join(SCHEMES)}")
    return np.searchsorted(_edges(values, bins, scheme), values, side="left").astype(np.int64)


def confidence_gap(values: FloatArray, right: BoolArray, bins: int = 15, scheme: Scheme = "width") -> float:
    """Return sum_b |mean value - share right| n_b / N.

    Args:
        values: (N,) probabilities. right: (N,) whether what they are given to is so. bins, scheme: as
            :func:`expected_calibration_error`.
    """
    index = _bin_of(values, bins, scheme)
    apart = np.bincount(index, weights=values - right)
    return float(np.abs(apart).sum() / len(values))


def reliability(
    probs: ArrayLike, labels: ArrayLike, bins: int = 15, scheme: Scheme = "width"
) -> dict[str, list[float]]:
    """Return the bins of a reliability diagram; a confidence on an edge falls into the lower bin.

    Args:
        probs: (N, K). labels: (N,). bins: number of bins over (0, 1].
        scheme: ``width`` for bins of equal width, ``mass`` for bins of equally many clips.

    Returns:
        ``lower``, ``upper`` edges, ``count``, mean ``confidence`` and ``accuracy`` of each bin (0 if empty).
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    confidence = values.max(axis=1)
    right = values.argmax(axis=1) == truth
    index = _bin_of(confidence, bins, scheme)
    count = np.bincount(index, minlength=bins)
    safe = np.maximum(count, 1)
    edges = np.concatenate([[0.0], _edges(confidence, bins, scheme), [1.0]])
    return {
        "lower": edges[:-1].tolist(),
        "upper": edges[1:].tolist(),
        "count": count.astype(float).tolist(),
        "confidence": (np.bincount(index, weights=confidence, minlength=bins) / safe).tolist(),
        "accuracy": (np.bincount(index, weights=right, minlength=bins) / safe).tolist(),
    }


def expected_calibration_error(
    probs: ArrayLike, labels: ArrayLike, bins: int = 15, scheme: Scheme = "width"
) -> float:
    """Return the gap between confidence and accuracy, averaged over clips (ECE).

    Args:
        probs: (N, K) rows sum to 1. labels: (N,) in 0..K-1. bins: number of bins over (0, 1].
        scheme: ``width`` for bins of equal width, ``mass`` for bins of equally many clips.

    Returns:
        A number in [0, 1]; 0 is perfectly calibrated.

    >>> expected_calibration_error([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    0.5
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    return confidence_gap(values.max(axis=1), values.argmax(axis=1) == truth, bins, scheme)


def classwise_calibration_error(
    probs: ArrayLike, labels: ArrayLike, bins: int = 15, scheme: Scheme = "width"
) -> FloatArray:
    """Return (K,) the gap between p(c) and the share of clips of class c, averaged over all clips.

    Their mean over all K classes is the classwise ECE (Kull et al. 2019). Unlike the ECE it looks at every
    probability and not at the highest one only.

    Args: as :func:`expected_calibration_error`.

    >>> classwise_calibration_error([[1.0, 0.0], [1.0, 0.0]], [0, 1]).tolist()
    [0.5, 0.5]
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    gaps = [confidence_gap(values[:, c], truth == c, bins, scheme) for c in range(values.shape[1])]
    return np.array(gaps)


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, *, bounds: tuple[float, float] = (0.05, 20.0)
) -> float:
    """Return the temperature that minimises the NLL of softmax(L / tau).

    The NLL is convex in 1/tau, so its slope crosses zero once; Newton's steps, kept between bounds that close
    in on it, cannot diverge or turn negative. Separable logits end at the lower bound, logits without
    information at the upper one, logits that are constant over the classes (every tau is as good) at 1.

    Args:
        logits: (N, K) finite. labels: (N,) in 0..K-1. bounds: smallest and largest tau.

    Raises:
        ScoresError: non-finite logits or labels out of range. SettingError: bounds out of order.
    """
    scores = check_scores(as_numbers(logits, "logits")[None], None)[0][0]
    truth = check_labels(labels, *scores.shape)
    low, high = float(bounds[0]), float(bounds[1])
    if not 0 < low < high < np.inf:
        raise SettingError(f"bounds: found {bounds}, wanted 0 < lowest < highest")
    centred = scores - scores.max(axis=1, keepdims=True)
    if not centred.any():
        return float(np.clip(1.0, low, high))
    target = centred[np.arange(len(centred)), truth].mean()
    powers = np.empty_like(centred)

    def slope(tau: float) -> tuple[float, float]:
        # d NLL / d(1/tau) = mean(E_p[L] - L_y) grows with 1/tau; its own slope is mean(Var_p[L]).
        np.exp(np.divide(centred, tau, out=powers), out=powers)
        total = powers.sum(axis=1)
        np.multiply(powers, centred, out=powers)
        mean = powers.sum(axis=1) / total
        square = np.einsum("nk,nk->n", powers, centred) / total
        return float(mean.mean() - target), float((square - mean * mean).mean())

    if slope(low)[0] <= 0:
        return low
    if slope(high)[0] >= 0:
        return high
    return _root_of_slope(slope, low, high)


def _root_of_slope(slope: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Return where a falling function of tau is 0: Newton's steps in log tau, halving where they go astray.

    Args:
        slope: its value, and what that value grows by for each unit of 1/tau. low, high: tau on both sides.
    """
    left, right = np.log(low), np.log(high)
    place, last = float(np.clip(0.0, left, right)), right - left
    for _ in range(_MOST_STEPS):
        tau = float(np.exp(place))
        value, growth = slope(tau)
        if value > 0:
            left = place
        else:
            right = place
        following = place + value * tau / growth if growth > 0 else np.inf
        if not left < following < right or abs(following - place) > last / 2:
            following = (left + right) / 2
        last = abs(following - place)
        place = float(following)
        if last < _CLOSE_ENOUGH:
            break
    return float(np.exp(place))
