"""The temperature-scaled soft vote of the paper (section 3.4, Eq. 2-3) and the record of its parameters.

Imports numpy and the contract; never a store, so that it serves any classification ensemble.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import StoreError, UsageError
from mg_data.store import publish_json
from mg_fusion.errors import ScoresError, SettingError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

FORMAT = "mg-fusion"
VERSION = 1
# What holds a temperature for each model is of version 2, so that readers of version 1 do not overlook them.
VERSION_OF_SEVERAL = 2


# Elements of a block of rows that are worked on at a time: few enough to stay in the processor's cache.
_BLOCK_ELEMENTS = 65_536


def _row_blocks(rows: int, classes: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // classes)
    for begin in range(0, rows, step):
        yield slice(begin, begin + step)


def _softmax_by_class(scores: FloatArray, temperature: float) -> FloatArray:
    """Return (K, N) softmax(L / tau) of (N, K): sums down columns are several times as fast as along rows."""
    scaled = np.array(scores.T, dtype=np.float64, order="C")
    # The maximum is subtracted before the division: L / tau may overflow for a small tau, a
    # difference below 0 cannot.
    scaled -= scaled.max(axis=0)
    scaled /= temperature
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=0)
    return scaled


def softmax(logits: ArrayLike, temperature: float = 1.0) -> FloatArray:
    """Return softmax(L / tau) over the last axis (paper Eq. 2), safe for large logits.

    Args:
        logits: (..., K), finite.
        temperature: tau > 0.

    >>> softmax([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """
    scores = np.asarray(logits, dtype=np.float64)
    rows = scores.reshape(-1, scores.shape[-1])
    result = np.empty(rows.shape)
    for block in _row_blocks(len(rows), rows.shape[1]):
        result[block] = _softmax_by_class(rows[block], temperature).T
    return result.reshape(scores.shape)


def as_numbers(values: ArrayLike, what: str) -> FloatArray:
    """Return values as a float64 array.

    Args:
        what: how an error calls them.

    Raises:
        ScoresError: rows of different lengths, or something else than numbers.
    """
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScoresError(f"{what}: wanted numbers in rows of one length: {error}") from error


def stack_models(logits: Mapping[str, ArrayLike], keys: Sequence[str]) -> FloatArray:
    """Return (M, N, K) of one (N, K) array for each key.

    Raises:
        ScoresError: arrays of different shapes, or not of numbers.
    """
    arrays = [as_numbers(logits[key], f"logits of '{key}'") for key in keys]
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in zip(keys, arrays, strict=True))
        raise ScoresError(
            f"logits: found shapes {shapes}, wanted one (clips, classes): give each model a row a clip "
            "and mark missing answers in present"
        )
    return np.stack(arrays)


def check_scores(logits: ArrayLike, present: ArrayLike | None) -> tuple[FloatArray, BoolArray]:
    """Validate the scores of M models and return them with absent entries set to 0.

    Args:
        logits: (M, N, K), finite wherever ``present``.
        present: (M, N), True where the model answers; None means everywhere.

    Returns:
        (M, N, K) float64 and (M, N) bool.

    Raises:
        ScoresError: wrong shapes, or a non-finite score.
    """
    scores = as_numbers(logits, "logits")
    if scores.ndim != 3 or 0 in scores.shape[::2]:
        raise ScoresError(f"logits: found shape {scores.shape}, wanted (models, clips, classes)")
    if present is None:
        mask = np.ones(scores.shape[:2], dtype=np.bool_)
    else:
        try:
            mask = np.asarray(present).astype(np.bool_)
        except ValueError as error:
            raise ScoresError(f"present: wanted rows of one length, one for each model: {error}") from error
        if mask.shape != scores.shape[:2]:
            raise ScoresError(f"present: found shape {mask.shape}, wanted {scores.shape[:2]} (models, clips)")
    whole = bool(mask.all())
    if whole and np.isfinite(scores).all():
        return scores, mask
    bad = ~np.isfinite(scores).all(axis=2) & mask
    if bad.any():
        model, clip = (int(index) for index in np.argwhere(bad)[0])
        raise ScoresError(
            f"logits: {int(bad.sum())} rows are not finite, the first is model {model}, clip row {clip}; "
            "mark missing answers in present and mend the rest"
        )
    if not whole:
        scores = np.where(mask[:, :, None], scores, 0.0)
    return scores, mask


def _setting(value: ArrayLike, name: str) -> FloatArray:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise SettingError(f"{name}: found {value!r}, wanted numbers") from None


def check_weights(weights: ArrayLike, models: int) -> FloatArray:
    """Return the weights scaled to sum 1.

    Args:
        weights: (M,), finite, none negative, at least one positive.

    Raises:
        SettingError: any of that does not hold.
    """
    values = _setting(weights, "weights")
    if values.shape != (models,):
        raise SettingError(f"weights: found shape {values.shape}, wanted ({models},), one for each model")
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise SettingError(
            f"weights: found {values.tolist()}, wanted finite values >= 0, one of them positive"
        )
    with np.errstate(over="ignore"):
        total = values.sum()
    if total == np.inf:  # finite all the same: only their shares count
        return check_weights(values / values.max(), models)
    return np.asarray(values / total, dtype=np.float64)


def check_temperature(temperature: float) -> float:
    """Return tau as a float.

    Raises:
        SettingError: it is not a finite number above 0.
    """
    values = _setting(temperature, "temperature")
    value = float(values) if values.ndim == 0 else float("nan")
    if not np.isfinite(value) or value <= 0:
        raise SettingError(f"temperature: found {temperature}, wanted a finite number above 0")
    return value


def check_temperatures(temperature: ArrayLike, models: int) -> FloatArray:
    """Return (M,) temperatures of one for all models or of one for each.

    Raises:
        SettingError: another number of them, or one that is not a finite number above 0.
    """
    values = _setting(temperature, "temperature")
    if values.ndim == 0:
        return np.full(models, check_temperature(float(values)))
    if values.shape != (models,):
        raise SettingError(
            f"temperature: found shape {values.shape}, wanted one number, or ({models},): one for each model"
        )
    return np.array([check_temperature(value) for value in values.tolist()])


def soft_vote(
    logits: ArrayLike, weights: ArrayLike, temperature: ArrayLike, present: ArrayLike | None = None
) -> FloatArray:
    """Return the weighted mean of temperature-scaled probabilities (paper Eq. 2-3).

    P(c) = sum_m W_m softmax(L_m / tau)_c. Where a model is missing, the weights of those that answer are
    scaled to sum 1 for that clip. A model of weight 0 is left out, as if it were not given.

    Args:
        logits: (M, N, K) finite where present.
        weights: (M,) >= 0, not all 0; scaled to sum 1.
        temperature: tau > 0, one for all models, or (M,) one for each.
        present: (M, N) bool, None if every model answers every clip.

    Returns:
        (N, K) float64, rows sum to 1.

    Raises:
        SettingError: weights or temperature out of range.
        ScoresError: wrong shapes, non-finite scores, or a clip that no model of positive weight answers.

    >>> soft_vote([[[0.0, 0.0]], [[9.0, 9.0]]], [1, 3], 2.5).tolist()
    [[0.5, 0.5]]
    """
    scores, mask = check_scores(logits, present)
    shares = check_weights(weights, len(scores))
    tau = check_temperatures(temperature, len(scores))
    voting = np.flatnonzero(shares)
    # Added model by model and not as a product: leaving out a model of weight 0 must change no bit.
    mass = np.zeros(scores.shape[1])
    for model in voting:
        mass += shares[model] * mask[model]
    if (mass == 0).any():
        rows = np.flatnonzero(mass == 0)
        raise ScoresError(
            f"soft vote: {len(rows)} of {len(mass)} clips have no answer from a model of positive weight "
            f"(first rows {rows[:3].tolist()}); leave these clips out or give another model weight"
        )
    result = np.empty(scores.shape[1:])
    for block in _row_blocks(len(result), scores.shape[2]):
        total = np.zeros(result[block].shape[::-1])
        for model in voting:
            probs = _softmax_by_class(scores[model, block], tau[model])
            probs *= shares[model] * mask[model, block]
            total += probs
        total /= mass[block]
        result[block] = total.T
    return result


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
        model_temperatures: branch key -> what the model's logits are divided by besides tau; empty: by tau
            alone.

    >>> vote = SoftVote(temperature=2.5, weights={"joint": 3, "rgb": 1})
    >>> vote.predict_proba({"rgb": [[9.0, 9.0]], "joint": [[0.0, 0.0]]}).tolist()
    [[0.5, 0.5]]
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
    model_temperatures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(list(self.weights.values()), len(self.weights))
        if self.model_temperatures and set(self.model_temperatures) != set(self.weights):
            raise SettingError(
                f"model temperatures: found {sorted(self.model_temperatures)}, wanted one for each of "
                f"{sorted(self.weights)}"
            )
        check_temperatures([*self.model_temperatures.values()], len(self.model_temperatures))

    def predict_proba(
        self, logits: ArrayLike | Mapping[str, ArrayLike], present: ArrayLike | None = None
    ) -> FloatArray:
        """Return (N, K) probabilities.

        Args:
            logits: (M, N, K) in the order of ``weights``, or branch key -> (N, K).
            present: (M, N) in the same order.

        Raises:
            SettingError: a branch key is missing or unknown.
            ScoresError: as :func:`soft_vote`.
        """
        if isinstance(logits, Mapping):
            wanted, found = set(self.weights), set(logits)
            if wanted != found:
                raise SettingError(
                    f"soft vote: found models {sorted(found)}, wanted {sorted(wanted)}: one array for each"
                )
            logits = stack_models(logits, [*self.weights])
        return soft_vote(logits, list(self.weights.values()), self.temperatures_for([*self.weights]), present)

    def temperatures_for(self, keys: Sequence[str]) -> FloatArray:
        """Return (M,) what the logits of the models ``keys`` are divided by: tau, times the model's own."""
        return np.array([self.temperature * self.model_temperatures.get(key, 1.0) for key in keys])

    def weights_for(self, keys: Sequence[str], origin: str = "fusion parameters") -> FloatArray:
        """Return (M,) weights in the order of ``keys``.

        Args:
            keys: branch keys of the models at hand.
            origin: what an error names as the place these parameters come from.

        Raises:
            SettingError: a model has no weight here, or a model of positive weight is not at hand.
        """
        unknown = [key for key in keys if key not in self.weights]
        if unknown:
            raise SettingError(
                f"{origin}: no weight for {', '.join(unknown)}; it knows {', '.join(self.weights)}: "
                "fuse the branches it was fitted on, or fit again"
            )
        absent = [key for key, weight in self.weights.items() if weight > 0 and key not in keys]
        if absent:
            raise SettingError(
                f"{origin}: {', '.join(absent)} has positive weight, but no store of it was given; "
                "add the store or fit again"
            )
        return np.array([self.weights[key] for key in keys], dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of ``fusion.json``."""
        own = {"model_temperatures": dict(self.model_temperatures)} if self.model_temperatures else {}
        return {
            "format": FORMAT,
            "version": VERSION_OF_SEVERAL if own else VERSION,
            "temperature": self.temperature,
            **own,
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
        except (ValueError, RecursionError) as error:
            raise StoreError(
                path, "is not a JSON file", "give the fusion.json that mg fuse --fit wrote"
            ) from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise StoreError(
                path, f"is not fusion parameters: wanted format {FORMAT!r}", "give what mg fuse --fit wrote"
            )
        if value.get("version") not in (VERSION, VERSION_OF_SEVERAL):
            raise StoreError(
                path,
                f"has version {value.get('version')}, this mg-fusion reads {VERSION} to {VERSION_OF_SEVERAL}",
                "upgrade mg-fusion",
            )
        tables = ("search", "baselines", "fitted_on", "taint", "model_temperatures")
        names = value.get("class_names", [])
        wrong = next((name for name in tables if not isinstance(value.get(name, {}), dict)), "")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            wrong = "class_names"
        if wrong:
            raise StoreError(path, f"lacks or garbles a field: {wrong}", "fit again")
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
                model_temperatures={
                    str(key): float(tau) for key, tau in value.get("model_temperatures", {}).items()
                },
            )
        except UsageError as error:
            raise StoreError(path, str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StoreError(path, f"lacks or garbles a field: {error}", "fit again") from error
