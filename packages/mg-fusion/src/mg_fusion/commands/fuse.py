"""``mg fuse``: vote with given, searched or reused parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.store import clip_keys
from mg_fusion.objective import METRICS
from mg_fusion.search import fit_soft_vote
from mg_fusion.stores import FusedScores, JoinedScores, Missing, fuse_stores, join_stores
from mg_fusion.table import percent, render_cells
from mg_fusion.tainted import check_fit_taint
from mg_fusion.truth import Truth, read_truth
from mg_fusion.vote import SoftVote


def parse_weights(values: Any) -> Mapping[str, float] | list[float] | None:
    """Read weights: a list of numbers, numbers with commas, ``branch=number`` words, or a table.

    Raises:
        UsageError: something else, or both ways mixed.

    >>> parse_weights(["joint=2", "rgb=1"])
    {'joint': 2.0, 'rgb': 1.0}
    >>> parse_weights(["2,1", "1"])
    [2.0, 1.0, 1.0]
    """
    if not values:
        return None
    if isinstance(values, Mapping):
        return {str(key): _number(value) for key, value in values.items()}
    words = [word.strip() for value in values for word in str(value).split(",") if word.strip()]
    named = [word.rpartition("=") for word in words]
    if all(sign for _, sign, _ in named):
        table = {key: _number(value) for key, _, value in named}
        if len(table) != len(named):
            raise UsageError("weights: a branch is named twice")
        return table
    if any(sign for _, sign, _ in named):
        raise UsageError("weights: numbers and branch=number are mixed; use one way for all")
    return [_number(word) for word in words]


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise UsageError(f"weights: found '{text}', wanted a number or branch=number") from None


def _check_use(
    *,
    stores: Sequence[Path],
    out: Path | None,
    fit: Sequence[Path],
    labels: Path | None,
    params: Path | None,
    params_out: Path | None,
    temperature: float | None,
    weights: object,
    fuser: str,
) -> None:
    """Refuse options that contradict each other."""
    if not stores and not fit:
        raise UsageError(
            "fuse: no logit store was given; name one for each model, or --fit stores to search on"
        )
    if stores and out is None:
        raise UsageError("fuse: where to? give -o probs.h5")
    if not stores and out is not None:
        raise UsageError("fuse: -o was given but no store to fuse; name them before -o")
    if fit and params is not None:
        raise UsageError("fuse: --fit searches parameters and --params reuses them; give one of the two")
    if not fit and (labels is not None or params_out is not None):
        raise UsageError("fuse: --labels and --params-out belong to --fit; give the stores to fit on")
    if fit and weights:
        raise UsageError("fuse: --fit searches the weights; leave --weights out")
    if params is not None and (weights or temperature is not None):
        raise UsageError(
            "fuse: --params holds temperature and weights; leave --temperature and --weights out"
        )
    if fit and fuser != "soft-vote":
        raise UsageError(
            f"fuse: --fit searches for the soft vote, not for '{fuser}'; leave --fuser or --fit out"
        )
    if fit and not stores and params_out is None:
        raise UsageError(
            "fuse: where to write the parameters? give --params-out fusion.json, or stores and -o"
        )


def _fit_labels(joined: JoinedScores, truth: Truth | None) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return (N,) labels of all clips to fit on, from the truth or the stores themselves.

    Raises:
        DataError: a clip without a label.
    """
    if truth is not None:
        truth.check_classes(joined.class_names, joined.paths[0])
        found, origin = truth.of(joined.clip_ids), str(truth.path)
    elif joined.labels is not None:
        found, origin = joined.labels, "the stores to fit on"
    else:
        raise DataError(
            "fit: the stores to fit on carry no labels; give --labels labels.csv or a split store"
        )
    unknown = joined.clip_ids[found < 0]
    if len(unknown):
        raise DataError(
            f"{origin}: no label for {len(unknown)} of {len(found)} clips to fit on, "
            f"the first is '{unknown[0]}'; fit on labelled clips only"
        )
    return found


