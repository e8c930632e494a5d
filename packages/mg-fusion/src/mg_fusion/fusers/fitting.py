"""Fitted fusers: parameters found on labelled clips, measured on other clips, kept as JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import FuserSpec, PluginError, StoreError
from mg_data.store import publish_json
from mg_fusion.calibration import check_labels
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.folds import group_folds
from mg_fusion.metrics import classification_metrics
from mg_fusion.tagged_json import read_tagged, tagged
from mg_fusion.vote import BoolArray, FloatArray, check_scores, soft_vote, stack_models

FORMAT = "mg-fuser"
VERSION = 1


def find_fuser(name: str) -> FuserSpec:
    """Return the record of a registered fuser.

    Raises:
        PluginError: no such fuser, naming the nearest.
    """
    from mg_data.plugins import registry

    spec: FuserSpec = registry().get("fusers", name)
    return spec


def run_fuser(
    name: str, logits: FloatArray, present: BoolArray, options: Mapping[str, Any] | None = None
) -> FloatArray:
    """Run a registered fuser and hold it to its contract: (N, K), finite, rows that sum to 1.

    Raises:
        SettingError: an option it does not know.
        PluginError: an unknown fuser, or one that breaks its contract.
    """
    from mg_data.plugins import resolve

    factory = resolve(find_fuser(name).factory)
    check_options(f"fuser '{name}'", factory, options or {})
    probs = np.asarray(factory(logits, present, **(options or {})), dtype=np.float64)
    wanted = logits.shape[1:]
    if probs.shape != wanted:
        raise PluginError(f"fuser '{name}': returned shape {probs.shape}, wanted {wanted} (clips, classes)")
    if (
        not np.isfinite(probs).all()
        or (probs < 0).any()
        or np.abs(probs.sum(axis=1) - 1).max(initial=0) > 1e-5
    ):
        raise PluginError(
            f"fuser '{name}': returned rows that are no probabilities (negative, NaN, or sum not 1)"
        )
    return probs


def check_options(what: str, function: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that a fuser or its fit does not have.

    Raises:
        SettingError: naming the option and those there are.
    """
    known = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise SettingError(f"{what}: no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")


def _measured(probs: FloatArray, labels: NDArray[np.int64]) -> dict[str, float]:
    found = classification_metrics(probs, labels)
    return {name: getattr(found, name) for name in ("accuracy", "macro_f1", "nll", "ece")}


