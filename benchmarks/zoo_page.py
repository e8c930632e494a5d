"""docs/model-zoo.md: what every model is, how large, where it is from, and what it was measured to reach.

Made of the models' records, of results/model-sizes.json and of the results of trainings; no torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.page_parts import NOT_RUN, record, records, spread
from benchmarks.skeleton_utd import ROWS
from mg_data.contract import ModelSpec
from mg_data.plugins import registry

PACKAGES = {"mg-skeleton": "Over keypoints", "mg-rgb": "Over video and stored features"}
# Axes of a sample of each kind, as the contract's InputSpec names them.
AXES = {
    "keypoints": "C, T, V",
    "people": "P, T, V, 3",
    "video": "C, T, H, W",
    "signal": "C, T",
    "features": "D",
}
# Kind of record -> data set; the protocols that were used to choose settings are left out.
TRAININGS = {"skeleton-utd": "UTD-MHAD", "depth-utd": "UTD-MHAD"}
CHOOSING = ("choose",)
ROUNDS = {"before": "round 1", "after": "round 2, with pseudo-labels"}


class Cell(NamedTuple):
    """One training and its score; cells of equal first three fields are seeds of one another."""

    model: str
    what: str
    where: str
    seed: int
    accuracy: float
    macro_f1: float
    minutes: float


def _models(package: str) -> list[ModelSpec]:
    known = registry()
    return [known.models[name] for name in sorted(known.models) if known.owners["models", name] == package]


def _trained() -> Iterator[Cell]:
    """Return the trainings of single models."""
    for kind, data in TRAININGS.items():
        for found in records(f"{kind}-*"):
            row = found.get("row_settings") or ROWS.get(found["row"])
            if row is None or found["protocol"] in CHOOSING:  # votes of several models have none
                continue
            seconds = found.get("train_cpu_seconds", found["train_seconds"])
            yield Cell(
                row["model"],
                f"`{row['preset']}`, {row['modality']} ({found['row']})",
                f"{data}, {found['protocol']}",
                found["seed"],
                found["scores"]["accuracy"],
                found["scores"]["macro_f1"],
                seconds / 60,
            )


def _recipes() -> Iterator[Cell]:
    """Return the branches of whole recipes, before and after the pseudo-labels."""
    for found in records("run-*"):
        for branch in found["branches"]:
            for (when, title), seconds in zip(ROUNDS.items(), branch["seconds"], strict=True):
                scores = found["scores"][f"{branch['name']}/{when}"]
                yield Cell(
                    branch["model"],
                    f"`{branch['preset']}`, {branch['modality']}",
                    f"`recipes/{found['name']}.toml`, {title}",
                    found["seed"],
                    scores["accuracy"],
                    scores["macro_f1"],
                    seconds / 60,
                )


def _measured() -> dict[str, dict[tuple[str, str], list[Cell]]]:
    """Return model -> (what was trained, where) -> its seeds."""
    found: dict[str, dict[tuple[str, str], list[Cell]]] = {}
    for cell in (*_trained(), *_recipes()):
        found.setdefault(cell.model, {}).setdefault((cell.what, cell.where), []).append(cell)
    return found


def _size_rows(spec: ModelSpec, sizes: dict[str, Any]) -> list[str]:
    lines = []
    for preset in spec.presets:
        row = sizes.get(preset)
        if row is None:
            lines.append(f"| {spec.name} | `{preset}` | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} |")
            continue
        sample = " x ".join(map(str, row["sample"]))
        cells = (f"{sample} ({AXES[row['kind']]})", f"{row['parameters']:,}", f"{row['feature']:,}")
        lines.append(f"| {spec.name} | `{preset}` | {' | '.join(cells)} |")
    return lines


def _package(package: str, sizes: dict[str, Any]) -> list[str]:
    specs = _models(package)
    lines = [
        "",
        f"## {PACKAGES[package]}: `{package}`",
        "",
        "| model | what | inputs, the default first | from |",
        "|---|---|---|---|",
    ]
    for spec in specs:
        cells = (spec.name, spec.summary, ", ".join(spec.modalities), spec.source or "this project")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| model | preset | a sample | parameters | feature |", "|---|---|---|---|---|"]
    for spec in specs:
        lines += _size_rows(spec, sizes.get(spec.name, {}))
    return lines


def _measured_section() -> list[str]:
    lines = [
        "",
        "## Measured",
        "",
        "Percent on people the model was not trained on: mean, and standard deviation over seeds where there",
        "are several. Protocols and settings are those of [the results](results.md), which also have the",
        "votes of several models. Minutes of training, without an accelerator, on a machine that did other",
        "work besides.",
        "",
        "| model | preset, input | data | accuracy | macro-F1 | seeds | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    measured = _measured()
    for package in PACKAGES:
        for spec in _models(package):
            rows = measured.get(spec.name)
            if rows is None:
                lines.append(f"| {spec.name} |  |  | {NOT_RUN} | {NOT_RUN} |  |  |")
                continue
            for (what, where), cells in sorted(rows.items(), key=lambda item: item[0][::-1]):
                seeds = ", ".join(str(cell.seed) for cell in sorted(cells, key=lambda cell: cell.seed))
                minutes = statistics.mean(cell.minutes for cell in cells)
                scores = (spread(cell.accuracy for cell in cells), spread(cell.macro_f1 for cell in cells))
                lines.append(
                    f"| {spec.name} | {what} | {where} | {' | '.join(scores)} | {seeds} | {minutes:.0f} |"
                )
    return lines


def _weights_section() -> list[str]:
    lines = [
        "",
        "## Published weights",
        "",
        "What the model's option `weights` takes by name. The file is looked for in `MG_WEIGHTS_DIR`, then",
        "in torch hub's cache, then fetched into that; it is held to its digest where the publisher gives",
        "one. The licence is that of the weights, not of this project.",
        "",
        "| model | name | file | digest | licence |",
        "|---|---|---|---|---|",
    ]
    for package in PACKAGES:
        for spec in _models(package):
            for weights in spec.weights:
                digest = f"`{weights.sha256[:12]}`" if weights.sha256 else "none"
                file = f"[{weights.filename}]({weights.url})"
                cells = (spec.name, f"`{weights.name}`", file, digest, weights.licence or "not stated")
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def page() -> str:
    """Return docs/model-zoo.md."""
    found = record("model-sizes") or {}
    lines = [
        "# Model zoo",
        "",
        "Made by `make pages` from the models' records and `benchmarks/results/*.json` alone. `mg models`",
        "lists these models and those of installed plugins.",
        "",
    ]
    if found:
        lines += [
            f"Parameters and samples are of {found['classes']} classes, keypoints of the layout",
            f"`{found['layout']}` and the default input; the feature is what the semantic loss sees. Presets",
            "named `full`, `base` or `paper` have the published size, the others are for training on a",
            f"processor. Counted on the models themselves: commit {found['commit']}, `{found['command']}`.",
        ]
    else:
        lines.append(f"Sizes: {NOT_RUN}.")
    for package in PACKAGES:
        lines += _package(package, found.get("models", {}))
    return "\n".join([*lines, *_measured_section(), *_weights_section()]) + "\n"
