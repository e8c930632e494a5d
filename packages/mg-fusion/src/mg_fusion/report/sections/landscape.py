"""The search landscape: the metric over temperature and weight on the clips fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, MgError
from mg_data.store import store_kind, stored_digest
from mg_fusion.report.charts.landscape import colour_scale, landscape_chart
from mg_fusion.report.run import AbsentError, Run
from mg_fusion.search.choosing import TEMPERATURE_GRID
from mg_fusion.search.objective import METRICS, VoteObjective
from mg_fusion.stores import JoinedScores, join_stores
from mg_fusion.truth import fit_labels, read_truth
from mg_fusion.vote import FloatArray, SoftVote

_NAMES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "nll": "NLL"}
# An NLL is never equal to another: settings within this many nats of the best one count as as good.
NATS = 0.005


def build(run: Run) -> dict[str, Any]:
    """Return one heat map a model: its weight from 0 to 1, the others sharing the rest as chosen."""
    vote = run.need_vote()
    if vote.metric not in METRICS:
        raise AbsentError("temperature and weights were given and not searched, so there is no landscape")
    joined = fitted_stores(run, vote)
    labels = _fitted_labels(run, joined)
    own = np.array([vote.model_temperatures.get(key, 1.0) for key in joined.keys])
    objective = VoteObjective(joined.logits / own[:, None, None], labels, joined.present)
    metric = vote.metric
    assert metric in METRICS
    step = float(vote.search.get("weight_step") or 0.05)
    chosen = vote.weights_for(joined.keys)
    shares = np.tile(np.linspace(0.0, 1.0, round(1 / step) + 1), (len(chosen), 1))  # (M, W)
    # Weights of a search in no steps are not on the grid: the nearest row gives way to them.
    for place, weight in enumerate(chosen):
        shares[place, np.abs(shares[place] - weight).argmin()] = weight
    grid = sorted({*TEMPERATURE_GRID, vote.temperature} if not vote.model_temperatures else TEMPERATURE_GRID)
    slices = np.stack([_slice(chosen, place, row) for place, row in enumerate(shares)])  # (M, W, M)
    values = np.full((*shares.shape, len(grid)), np.nan)
    for column, tau in enumerate(grid):
        probs = objective.probabilities(tau)
        found = objective.evaluate(metric, probs, slices.reshape(-1, len(chosen)))
        values[:, :, column] = np.where(np.isfinite(found), found, np.nan).reshape(values.shape[:2])
    return _charts(vote, joined.keys, values, shares, grid)


def _charts(
    vote: SoftVote, keys: tuple[str, ...], values: FloatArray, shares: FloatArray, grid: list[float]
) -> dict[str, Any]:
    """Draw what was evaluated (larger is better: an NLL is negated)."""
    nll = vote.metric == "nll"
    unit = "nats" if nll else "%"
    sign = -1.0 if nll else 1.0
    searched = [sign * float(vote.search["best"])] if "best" in vote.search else []
    best = max([*searched, float(np.nanmax(values))])
    flat = np.nan_to_num(values, nan=-np.inf) >= best - (NATS if nll else 1e-9)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # The worst settings are far below the rest and of no interest: nine colours are for the upper part.
    low = max(low, float(np.nanquantile(values, 0.05)))
    tau = vote.temperature if not vote.model_temperatures else 1.0
    charts = []
    bounds = (sign * low, sign * high)
    for place, key in enumerate(keys):
        title, taken = f"{key}: weight {vote.weights[key]:.3g}", (vote.weights[key], tau)
        charts.append(
            landscape_chart(
                sign * values[place], grid, shares[place].tolist(), flat[place], taken, title, bounds, unit
            )
        )
    at = [int(np.abs(row - vote.weights[key]).argmin()) for row, key in zip(shares, keys, strict=True)]
    column = int(np.abs(np.array(grid) - tau).argmin())
    return {
        "charts": charts,
        "scale": colour_scale(bounds, unit),
        "metric": _NAMES[vote.metric],
        "nll": nll,
        "value": vote.value,
        "at_chosen": [sign * float(values[place, row, column]) for place, row in enumerate(at)],
        "clips": vote.fitted_on.get("clips"),
        "tied": vote.search.get("tied"),
        "settings": vote.search.get("settings"),
        "temperature": vote.search.get("region", {}).get("temperature", []),
        "best": sign * best,
        "nats": NATS,
    }


def _slice(chosen: FloatArray, model: int, shares: FloatArray) -> NDArray[np.float64]:
    """Return (W, M) weights in which one model's share grows and the others keep their proportions."""
    rest = np.where(np.arange(len(chosen)) == model, 0.0, chosen)
    if not rest.any():
        # It was chosen alone: the others share what it leaves evenly.
        rest = (np.arange(len(chosen)) != model).astype(np.float64)
    total = rest.sum() or 1.0
    weights = (1 - shares)[:, None] * rest / total
    weights[:, model] = shares if len(chosen) > 1 else 1.0
    return np.asarray(weights)


def _fitted_labels(run: Run, joined: JoinedScores) -> NDArray[np.int64]:
    """Return (N,) labels of the clips fitted on: those of the split, of the stores, or of labels.csv."""
    path = run.folder / "data" / "split.h5"
    truth = read_truth(path) if path.exists() else None if joined.labels is not None else run.truth
    try:
        return fit_labels(joined.clip_ids, joined.labels, truth, joined.class_names, joined.paths[0])
    except DataError as error:
        raise AbsentError(
            "the labels of the clips that the vote was fitted on are not in this run folder (data/split.h5)"
        ) from error


def fitted_stores(run: Run, vote: SoftVote) -> JoinedScores:
    """Return the logits that parameters were fitted on, found by their digests.

    Raises:
        AbsentError: one of them is not in the run folder.
    """
    wanted = {str(digest): str(key) for key, digest in dict(vote.fitted_on.get("stores") or {}).items()}
    if not wanted:
        raise AbsentError("fusion.json does not say what it was fitted on")
    paths = {}
    for path in sorted([*run.folder.glob("*.h5"), *run.folder.glob("*/*.h5")]):
        try:
            digest = stored_digest(path)
            if digest in wanted and digest not in paths and store_kind(path) == "logits":
                paths[digest] = path
        except MgError:
            continue
    missing = sorted(key for digest, key in wanted.items() if digest not in paths)
    if missing:
        raise AbsentError(
            f"the logits that the vote was fitted on are not in this run folder ({', '.join(missing)})"
        )
    return join_stores(list(paths.values()), missing="allow")
