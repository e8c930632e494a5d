"""The temperature-scaled soft vote of the paper (section 3.4, Eq. 2-3) and the record of its parameters.

Imports numpy and the contract; never a store, so that it serves any classification ensemble.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError, StoreError, UsageError
from mg_data.store.atomic import publish_json

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

FORMAT = "mg-fusion"
VERSION = 1


def softmax(logits: ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Return softmax(L / tau) over the last axis (paper Eq. 2), safe for large logits.

    Args:
        logits: (..., K), finite.
        temperature: tau > 0.

    >>> softmax([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """
    scaled = np.asarray(logits, dtype=np.float64)
    # The maximum is subtracted before the division: L / tau may overflow for a small tau, a
    # difference below 0 cannot.
    scaled = (scaled - scaled.max(axis=-1, keepdims=True)) / temperature
    exponent = np.exp(scaled)
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True), dtype=np.float64)


def check_scores(logits: ArrayLike, present: ArrayLike | None) -> tuple[FloatArray, BoolArray]:
    """Validate the scores of M models and return them with absent entries set to 0.

    Args:
        logits: (M, N, K), finite wherever ``present``.
        present: (M, N), True where the model answers; None means everywhere.

    Returns:
        (M, N, K) float64 and (M, N) bool.

    Raises:
        DataError: wrong shapes, or a non-finite score.
    """
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 3 or 0 in scores.shape[::2]:
        raise DataError(f"logits: found shape {scores.shape}, wanted (models, clips, classes)")
    if present is None:
        mask = np.ones(scores.shape[:2], dtype=np.bool_)
    else:
        mask = np.asarray(present).astype(np.bool_)
        if mask.shape != scores.shape[:2]:
            raise DataError(f"present: found shape {mask.shape}, wanted {scores.shape[:2]} (models, clips)")
    bad = ~np.isfinite(scores).all(axis=2) & mask
    if bad.any():
        model, clip = (int(index) for index in np.argwhere(bad)[0])
        raise DataError(
            f"logits: {int(bad.sum())} rows are not finite, the first is model {model}, clip row {clip}; "
            "mark missing answers in present and mend the rest"
        )
    if not mask.all():
        scores = np.where(mask[:, :, None], scores, 0.0)
    return scores, mask


