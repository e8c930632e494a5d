"""The ``mg ablate`` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mg_adapt.run import ablation_summary
from mg_adapt.run.ablation import plan_ablation
from mg_adapt.run.execute import Runner, only_run
from mg_adapt.run.settings import changes_of, check_seeds, load
from mg_data.contract import Console, StageResult
from mg_data.plugins import registry
from mg_data.store import publish_json


def ablate(
    *,
    console: Console,
    recipe: Path,
    out: Path | None,
    seeds: Sequence[int] = (),
    rows: Sequence[str] = (),
    set: dict[str, Any] | None = None,
    jobs: int | None = None,
    force: bool = False,
    dry: bool = False,
) -> StageResult:
    """Fill the table of a recipe's ablation: every row of every seed is a cell, kept once it is finished.

    Data are prepared once; rows that share a training share it. A call that is broken off goes on where it
    was, and the tables are written of the cells that are there, also when a step fails.

    Args:
        seeds: over the recipe's ``[ablation] seeds``; without both the recipe's own seed.
        rows: names of the rows to fill now, all by default; only what they need is run. The tables hold
            what earlier calls have finished besides.

    Raises:
        UsageError: a recipe that cannot be read or planned.
        MgError: whatever a step raised.
    """
    settings, resolved = load(recipe, changes_of(set))
    check_seeds(list(seeds), "--seeds")
    chosen = tuple(seeds) or settings.ablation.seeds or (settings.seed,)
    folder = (out or Path("runs") / f"{settings.name}-ablation").absolute()
    known = registry()
    ablation = plan_ablation(settings, folder, known, chosen)
    steps = ablation.steps_of(rows, known)
    if dry:
        listing = [{"step": step.name, "stage": step.stage} for step in steps]
        return StageResult(data={"steps": listing}, text="\n".join(step.name for step in steps))
    with only_run(folder):
        publish_json(folder / "recipe.json", resolved)
        runner = Runner(folder, console, settings.machine.jobs if jobs is None else jobs, force)
        try:
            runner.run(steps)
        finally:
            runner.look(ablation.steps)
            found = ablation_summary.collect(ablation, settings, runner.results, known)
            text = ablation_summary.write(folder, found)
        figures = _draw(folder, found, console)
    files = [folder / "ablation.md", folder / "ablation.csv", folder / "cells.csv", *figures]
    return StageResult(
        data={"run": str(folder), **found, "files": [str(path) for path in files]},
        text=text + "\n" + "\n".join(str(path) for path in files),
    )


def _draw(folder: Path, found: dict[str, Any], console: Console) -> list[Path]:
    try:
        from mg_adapt.run.ablation_plot import plot_ablation
    except ImportError:
        console.warn("no figure was drawn: matplotlib is missing (pip install 'mg-adapt[plot]')")
        return []
    paths = [folder / "ablation.png", folder / "ablation.svg"]
    for path in paths:
        plot_ablation(path, found)
    return paths
