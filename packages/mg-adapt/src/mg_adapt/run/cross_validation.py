"""``mg run --folds``: the recipe's loop on each fold of the people in train and val.

In each fold some people are the target, the next fold's people are validation, all others are trained on;
the recipe's own target takes no part. So whatever is compared by these numbers is chosen without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_adapt.folds import BY_SUBJECT, check_fold_count, people_of, read_folds
from mg_adapt.run.execute import Runner, only_run
from mg_adapt.run.plan import Planner, Step
from mg_adapt.run.settings import RunSettings
from mg_data.cli.text import table
from mg_data.contract import Console, StageResult
from mg_data.plugins import Registry, registry
from mg_data.store import publish_json, publish_text, read_split

Groups = Sequence[tuple[str, ...]]


def plan_folds(
    settings: RunSettings, folder: Path, known: Registry, folds: str | int, count: int
) -> list[Step]:
    """Return the steps of all folds, each a loop of its own over the data prepared before."""
    steps: list[Step] = []
    for fold in range(1, count + 1):
        prefix = f"fold{fold}/"
        planner = Planner(settings, folder, known, prefix, str(folder / prefix / "split.h5"))
        planner.add(
            f"{prefix}split",
            "fold",
            split=planner.file("data/split.h5"),
            folds=str(folds),
            fold=fold,
            purpose="cross-validation",
            out=planner.split,
        )
        planner.loop()
        planner.score(f"{prefix}score", planner.scored(), planner.own("scores.json"))
        steps += planner.steps
    return steps


def cross_validate(
    settings: RunSettings,
    folder: Path,
    folds: str,
    *,
    console: Console,
    jobs: int | None = None,
    force: bool = False,
    dry: bool = False,
) -> StageResult:
    """Run the recipe's loop on every fold and say what each fold and all of them together give.

    Args:
        folds: ``subject`` (leave one person out), or the number of folds people are dealt to.

    Raises:
        UsageError, DataError: a recipe or people that give no folds. MgError: whatever a step raised.
    """
    wanted, known = read_folds(folds), registry()
    if wanted != BY_SUBJECT:
        check_fold_count(int(wanted), "--folds")
    prepared = Planner(settings, folder, known)
    prepared.trackers()
    prepared.data()
    # All options of the branches are checked before the data are touched, on folds that may be too many.
    preview = plan_folds(settings, folder, known, wanted, 3 if wanted == "subject" else int(wanted))
    if dry:
        steps = [*prepared.steps, *preview]
        more = "" if wanted != "subject" else "\n... and so on, one fold for each person"
        listing = [{"step": step.name, "stage": step.stage} for step in steps]
        return StageResult(data={"steps": listing}, text="\n".join(step.name for step in steps) + more)
    with only_run(folder):
        runner = Runner(folder, console, settings.machine.jobs if jobs is None else jobs, force)
        runner.run(prepared.steps)
        split = read_split(folder / "data" / "split.h5")
        groups = people_of(split, ("train", "val"), wanted)
        check_fold_count(len(groups), str(split.path))
        runner.run(plan_folds(settings, folder, known, wanted, len(groups)))
        found = summarise(folder, settings, groups)
        publish_json(folder / "folds.json", found)
        text = render(found)
        publish_text(folder / "table.txt", text + "\n")
    return StageResult(data={"run": str(folder), **found}, text=text)


def pooled(confusions: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """Return accuracy and macro-F1 of all folds' clips together, from (K, K) confusions with rows of truth.

    Macro-F1 averages over the classes that occur. Each clip is answered by the models that left it out.

    >>> pooled([np.array([[3, 1], [0, 0]]), np.array([[2, 0], [2, 2]])])["accuracy"]
    0.7
    """
    total = np.sum(confusions, axis=0)
    hits, truth, answers = np.diag(total), total.sum(axis=1), total.sum(axis=0)
    there = truth > 0
    f1 = 2 * hits[there] / np.maximum(truth[there] + answers[there], 1)
    return {"accuracy": float(hits.sum() / total.sum()), "macro_f1": float(f1.mean()), "n": int(total.sum())}


def summarise(folder: Path, settings: RunSettings, groups: Groups) -> dict[str, Any]:
    """Return the scores of every fold, their mean and spread, and the pooled ones."""
    by_fold = [
        json.loads((folder / f"fold{fold}" / "scores.json").read_text(encoding="utf-8"))["scores"]
        for fold in range(1, len(groups) + 1)
    ]
    rows: dict[str, dict[str, Any]] = {}
    for name in by_fold[0]:
        found = [scores[name] for scores in by_fold]
        if "confusion" not in found[0]:
            # Pseudo-labels: precision may be missing where there are none.
            rows[name] = {
                "folds": [{key: item.get(key) for key in ("n", "yield", "precision")} for item in found]
            }
            continue
        accuracies = [item["accuracy"] for item in found]
        rows[name] = {
            "folds": [{key: item[key] for key in ("accuracy", "macro_f1", "ece", "n")} for item in found],
            "mean": float(np.mean(accuracies)),
            "spread": float(np.std(accuracies, ddof=1)),
            "pooled": pooled([np.asarray(item["confusion"], np.int64) for item in found]),
        }
    return {
        "format": "mg-folds",
        "version": 1,
        "name": settings.name,
        "seed": settings.seed,
        "dataset": settings.data.dataset,
        "people": [list(group) for group in groups],
        "rows": rows,
    }


def render(found: Mapping[str, Any]) -> str:
    """Return the table: a row each, accuracy by fold, mean and standard deviation, and pooled."""
    names = [", ".join(people) for people in found["people"]]
    lines: list[tuple[str, ...]] = [
        ("accuracy on people left out", *names, "mean", "spread", "pooled", "macro-F1 pooled")
    ]
    for name, row in found["rows"].items():
        if "pooled" in row:
            values = [*(item["accuracy"] for item in row["folds"]), row["mean"], row["spread"]]
            values += [row["pooled"]["accuracy"], row["pooled"]["macro_f1"]]
            lines.append((name, *(f"{100 * value:.2f}" for value in values)))
    text = table(lines)
    for name, row in found["rows"].items():
        if "pooled" not in row:
            for key in ("yield", "precision"):
                values = [item[key] for item in row["folds"] if item[key] is not None]
                shown = ", ".join(f"{100 * value:.1f}" for value in values) or "none"
                text += f"\n{name}: {key} by fold {shown} %"
    return text
