"""``mg fuse`` with a fuser that is fitted on labelled clips: stacking, weights by class, model averaging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, StageResult, StoreError, UsageError
from mg_data.store import Provenance, Taint, clip_keys, write_probs
from mg_fusion.folds import warn_ungrouped
from mg_fusion.fusers.fitting import FittedFuser, find_fuser, fit_fuser, is_fitted_fuser, run_fuser
from mg_fusion.stores import JoinedScores, Missing, join_stores
from mg_fusion.table import are_numbers, percent, render_cells
from mg_fusion.tainted import check_fit_taint, keys_fitted_on
from mg_fusion.truth import fit_labels, groups_of, read_truth


def wants_fitted(fuser: str, params: Path | None) -> bool:
    """Return whether ``--fuser`` or ``--params`` name a fitted fuser."""
    return is_fitted_fuser(params) if params is not None else bool(find_fuser(fuser).fit)


def fuse_fitted(
    *,
    console: Console,
    stores: Sequence[Path],
    out: Path | None,
    fit: Sequence[Path],
    labels: Path | None,
    params: Path | None,
    params_out: Path | None,
    fuser: str,
    options: Mapping[str, Any] | None,
    missing: Missing,
    allow_tainted: bool,
    unused: Mapping[str, object],
    groups: Mapping[str, str] | None = None,
    group_by: str = "subject",
) -> StageResult:
    """Fit, or take the fitted parameters, and fuse; nothing is written before everything has worked.

    Args:
        unused: options of the soft vote that were given and mean nothing here.
        groups: clip id -> group of what is on one side of a fold, by default the subjects the labels know.

    Returns:
        data: ``out``, ``digest``, ``clips``, ``fuser``, ``params``, ``in_sample``, ``cross_fitted``,
        ``baselines``.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in unused.items() if value]
    if given:
        raise UsageError(f"fuse: {', '.join(given)} belong to the soft vote, not to '{fuser}'")
    if bool(fit) == (params is not None):
        raise UsageError(
            f"fuse: fuser '{fuser}' is fitted on labelled clips: give --fit and --labels, or the "
            "--params such a "
            "fit wrote"
        )
    if stores and out is None:
        raise UsageError("fuse: where to? give -o probs.h5")
    if not stores and (out is not None or params is not None):
        raise UsageError("fuse: no store to fuse was named")
    if fit and not stores and params_out is None:
        raise UsageError(
            "fuse: where to write the parameters? give --params-out fusion.json, or stores and -o"
        )
    if not fit and (labels is not None or params_out is not None or options):
        raise UsageError(
            "fuse: --labels, --params-out and --fuser-options belong to --fit; give stores to fit on"
        )
    params_path = params or params_out
    assert params_path is not None
    if params is not None:
        fitted = FittedFuser.load(params)
        if fuser not in ("soft-vote", fitted.fuser):
            raise UsageError(f"fuse: {params} holds parameters of '{fitted.fuser}', not of '{fuser}'")
        if fitted.taint.get("override"):
            console.warn(f"{params}: {fitted.taint['override']}")
    else:
        fitted = _fit(fit, labels, fuser, options, missing, allow_tainted, console, groups, group_by)
    digest, count = "", None
    joined: JoinedScores | None = None
    probs = None
    if stores:
        joined = join_stores(stores, missing=missing)
        probs = _apply(fitted, joined, str(params_path) if params is not None else "fuse")
        count = len(joined.clip_ids)
    if joined is not None and probs is not None and out is not None:
        # These parameters are learnt, as a model's are: the clips of the fit count as trained on.
        seen = Taint.of(_keys(fitted, params_path))
        digest = write_probs(
            out,
            clip_ids=joined.clip_ids,
            values=probs,
            class_names=joined.class_names,
            taint=Taint.union_all(joined.taints).union(seen),
            dataset=joined.dataset,
            vocabulary=joined.vocabulary,
            provenance=Provenance(
                command="mg fuse",
                config={
                    "fuser": fitted.fuser,
                    "options": dict(fitted.options),
                    "missing": missing,
                    "cross_fitted": dict(fitted.cross_fitted),
                    "taint": dict(fitted.taint),
                },
                inputs=joined.inputs,
            ),
        )
    # Last, so that there is no fusion.json beside a fusion that failed.
    if fit:
        fitted.save(params_path)
    data = {
        "out": str(out) if out is not None else None,
        "digest": digest or None,
        "clips": count,
        "fuser": fitted.fuser,
        "params": str(params_path),
        "in_sample": dict(fitted.in_sample),
        "cross_fitted": dict(fitted.cross_fitted),
        "baselines": dict(fitted.baselines),
    }
    lines = [_text(fitted), f"parameters: {params_path}"]
    if count is not None:
        lines.append(f"{count} clips -> {out}")
    return StageResult(data=data, text="\n".join(lines))


