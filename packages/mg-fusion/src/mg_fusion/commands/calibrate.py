"""``mg calibrate``: one model's scores, mended on labelled clips, as a store of the same kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, StoreError, UsageError
from mg_data.store import (
    LogitsStore,
    ProbsStore,
    Provenance,
    PseudoStore,
    Taint,
    clip_keys,
    write_logits,
    write_probs,
)
from mg_fusion.calibrators import METHODS, Calibrator, fit_calibrator
from mg_fusion.folds import group_folds, warn_ungrouped
from mg_fusion.metrics import SMALLEST_PROBABILITY, classification_metrics
from mg_fusion.scoring import default_name, open_scored
from mg_fusion.table import are_numbers, percent, render_cells
from mg_fusion.tainted import check_fit_taint, keys_fitted_on
from mg_fusion.truth import fit_labels, given_groups, groups_of, read_truth
from mg_fusion.vote import FloatArray, softmax

# What a method does to a class without a clip to fit on.
_OF_UNSEEN = {
    "isotonic": "never answers them",
    "histogram": "answers them only at a probability that no clip fitted on gave them",
}
_SHOWN = ("accuracy", "nll", "brier", "ece", "ece_mass", "classwise_ece")


def _open(path: Path) -> LogitsStore | ProbsStore:
    store = open_scored(path)
    if isinstance(store, PseudoStore):
        raise StoreError(path, "is a store of kind 'pseudo'", "calibrate logits or probs stores")
    return store


def _logits(store: LogitsStore | ProbsStore) -> FloatArray:
    """Return (N, K) logits; of probabilities their logarithm."""
    if isinstance(store, LogitsStore):
        return store.as_log()
    return np.log(np.maximum(store.values.astype(np.float64), SMALLEST_PROBABILITY))


def _measured(probs: FloatArray, labels: NDArray[np.int64]) -> dict[str, Any]:
    found = classification_metrics(probs, labels)
    return {name: getattr(found, name) for name in _SHOWN} | {"groups": dict(found.groups)}


def calibrate(
    *,
    console: Console,
    store: Path | None = None,
    out: Path | None = None,
    fit: Path | None = None,
    labels: Path | None = None,
    method: str = "temperature",
    params: Path | None = None,
    params_out: Path | None = None,
    shrinkage: float = 1.0,
    bins: int = 15,
    folds: int = 5,
    groups: Path | None = None,
    group_by: str = "subject",
    allow_tainted: bool = False,
) -> StageResult:
    """Run ``mg calibrate``; see its ``--help``.

    The result is a store of the same kind as the one given (logits of space ``prob``, or probs), so that it
    is fused, scored and submitted like any other.

    Returns:
        data: ``out``, ``digest``, ``method``, ``params``, ``parameters`` (their number), ``model``, and the
        metrics ``before``, ``after`` (on the clips fitted on) and ``cross_fitted``.
    """
    if (fit is None) == (params is None):
        raise UsageError(
            "calibrate: give either --fit (a store of labelled clips) or --params (an earlier fit)"
        )
    if (store is None) != (out is None):
        raise UsageError("calibrate: a store to calibrate and -o where to write it go together")
    if store is None and (params is not None or params_out is None):
        raise UsageError("calibrate: nothing to do; name a store and -o, or --fit and --params-out")
    if fit is None and (labels is not None or params_out is not None or groups is not None):
        raise UsageError("calibrate: --labels, --groups and --params-out belong to --fit")
    if fit is None and (shrinkage != 1.0 or bins != 15 or folds != 5 or allow_tainted):
        raise UsageError("calibrate: --shrinkage, --bins, --folds and --allow-tainted belong to --fit")
    grouped = given_groups(groups, group_by)
    if fit is not None:
        fitted = _fit(fit, labels, method, shrinkage, bins, folds, allow_tainted, console, grouped, group_by)
    else:
        assert params is not None
        fitted = Calibrator.load(params)
        if method not in ("temperature", fitted.method):
            raise UsageError(f"calibrate: {params} holds a calibration by {fitted.method}, not by {method}")
        if fitted.taint.get("override"):
            console.warn(f"{params}: {fitted.taint['override']}")
    digest = ""
    work = _applied(fitted, store, str(params or fit)) if store is not None else None
    if work is not None and out is not None:
        digest = _write(fitted, *work, out, params or params_out or out)
    # Last, so that there are no parameters of a calibration that failed.
    if params_out is not None:
        fitted.save(params_out)
    data = {
        "out": str(out) if out is not None else None,
        "digest": digest or None,
        "method": fitted.method,
        "parameters": fitted.parameters,
        "params": str(params or params_out) if params or params_out else None,
        "model": fitted.model,
        "before": dict(fitted.before),
        "after": dict(fitted.after),
        "cross_fitted": dict(fitted.cross_fitted),
    }
    lines = [f"{fitted.method}, {fitted.parameters} parameters: {fitted.model}", _table(fitted)]
    if params_out is not None:
        lines.append(f"parameters: {params_out}")
    if out is not None:
        lines.append(f"-> {out}")
    return StageResult(data=data, text="\n".join(lines))


def _fit(
    path: Path,
    labels: Path | None,
    method: str,
    shrinkage: float,
    bins: int,
    folds: int,
    allow_tainted: bool,
    console: Console,
    given_groups: Mapping[str, str] | None,
    group_by: str,
) -> Calibrator:
    if method not in METHODS:
        raise UsageError(f"calibrate: no method '{method}', there are: {', '.join(METHODS)}")
    store = _open(path)
    truth = read_truth(labels) if labels is not None else None
    rows = np.flatnonzero(store.present)
    if not len(rows):
        raise DataError(f"{path}: answers no clip, so there is nothing to fit on")
    rows = rows[np.argsort(store.clip_ids[rows])]
    ids = store.clip_ids[rows]
    own = store.labels[rows].astype(np.int64) if store.labels is not None else None
    target = fit_labels(ids, own, truth, store.class_names, path)
    keys = clip_keys(store.dataset, ids)
    name = default_name(store)
    taint = check_fit_taint([name], [store.taint], keys, allow=allow_tainted, console=console)
    groups = groups_of(ids, truth, given_groups)
    if folds > 1:
        warn_ungrouped(groups, console)
    logits = _logits(store)[rows]
    fitted = fit_calibrator(logits, target, method, shrinkage=shrinkage, bins=bins)
    unseen = np.setdiff1d(np.arange(len(store.class_names)), target)
    if len(unseen) and method != "temperature":
        console.warn(
            f"fit: {len(unseen)} classes have no clip to fit on, the first is "
            f"'{store.class_names[unseen[0]]}': {method} " + _OF_UNSEEN.get(method, "makes them less likely")
        )
    crossed: dict[str, Any] = {}
    fold = group_folds(target, groups, folds)
    if fold is not None:
        probs = np.empty_like(logits)
        for number in range(int(fold.max()) + 1):
            left_out = fold == number
            part = fit_calibrator(
                logits[~left_out], target[~left_out], method, shrinkage=shrinkage, bins=bins
            )
            probs[left_out] = part.predict_proba(logits[left_out])
        crossed = {**_measured(probs, target), "folds": int(fold.max()) + 1}
    return replace(
        fitted,
        model=name,
        class_names=store.class_names,
        before=_measured(softmax(logits), target),
        after=_measured(fitted.predict_proba(logits), target),
        cross_fitted=crossed,
        fitted_on={
            "clips": len(target),
            "dataset": store.dataset,
            "stores": {name: store.digest},
            "labels": truth.digest if truth is not None else "in the store",
            "grouped_by": group_by if groups is not None else "clip",
            "clip_keys": [f"{int(key):016x}" for key in np.sort(keys)],
        },
        taint=taint,
    )


def _applied(fitted: Calibrator, path: Path, origin: str) -> tuple[LogitsStore | ProbsStore, FloatArray]:
    store = _open(path)
    if fitted.class_names and fitted.class_names != store.class_names:
        raise StoreError(path, f"has another class list than {origin}", "fit on a store of these classes")
    # A fused store is called by its file, which may be another one for every part of the data.
    if isinstance(store, LogitsStore) and fitted.model and store.key != fitted.model:
        raise StoreError(
            path,
            f"is model '{store.key}', but {origin} is of '{fitted.model}'",
            "calibrate each model by itself",
        )
    probs = fitted.predict_proba(_logits(store))
    return store, probs


def _write(
    fitted: Calibrator, store: LogitsStore | ProbsStore, probs: FloatArray, out: Path, origin: Path
) -> str:
    try:
        keys = keys_fitted_on(fitted.fitted_on)
    except ValueError as error:
        raise StoreError(origin, str(error), "fit again") from error
    # One number is chosen on the fit clips; anything more is learnt from them.
    seen = Taint.of((), keys) if fitted.method == "temperature" else Taint.of(keys)
    provenance = Provenance(
        command="mg calibrate",
        config={"method": fitted.method, "options": dict(fitted.options), "taint": dict(fitted.taint)},
        inputs={default_name(store): store.digest},
    )
    shared: dict[str, Any] = {
        "clip_ids": store.clip_ids,
        "values": probs,
        "class_names": store.class_names,
        "labels": store.labels,
        "dataset": store.dataset,
        "vocabulary": store.vocabulary,
        "taint": store.taint.union(seen),
        "provenance": provenance,
    }
    if isinstance(store, ProbsStore):
        return write_probs(out, **shared)
    return write_logits(
        out,
        **shared,
        present=store.present,
        space="prob",
        model=store.model,
        modality=store.modality,
        branch=store.branch,
        tta=store.tta,
        seed=store.seed,
        checkpoint_digest=store.checkpoint_digest,
    )


def _table(fitted: Calibrator) -> str:
    rows = [
        [
            name,
            percent(row["accuracy"]),
            f"{row['nll']:.4f}",
            f"{row['brier']:.4f}",
            *(percent(row[field]) for field in ("ece", "ece_mass", "classwise_ece")),
        ]
        for name, row in (
            ("before", fitted.before),
            ("after, same clips", fitted.after),
            (f"after, {fitted.cross_fitted.get('folds')} folds", fitted.cross_fitted),
        )
        if are_numbers(row, _SHOWN)
    ]
    return render_cells(["", "accuracy", "NLL", "Brier", "ECE", "ECE (mass)", "classwise"], rows)
