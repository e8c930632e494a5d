"""The rows of an ablation: the paper's by default, checked before anything runs, sharing what they can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from mg_adapt.run.ablation import plan_ablation
from mg_adapt.run.ablation_summary import _gains, markdown, percent
from mg_adapt.run.rows import default_rows
from mg_adapt.run.settings import RowSettings, load
from mg_data.contract import MgError, UsageError
from mg_data.plugins import registry

RECIPES = ROOT / "recipes"
RECIPE = """
name = "small"
flip = true
[data]
dataset = "utd-mhad"
source = "raw"
[split.train]
subjects = ["s1"]
[crops.depth]
stream = "depth"
size = 64
[branches.depth]
model = "r2plus1d"
modality = "depth"
crops = "depth"
train = { flip = false }
[branches.heatmap]
model = "posec3d"
[branches.joint]
model = "decoupled-stcnn"
modality = "joint-motion"
train = { lr = 0.5, epochs = 7 }
input = { frames = 32 }
"""


def planned(folder: Path, changes: dict[str, Any] | None = None, seeds: tuple[int, ...] = (0,)) -> Any:
    path = folder / "recipe.toml"
    path.write_text(RECIPE)
    settings, _ = load(path, changes or {})
    return plan_ablation(settings, folder / "run", registry(), seeds)


def test_the_default_rows_are_the_papers_table_and_fusion_against_stacking(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert [row.name for row in found.rows] == [
        "baseline-joint",
        "baseline-visual",
        "visual-cropped",
        "heatmap",
        "joint",
        "joint-cmpl",
        "fused",
        "fused-cmpl",
        "stacking-logistic",
        "stacking-lightgbm",
    ]
    steps = {step.name: step for step in found.steps}
    baseline = steps["seed0/rows/train-baseline-joint"].params
    assert (baseline["model"], baseline["modality"]) == ("st-gcn", "joint-motion")
    assert baseline["settings"]["recipe"]["auxiliary"] == []
    # What the row does not change is the branch's own.
    assert (baseline["settings"]["recipe"]["epochs"], baseline["settings"]["modality"]) == (7, {"frames": 32})
    # The uncropped row has a store of whole frames; flips are averaged only by a model that met them.
    assert steps["data/crop-baseline-visual"].params["full_frame"] is True
    assert steps["data/crop-baseline-visual"].params["stream"] == "depth"
    assert steps["seed0/rows/train-baseline-visual"].params["data"].endswith("crops-baseline-visual.h5")
    assert steps["seed0/rows/predict-target-baseline-visual"].params["flip"] is False
    assert steps["seed0/rows/train-visual-cropped"].params["settings"]["recipe"]["flip"] is True
    assert steps["seed0/rows/predict-target-visual-cropped"].params["flip"] is True


def test_a_rows_own_crops_are_of_the_stream_of_those_that_they_change(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "crops.depth": {"size": 64},  # the stream is the table's name
        "crops.small": {"stream": "depth", "size": 32},
        "ablation.rows": {
            "uncropped": {"branch": "depth", "crop": {"full_frame": True}},
            "both": {"branch": "depth", "crops": "small", "crop": {"full_frame": True}},
        },
    }
    steps = {step.name: step.params for step in planned(tmp_path, changes).steps}
    for row, size in (("uncropped", 64), ("both", 32)):
        found = steps[f"data/crop-{row}"]
        assert (found["stream"], found["size"], found["full_frame"]) == ("depth", size, True)
        assert steps[f"seed0/rows/train-{row}"]["data"].endswith(f"crops-{row}.h5")


def test_stacking_is_fitted_in_the_first_round_and_applied_in_the_second(tmp_path: Path) -> None:
    steps = {step.name: step for step in planned(tmp_path).steps}
    fit = steps["seed0/rows/fit-stacking-logistic"].params
    use = steps["seed0/rows/fuse-stacking-logistic"].params
    assert all("round1/val-" in path for path in fit["fit"])
    assert all("round2/target-" in path for path in use["stores"])
    assert use["params"] == fit["params_out"]


def test_every_seed_has_the_loop_and_all_of_them_the_data(tmp_path: Path) -> None:
    found = planned(tmp_path, seeds=(3, 5))
    names = [step.name for step in found.steps]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("data/") for name in names) == 4
    assert {step.params["seed"] for step in found.steps if step.stage == "train"} == {3, 5}
    # Cells: ten rows and the pseudo-labels, of two seeds; only their steps read the truth.
    assert len(found.cells) == 22
    truth = {step.name for step in found.steps if str(step.params.get("labels")).endswith("labels.csv")}
    assert truth == {"data/import", "data/split"} | {cell.step for cell in found.cells}


def test_a_recipe_of_one_branch_has_the_rows_that_it_allows(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    text = RECIPE.replace(RECIPE[RECIPE.index("[branches.depth]") : RECIPE.index("[branches.joint]")], "")
    path.write_text(text)
    settings, _ = load(path, {"adapt.rounds": 0})
    assert [row.name for row in default_rows(settings, registry())] == ["baseline-joint", "joint"]


@pytest.mark.parametrize("name", ["demo", "paper", "utd-mhad", "utd-mhad-ablation"])
def test_the_recipes_of_this_project_can_be_ablated(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = load(RECIPES / f"{name}.toml", {})
    found = plan_ablation(settings, tmp_path, registry(), settings.ablation.seeds or (0,))
    assert len(found.rows) >= 8
    assert {row.when for row in found.rows} == {"before", "after"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, r'\[ablation\.rows\.x\]: wanted either branch = "NAME" or fuser = "NAME"'),
        ({"branch": "limb"}, r"there is no branch 'limb' \(known: depth, heatmap, joint\)"),
        ({"branch": "joint", "when": "later"}, "when is 'later', wanted before or after"),
        (
            {"branch": "joint", "when": "after", "model": "st-gcn"},
            "a row that changes model trains in the first",
        ),
        ({"branch": "joint", "model": "st-gnc"}, "no model named 'st-gnc'"),
        ({"branch": "joint", "train": {"epoch": 3}}, r"\[ablation\.rows\.x\]: .*epoch.*epochs"),
        ({"branch": "joint", "crop": {"full_frame": True}}, "branch 'joint' reads no crops"),
        ({"branch": "depth", "crops": "rgb"}, r"there is no table \[crops\.rgb\]"),
        ({"fuser": "stacking-logistik"}, "no fuser named 'stacking-logistik'"),
        ({"fuser": "soft-vote", "model": "st-gcn"}, "model: of a branch, not of a fusion"),
    ],
)
def test_rows_that_cannot_be_filled_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(MgError, match=message):
        planned(tmp_path, {"ablation.rows.x": row})


def test_rows_after_pseudo_labels_need_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'when = "after", but the recipe has \[adapt\] rounds = 0'):
        planned(tmp_path, {"ablation.rows.x": {"branch": "joint", "when": "after"}, "adapt.rounds": 0})


def test_a_fusion_gains_over_the_same_fusion_before_pseudo_labels_alone() -> None:
    rows = [
        RowSettings(name="weak", fuser="stacking-logistic", fuser_options={"strength": 0.1}),
        RowSettings(name="strong", fuser="stacking-logistic", fuser_options={"strength": 9.0}),
        RowSettings(name="after", fuser="stacking-logistic", fuser_options={"strength": 9.0}, when="after"),
    ]
    found = [
        {"name": row.name, "cells": {"0": {"accuracy": accuracy}}}
        for row, accuracy in zip(rows, (0.2, 0.5, 0.6))
    ]
    (gain,) = _gains(rows, found)
    assert (gain["over"], gain["accuracy"]) == ("strong", [pytest.approx(0.1)])


def test_a_table_says_what_is_missing() -> None:
    assert (percent(0.5, 0.0125), percent(0.5), percent(None)) == ("50.00 ± 1.25", "50.00", "-")
    nothing = {"accuracy": None, "macro_f1": None, "ece": None}
    row = {"name": "x", "title": "X", "modality": "joint", "cells": {}, "mean": nothing, "spread": nothing}
    text = markdown({"rows": [row], "gains": [], "pseudo": {}})
    assert "| X | joint | - | - | - | not run |  |" in text