def _keys(fitted: FittedFuser, path: Path) -> NDArray[np.uint64]:
    try:
        return keys_fitted_on(fitted.fitted_on)
    except ValueError as error:
        raise StoreError(path, str(error), "fit again") from error


def _apply(fitted: FittedFuser, joined: JoinedScores, origin: str) -> Any:
    if fitted.class_names and fitted.class_names != joined.class_names:
        raise StoreError(
            joined.paths[0], "has another class list than the fitted fuser", "fit on stores of these classes"
        )
    fitted.check_models(joined.keys, origin)
    # The fitted order is that of the keys too, as joined models are sorted by key; a file may say otherwise.
    order = [joined.keys.index(key) for key in fitted.models]
    return run_fuser(fitted.fuser, joined.logits[order], joined.present[order], {"fitted": fitted.fitted})


def _fit(
    paths: Sequence[Path],
    labels: Path | None,
    fuser: str,
    options: Mapping[str, Any] | None,
    missing: Missing,
    allow_tainted: bool,
    console: Console,
    given_groups: Mapping[str, str] | None,
    group_by: str,
) -> FittedFuser:
    joined = join_stores(paths, missing=missing)
    truth = read_truth(labels) if labels is not None else None
    target = fit_labels(joined.clip_ids, joined.labels, truth, joined.class_names, joined.paths[0])
    keys = clip_keys(joined.dataset, joined.clip_ids)
    taint = check_fit_taint(joined.keys, joined.taints, keys, allow=allow_tainted, console=console)
    groups = groups_of(joined.clip_ids, truth, given_groups)
    chosen = dict(options or {})
    folds = chosen.pop("folds", 5)
    if isinstance(folds, bool) or not isinstance(folds, int):
        raise UsageError(f"fuse: folds: found {folds!r}, wanted a whole number")
    if folds > 1:
        warn_ungrouped(groups, console)
    console.say(f"fit: '{fuser}' on {len(target)} clips, {len(joined.keys)} models")
    fitted = fit_fuser(
        fuser,
        joined.logits,
        target,
        present=joined.present,
        models=joined.keys,
        class_names=joined.class_names,
        groups=groups,
        folds=folds,
        options=chosen,
    )
    unseen = np.setdiff1d(np.arange(len(joined.class_names)), target)
    if len(unseen):
        names = ", ".join(joined.class_names[index] for index in unseen[:5]) + (
            ", ..." if len(unseen) > 5 else ""
        )
        console.warn(
            f"fit: {len(unseen)} classes have no clip to fit on, so the fit is blind to them: {names}"
        )
    return replace(
        fitted,
        fitted_on={
            "clips": len(target),
            "dataset": joined.dataset,
            "stores": joined.inputs,
            "labels": truth.digest if truth is not None else "in the stores",
            "grouped_by": group_by if groups is not None else "clip",
            "clip_keys": [f"{int(key):016x}" for key in np.sort(keys)],
        },
        taint=taint,
    )


def _text(fitted: FittedFuser) -> str:
    rows = [
        [name, percent(row.get("accuracy")), percent(row.get("macro_f1")), f"{row['nll']:.4f}"]
        for name, row in (
            ("on the clips fitted on", fitted.in_sample),
            (f"cross-fitted, {fitted.cross_fitted.get('folds')} folds", fitted.cross_fitted),
            ("equal weights", fitted.baselines.get("equal_weight", {})),
        )
        if isinstance(row, Mapping) and are_numbers(row, ("accuracy", "macro_f1", "nll"))
    ]
    return f"{fitted.fuser}\n" + render_cells(["", "accuracy", "macro-F1", "NLL"], rows)
