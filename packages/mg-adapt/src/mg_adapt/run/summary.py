"""What a run achieved: metrics.json, run.json and the table that ends ``mg run``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mg_adapt.run.settings import RunSettings
from mg_data.cli.text import table
from mg_data.plugins import registry
from mg_data.store import publish_json

_WHEN = ("before", "after")


def single_best(fusion: Mapping[str, Any], names: list[str]) -> str:
    """Return the branch with the highest validation accuracy, which is all that may choose it."""
    accuracies = fusion["baselines"]["models"]
    return max(names, key=lambda name: (float(accuracies[name]), name))


def describe(
    settings: RunSettings, recipe: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return run.json: what was run, with which branches and how many parameters each."""
    branches = []
    for branch in settings.branches:
        trained = results.get(f"round1/train-{branch.name}", {})
        model = registry().get("models", branch.model)
        branches.append(
            {
                "name": branch.name,
                "model": branch.model,
                "preset": branch.preset,
                "modality": branch.modality or model.modalities[0],
                "parameters": trained.get("data", {}).get("parameters", 0),
                "floor": branch.floor,
                "seconds": [
                    results[step]["seconds"]
                    for step in (f"round1/train-{branch.name}", f"round2/train-{branch.name}")
                    if step in results
                ],
            }
        )
    return {
        "format": "mg-run",
        "version": 1,
        "name": settings.name,
        "seed": settings.seed,
        "dataset": settings.data.dataset,
        "rounds": 1 + settings.adapt.rounds,
        "branches": branches,
        "recipe": recipe,
        "stages": [
            {"step": name, "from": record["from"], "seconds": record["seconds"], "key": record["key"]}
            # By name: the order in which parallel steps ended is an accident, and run.json is an input.
            for name, record in sorted(results.items())
        ],
    }


def merge_metrics(folder: Path, settings: RunSettings) -> dict[str, Any]:
    """Return scores.json with the rows of the single best branch and the notes of each row added."""
    metrics: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    votes = {"before": json.loads((folder / "round1" / "fusion.json").read_text(encoding="utf-8"))}
    votes["after"] = votes["before"]
    if settings.adapt.folds and settings.adapt.rounds:
        # Searched again, on out-of-fold logits.
        votes["after"] = json.loads((folder / "round2" / "fusion.json").read_text(encoding="utf-8"))
    fusion = votes["before"]
    best = single_best(fusion, [branch.name for branch in settings.branches])
    rows = metrics["scores"]
    for when in _WHEN:
        if f"{best}/{when}" in rows:
            rows[f"single-best/{when}"] = {**rows[f"{best}/{when}"], "branch": best}
    notes: dict[str, str] = {}
    for branch in settings.branches:
        for when in _WHEN:
            row = rows.get(f"{branch.name}/{when}")
            if row is None:
                continue
            weight = float(votes[when]["weights"][branch.name])
            parts = [f"vote weight {weight:.2f}" if weight else "vote weight 0: takes no part"]
            if row["accuracy"] < branch.floor:
                parts.append(f"FAILING: below its floor of {100 * branch.floor:.0f} %")
            notes[f"{branch.name}/{when}"] = ", ".join(parts)
    for when in _WHEN:
        notes[f"single-best/{when}"] = f"{best}, chosen on validation"
        notes[f"fused/{when}"] = f"temperature {votes[when]['temperature']:.2f}"
    metrics["notes"] = {name: note for name, note in notes.items() if name in rows}
    return metrics


def render(metrics: Mapping[str, Any], settings: RunSettings) -> str:
    """Return the table: a row each branch, single best, equal weights and fused, before and after."""
    order = [branch.name for branch in settings.branches] + ["single-best", "equal-weight", "fused"]
    rows: list[tuple[str, ...]] = [("result on the target", "accuracy", "macro-F1", "ECE", "")]
    for name in order:
        for when in _WHEN:
            row = metrics["scores"].get(f"{name}/{when}")
            if row is None:
                continue
            label = f"{name}, {when} pseudo-labels" if settings.adapt.rounds else name
            values = (f"{100 * row[key]:.2f}" for key in ("accuracy", "macro_f1", "ece"))
            rows.append((label, *values, metrics["notes"].get(f"{name}/{when}", "")))
    text = table(rows)
    for row, what in (("pseudo", "pseudo-labels"), ("pseudo-fitted", "at the vote's own temperature")):
        pseudo = metrics["scores"].get(row)
        if pseudo:
            text += f"\n{what}: {pseudo['n']} clips"
            # An empty selection has neither.
            for name in ("yield", "precision"):
                if pseudo.get(name) is not None:
                    text += f", {name} {100 * pseudo[name]:.1f} %"
    return text


def write(
    folder: Path,
    settings: RunSettings,
    recipe: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], str]:
    """Write run.json and metrics.json; return the metrics and the table."""
    metrics = merge_metrics(folder, settings)
    publish_json(folder / "metrics.json", metrics)
    publish_json(folder / "run.json", describe(settings, recipe, results))
    return metrics, render(metrics, settings)