@dataclass(frozen=True, kw_only=True)
class FittedFuser:
    """A fuser with its fitted parameters; the content of the ``fusion.json`` of such a fit.

    Args:
        fuser: registered name. models: keys, in the order in which :meth:`predict_proba` takes arrays.
        fitted: what the fuser's fit returned. options: what the fit was asked for.
        in_sample: metrics on the clips fitted on: too good. cross_fitted: the same metrics where each clip is
            answered by parameters that were found without its group, and ``folds``; empty if not asked for.
        baselines: metrics of the equal-weight vote at tau 1, and each model's accuracy, on the same clips.
        fitted_on, taint: as in :class:`mg_fusion.vote.SoftVote`.
    """

    fuser: str
    models: tuple[str, ...]
    fitted: Mapping[str, Any]
    class_names: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    in_sample: Mapping[str, Any] = field(default_factory=dict)
    cross_fitted: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, Any] = field(default_factory=dict)
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    taint: Mapping[str, Any] = field(default_factory=dict)

    def predict_proba(
        self, logits: ArrayLike | Mapping[str, ArrayLike], present: ArrayLike | None = None
    ) -> FloatArray:
        """Return (N, K) probabilities of (M, N, K) logits in the order of ``models``, or key -> (N, K).

        Raises:
            SettingError: other models. ScoresError: wrong shapes, or parameters that do not fit them.
        """
        if isinstance(logits, Mapping):
            self.check_models(list(logits))
            logits = stack_models(logits, self.models)
        scores, mask = check_scores(logits, present)
        if len(scores) != len(self.models):
            raise SettingError(
                f"fuser '{self.fuser}': found {len(scores)} models, wanted {', '.join(self.models)}"
            )
        return run_fuser(self.fuser, scores, mask, {"fitted": self.fitted})

    def check_models(self, keys: Sequence[str], origin: str = "fuser") -> None:
        """Refuse any other set of models than the fitted one.

        Raises:
            SettingError: naming both.
        """
        if sorted(keys) != sorted(self.models):
            raise SettingError(
                f"{origin}: found models {', '.join(keys)}, '{self.fuser}' was fitted on "
                f"{', '.join(self.models)}: give just these, or fit again"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that :meth:`save` writes."""
        return tagged(self, FORMAT, VERSION)

    def save(self, path: str | Path) -> None:
        """Write the parameters as JSON, atomically."""
        publish_json(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> FittedFuser:
        """Read what :meth:`save` wrote.

        Raises:
            StoreError: the file is missing, no such JSON, or of a newer version.
        """
        value = read_tagged(path, FORMAT, VERSION, "fitted fuser", "give what mg fuse --fit wrote")
        tables = ("fitted", "options", "in_sample", "cross_fitted", "baselines", "fitted_on", "taint")
        lists = ("models", "class_names")
        sound = isinstance(value.get("fuser"), str) and all(
            isinstance(value.get(name), dict) for name in tables
        )
        if not sound or not all(
            isinstance(value.get(name), list) and all(isinstance(item, str) for item in value[name])
            for name in lists
        ):
            raise StoreError(path, "lacks or garbles a field", "fit again")
        return cls(
            fuser=value["fuser"],
            models=tuple(value["models"]),
            class_names=tuple(value["class_names"]),
            **{name: value[name] for name in tables},
        )


def is_fitted_fuser(path: str | Path) -> bool:
    """Return whether a file is the JSON of a fitted fuser; False for anything else, unreadable or not."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("format") == FORMAT


def fit_fuser(
    fuser: str,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    present: ArrayLike | None = None,
    models: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    groups: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> FittedFuser:
    """Fit a registered fuser on labelled clips, and once more for each fold to measure it honestly.

    Args:
        fuser: name of a fuser whose record has a ``fit``.
        logits: (M, N, K), finite where present. labels: (N,) in 0..K-1. present: (M, N).
        models: M keys, default "0", "1" ... class_names: K names to keep.
        groups: (N,) video or subject of each clip: a group is never on both sides of a fold.
        folds: 0 or 1 leaves the cross-fitting out. seed: deals the groups to folds.
        options: of the fit.

    Raises:
        SettingError: a fuser that is not fitted, an option out of range.
        ScoresError: shapes, labels out of range, class names of another number.
    """
    from mg_data.plugins import resolve

    scores, mask = check_scores(logits, present)
    truth = check_labels(labels, *scores.shape[1:])
    keys = [str(index) for index in range(len(scores))] if models is None else [str(key) for key in models]
    if len(keys) != len(scores) or len(set(keys)) != len(keys):
        raise SettingError(f"models: found keys {keys}, wanted {len(scores)} different ones")
    if class_names and len(class_names) != scores.shape[2]:
        raise ScoresError(f"class names: found {len(class_names)}, wanted {scores.shape[2]}")
    spec = find_fuser(fuser)
    if not spec.fit:
        raise SettingError(f"fuser '{fuser}' has nothing to fit; use it without --fit")
    fit = resolve(spec.fit)
    chosen = dict(options or {})
    check_options(f"fit of fuser '{fuser}'", fit, chosen)

    def run(rows: NDArray[np.int64]) -> Mapping[str, Any]:
        fitted = fit(scores[:, rows], truth[rows], mask[:, rows], **chosen)
        if not isinstance(fitted, Mapping):
            raise PluginError(f"fuser '{fuser}': its fit returned {type(fitted).__name__}, wanted a table")
        return fitted

    everything = np.arange(len(truth))
    fitted = run(everything)
    fold = group_folds(truth, groups, folds, seed)
    crossed: dict[str, Any] = {}
    if fold is not None:
        probs = np.empty(scores.shape[1:])
        for number in range(int(fold.max()) + 1):
            out = np.flatnonzero(fold == number)
            part = run(np.flatnonzero(fold != number))
            probs[out] = run_fuser(fuser, scores[:, out], mask[:, out], {"fitted": part})
        crossed = {**_measured(probs, truth), "folds": int(fold.max()) + 1, "seed": seed}
    equal = soft_vote(scores, np.ones(len(scores)), 1.0, mask)
    right = [
        float((values.argmax(axis=1) == truth)[known].mean()) if known.any() else None
        for values, known in zip(scores, mask, strict=True)
    ]
    return FittedFuser(
        fuser=fuser,
        models=tuple(keys),
        fitted=fitted,
        class_names=tuple(class_names),
        options=chosen,
        in_sample=_measured(run_fuser(fuser, scores, mask, {"fitted": fitted}), truth),
        cross_fitted=crossed,
        baselines={
            "models": dict(zip(keys, right, strict=True)),
            "equal_weight": {"temperature": 1.0, **_measured(equal, truth)},
        },
    )


__all__ = ["FORMAT", "FittedFuser", "find_fuser", "fit_fuser", "is_fitted_fuser", "run_fuser"]
