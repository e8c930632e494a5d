"""The rows of an ablation: those of the recipe's ``[ablation.rows]``, or the paper's Table 2 by default.

A row is the answer of one branch of the recipe, before or after pseudo-labels; a branch of its own that
starts from one of the recipe's and changes some of it; or a fusion of the recipe's branches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from mg_adapt.recipe import merge_recipes
from mg_adapt.run.settings import BranchSettings, RowSettings, RunSettings
from mg_data.contract import UsageError
from mg_data.plugins import Registry

# The paper's baseline (Table 2, first row): the one model that this package knows by name.
BASELINE = "st-gcn"
_PLAIN = {"loss": {"name": "cross-entropy"}, "auxiliary": []}
# Layouts of the paper's reduced keypoints for those that hold more: 35 instead of 68.
_REDUCED = {"openpose-68": "imigue-35"}
VOTES = ("soft-vote", "equal-weight")


def default_rows(settings: RunSettings, known: Registry) -> tuple[RowSettings, ...]:
    """Return the rows of the paper's Table 2 that a recipe's branches allow, and fusion against stacking.

    The joint branch is the first one whose modality the baseline reads, the heatmap branch the first one over
    keypoints that it does not read, the visual branch the first one over frames.
    """
    baseline = known.models.get(BASELINE)
    joint = heatmap = visual = None
    for branch in settings.branches:
        model = known.get("models", branch.model)
        modality = known.get("modalities", branch.modality or model.modalities[0])
        if modality.store_kind == "streams":
            visual = visual or branch
        elif baseline is not None and modality.name in baseline.modalities:
            joint = joint or branch
        else:
            heatmap = heatmap or branch
    rows: list[RowSettings] = []
    if joint is not None and baseline is not None:
        # Models share names of sizes; the first preset is a model's full size.
        preset = joint.preset if joint.preset in baseline.presets else next(iter(baseline.presets), "")
        layout = _REDUCED.get(str(joint.input.get("layout", "")))
        rows.append(
            RowSettings(
                name="baseline-joint",
                title=f"Baseline {BASELINE}" + (f" ({layout})" if layout else ""),
                branch=joint.name,
                model=BASELINE,
                preset=preset,
                train=_PLAIN,
                input={"layout": layout} if layout else {},
            )
        )
    if visual is not None:
        rows.append(
            RowSettings(
                name="baseline-visual",
                title=f"Baseline {visual.model}, whole frames",
                branch=visual.name,
                crop={"full_frame": True},
                flip_average=False,
            )
        )
        rows.append(
            RowSettings(
                name="visual-cropped",
                title=f"{visual.model}, cropped, averaged with its mirror image",
                branch=visual.name,
                # A model that has not met mirror images cannot be asked about them.
                train={} if flips_in_training(settings, visual) else {"flip": True},
                flip_average=True,
            )
        )
    if heatmap is not None:
        rows.append(RowSettings(name="heatmap", title=heatmap.model, branch=heatmap.name))
    after = "after" if settings.adapt.rounds else "before"
    if joint is not None:
        rows.append(RowSettings(name="joint", title=f"{joint.model} + semantic loss", branch=joint.name))
        if settings.adapt.rounds:
            title = f"{joint.model} + semantic loss, with pseudo-labels"
            rows.append(RowSettings(name="joint-cmpl", title=title, branch=joint.name, when="after"))
    if len(settings.branches) > 1:
        fused = "all branches fused"
        for when in dict.fromkeys(("before", after)):
            pseudo = ", with pseudo-labels" if when == "after" else ""
            end = "" if when == "before" else "-cmpl"
            rows.append(
                RowSettings(name=f"fused{end}", title=f"{fused}{pseudo}", fuser="soft-vote", when=when)
            )
        for fuser in ("stacking-logistic", "stacking-lightgbm"):
            if fuser in known.fusers and (fuser != "stacking-lightgbm" or find_spec("lightgbm")):
                title = f"stacking instead of the vote: {fuser.removeprefix('stacking-')}"
                rows.append(RowSettings(name=fuser, title=title, fuser=fuser, when=after))
    return tuple(rows)


def flips_in_training(settings: RunSettings, branch: BranchSettings) -> bool:
    """Return whether a branch's training mirrors half of its samples."""
    return bool({"flip": settings.flip, **settings.train, **branch.train}["flip"])


def check_rows(rows: tuple[RowSettings, ...], settings: RunSettings, known: Registry) -> None:
    """Raise UsageError for a row that names nothing, too much, or what the recipe does not have."""
    branches = {branch.name: branch for branch in settings.branches}
    if not rows:
        raise UsageError("mg ablate: the recipe's branches give no row; write [ablation.rows.NAME] tables")
    for row in rows:
        where = f"[ablation.rows.{row.name}]"
        if bool(row.branch) == bool(row.fuser):
            raise UsageError(f'{where}: wanted either branch = "NAME" or fuser = "NAME"')
        if row.when not in ("before", "after"):
            raise UsageError(f"{where}: when is '{row.when}', wanted before or after (pseudo-labels)")
        if row.when == "after" and not settings.adapt.rounds:
            raise UsageError(f'{where}: when = "after", but the recipe has [adapt] rounds = 0')
        if row.fuser:
            if row.fuser not in VOTES:
                known.get("fusers", row.fuser)
            if len(branches) < 2:
                raise UsageError(f"{where}: the recipe has one branch only, which leaves nothing to fuse")
            if row.changes:
                raise UsageError(f"{where}: {', '.join(row.changes)}: of a branch, not of a fusion")
            continue
        if row.branch not in branches:
            raise UsageError(f"{where}: there is no branch '{row.branch}' (known: {', '.join(branches)})")
        if row.fuser_options:
            raise UsageError(f"{where}: fuser_options are of a fusion, not of a branch")
        if row.when == "after" and row.changes:
            raise UsageError(
                f"{where}: a row that changes {', '.join(row.changes)} trains in the first round only; "
                'leave out when = "after"'
            )
        if row.crop and not (row.crops or branches[row.branch].crops):
            raise UsageError(f"{where}: branch '{row.branch}' reads no crops that crop could change")


def branch_of(row: RowSettings, base: BranchSettings) -> BranchSettings:
    """Return the branch that a row trains: its base with what the row changes.

    A table (``train``, ``options``, ``input``) is laid over that of the base key by key; another ``model``
    starts with options and preset of its own.
    """
    other = bool(row.model) and row.model != base.model
    options: Mapping[str, Any] = row.options if other else {**base.options, **row.options}
    return dataclasses.replace(
        base,
        name=row.name,
        model=row.model or base.model,
        preset=row.preset or ("" if other else base.preset),
        modality=row.modality or base.modality,
        crops=row.name if row.crop else row.crops or base.crops,
        train=merge_recipes(base.train, row.train),
        options=options,
        input={**base.input, **row.input},
        flip_average=base.flip_average if row.flip_average is None else row.flip_average,
        dann=row.dann or base.dann,
    )
