"""What ``mg fuse`` tells of a vote, in words and as data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mg_data.contract import StageResult
from mg_fusion.stores import FusedScores
from mg_fusion.streaming import StreamedFusion
from mg_fusion.table import percent, render_cells
from mg_fusion.vote import SoftVote


def fuse_result(
    vote: SoftVote | None,
    fused: FusedScores | StreamedFusion | None,
    out: Path | None,
    digest: str,
    params_path: Path | None,
    fuser: str,
) -> StageResult:
    """Return what ``mg fuse`` tells: parameters, the search behind them, and what was written."""
    if fused is not None:
        shares, tau = fused.weights, fused.temperature
    else:
        assert vote is not None
        shares, tau = vote.weights, vote.temperature
    models = _alone(vote) if vote is not None else {}
    header = ["model", "weight", *(["accuracy alone"] if models else [])]
    rows = [
        [key, f"{weight:.3f}", *([percent(models.get(key))] if models else [])]
        for key, weight in shares.items()
    ]
    own = vote.model_temperatures if vote is not None else {}
    own_text = "".join(f", {key} {value:.3g}" for key, value in own.items())
    lines = [
        f"{fuser}, tau {tau:g}" + (f" times the models' own: {own_text[2:]}" if own else ""),
        render_cells(header, rows),
    ]
    zero = [key for key, weight in shares.items() if weight == 0]
    if zero:
        lines.append(f"vote weight 0: {', '.join(zero)}")
    # What a search says of the vote it searched for says nothing of another fuser.
    if vote is not None and fuser == "soft-vote":
        # Parameters written by hand tell nothing of a search, or something else.
        with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
            lines.append(_search_text(vote))
    if params_path is not None:
        lines.append(f"parameters: {params_path}")
    if fused is not None:
        lines.append(f"{fused.clips} clips -> {out}")
    data: dict[str, Any] = {
        "out": str(out) if out is not None else None,
        "digest": digest or None,
        "clips": fused.clips if fused is not None else None,
        "fuser": fuser,
        "temperature": tau,
        "weights": dict(shares),
        "params": str(params_path) if params_path is not None else None,
        "metric": vote.metric if vote is not None else None,
        "value": vote.value if vote is not None else None,
    }
    return StageResult(data=data, text="\n".join(lines))


def _alone(vote: SoftVote) -> dict[str, float | None]:
    """Return the accuracy of each model alone, as far as the parameters tell it in numbers."""
    models = vote.baselines.get("models")
    if not isinstance(models, Mapping):
        return {}
    return {key: value if isinstance(value, int | float) else None for key, value in models.items()}


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
        + _calibration_text(search)
        + _folds_text(search.get("cross_fitted"), show)
    )


def _calibration_text(search: Mapping[str, Any]) -> str:
    """Say how far probabilities are to be believed: accuracy hardly depends on tau."""
    tau, error = search.get("calibrated_temperature"), search.get("fused", {}).get("ece")
    if tau is None or error is None:
        return ""
    return f"\nprobabilities: ECE {percent(error)} at this tau on these clips, NLL lowest at tau {tau:g}"


def _folds_text(crossed: Mapping[str, Any] | None, show: Callable[[float], str]) -> str:
    if crossed is None:
        return ""

    def gain(row: Mapping[str, float]) -> str:
        return f"{show(row['value'])} [{show(row['low'])}, {show(row['high'])}]"

    return (
        f"\non clips left out of the search ({crossed['folds']} folds): {show(crossed['value'])} "
        f"[{show(crossed['low'])}, {show(crossed['high'])}], "
        f"{gain(crossed['gain_over_equal_weight'])} better than equal weights, "
        f"{gain(crossed['gain_over_best_single'])} better than the best single model"
    )