def fit_parameters(
    paths: Sequence[Path],
    *,
    labels: Path | None,
    temperature: float | None,
    metric: str,
    weight_step: float,
    missing: Missing,
    allow_tainted: bool,
    console: Console,
) -> SoftVote:
    """Search temperature and weights on labelled stores, after the taint rule.

    Raises:
        TaintError: a model was trained on clips to fit on and ``allow_tainted`` is False.
        DataError: clips without label. StoreError: stores that cannot be joined.
    """
    joined = join_stores(paths, missing=missing)
    truth = read_truth(labels) if labels is not None else None
    target = _fit_labels(joined, truth)
    keys = clip_keys(joined.dataset, joined.clip_ids)
    taint = check_fit_taint(joined.keys, joined.taints, keys, allow=allow_tainted, console=console)
    if metric not in METRICS:
        raise UsageError(f"metric: found '{metric}', wanted one of {', '.join(METRICS)}")
    console.say(f"fit: searching on {len(target)} clips, {len(joined.keys)} models")
    groups = truth.groups_of(joined.clip_ids) if truth is not None else None
    fitted = fit_soft_vote(
        joined.logits,
        target,
        temperature="grid" if temperature is None else temperature,
        weight_step=weight_step,
        metric=metric,
        groups=groups,
        present=joined.present,
        models=joined.keys,
        class_names=joined.class_names,
    )
    unseen = fitted.search["unseen_classes"]
    if unseen:
        names = ", ".join(str(item["name"]) for item in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
        console.warn(
            f"fit: {len(unseen)} classes have no clip to fit on, so the search is blind to them: {names}"
        )
    return SoftVote(
        temperature=fitted.temperature,
        weights=fitted.weights,
        class_names=fitted.class_names,
        metric=fitted.metric,
        value=fitted.value,
        search={**fitted.search, "grouped_by": "subject" if groups is not None else "clip"},
        baselines=fitted.baselines,
        fitted_on={
            "clips": len(target),
            "dataset": joined.dataset,
            "stores": joined.inputs,
            "labels": truth.digest if truth is not None else "in the stores",
            "clip_keys": [f"{int(key):016x}" for key in np.sort(keys)],
        },
        taint=taint,
    )


def fuse(
    *,
    console: Console,
    stores: Sequence[Path] = (),
    out: Path | None = None,
    fit: Sequence[Path] = (),
    labels: Path | None = None,
    params: Path | None = None,
    params_out: Path | None = None,
    temperature: float | None = None,
    weights: Any = (),
    metric: str = "accuracy",
    weight_step: float = 0.05,
    fuser: str = "soft-vote",
    missing: Missing = "error",
    allow_tainted: bool = False,
) -> StageResult:
    """Run ``mg fuse``; see its ``--help``. Equal weights at tau 1 unless told otherwise.

    Returns:
        data: ``out``, ``digest``, ``clips``, ``fuser``, ``temperature``, ``weights`` by branch, ``params``
        (path or None), ``metric`` and ``value`` of a fit.
    """
    _check_use(
        stores=stores,
        out=out,
        fit=fit,
        labels=labels,
        params=params,
        params_out=params_out,
        temperature=temperature,
        weights=weights,
        fuser=fuser,
    )
    vote: SoftVote | None = None
    params_path = params
    if fit:
        vote = fit_parameters(
            fit,
            labels=labels,
            temperature=temperature,
            metric=metric,
            weight_step=weight_step,
            missing=missing,
            allow_tainted=allow_tainted,
            console=console,
        )
        params_path = params_out if params_out is not None else Path(out or "").with_name("fusion.json")
    elif params is not None:
        if fuser == "majority":
            raise UsageError("fuse: --params are for the soft vote; --fuser majority takes --weights only")
        vote = SoftVote.load(params)
        if vote.taint.get("override"):
            console.warn(f"{params}: {vote.taint['override']}")
    fused: FusedScores | None = None
    if stores:
        fused = fuse_stores(
            stores,
            temperature=1.0 if temperature is None else temperature,
            weights=parse_weights(weights) if vote is None else None,
            params=vote,
            fuser=fuser,
            missing=missing,
        )
        _tell_missing(fused, console)
    # Nothing is written before everything has worked: no fusion.json beside a fusion that failed.
    if fit and vote is not None and params_path is not None:
        vote.save(params_path)
    digest = ""
    if fused is not None and out is not None:
        config: dict[str, Any] = {"missing": missing}
        if vote is not None:
            config |= {"fitted_on": dict(vote.fitted_on) | {"clip_keys": None}, "taint": dict(vote.taint)}
            config["fitted_on"].pop("clip_keys")
        digest = fused.write(out, command="mg fuse", config=config)
    return _result(vote, fused, out, digest, params_path, fuser)


def _tell_missing(fused: FusedScores, console: Console) -> None:
    for key, count in fused.answered.items():
        if count < len(fused.clip_ids):
            console.warn(
                f"fuse: '{key}' answers {count} of {len(fused.clip_ids)} clips; "
                "for the others the weights of the rest are scaled up"
            )


def _result(
    vote: SoftVote | None,
    fused: FusedScores | None,
    out: Path | None,
    digest: str,
    params_path: Path | None,
    fuser: str,
) -> StageResult:
    if fused is not None:
        shares, tau = fused.weights, fused.temperature
    else:
        assert vote is not None
        shares, tau = vote.weights, vote.temperature
    models = vote.baselines.get("models", {}) if vote is not None else {}
    header = ["model", "weight", *(["accuracy alone"] if models else [])]
    rows = [
        [key, f"{weight:.3f}", *([percent(models.get(key))] if models else [])]
        for key, weight in shares.items()
    ]
    lines = [f"{fuser}, tau {tau:g}", render_cells(header, rows)]
    zero = [key for key, weight in shares.items() if weight == 0]
    if zero:
        lines.append(f"vote weight 0: {', '.join(zero)}")
    if vote is not None and vote.search:
        lines.append(_search_text(vote))
    if params_path is not None:
        lines.append(f"parameters: {params_path}")
    if fused is not None:
        lines.append(f"{len(fused.clip_ids)} clips -> {out}")
    data: dict[str, Any] = {
        "out": str(out) if out is not None else None,
        "digest": digest or None,
        "clips": len(fused.clip_ids) if fused is not None else None,
        "fuser": fuser,
        "temperature": tau,
        "weights": dict(shares),
        "params": str(params_path) if params_path is not None else None,
        "metric": vote.metric if vote is not None else None,
        "value": vote.value if vote is not None else None,
    }
    return StageResult(data=data, text="\n".join(lines))


def _search_text(vote: SoftVote) -> str:
    search, baselines = vote.search, vote.baselines

    def show(value: float) -> str:
        return f"{value:.4f}" if vote.metric == "nll" else percent(value)

    interval, region = search["interval"], search["region"]
    single = baselines["best_single"]
    low, high = region["temperature"]
    return (
        f"{vote.metric} on {vote.fitted_on['clips']} clips: {show(vote.value or 0.0)} "
        f"[{show(interval['low'])}, {show(interval['high'])}], "
        f"equal weights {show(baselines['equal_weight']['value'])}, "
        f"best single {single['model']} {show(single['value'])}; "
        f"{search['tied']} of {search['settings']} settings are as good, "
        f"tau {low:g} to {high:g} around this one"
    )


__all__ = ["fit_parameters", "fuse", "parse_weights"]
