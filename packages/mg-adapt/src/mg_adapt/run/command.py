"""The ``mg run`` command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mg_adapt.run import summary
from mg_adapt.run.cross_validation import cross_validate
from mg_adapt.run.execute import Runner, only_run
from mg_adapt.run.plan import Step, plan
from mg_adapt.run.settings import changes_of, load
from mg_data.contract import Console, StageResult
from mg_data.plugins import registry
from mg_data.store import publish_text


def _remember(folder: Path, seconds: float, runner: Runner, console: Console) -> None:
    """Append how long this call took; a call that skipped nothing timed the whole recipe."""
    entry = {
        "seconds": round(seconds, 1),
        "ran": len(runner.results) - runner.skipped,
        "skipped": runner.skipped,
    }
    path = folder / "history.jsonl"
    try:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")
    except OSError as error:  # the run is complete without it
        console.warn(f"{path}: cannot be written: {error.strerror or error}")


def run(
    *,
    console: Console,
    recipe: Path,
    out: Path | None,
    set: dict[str, Any] | None,
    seed: int | None,
    jobs: int | None,
    folds: str = "",
    force: bool = False,
    dry: bool = False,
) -> StageResult:
    """Walk a whole recipe: data, branches, vote, pseudo-labels, retraining, vote, score, report.

    Args:
        folds: cross-validate over the people of train and val instead, see
            :func:`mg_adapt.run.cross_validation.cross_validate`.

    Raises:
        UsageError: a recipe that cannot be read or planned.
        MgError: whatever a step raised; what was finished is kept and skipped next time.
    """
    changes = changes_of(set)
    if seed is not None:
        changes["seed"] = seed
    settings, resolved = load(recipe, changes)
    if folds:
        end = "subject" if folds == "subject" else f"{folds}fold"
        folder = (out or Path("runs") / f"{settings.name}-{end}").absolute()
        return cross_validate(settings, folder, folds, console=console, jobs=jobs, force=force, dry=dry)
    folder = (out or Path("runs") / settings.name).absolute()
    steps = plan(settings, folder, registry())
    if dry:
        listing = [{"step": step.name, "stage": step.stage} for step in steps]
        return StageResult(data={"steps": listing}, text="\n".join(step.name for step in steps))
    began = time.monotonic()
    with only_run(folder):
        runner = Runner(folder, console, settings.machine.jobs if jobs is None else jobs, force)
        runner.run(steps)
        metrics, text = summary.write(folder, settings, resolved, runner.results)
        publish_text(folder / "table.txt", text + "\n")
        report = folder / "report.html"
        runner.run(
            [
                Step(
                    name="result/report",
                    stage="report",
                    params={"run": folder, "out": report},
                    key_files=(str(folder / "metrics.json"), str(folder / "run.json")),
                )
            ]
        )
        seconds = time.monotonic() - began
        _remember(folder, seconds, runner, console)
    console.say(f"mg run: finished in {seconds:.0f} s")
    footer = f"report: {report}\nsubmission: {folder / 'submission.zip'}"
    return StageResult(
        data={"run": str(folder), "metrics": metrics, "report": str(report)}, text=f"{text}\n{footer}"
    )
