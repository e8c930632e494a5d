"""Logit stores joined by clip id and fused. The order of rows in a file is never trusted."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import PluginError, StoreError
from mg_data.store import LogitsHeader, Provenance, Taint, read_logits, write_probs
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.tainted import keys_fitted_on
from mg_fusion.vote import BoolArray, FloatArray, SoftVote, check_temperature, check_weights

Missing = Literal["error", "allow"]


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedScores:
    """Scores of M models on the same N clips: models sorted by key, clips by id.

    Args:
        keys, paths, digests, taints: one for each model.
        clip_ids: (N,). logits: (M, N, K) float64, 0 where absent. present: (M, N).
        labels: (N,) int64, -1 = unknown, or None if no store carries labels.
    """

    keys: tuple[str, ...]
    paths: tuple[Path, ...]
    digests: tuple[str, ...]
    taints: tuple[Taint, ...]
    clip_ids: NDArray[np.str_]
    logits: FloatArray
    present: BoolArray
    class_names: tuple[str, ...]
    dataset: str
    vocabulary: str
    labels: NDArray[np.int64] | None

    @property
    def inputs(self) -> dict[str, str]:
        """Key -> content digest of its store."""
        return dict(zip(self.keys, self.digests, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class FusedScores:
    """Result of :func:`fuse_stores`.

    Args:
        clip_ids: (N,) sorted. probs: (N, K) float64, rows sum to 1.
        weights: key -> weight, as used. temperature: tau, as used. fuser: name.
        taint: what the models, and whoever fitted the parameters, have seen.
        inputs: key -> digest. answered: key -> number of clips it answers.
    """

    clip_ids: NDArray[np.str_]
    probs: FloatArray
    class_names: tuple[str, ...]
    dataset: str
    vocabulary: str
    weights: Mapping[str, float]
    temperature: float
    fuser: str
    taint: Taint
    inputs: Mapping[str, str]
    answered: Mapping[str, int]

    @property
    def clips(self) -> int:
        """N."""
        return len(self.clip_ids)

    def write(self, path: str | Path, *, command: str = "", config: Mapping[str, Any] | None = None) -> str:
        """Write a probs store and return its digest."""
        settings = {"fuser": self.fuser, "temperature": self.temperature, "weights": dict(self.weights)}
        return write_probs(
            path,
            clip_ids=self.clip_ids,
            values=self.probs,
            class_names=self.class_names,
            taint=self.taint,
            dataset=self.dataset,
            vocabulary=self.vocabulary,
            provenance=Provenance(command=command, config={**settings, **(config or {})}, inputs=self.inputs),
        )


def some(clip_ids: NDArray[np.str_] | NDArray[np.bytes_]) -> str:
    """Return the first three ids for a message."""
    first = [clip.decode("utf-8") if isinstance(clip, bytes) else str(clip) for clip in clip_ids[:3]]
    names = ", ".join(f"'{clip}'" for clip in first)
    return f"{names}, ..." if len(clip_ids) > 3 else names


def check_keys(stores: Sequence[LogitsHeader]) -> None:
    """Raise StoreError if two stores are one model."""
    seen: dict[str, LogitsHeader] = {}
    for store in stores:
        if store.key in seen:
            raise StoreError(
                store.path,
                f"is model '{store.key}', and so is {seen[store.key].path}",
                "give each store once; two of one model need a branch name each when they are written",
            )
        seen[store.key] = store


def check_classes(stores: Sequence[LogitsHeader]) -> None:
    """Raise StoreError unless all stores list the same classes."""
    first = stores[0]
    for store in stores[1:]:
        if store.class_names == first.class_names:
            continue
        if len(store.class_names) != len(first.class_names):
            reason = f"has {len(store.class_names)} classes, {first.path} has {len(first.class_names)}"
        else:
            index = next(
                i for i, pair in enumerate(zip(store.class_names, first.class_names)) if pair[0] != pair[1]
            )
            reason = (
                f"class {index} is '{store.class_names[index]}', "
                f"but '{first.class_names[index]}' in {first.path}"
            )
        raise StoreError(store.path, reason, "stores with unequal class lists are not fused")


def shared(stores: Sequence[LogitsHeader], what: Literal["dataset", "vocabulary"]) -> str:
    """Return the one name the stores agree on; a store that says nothing agrees with all."""
    named = [(getattr(store, what), store) for store in stores if getattr(store, what)]
    for name, store in named[1:]:
        if name != named[0][0]:
            raise StoreError(
                store.path,
                f"is of {what} '{name}', but {named[0][1].path} is of '{named[0][0]}'",
                f"fuse stores of one {what}",
            )
    return named[0][0] if named else ""


def check_ids(
    stores: Sequence[LogitsHeader], clip_ids: NDArray[np.str_] | NDArray[np.bytes_], present: BoolArray
) -> None:
    """Raise StoreError for the store that differs most from the others in its clips."""
    if present.all():
        return
    alone = present & (present.sum(axis=0) == 1)
    odd = [int((~present[m]).sum() + alone[m].sum()) for m in range(len(stores))]
    worst = len(odd) - 1 - int(np.argmax(odd[::-1]))
    lacking, own = clip_ids[~present[worst]], clip_ids[alone[worst]]
    reason = f"lacks {len(lacking)} of {len(clip_ids)} clips: {some(lacking)}" if len(lacking) else ""
    if len(own):
        has = f"has {len(own)} that no other store has: {some(own)}"
        reason = f"{reason}; and it {has}" if reason else has
    raise StoreError(
        stores[worst].path,
        reason,
        "clips are joined by their exact id; mend the ids, or let --missing allow fuse what is there",
    )


def check_request(paths: Sequence[str | Path], missing: Missing) -> None:
    """Raise SettingError for one path in place of a list, for no path, and for an unknown ``missing``."""
    if isinstance(paths, str | os.PathLike):
        raise SettingError(f"fuse: found the path '{paths}', wanted a list of paths")
    if not paths:
        raise SettingError("fuse: no logit store was given")
    if missing not in ("error", "allow"):
        raise SettingError(f"missing: found {missing!r}, wanted 'error' or 'allow'")


def join_stores(paths: Sequence[str | Path], *, missing: Missing = "error") -> JoinedScores:
    """Read logit stores and join them by clip id.

    The result does not depend on the order of rows or of paths: models are sorted by key (branch name, or
    model/modality) and clips by id. Stores of probabilities are read as log(max(p, 1e-12)).

    Args:
        paths: one logit store for each model.
        missing: ``error`` wants the same ids in every store; ``allow`` takes the union with a mask. Clips
            that a store declares as not answered (``present`` = 0) are masked in either case.

    Raises:
        StoreError: one line naming file and reason: unreadable, another kind, one model twice, unequal class
            lists, missing ids, contradicting labels.
    """
    check_request(paths, missing)
    stores = sorted((read_logits(path) for path in paths), key=lambda store: store.key)
    check_keys(stores)
    check_classes(stores)
    dataset, vocabulary = shared(stores, "dataset"), shared(stores, "vocabulary")
    clip_ids = np.unique(np.concatenate([store.clip_ids for store in stores]))
    models, clips, classes = len(stores), len(clip_ids), len(stores[0].class_names)
    logits = np.zeros((models, clips, classes))
    held = np.zeros((models, clips), dtype=np.bool_)
    present = held.copy()
    labels = np.full(clips, -1, dtype=np.int64)
    labelled = False
    for index, store in enumerate(stores):
        rows = np.searchsorted(clip_ids, store.clip_ids)
        held[index, rows] = True
        present[index, rows] = store.present
        logits[index, rows] = np.where(store.present[:, None], store.as_log(), 0.0)
        if store.labels is not None:
            labelled = True
            own = store.labels.astype(np.int64)
            clash = (labels[rows] >= 0) & (own >= 0) & (labels[rows] != own)
            if clash.any():
                raise StoreError(
                    store.path,
                    f"labels {int(clash.sum())} clips otherwise than the stores before it: "
                    f"{some(store.clip_ids[clash])}",
                    "write both from one labels.csv",
                )
            labels[rows] = np.where(own >= 0, own, labels[rows])
    if missing == "error":
        check_ids(stores, clip_ids, held)
    return JoinedScores(
        keys=tuple(store.key for store in stores),
        paths=tuple(Path(store.path) for store in stores),
        digests=tuple(store.digest for store in stores),
        taints=tuple(store.taint for store in stores),
        clip_ids=clip_ids,
        logits=logits,
        present=present,
        class_names=stores[0].class_names,
        dataset=dataset,
        vocabulary=vocabulary,
        labels=labels if labelled else None,
    )


def fit_keys(params: SoftVote) -> NDArray[np.uint64]:
    """Return the keys of the clips that parameters were fitted on (empty if they were given by hand)."""
    try:
        return keys_fitted_on(params.fitted_on)
    except ValueError as error:
        raise ScoresError(f"fusion parameters: {error}; fit again") from error


def _resolve_weights(
    keys: Sequence[str],
    stores: Sequence[Path],
    paths: Sequence[str | Path],
    weights: Mapping[str, float] | Sequence[float] | None,
) -> FloatArray:
    models = len(keys)
    if weights is None:
        return check_weights(np.ones(models), models)
    if isinstance(weights, Mapping):
        if set(weights) != set(keys):
            raise SettingError(
                f"weights: found {', '.join(weights)}, wanted one for each of {', '.join(keys)}"
            )
        return check_weights([weights[key] for key in keys], models)
    if len(weights) != models:
        raise SettingError(
            f"weights: found {len(weights)}, wanted {models}, one for each store in the order given"
        )
    # Joined models are sorted by key; weights given as a list follow the paths.
    given = [str(Path(path)) for path in paths]
    return check_weights([weights[given.index(str(path))] for path in stores], models)


def chosen_weights(
    keys: Sequence[str],
    stores: Sequence[Path],
    class_names: tuple[str, ...],
    paths: Sequence[str | Path],
    temperature: float,
    weights: Mapping[str, float] | Sequence[float] | None,
    params: SoftVote | None,
) -> tuple[FloatArray, float, FloatArray]:
    """Return (M,) weights, tau, and (M,) what each model's logits are divided by besides.

    Args:
        keys, stores: of the models, sorted by key. paths: as the user gave them.
    """
    if params is None:
        shares = _resolve_weights(keys, stores, paths, weights)
        return shares, check_temperature(temperature), np.ones(len(keys))
    if params.class_names and params.class_names != class_names:
        raise StoreError(
            stores[0],
            "has another class list than the fusion parameters",
            "fit on stores of these classes",
        )
    shares = check_weights(params.weights_for(keys), len(keys))
    own = np.array([params.model_temperatures.get(key, 1.0) for key in keys])
    return shares, check_temperature(params.temperature), own


def fuse_stores(
    paths: Sequence[str | Path],
    *,
    temperature: float = 1.0,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    params: SoftVote | None = None,
    fuser: str = "soft-vote",
    missing: Missing = "error",
) -> FusedScores:
    """Fuse logit stores joined by clip id (paper Eq. 2-3 with the default fuser).

    Args:
        paths: one logit store for each model.
        temperature: tau. weights: by key, or in the order of ``paths``; None means equal.
        params: fitted parameters, instead of ``temperature`` and ``weights``.
        fuser: name of a registered fuser; one that takes no weights or temperature is not given them.
        missing: ``error`` or ``allow``, see :func:`join_stores`.

    Raises:
        StoreError: files that cannot be joined. SettingError: parameters that do not fit the stores.
        ScoresError: a clip that no model answers. PluginError: an unknown fuser, or one that breaks its
        contract.
    """
    joined = join_stores(paths, missing=missing)
    shares, tau, own = chosen_weights(
        joined.keys, joined.paths, joined.class_names, paths, temperature, weights, params
    )
    silent = np.asarray(~(joined.present & (shares > 0)[:, None]).any(axis=0))
    if silent.any():
        raise ScoresError(
            f"fuse: {int(silent.sum())} of {len(silent)} clips have no answer from a model of "
            f"positive weight: {some(joined.clip_ids[silent])}; "
            "add a store that answers them or give another model weight"
        )
    probs = fuser_of(fuser)(joined.logits / own[:, None, None], joined.present, shares, tau)
    taint = Taint.union_all(joined.taints)
    if params is not None:
        taint = taint.union(Taint.of((), fit_keys(params)))
    return FusedScores(
        clip_ids=joined.clip_ids,
        probs=probs,
        class_names=joined.class_names,
        dataset=joined.dataset,
        vocabulary=joined.vocabulary,
        weights=dict(zip(joined.keys, shares.tolist(), strict=True)),
        temperature=tau,
        fuser=fuser,
        taint=taint,
        inputs=joined.inputs,
        answered=dict(zip(joined.keys, joined.present.sum(axis=1).tolist(), strict=True)),
    )


def options_of(name: str) -> set[str]:
    """Return the options that a registered fuser takes.

    Raises:
        PluginError: an unknown fuser.
    """
    from mg_data.plugins import registry, resolve

    spec = registry().get("fusers", name)
    return set(spec.options) or set(inspect.signature(resolve(spec.factory)).parameters)


def fuser_of(name: str) -> Callable[[FloatArray, BoolArray, FloatArray, float], FloatArray]:
    """Return a registered fuser, held to its contract: (N, K), finite, rows that sum to 1.

    It takes logits (M, N, K), present (M, N), weights (M,) and tau; a fuser that takes no weights or
    temperature is not given them.

    Raises:
        PluginError: an unknown fuser; when called, one that breaks its contract.
    """
    from mg_data.plugins import registry, resolve

    factory = resolve(registry().get("fusers", name).factory)
    accepted = options_of(name)

    def fuse(logits: FloatArray, present: BoolArray, shares: FloatArray, tau: float) -> FloatArray:
        offered = {"weights": shares.tolist(), "temperature": tau}
        options = {key: value for key, value in offered.items() if key in accepted}
        probs = np.asarray(factory(logits, present, **options), dtype=np.float64)
        wanted = logits.shape[1:]
        if probs.shape != wanted:
            raise PluginError(
                f"fuser '{name}': returned shape {probs.shape}, wanted {wanted} (clips, classes)"
            )
        apart = np.abs(np.einsum("nk->n", probs) - 1).max(initial=0.0)
        if not (probs.min(initial=0.0) >= 0 and apart <= 1e-5):  # NaN is neither
            raise PluginError(
                f"fuser '{name}': returned rows that are no probabilities (negative, NaN, or sum not 1)"
            )
        return probs

    return fuse
