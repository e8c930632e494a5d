"""An ablation as steps: the recipe's loop once for each seed, and beside it what its rows need more."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mg_adapt.recipe import nearest
from mg_adapt.run.needs import needed
from mg_adapt.run.plan import Planner, Step
from mg_adapt.run.rows import VOTES, branch_of, check_rows, default_rows, flips_in_training
from mg_adapt.run.settings import BranchSettings, RowSettings, RunSettings
from mg_data.contract import UsageError
from mg_data.plugins import Registry

PSEUDO = "pseudo"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of one seed.

    Args:
        step: the step that scores it. scores: the file it leaves. training: the step that trained the row's
            branch, or "" for a fusion.
    """

    row: str
    seed: int
    step: str
    scores: Path
    training: str = ""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """All steps of an ablation, its rows, and the cells that the steps fill."""

    steps: tuple[Step, ...]
    rows: tuple[RowSettings, ...]
    cells: tuple[Cell, ...]

    def steps_of(self, rows: Sequence[str], known: Registry) -> list[Step]:
        """Return the steps that the named rows need, all rows by default; with pseudo-labels, their score.

        Raises:
            UsageError: no such row.
        """
        names = [row.name for row in self.rows]
        for name in rows:
            if name not in names:
                raise UsageError(f"--rows: the ablation has no row '{name}'{nearest(name, names)}")
        chosen = {*rows} or {*names}
        if any(row.when == "after" for row in self.rows if row.name in chosen) or not rows:
            chosen.add(PSEUDO)
        return needed(self.steps, [cell.step for cell in self.cells if cell.row in chosen], known)


class _SeedPlanner:
    """Adds the rows of one seed to the loop of that seed."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.settings = planner.settings
        self.branches = {branch.name: branch for branch in planner.settings.branches}

    def answer(self, row: RowSettings) -> tuple[str, str]:
        """Return the store that a row scores, and the step that trained its branch ("" for a fusion)."""
        place = "round1" if row.when == "before" else "round2"
        if row.fuser in VOTES:
            what = "fused" if row.fuser == "soft-vote" else "equal"
            return self.planner.own(f"{place}/target-{what}.h5"), ""
        if row.fuser:
            return self._fused(row), ""
        base = self.branches[row.branch]
        if row.trains:
            branch = branch_of(row, base)
            self.planner.train("rows", branch, where=f"[ablation.rows.{row.name}]")
            self.planner.predict("rows", branch, "target")
            return self.planner.own(f"rows/target-{row.name}.h5"), f"rows/train-{row.name}"
        trained = f"{place}/train-{base.name}"
        if row.flip_average in (None, self._averages(base)):
            return self.planner.own(f"{place}/target-{base.name}.h5"), trained
        again = dataclasses.replace(base, name=row.name, flip_average=row.flip_average)
        checkpoint = self.planner.own(f"{place}/{base.name}.safetensors")
        self.planner.predict("rows", again, "target", checkpoint=checkpoint)
        return self.planner.own(f"rows/target-{row.name}.h5"), trained

    def _averages(self, branch: BranchSettings) -> bool:
        if branch.flip_average is not None:
            return branch.flip_average
        return flips_in_training(self.settings, branch)

    def _fused(self, row: RowSettings) -> str:
        """Fit a fuser on validation in the first round, where no model was trained on it, and apply it."""
        planner, name = self.planner, row.name
        parameters, out = planner.own(f"rows/{name}.json"), planner.own(f"rows/target-{name}.h5")
        uses = (("fusers", row.fuser),)
        planner.add(
            f"{planner.prefix}rows/fit-{name}",
            "fuse",
            uses=uses,
            fit=planner.logits(1, "val"),
            labels=planner.split,
            fuser=row.fuser,
            fuser_options=dict(row.fuser_options),
            params_out=parameters,
            missing=planner.settings.fuse.get("missing"),
        )
        planner.add(
            f"{planner.prefix}rows/fuse-{name}",
            "fuse",
            uses=uses,
            stores=planner.logits(1 if row.when == "before" else 2, "target"),
            fuser=row.fuser,
            params=parameters,
            out=out,
            missing=planner.settings.fuse.get("missing"),
        )
        return out


def plan_ablation(settings: RunSettings, folder: Path, known: Registry, seeds: Sequence[int]) -> Ablation:
    """Return the steps and cells of an ablation: prepared data once, then seed by seed.

    Raises:
        UsageError, PluginError: a row or a branch that cannot be made, before anything runs.
    """
    rows = settings.ablation.rows or default_rows(settings, known)
    check_rows(rows, settings, known)
    crops = dict(settings.crops)
    by_name = {branch.name: branch for branch in settings.branches}
    for row in rows:
        if row.crops and row.crops not in settings.crops:
            raise UsageError(f"[ablation.rows.{row.name}]: there is no table [crops.{row.crops}]")
        if row.crop:
            if row.name in settings.crops:
                raise UsageError(
                    f"[ablation.rows.{row.name}]: its own crops would be called as [crops.{row.name}] is; "
                    "rename the row"
                )
            base = row.crops or by_name[row.branch].crops
            # A table that names no stream is of the one that it is called by; the row's is called otherwise.
            crops[row.name] = {"stream": base, **settings.crops[base], **row.crop}
    settings = dataclasses.replace(settings, crops=crops)
    data = Planner(settings, folder, known)
    data.trackers()
    data.data()
    steps, cells = list(data.steps), []
    for seed in seeds:
        prefix = f"seed{seed}/"
        planner = Planner(dataclasses.replace(settings, seed=seed), folder, known, prefix)
        planner.loop()
        one = _SeedPlanner(planner)
        for row in rows:
            store, training = one.answer(row)
            step, scores = f"{prefix}score-{row.name}", planner.own(f"scores/{row.name}.json")
            planner.score(step, {row.name: store}, scores)
            training = prefix + training if training else ""
            cells.append(Cell(row=row.name, seed=seed, step=step, scores=Path(scores), training=training))
        if settings.adapt.rounds:
            scored = {name: path for name, path in planner.scored().items() if name.startswith(PSEUDO)}
            step, scores = f"{prefix}score-{PSEUDO}", planner.own(f"scores/{PSEUDO}.json")
            planner.score(step, scored, scores)
            cells.append(Cell(row=PSEUDO, seed=seed, step=step, scores=Path(scores)))
        steps += planner.steps
    if PSEUDO in {row.name for row in rows} and settings.adapt.rounds:
        raise UsageError(f"[ablation.rows.{PSEUDO}]: the name is taken by the pseudo-labels' own row")
    return Ablation(steps=tuple(steps), rows=rows, cells=tuple(cells))
