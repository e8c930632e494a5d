"""Calibration of one model: maps from its logits to probabilities that mean what they say.

Logit maps (softmax of a transformed L), fitted by the likelihood:

- ``temperature``: L / tau. One parameter; never changes the answer.
- ``matrix-diagonal``: w ∘ L, a scale for each class and no bias: matrix scaling with a diagonal matrix. It
  can trust a class's evidence more or less but cannot move the share of the classes.
- ``vector``: w ∘ L + b (Guo et al. 2017): the same with a bias for each class, so it also mends class shares.
- ``matrix``: W L + b with everything off the diagonal shrunk towards 0 (Kull et al. 2019).

The last three are drawn towards the fitted temperature by a Gaussian of precision ``shrinkage`` around
(1 / tau, 0), without which a class that is separable or has no clip would run off to infinity. L is centred
for each clip first, as adding a number to all logits of a clip says nothing.

Probability maps, each class against the rest, then scaled to sum 1:

- ``isotonic``: the non-decreasing step curve of least squares, by pooling adjacent violators.
- ``histogram``: the share of clips of the class in each of ``bins`` bins of equal width; an empty bin says
  its middle. Classes of one bin tie, so it may cost accuracy.

Imports numpy and the contract, never a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import StoreError
from mg_data.store import publish_json
from mg_fusion.calibration import check_labels, fit_temperature
from mg_fusion.checks import fitted_array, positive, whole
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.minimise import fit_linear, minimise
from mg_fusion.tagged_json import read_tagged, tagged
from mg_fusion.vote import BoolArray, FloatArray, as_numbers, check_scores, check_temperature, softmax

CalibrationMethod = Literal["temperature", "vector", "matrix-diagonal", "matrix", "isotonic", "histogram"]
METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)
FORMAT = "mg-calibration"
VERSION = 1


def isotonic_fit(values: FloatArray, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the corners (x, y) of the non-decreasing curve closest to the targets (least squares).

    Clips of equal value count as one with the mean target. Between corners the curve is a straight line,
    beyond them constant.

    Args:
        values, targets: (N,), at least one.

    >>> x, y = isotonic_fit(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    >>> y.tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    x, place, count = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.bincount(place, weights=targets) / count
    # Pool adjacent violators: a stack of blocks (sum, weight, first index) whose means rise.
    sums: list[float] = []
    weights: list[int] = []
    starts: list[int] = []
    for index, (total, weight) in enumerate(zip((mean * count).tolist(), count.tolist(), strict=True)):
        start = index
        while sums and sums[-1] * weight >= total * weights[-1]:
            total, weight, start = total + sums.pop(), weight + weights.pop(), starts.pop()
        sums.append(total)
        weights.append(weight)
        starts.append(start)
    ends = [*starts[1:], len(x)]
    y = np.empty(len(x))
    for total, weight, start, end in zip(sums, weights, starts, ends, strict=True):
        y[start:end] = total / weight
    # Inside a block only its ends matter.
    keep = np.ones(len(x), dtype=np.bool_)
    keep[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
    return x[keep], y[keep]


def _centred(logits: ArrayLike) -> FloatArray:
    scores = check_scores(as_numbers(logits, "logits")[None], None)[0][0]
    return np.asarray(scores - scores.mean(axis=1, keepdims=True))


def _normalised(values: FloatArray, possible: BoolArray) -> FloatArray:
    """Scale rows to sum 1; a row of zeros knows nothing but the (K,) classes that are possible."""
    total = values.sum(axis=1, keepdims=True)
    even = possible / possible.sum() if possible.any() else 1 / values.shape[1]
    return np.asarray(np.where(total > 0, values / np.where(total > 0, total, 1), even))


def _scale(
    scores: FloatArray, truth: NDArray[np.int64], tau: float, strength: float, *, bias: bool
) -> dict[str, Any]:
    """Fit w and b of softmax(w ∘ L + b)."""
    rows, classes = scores.shape
    index = np.arange(rows)
    hot = np.zeros_like(scores)
    hot[index, truth] = 1

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        scale, shift = flat[:classes], flat[classes:]
        moved = scores * scale + (shift if bias else 0.0)
        moved -= moved.max(axis=1, keepdims=True)
        exponent = np.exp(moved)
        total = exponent.sum(axis=1)
        wrong = exponent / total[:, None] - hot
        value = float((np.log(total) - moved[index, truth]).sum())
        value += strength / 2 * float(((scale - 1 / tau) ** 2).sum() + (shift**2).sum())
        slope = (wrong * scores).sum(axis=0) + strength * (scale - 1 / tau)
        return value, np.concatenate([slope, wrong.sum(axis=0) + strength * shift] if bias else [slope])

    start = np.full(classes, 1 / tau)
    best = minimise(objective, np.concatenate([start, np.zeros(classes)]) if bias else start)
    return {"scale": best[:classes].tolist(), **({"bias": best[classes:].tolist()} if bias else {})}


def _histogram(probs: FloatArray, truth: NDArray[np.int64], bins: int) -> dict[str, Any]:
    inner = np.arange(1, bins) / bins
    middle = (np.arange(bins) + 0.5) / bins
    levels = []
    for c in range(probs.shape[1]):
        index = np.searchsorted(inner, probs[:, c], side="left")
        count = np.bincount(index, minlength=bins)
        hits = np.bincount(index, weights=truth == c, minlength=bins)
        levels.append(np.where(count > 0, hits / np.maximum(count, 1), middle).tolist())
    return {"edges": [inner.tolist()] * probs.shape[1], "levels": levels}


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """A fitted calibration of one model; the content of a calibration's JSON file.

    Args:
        method: one of :data:`METHODS`. classes: K.
        fitted: its parameters. options: what the fit was asked for.
        model: key of the model, "" if unknown. class_names: K names, or empty.
        before, after: metrics on the fit clips. cross_fitted: of clips left out of the fit, by group.
        fitted_on, taint: as in :class:`mg_fusion.vote.SoftVote`.
    """

    method: str
    classes: int
    fitted: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    class_names: tuple[str, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    cross_fitted: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    taint: Mapping[str, Any] = field(default_factory=dict)

    def predict_proba(self, logits: ArrayLike) -> FloatArray:
        """Return (N, K) calibrated probabilities of (N, K) logits.

        Raises:
            ScoresError: another number of classes, non-finite logits, parameters that are none.
        """
        scores = _centred(logits)
        classes = scores.shape[1]
        if classes != self.classes:
            raise ScoresError(f"calibration: found {classes} classes, wanted {self.classes}; fit again")
        name = f"calibration {self.method}"
        if self.method == "temperature":
            return softmax(scores, check_temperature(float(fitted_array(self.fitted, "tau", (), name))))
        if self.method in ("vector", "matrix-diagonal"):
            scale = fitted_array(self.fitted, "scale", (classes,), name)
            bias = fitted_array(self.fitted, "bias", (classes,), name) if self.method == "vector" else 0.0
            return softmax(scores * scale + bias)
        if self.method == "matrix":
            matrix = fitted_array(self.fitted, "matrix", (classes, classes), name)
            return softmax(scores @ matrix.T + fitted_array(self.fitted, "bias", (classes,), name))
        if self.method not in ("isotonic", "histogram"):
            raise SettingError(f"calibration: no method '{self.method}', there are: {', '.join(METHODS)}")
        first, second = ("x", "y") if self.method == "isotonic" else ("edges", "levels")
        probs = softmax(scores)
        result, possible = np.empty_like(probs), np.zeros(classes, dtype=np.bool_)
        for c in range(classes):
            a, b = self._curve(first, second, c, name)
            possible[c] = (b > 0).any()
            column = probs[:, c]
            result[:, c] = (
                np.interp(column, a, b)
                if self.method == "isotonic"
                else b[np.searchsorted(a, column, side="left")]
            )
        return _normalised(result, possible)

    def _curve(self, first: str, second: str, c: int, name: str) -> tuple[FloatArray, FloatArray]:
        tables = [self.fitted.get(first), self.fitted.get(second)]
        if not all(isinstance(table, list) and len(table) == self.classes for table in tables):
            raise ScoresError(f"{name}: fitted '{first}' and '{second}' are not one list a class; fit again")
        a = fitted_array({first: tables[0][c]}, first, (-1,), name)  # type: ignore[index]
        extra = 1 if first == "edges" else 0
        b = fitted_array({second: tables[1][c]}, second, (len(a) + extra,), name)  # type: ignore[index]
        if not len(b) or (np.diff(a) <= 0).any() or (b < 0).any():
            raise ScoresError(f"{name}: fitted '{first}' do not rise or '{second}' are negative; fit again")
        return a, b

    @property
    def parameters(self) -> int:
        """How many numbers were fitted."""

        def count(value: Any) -> int:
            return sum(count(item) for item in value) if isinstance(value, list) else 1

        return sum(count(value) for value in self.fitted.values())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that :meth:`save` writes."""
        return tagged(self, FORMAT, VERSION)

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON, atomically."""
        publish_json(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Calibrator:
        """Read what :meth:`save` wrote.

        Raises:
            StoreError: the file is missing, no such JSON, or of a newer version.
        """
        value = read_tagged(path, FORMAT, VERSION, "calibration", "give what mg calibrate --fit wrote")
        tables = ("fitted", "options", "before", "after", "cross_fitted", "fitted_on", "taint")
        names = value.get("class_names")
        sound = (
            value.get("method") in METHODS
            and isinstance(value.get("classes"), int)
            and isinstance(value.get("model"), str)
            and isinstance(names, list)
            and all(isinstance(name, str) for name in names)
            and all(isinstance(value.get(name), dict) for name in tables)
        )
        if not sound:
            raise StoreError(path, "lacks or garbles a field", "fit again")
        return cls(
            method=value["method"],
            classes=value["classes"],
            model=value["model"],
            class_names=tuple(value["class_names"]),
            **{name: value[name] for name in tables},
        )


def fit_calibrator(
    logits: ArrayLike,
    labels: ArrayLike,
    method: CalibrationMethod = "temperature",
    *,
    shrinkage: float = 1.0,
    bins: int = 15,
) -> Calibrator:
    """Fit a calibration of one model on labelled clips.

    Args:
        logits: (N, K) finite. labels: (N,) in 0..K-1.
        method: ``temperature`` (one number, never changes an answer), ``matrix-diagonal`` (a scale for each
            class), ``vector`` (and a bias), ``matrix`` (and what one class says of another), ``isotonic``,
            ``histogram`` (each class against the rest).
        shrinkage: of vector, matrix-diagonal and matrix, above 0. bins: of histogram, at least 1.

    Raises:
        SettingError: a setting out of range. ScoresError: non-finite logits or labels out of range.

    >>> fit_calibrator([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], [0, 1, 1]).predict_proba([[2.0, 0.0]]).round(2)
    array([[0.67, 0.33]])
    """
    scores = _centred(logits)
    truth = check_labels(labels, *scores.shape)
    strength, count = positive(shrinkage, "shrinkage"), whole(bins, "bins", 1)
    classes = scores.shape[1]
    options: dict[str, Any] = {}
    fitted: dict[str, Any]
    if method == "temperature":
        fitted = {"tau": fit_temperature(scores, truth)}
    elif method in ("vector", "matrix-diagonal", "matrix"):
        options = {"shrinkage": strength}
        tau = fit_temperature(scores, truth)
        if method == "matrix":
            start = (np.eye(classes) / tau, np.zeros(classes))
            matrix, bias = fit_linear(
                scores, truth, classes=classes, ridge=strength, ridge_bias=strength, start=start
            )
            fitted = {"matrix": matrix.tolist(), "bias": bias.tolist()}
        else:
            fitted = _scale(scores, truth, tau, strength, bias=method == "vector")
    elif method == "isotonic":
        probs = softmax(scores)
        curves = [isotonic_fit(probs[:, c], (truth == c).astype(np.float64)) for c in range(classes)]
        fitted = {"x": [x.tolist() for x, _ in curves], "y": [y.tolist() for _, y in curves]}
    elif method == "histogram":
        options = {"bins": count}
        fitted = _histogram(softmax(scores), truth, count)
    else:
        raise SettingError(f"calibration: no method '{method}', there are: {', '.join(METHODS)}")
    return Calibrator(method=method, classes=classes, fitted=fitted, options=options)
