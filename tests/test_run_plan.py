"""A recipe becomes the steps of the paper's loop, of the models and fusers that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mg_adapt.run.cross_validation import cross_validate
from mg_adapt.run.plan import plan
from mg_adapt.run.settings import load
from mg_adapt.run.summary import describe
from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, MgError, UsageError
from mg_data.plugins import registry

RECIPE = """
name = "small"
flip = true
[data]
dataset = "utd-mhad"
source = "raw"
[split.train]
subjects_file = "train.txt"
[split.target]
subjects = ["s2"]
[branches.joint]
model = "decoupled-stcnn"
train = { epochs = 3 }
adapt = { epochs = 2 }
"""


def write(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_the_plan_is_the_papers_loop(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {})
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    assert list(steps) == [
        "data/import",
        "data/split",
        "round1/train-joint",
        "round1/predict-val-joint",
        "round1/predict-target-joint",
        "round1/fuse",
        "round1/fuse-equal",
        "round1/adapt",
        "round1/adapt-fitted",
        "round2/train-joint",
        "round2/predict-target-joint",
        "round2/fuse",
        "round2/fuse-equal",
        "result/score",
        "result/submit",
    ]
    first, second = steps["round1/train-joint"].params, steps["round2/train-joint"].params
    # The first round learns from train alone; D_aug is train, validation and the pseudo-labelled target.
    assert (first["use"], second["use"]) == (["train"], ["train", "val"])
    assert "pseudo" not in first
    assert second["pseudo"].endswith("round1/pseudo.h5")
    assert (first["settings"]["recipe"]["epochs"], second["settings"]["recipe"]["epochs"]) == (3, 2)
    # After adaptation the parameters of the first round are kept: validation has been trained on.
    assert "fit" not in steps["round2/fuse"].params
    assert steps["round2/fuse"].params["params"].endswith("round1/fusion.json")
    # Only the score reads the truth of all clips; the split reads it to leave the target's behind.
    readers = {name for name, step in steps.items() if str(step.params.get("labels")).endswith("labels.csv")}
    assert readers == {"data/import", "data/split", "result/score"}
    assert str(tmp_path / "train.txt") in steps["data/split"].key_files


def test_the_record_of_a_run_names_the_modality_that_a_branch_left_to_its_model(tmp_path: Path) -> None:
    changes = {"branches.limb": {"model": "decoupled-stcnn", "modality": "limb"}}
    settings, resolved = load(write(tmp_path), changes)
    found = [branch["modality"] for branch in describe(settings, resolved, {})["branches"]]
    assert found == [registry().get("models", "decoupled-stcnn").modalities[0], "limb"]


def test_without_adaptation_there_is_one_round(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {"adapt.rounds": 0})
    names = [step.name for step in plan(settings, tmp_path, registry())]
    assert not any(name.startswith("round2") or "adapt" in name for name in names)


def test_streams_derived_from_colour_are_cropped_like_any_other(tmp_path: Path) -> None:
    changes = {"data.dataset": "imigue", "crops.flow": {"stream": "flow", "full_frame": True}}
    settings, _ = load(write(tmp_path), changes)
    steps = {step.name: step for step in plan(settings, tmp_path, registry())}
    assert steps["data/crop-flow"].params["stream"] == "flow"
    assert steps["data/crop-flow"].params["full_frame"] is True
    settings, _ = load(write(tmp_path), {"crops.flow": {"stream": "flow"}})
    with pytest.raises(UsageError, match=r"\[crops.flow\]: .*'utd-mhad' has no colour stream to derive"):
        plan(settings, tmp_path, registry())


def test_videos_and_lists_of_a_table_of_clips_are_those_of_its_options(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("nod\n")
    options = {"root": str(tmp_path), "classes": "classes.txt", "vocabulary": "mine"}
    changes = {"data.dataset": "clips", "data.options": options, "crops.rgb": {"full_frame": True}}
    settings, _ = load(write(tmp_path), changes)
    steps = {step.name: step for step in plan(settings, tmp_path, registry())}
    assert steps["data/crop-rgb"].params["root"] == str(tmp_path)
    # Another list of classes is another import, although the recipe and the table are as they were.
    named = (str(tmp_path / "raw"), str(tmp_path), str(tmp_path / "classes.txt"))
    assert steps["data/import"].key_files == named
    settings, _ = load(write(tmp_path), {"crops.rgb": {"root": "videos"}})
    with pytest.raises(UsageError, match=r"\[crops\.rgb\]: root is that of \[data\]"):
        plan(settings, tmp_path, registry())


def test_what_the_data_set_cannot_give_is_refused_before_anything_runs(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {"crops.rgb": {"stream": "rgb"}})
    with pytest.raises(UsageError, match=r"\[crops.rgb\]: .*'utd-mhad' has no stream 'rgb' \(it has: depth"):
        plan(settings, tmp_path, registry())
    settings, _ = load(write(tmp_path), {"branches.joint.model": "decoupled-stcn"})
    with pytest.raises(
        MgError, match=r"no model named 'decoupled-stcn' \(did you mean 'decoupled-stcnn'\?\)"
    ):
        plan(settings, tmp_path, registry())
    settings, _ = load(write(tmp_path), {"branches.joint": {"model": "r2plus1d"}})
    with pytest.raises(UsageError, match="reads frames, name its crops"):
        plan(settings, tmp_path, registry())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"branches.joint.preset": "smal"}, r"\[branches\.joint\]: .*no preset 'smal'"),
        ({"branches.joint.modality": "rgb"}, r"\[branches\.joint\]: .*does not read modality 'rgb'"),
        ({"branches.joint.options": {"widhts": [8]}}, r"\[branches\.joint\]: .*widhts.*widths"),
        ({"branches.joint.input": {"frame": 8}}, r"\[branches\.joint\]: .*frame.*frames"),
        ({"branches.joint.train": {"epoch": 8}}, r"\[branches\.joint\]: .*epoch.*epochs"),
        ({"branches.joint.adapt": {"lrr": 8}}, r"\[branches\.joint\]: .*lrr.*lr"),
        ({"train": {"loss": "focl"}}, r"no loss(es)? named 'focl' \(did you mean 'focal'"),
        ({"train.loss": {"name": "focal", "options": {"gama": 1}}}, r"\[branches\.joint\]: .*gama.*gamma"),
        ({"train": {"loss": "ldam"}}, r"\[branches\.joint\]: .*loss 'ldam' has no smoothed form"),
        ({"train": {"loss": "orthogonal-semantic"}}, r"kind 'auxiliary', wanted 'classification'"),
        ({"train.select": "best"}, r"\[branches\.joint\]: .*which the second round trains on"),
        ({"branches.joint.dann": 0.3, "train.mixup": 0.2}, r"\[branches\.joint\]: mg dann: recipe\.mixup"),
        (
            {"train.auxiliary": [{"name": "orthogonal-semantic", "options": {"anchors_file": "no.csv"}}]},
            r"\[branches\.joint\]: .*/no\.csv: does not exist",
        ),
        ({"adapt.adapter": "treshold"}, "no adapter named 'treshold'"),
        ({"adapt.options": {"floor": 0.1}}, r"\[adapt\] adapter 'threshold': unknown setting 'floor'"),
        ({"adapt.threshold": 1.5}, r"\[adapt\] threshold must lie in \[0, 1\), found 1\.5"),
        ({"fuse.fuser": "log-linear"}, r"\[fuse\] fuser = 'log-linear': the loop is built on the soft vote"),
        ({"fuse.calibrate": "per-model"}, r"\[fuse\] calibrate = 'per-model': .*one temperature"),
        ({"fuse.metrc": "nll"}, r"\[fuse\]: unknown setting 'metrc', did you mean 'metric'"),
        ({"fuse.metric": "acc"}, r"\[fuse\] metric: found 'acc', wanted one of accuracy, macro_f1, nll"),
        ({"fuse.stores": ["a.h5"]}, r"\[fuse\]: unknown setting 'stores'"),
        ({"submit.out": "a.zip"}, r"\[submit\]: unknown setting 'out'"),
        ({"data.synth": {"clips": "9"}}, r"\[data\] synth clips: wanted a whole number, found '9'"),
        ({"crops.depth": {"sise": 64}}, r"\[crops\.depth\]: unknown setting 'sise', did you mean 'size'"),
    ],
)
def test_every_option_of_a_branch_is_checked_before_anything_runs(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    settings, _ = load(write(tmp_path), change)
    with pytest.raises(MgError, match=message):
        plan(settings, tmp_path, registry())


def test_a_branchs_loss_options_are_laid_over_the_loss_of_all_branches(tmp_path: Path) -> None:
    loss = {"name": "cross-entropy", "options": {"weighting": "sqrt"}}
    changes = {
        "train": {"loss": loss},
        "branches.joint.train.loss": {"options": {"label_smoothing": 0.2}},
        "branches.joint.adapt.loss": {"options": {"label_smoothing": 0.0}},
    }
    settings, _ = load(write(tmp_path), changes)
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    for name, smoothing in (("round1", 0.2), ("round2", 0.0)):
        found = steps[f"{name}/train-joint"].params["settings"]["recipe"]["loss"]
        options = {"weighting": "sqrt", "label_smoothing": smoothing}
        assert found == {"name": "cross-entropy", "options": options}


def test_files_that_a_loss_reads_belong_to_the_recipes_folder_and_to_the_steps_key(tmp_path: Path) -> None:
    table = {"name": "orthogonal-semantic", "options": {"anchors_file": "words.npy"}}
    (tmp_path / "words.npy").touch()
    settings, _ = load(write(tmp_path), {"train": {"auxiliary": [table]}, "trackers": ["tensorboard"]})
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    for name, stores in (("round1", 2), ("round2", 3)):
        step = steps[f"{name}/train-joint"]
        assert step.key_files[-1] == str(tmp_path / "words.npy")
        assert len(step.key_files) == stores + 1
        assert step.params["tracker"] == ["tensorboard"]


def test_weights_and_files_of_an_importer_belong_to_the_steps_keys(tmp_path: Path) -> None:
    for name in ("start.safetensors", "classes.txt"):
        (tmp_path / name).touch()
    changes = {
        "branches.joint": {"model": "posec3d", "options": {"weights": "start.safetensors"}},
        "data.options": {"classes": str(tmp_path / "classes.txt"), "vocabulary": "own"},
    }
    settings, _ = load(write(tmp_path), changes)
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    assert steps["data/import"].key_files == (str(tmp_path / "raw"), str(tmp_path / "classes.txt"))
    assert steps["round1/train-joint"].key_files[-1] == str(tmp_path / "start.safetensors")


def test_clips_that_a_model_lacks_are_fused_in_every_vote_or_in_none(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {"fuse.missing": "allow"})
    votes = [step for step in plan(settings, tmp_path / "run", registry()) if step.stage == "fuse"]
    assert [step.params.get("missing") for step in votes] == ["allow"] * 4


def test_the_pseudo_labels_of_the_fitted_temperature_are_scored_and_learnt_by_nobody(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {})
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    made = steps["round1/adapt-fitted"].params
    assert made["temperature"] == "fitted"
    readers = [
        name for name, step in steps.items() if made["out"] in str(step.params) and "adapt" not in name
    ]
    assert readers == ["result/score"]


def test_a_vote_that_is_fitted_again_reads_out_of_fold_logits_alone(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {"adapt.folds": 2})
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    for fold in (1, 2):
        trained = steps[f"out-of-fold/{fold}/train-joint"].params
        assert trained["split"].endswith(f"out-of-fold/{fold}/split.h5")
        assert trained["pseudo"].endswith("round1/pseudo.h5")
        assert steps[f"out-of-fold/{fold}/predict-held-joint"].params["subset"] == "held"
    assert steps["round2/fuse"].params["fit"] == [str(tmp_path / "run" / "out-of-fold" / "val-joint.h5")]
    # Too few people for the folds is said before anything is trained.
    order = list(steps)
    assert order.index("out-of-fold/2/split") < order.index("round1/train-joint")
    # With one fold all of validation is held out, and there is no part of that name to train on.
    settings, _ = load(write(tmp_path), {"adapt.folds": 1})
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    assert steps["out-of-fold/1/train-joint"].params["use"] == ["train"]
    settings, _ = load(write(tmp_path), {"adapt.folds": 1, "adapt.use": ["train"]})
    with pytest.raises(UsageError, match="use has no 'val'"):
        plan(settings, tmp_path, registry())


def test_too_few_folds_are_refused_before_the_data_are_prepared(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {})
    for folds in ("1", "2"):
        with pytest.raises(
            DataError, match=f"--folds: cross-validation needs at least 3 folds, found {folds}: one"
        ):
            cross_validate(settings, tmp_path / "run", folds, console=TerminalConsole(quiet=True))
    assert not (tmp_path / "run").exists()


def test_an_adversary_belongs_to_the_first_round(tmp_path: Path) -> None:
    settings, _ = load(write(tmp_path), {"branches.joint.dann": 0.5})
    steps = {step.name: step for step in plan(settings, tmp_path / "run", registry())}
    assert (steps["round1/train-joint"].stage, steps["round1/train-joint"].params["weight"]) == ("dann", 0.5)
    assert steps["round2/train-joint"].stage == "train"