def check_weights(weights: ArrayLike, models: int) -> FloatArray:
    """Return the weights scaled to sum 1.

    Args:
        weights: (M,), finite, none negative, at least one positive.

    Raises:
        UsageError: any of that does not hold.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (models,):
        raise UsageError(f"weights: found shape {values.shape}, wanted ({models},), one for each model")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise UsageError(f"weights: found {values.tolist()}, wanted finite values >= 0, one of them positive")
    return np.asarray(values / values.sum(), dtype=np.float64)


def check_temperature(temperature: float) -> float:
    """Return tau as a float.

    Raises:
        UsageError: it is not a finite number above 0.
    """
    value = float(temperature)
    if not np.isfinite(value) or value <= 0:
        raise UsageError(f"temperature: found {temperature}, wanted a finite number above 0")
    return value


def soft_vote(
    logits: ArrayLike, weights: ArrayLike, temperature: float, present: ArrayLike | None = None
) -> FloatArray:
    """Return the weighted mean of temperature-scaled probabilities (paper Eq. 2-3).

    P(c) = sum_m W_m softmax(L_m / tau)_c. Where a model is missing, the weights of those that answer are
    scaled to sum 1 for that clip. A model of weight 0 is left out, as if it were not given.

    Args:
        logits: (M, N, K) finite where present.
        weights: (M,) >= 0, not all 0; scaled to sum 1.
        temperature: tau > 0, one for all models.
        present: (M, N) bool, None if every model answers every clip.

    Returns:
        (N, K) float64, rows sum to 1.

    Raises:
        UsageError: weights or temperature out of range.
        DataError: wrong shapes, non-finite scores, or a clip that no model of positive weight answers.

    >>> soft_vote([[[0.0, 0.0]], [[9.0, 9.0]]], [1, 3], 2.5).tolist()
    [[0.5, 0.5]]
    """
    scores, mask = check_scores(logits, present)
    shares = check_weights(weights, len(scores))
    tau = check_temperature(temperature)
    total = np.zeros(scores.shape[1:])
    mass = np.zeros(scores.shape[1])
    for model in np.flatnonzero(shares):
        total += shares[model] * np.where(mask[model, :, None], softmax(scores[model], tau), 0.0)
        mass += shares[model] * mask[model]
    if (mass == 0).any():
        rows = np.flatnonzero(mass == 0)
        raise DataError(
            f"soft vote: {len(rows)} of {len(mass)} clips have no answer from a model of positive weight "
            f"(first rows {rows[:3].tolist()}); leave these clips out or give another model weight"
        )
    return np.asarray(total / mass[:, None], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SoftVote:
    """Fitted or chosen parameters of the soft vote; the content of ``fusion.json``.

    Args:
        temperature: tau, one for all models.
        weights: branch key -> W_m, in the order in which :meth:`predict_proba` takes arrays.
        class_names: K names, or empty if unknown.
        metric: what the search maximised, "" if the parameters were given.
        value: the metric at these parameters on the clips they were fitted on.
        search: settings tried, the region of equally good ones, interval, classes never seen.
        baselines: each model alone, the best of them, and the vote with equal weights, on the same clips.
        fitted_on: number and keys of the clips used, digests of the stores and labels.
        taint: what is known of models that have seen these clips, and an override in words.
    """

    temperature: float
    weights: Mapping[str, float]
    class_names: tuple[str, ...] = ()
    metric: str = ""
    value: float | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    taint: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(list(self.weights.values()), len(self.weights))

    def predict_proba(
        self, logits: ArrayLike | Mapping[str, ArrayLike], present: ArrayLike | None = None
    ) -> FloatArray:
        """Return (N, K) probabilities.

        Args:
            logits: (M, N, K) in the order of ``weights``, or branch key -> (N, K).
            present: (M, N) in the same order.

        Raises:
            UsageError: a branch key is missing or unknown.
            DataError: as :func:`soft_vote`.
        """
        if isinstance(logits, Mapping):
            wanted, found = set(self.weights), set(logits)
            if wanted != found:
                raise UsageError(
                    f"soft vote: found models {sorted(found)}, wanted {sorted(wanted)}: one array for each"
                )
            logits = np.stack([np.asarray(logits[key], dtype=np.float64) for key in self.weights])
        return soft_vote(logits, list(self.weights.values()), self.temperature, present)

    def weights_for(self, keys: Sequence[str], origin: str = "fusion parameters") -> FloatArray:
        """Return (M,) weights in the order of ``keys``.

        Args:
            keys: branch keys of the models at hand.
            origin: what an error names as the place these parameters come from.

        Raises:
            UsageError: a model has no weight here, or a model of positive weight is not at hand.
        """
        unknown = [key for key in keys if key not in self.weights]
        if unknown:
            raise UsageError(
                f"{origin}: no weight for {', '.join(unknown)}; it knows {', '.join(self.weights)}: "
                "fuse the branches it was fitted on, or fit again"
            )
        absent = [key for key, weight in self.weights.items() if weight > 0 and key not in keys]
        if absent:
            raise UsageError(
                f"{origin}: {', '.join(absent)} has positive weight, but no store of it was given; "
                "add the store or fit again"
            )
        return np.array([self.weights[key] for key in keys], dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of ``fusion.json``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "temperature": self.temperature,
            "weights": dict(self.weights),
            "class_names": list(self.class_names),
            "metric": self.metric,
            "value": self.value,
            "search": dict(self.search),
            "baselines": dict(self.baselines),
            "fitted_on": dict(self.fitted_on),
            "taint": dict(self.taint),
        }

    def save(self, path: str | Path) -> None:
        """Write the parameters as JSON, atomically."""
        publish_json(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> SoftVote:
        """Read what :meth:`save` wrote.

        Raises:
            StoreError: the file is missing, no such JSON, or of a newer version.
        """
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(path, f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise StoreError(
                path, "is not a JSON file", "give the fusion.json that mg fuse --fit wrote"
            ) from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise StoreError(
                path, f"is not fusion parameters: wanted format {FORMAT!r}", "give what mg fuse --fit wrote"
            )
        if value.get("version") != VERSION:
            raise StoreError(
                path,
                f"has version {value.get('version')}, this mg-fusion reads {VERSION}",
                "upgrade mg-fusion",
            )
        try:
            return cls(
                temperature=float(value["temperature"]),
                weights={str(key): float(weight) for key, weight in value["weights"].items()},
                class_names=tuple(value.get("class_names", ())),
                metric=value.get("metric", ""),
                value=value.get("value"),
                search=value.get("search", {}),
                baselines=value.get("baselines", {}),
                fitted_on=value.get("fitted_on", {}),
                taint=value.get("taint", {}),
            )
        except UsageError as error:
            raise StoreError(path, str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(path, f"lacks or garbles a field: {error}", "fit again") from error
