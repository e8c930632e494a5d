"""What an ablation found: mean and spread of the finished cells as JSON, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mg_adapt.run.ablation import PSEUDO, Ablation, Cell
from mg_adapt.run.rows import branch_of
from mg_adapt.run.settings import RowSettings, RunSettings
from mg_data.plugins import Registry
from mg_data.store import publish_json, publish_text

METRICS = ("accuracy", "macro_f1", "mean_class_accuracy", "ece", "nll")
_LABELS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ece": "ECE"}


def collect(
    ablation: Ablation,
    settings: RunSettings,
    results: Mapping[str, Mapping[str, Any]],
    known: Registry,
) -> dict[str, Any]:
    """Return all finished cells and what they say together.

    Args:
        results: the runner's records by step; a cell whose step is not among them is not finished.
    """
    rows = []
    for row in ablation.rows:
        cells = {
            str(cell.seed): _cell(cell, results)
            for cell in ablation.cells
            if cell.row == row.name and cell.step in results
        }
        rows.append(
            {
                "name": row.name,
                "title": row.title or row.name,
                "modality": _modality(row, settings, known),
                "branch": row.branch,
                "fuser": row.fuser,
                "when": row.when,
                "cells": cells,
                "mean": {metric: _mean([cell[metric] for cell in cells.values()]) for metric in METRICS},
                "spread": {metric: _spread([cell[metric] for cell in cells.values()]) for metric in METRICS},
            }
        )
    pseudo = {
        str(cell.seed): _scores(cell)
        for cell in ablation.cells
        if cell.row == PSEUDO and cell.step in results
    }
    return {
        "format": "mg-ablation",
        "version": 1,
        "name": settings.name,
        "dataset": settings.data.dataset,
        "seeds": sorted({cell.seed for cell in ablation.cells}),
        "rows": rows,
        "pseudo": {
            seed: {
                name: {key: value.get(key) for key in ("n", "yield", "precision")}
                for name, value in found.items()
            }
            for seed, found in pseudo.items()
        },
        "gains": _gains(ablation.rows, rows),
    }


def _scores(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cell.scores.read_text(encoding="utf-8"))["scores"]
    return found


def _cell(cell: Cell, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = _scores(cell)[cell.row]
    training = results.get(cell.training, {})
    return {
        **{metric: found.get(metric) for metric in METRICS},
        "n": found["n"],
        "store": found.get("digest"),
        "parameters": training.get("data", {}).get("parameters"),
        "train_seconds": training.get("seconds"),
    }


def _modality(row: RowSettings, settings: RunSettings, known: Registry) -> str:
    bases = {branch.name: branch for branch in settings.branches}
    branches = [branch_of(row, bases[row.branch])] if row.branch else list(bases.values())
    names = (branch.modality or known.get("models", branch.model).modalities[0] for branch in branches)
    return " + ".join(dict.fromkeys(names))


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return statistics.mean(numbers) if numbers else None


def _spread(values: Sequence[float | None]) -> float | None:
    """Return the standard deviation over seeds (n - 1), None for fewer than two."""
    numbers = [value for value in values if value is not None]
    return statistics.stdev(numbers) if len(numbers) > 1 else None


def _gains(rows: Sequence[RowSettings], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each row after pseudo-labels what they changed, seed by seed, where both are there."""
    gains = []
    for after, after_row in zip(found, rows):
        if after_row.when != "after":
            continue
        for before, before_row in zip(found, rows):
            if before_row.when != "before" or before_row.changes or _answer(before_row) != _answer(after_row):
                continue
            shared = sorted(set(after["cells"]) & set(before["cells"]), key=int)
            pairs = [(before["cells"][seed]["accuracy"], after["cells"][seed]["accuracy"]) for seed in shared]
            if not pairs:
                continue
            errors = sum(1 - old for old, _ in pairs)
            gains.append(
                {
                    "row": after["name"],
                    "over": before["name"],
                    "seeds": [int(seed) for seed in shared],
                    "accuracy": [new - old for old, new in pairs],
                    "errors_removed": sum(new - old for old, new in pairs) / errors if errors else None,
                }
            )
    return gains


def _answer(row: RowSettings) -> tuple[str, str, dict[str, Any]]:
    """Return whose answer a row without changes is, before or after pseudo-labels."""
    return row.branch, row.fuser, dict(row.fuser_options)


def percent(mean: float | None, spread: float | None = None) -> str:
    """Return ``95.35 ± 1.20`` of shares of 1, or a dash."""
    if mean is None:
        return "-"
    return f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if spread is not None else "")


def markdown(found: Mapping[str, Any]) -> str:
    """Return the table: a row each, mean and standard deviation over seeds in percent."""
    header = ["method", "modality", *_LABELS.values(), "seeds", "parameters"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in found["rows"]:
        values = [percent(row["mean"][metric], row["spread"][metric]) for metric in _LABELS]
        sizes = {cell["parameters"] for cell in row["cells"].values()} - {None}
        size = f"{sizes.pop():,}" if len(sizes) == 1 else ""
        seeds = ", ".join(row["cells"]) or "not run"
        lines.append(f"| {' | '.join([row['title'], row['modality'], *values, seeds, size])} |")
    lines.append("")
    titles = {row["name"]: row["title"] for row in found["rows"]}
    for gain in found["gains"]:
        mean, spread = _mean(gain["accuracy"]), _spread(gain["accuracy"])
        removed = gain["errors_removed"]
        text = f"- {titles[gain['row']]}: {percent(mean, spread)} points over the first round"
        lines.append(text + (f", {100 * removed:.0f} % of its errors removed" if removed is not None else ""))
    for kind, what in ((PSEUDO, "pseudo-labels"), (f"{PSEUDO}-fitted", "at the vote's own temperature")):
        kept = [seed[kind] for seed in found["pseudo"].values() if kind in seed]
        parts = []
        for name in ("yield", "precision"):
            shares = [item[name] for item in kept]
            mean = _mean(shares)
            # No label at all has no precision.
            parts.append(f"{name} {percent(mean, _spread(shares))}" + (" %" if mean is not None else ""))
        if kept:
            lines.append(f"- {what}: {', '.join(parts)}")
    return "\n".join(lines).rstrip() + "\n"


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if value is None else value for value in row] for row in rows])
    return text.getvalue()


def write(folder: Path, found: Mapping[str, Any]) -> str:
    """Write ablation.json, ablation.md, ablation.csv (a line a row) and cells.csv; return the Markdown."""
    publish_json(folder / "ablation.json", dict(found))
    text = markdown(found)
    publish_text(folder / "ablation.md", text)
    spreads = [f"{metric}_{end}" for metric in METRICS for end in ("mean", "std")]
    publish_text(
        folder / "ablation.csv",
        _csv(
            ["row", "title", "modality", "seeds", *spreads],
            [
                [row["name"], row["title"], row["modality"], len(row["cells"])]
                + [row[end][metric] for metric in METRICS for end in ("mean", "spread")]
                for row in found["rows"]
            ],
        ),
    )
    publish_text(
        folder / "cells.csv",
        _csv(
            ["row", "seed", *METRICS, "n", "parameters", "train_seconds"],
            [
                [row["name"], seed, *(cell[name] for name in METRICS)]
                + [cell[name] for name in ("n", "parameters", "train_seconds")]
                for row in found["rows"]
                for seed, cell in row["cells"].items()
            ],
        ),
    )
    return text
