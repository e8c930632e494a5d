"""Pseudo-labels: how many, how right, how far the models agree, and their shares of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.store import PseudoStore, read_pseudo
from mg_fusion.report.charts.bars import BarRow, bar_rows, round_top
from mg_fusion.report.charts.svg import legend
from mg_fusion.report.run import AbsentError, Run
from mg_fusion.scoring import score_pseudo
from mg_fusion.table import percent

_ROWS = {"pseudo": "as trained on", "pseudo-fitted": "at the vote's own temperature"}
BINS = 8
# What a page without the store of the labels shows of it.
_NOTHING: dict[str, Any] = {"adapter": "", "agreement": [], "confidence": "", "shares": "", "distances": {}}


def build(run: Run) -> dict[str, Any]:
    """Return figures of the pseudo-labels (those of metrics.json where it has them) and their make-up."""
    scores = dict(_scores(run))
    store = run.guard("pseudo store", lambda: read_pseudo(_path(run)))
    detail = _NOTHING if store is None else _detail(run, store, scores["pseudo"])
    rows = [{"title": _ROWS[name], **row} for name, row in scores.items()]
    return {"rows": rows, "lacking": run.problems.get("pseudo store", ""), **detail}


def _path(run: Run) -> Path:
    return run.store_of("pseudo") if "pseudo" in run.scores else run.folder / "round1" / "pseudo.h5"


def _scores(run: Run) -> Mapping[str, Mapping[str, Any]]:
    found = {name: run.scores[name] for name in _ROWS if name in run.scores}
    if found:
        return found
    path = run.folder / "round1" / "pseudo.h5"
    if not path.exists():
        raise AbsentError("pseudo.h5 is not in this run folder: no pseudo-labels were made")
    return {"pseudo": score_pseudo(read_pseudo(path), run.need_truth())}


def _detail(run: Run, store: PseudoStore, measured: Mapping[str, Any]) -> dict[str, Any]:
    truth = run.truth.of(store.clip_ids) if run.truth is not None else np.full(len(store), -1)
    return {
        "adapter": _adapter(store),
        "agreement": agreement(store, truth),
        "models": len(store.model_names),
        "confidence": _confidence(store, truth),
        **_shares(run, store, measured),
    }


def _adapter(store: PseudoStore) -> str:
    config = store.provenance.config
    options = config.get("options") or {}
    settings = ", ".join(f"{key} {value}" for key, value in options.items())
    return (
        f"{config['adapter']} ({settings})"
        if config.get("adapter") and settings
        else str(config.get("adapter", ""))
    )


def _precision(right: NDArray[np.bool_], known: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> float | None:
    checked = known & chosen
    return float(right[checked].mean()) if checked.any() else None


def agreement(store: PseudoStore, truth: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return labels and precision by how many of the models answer the label by themselves.

    Args:
        truth: (S,), -1 unknown.
    """
    agree = (store.votes == store.labels[:, None]).sum(axis=1)
    right, known = store.labels == truth, truth >= 0
    rows = []
    for count in range(len(store.model_names), -1, -1):
        chosen = agree == count
        if chosen.any():
            rows.append(
                {
                    "models": count,
                    "n": int(chosen.sum()),
                    "share": float(chosen.mean()),
                    "precision": _precision(right, known, chosen),
                }
            )
    return rows


def _confidence(store: PseudoStore, truth: NDArray[np.int64]) -> str:
    """Return bars of the labels by confidence, with the precision of each step."""
    if not len(store):
        return ""
    low = min(float(store.confidence.min()), 0.999)
    edges = np.linspace(np.floor(20 * low) / 20, 1.0, BINS + 1)
    place = np.clip(np.searchsorted(edges, store.confidence, side="right") - 1, 0, BINS - 1)
    right, known = store.labels == truth, truth >= 0
    rows = []
    for step in range(BINS):
        chosen = place == step
        precision = _precision(right, known, chosen)
        note = f"{int(chosen.sum())} labels" + (
            f", {percent(precision)} % right" if precision is not None else ""
        )
        name = f"{100 * edges[step]:.1f} to {100 * edges[step + 1]:.1f} %"
        rows.append(BarRow(name, [float(chosen.mean())], note))
    top = round_top(max(float(row.values[0] or 0.0) for row in rows))
    return bar_rows(rows, ["labels"], top=top, unit="share of the labels (%)")


def _shares(run: Run, store: PseudoStore, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shares of the classes among the labels, beside those in training and in the truth."""
    if not len(store):
        return {"shares": "", "distances": {}, "classes": []}
    given = np.bincount(store.labels, minlength=len(store.class_names)) / len(store)
    series: dict[str, NDArray[np.float64]] = {"pseudo-labels": given}
    counts = run.class_counts
    if counts is not None and len(counts) == len(given):
        series["training (prior)"] = counts / counts.sum()
    sizes = [item.get("target") for item in measured["per_class"]]
    if any(sizes) and None not in sizes:
        series["truth of the target"] = np.array(sizes, dtype=np.float64) / sum(sizes)
    order = np.argsort(-series.get("training (prior)", given), kind="stable").tolist()
    rows = []
    for index in order:
        values = [float(part[index]) for part in series.values()]
        if not any(values):
            continue
        item = measured["per_class"][index]
        note = f"{item['selected']} labels"
        if item.get("precision") is not None:
            note += f", {percent(item['precision'])} % right"
        rows.append(BarRow(str(item["name"]), values, note))
    top = round_top(max(float(part.max()) for part in series.values()))
    distances = {name: 0.5 * float(np.abs(part - given).sum()) for name, part in list(series.items())[1:]}
    return {
        "legend": legend(list(series)),
        "shares": bar_rows(rows, list(series), top=top, unit="share (%)"),
        "distances": distances,
        "classes": [item for item in measured["per_class"] if item["selected"] or item.get("target")],
    }
