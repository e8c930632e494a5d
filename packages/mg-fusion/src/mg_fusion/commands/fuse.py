"""``mg fuse``: vote with given, searched or reused parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mg_data.contract import Console, StageResult, UsageError
from mg_data.store import clip_keys
from mg_fusion.commands.fuse_fitted import fuse_fitted, wants_fitted
from mg_fusion.commands.fuse_told import fuse_result
from mg_fusion.commands.veto import diagnose_stores, veto_text
from mg_fusion.folds import warn_ungrouped
from mg_fusion.search.fit import Method, Temperature, fit_soft_vote
from mg_fusion.search.objective import METRICS
from mg_fusion.stores import FusedScores, Missing, fuse_stores, join_stores, options_of
from mg_fusion.streaming import StreamedFusion, can_stream, fuse_to_store, is_large
from mg_fusion.tainted import check_fit_taint
from mg_fusion.truth import fit_labels, given_groups, groups_of, read_truth
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
    diagnose: Path | None,
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
    if not fit and ((labels is not None and diagnose is None) or params_out is not None):
        raise UsageError("fuse: --labels and --params-out belong to --fit; give the stores to fit on")
    if fit and weights:
        raise UsageError("fuse: --fit searches the weights; leave --weights out")
    if params is not None and weights:
        raise UsageError("fuse: --params holds the weights; leave --weights out")
    if fit and fuser != "soft-vote":
        raise UsageError(
            f"fuse: --fit searches for the soft vote, not for '{fuser}'; leave --fuser or --fit out"
        )
    if fit and not stores and params_out is None:
        raise UsageError(
            "fuse: where to write the parameters? give --params-out fusion.json, or stores and -o"
        )
    if params is not None and "temperature" not in options_of(fuser):
        raise UsageError(f"fuse: {params} holds parameters of the soft vote, which '{fuser}' does not take")
    for name, given in (("temperature", temperature is not None), ("weights", bool(weights))):
        if given and name not in options_of(fuser):
            raise UsageError(f"fuse: --fuser {fuser} takes no --{name}; leave it out")


def _check_without_fit(given: Mapping[str, bool]) -> None:
    """Refuse what only a fit looks at, where nothing is fitted: silence would let it seem done."""
    names = [f"--{name.replace('_', '-')}" for name, there in given.items() if there]
    if names:
        belong = "belong" if len(names) > 1 else "belongs"
        raise UsageError(f"fuse: {', '.join(names)} {belong} to --fit; give the stores to fit on")


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
    calibrate: Temperature = "grid",
    method: Method = "auto",
    folds: int = 0,
    groups: Mapping[str, str] | None = None,
    group_by: str = "subject",
) -> SoftVote:
    """Search temperature and weights on labelled stores, after the taint rule.

    Args: as :func:`fuse`; groups: clip id -> group, by default the subjects that the labels' file knows.

    Raises:
        TaintError: a model was trained on clips to fit on and ``allow_tainted`` is False.
        DataError: clips without label. StoreError: stores that cannot be joined.
    """
    if temperature is not None and calibrate != "grid":
        raise UsageError("fuse: --temperature keeps one tau, --calibrate fits it; give one of the two")
    joined = join_stores(paths, missing=missing)
    truth = read_truth(labels) if labels is not None else None
    target = fit_labels(joined.clip_ids, joined.labels, truth, joined.class_names, joined.paths[0])
    keys = clip_keys(joined.dataset, joined.clip_ids)
    taint = check_fit_taint(joined.keys, joined.taints, keys, allow=allow_tainted, console=console)
    if metric not in METRICS:
        raise UsageError(f"metric: found '{metric}', wanted one of {', '.join(METRICS)}")
    console.say(f"fit: searching on {len(target)} clips, {len(joined.keys)} models")
    group = groups_of(joined.clip_ids, truth, groups)
    if folds:
        warn_ungrouped(group, console)
    fitted = fit_soft_vote(
        joined.logits,
        target,
        temperature=calibrate if temperature is None else temperature,
        weight_step=weight_step,
        metric=metric,
        method=method,
        folds=folds,
        groups=group,
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
        search={**fitted.search, "grouped_by": group_by if group is not None else "clip"},
        baselines=fitted.baselines,
        fitted_on={
            "clips": len(target),
            "dataset": joined.dataset,
            "stores": joined.inputs,
            "labels": truth.digest if truth is not None else "in the stores",
            "clip_keys": [f"{int(key):016x}" for key in np.sort(keys)],
        },
        taint=taint,
        model_temperatures=fitted.model_temperatures,
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
    fuser_options: Mapping[str, Any] | None = None,
    diagnose: Path | None = None,
    groups: Path | None = None,
    group_by: str = "subject",
    missing: Missing = "error",
    allow_tainted: bool = False,
    calibrate: Temperature = "grid",
    method: Method = "auto",
    folds: int = 0,
) -> StageResult:
    """Run ``mg fuse``; see its ``--help``. Equal weights at tau 1 unless told otherwise.

    Returns:
        data: ``out``, ``digest``, ``clips``, ``fuser``, ``temperature``, ``weights`` by branch, ``params``
        (path or None), ``metric`` and ``value`` of a fit, ``vetoes`` of ``--diagnose``. A fitted fuser has
        other data, see :func:`mg_fusion.commands.fuse_fitted.fuse_fitted`.
    """
    searched = {
        "calibrate": calibrate != "grid",
        "method": method != "auto",
        "metric": metric != "accuracy",
        "weight_step": weight_step != 0.05,
    }
    if not fit:
        _check_without_fit(
            {"groups": groups is not None, "folds": folds != 0, "allow_tainted": allow_tainted, **searched}
        )
    if fuser_options and not isinstance(fuser_options, Mapping):
        raise UsageError("fuse: --fuser-options: wanted name=value words, as shrinkage=3 folds=0")
    if params_out is None and fit and out is not None:
        params_out = Path(out).with_name("fusion.json")
        if params_out == Path(out):
            raise UsageError(f"fuse: {out} is where the parameters go; name another file")
    grouped = given_groups(groups, group_by)
    if wants_fitted(fuser, params):
        return fuse_fitted(
            console=console,
            stores=stores,
            out=out,
            fit=fit,
            labels=labels,
            params=params,
            params_out=params_out,
            fuser=fuser,
            options={"folds": folds or 5, **(fuser_options or {})} if fit else fuser_options,
            groups=grouped,
            group_by=group_by,
            missing=missing,
            allow_tainted=allow_tainted,
            unused={
                "temperature": temperature,
                "weights": weights,
                "diagnose": diagnose,
                **searched,
            },
        )
    if fuser_options:
        raise UsageError(f"fuse: --fuser-options are for fusers that are fitted, '{fuser}' is not")
    if diagnose is not None and fuser != "soft-vote":
        raise UsageError(f"fuse: --diagnose explains the soft vote, not '{fuser}'")
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
        diagnose=diagnose,
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
            calibrate=calibrate,
            method=method,
            folds=folds,
            groups=grouped,
            group_by=group_by,
        )
        params_path = params_out
    elif params is not None:
        vote = SoftVote.load(params)
        if vote.taint.get("override"):
            console.warn(f"{params}: {vote.taint['override']}")
        if temperature is not None:  # what the search found is of another tau
            vote = replace(vote, temperature=temperature, metric="", value=None, search={})
    fused: FusedScores | StreamedFusion | None = None
    digest = ""
    if stores and out is not None:
        config: dict[str, Any] = {"missing": missing}
        if vote is not None:
            config |= {"fitted_on": dict(vote.fitted_on) | {"clip_keys": None}, "taint": dict(vote.taint)}
            config["fitted_on"].pop("clip_keys")
        tau = 1.0 if temperature is None else temperature
        shares = parse_weights(weights) if vote is None else None
        if can_stream(fuser) and is_large(stores):
            fused = fuse_to_store(
                stores,
                out,
                temperature=tau,
                weights=shares,
                params=vote,
                fuser=fuser,
                missing=missing,
                command="mg fuse",
                config=config,
            )
            digest = fused.digest
        else:
            fused = fuse_stores(
                stores, temperature=tau, weights=shares, params=vote, fuser=fuser, missing=missing
            )
            digest = fused.write(out, command="mg fuse", config=config)
        _tell_missing(fused, console)
    # Last, so that there is no fusion.json beside a fusion that failed.
    if fit and vote is not None and params_path is not None:
        vote.save(params_path)
    result = fuse_result(vote, fused, out, digest, params_path, fuser)
    if diagnose is None:
        return result
    vetoes = diagnose_stores(
        fit or stores,
        result.data["weights"],
        result.data["temperature"],
        diagnose,
        model_temperatures=vote.model_temperatures if vote is not None else {},
        labels=labels,
        missing=missing,
        console=console,
    )
    return StageResult(data={**result.data, "vetoes": vetoes}, text=f"{result.text}\n{veto_text(vetoes)}")


def _tell_missing(fused: FusedScores | StreamedFusion, console: Console) -> None:
    for key, count in fused.answered.items():
        if count < fused.clips:
            console.warn(
                f"fuse: '{key}' answers {count} of {fused.clips} clips; "
                "for the others the weights of the rest are scaled up"
            )


__all__ = ["fit_parameters", "fuse", "parse_weights"]
