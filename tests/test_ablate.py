"""``mg ablate``, ``mg run --folds`` and out-of-fold votes, end to end on a tiny synthetic corpus."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers import mg

from mg_data.store import clip_keys, read_logits, read_split

RECIPE = """
name = "tiny"
flip = true
[machine]
jobs = 1
threads = 1
[data]
dataset = "synthetic"
synth = { clips = 48, subjects = 6, classes = 3, size = "120x160", seed = 0 }
[split.train]
subjects = ["s01", "s02", "s03"]
[split.val]
subjects = ["s04"]
[split.target]
subjects = ["s05", "s06"]
[train]
epochs = 1
warmup_epochs = 0
label_smoothing = 0.0
[branches.joint]
model = "decoupled-stcnn"
preset = "tiny"
modality = "joint"
input = { layout = "openpose-68", frames = 16 }
train = { epochs = 6 }
[adapt]
threshold = 0.0
"""
VIDEO = """
[crops.person]
stream = "rgb"
size = 32
max_frames = 8
[branches.video]
model = "r2plus1d"
preset = "tiny"
modality = "frame-difference"
crops = "person"
input = { frames = 4, size = 32 }
train = { flip = false }
"""
ROWS = """
[ablation]
seeds = [0, 1]
[ablation.rows.baseline]
title = "ST-GCN"
branch = "joint"
model = "st-gcn"
preset = "tiny"
input = { layout = "imigue-35" }
train = { auxiliary = [] }
[ablation.rows.joint]
branch = "joint"
[ablation.rows.adversarial]
branch = "joint"
dann = 0.5
[ablation.rows.unmirrored]
branch = "joint"
flip_average = false
[ablation.rows.joint-cmpl]
branch = "joint"
when = "after"
[ablation.rows.stacked]
fuser = "stacking-logistic"
when = "after"
"""


def write(folder: Path, more: str = "") -> Path:
    path = folder / "tiny.toml"
    path.write_text(RECIPE + more)
    return path


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate")
    mg("ablate", write(folder, VIDEO + ROWS), "-o", folder / "run")
    return folder


@pytest.mark.slow
def test_every_row_of_every_seed_is_filled_and_written_down(ablated: Path) -> None:
    found = json.loads((ablated / "run" / "ablation.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["baseline", "joint", "adversarial", "unmirrored", "joint-cmpl", "stacked"]
    for row in rows.values():
        assert list(row["cells"]) == ["0", "1"]
        assert all(cell["n"] == 16 for cell in row["cells"].values())
        accuracies = [cell["accuracy"] for cell in row["cells"].values()]
        assert row["mean"]["accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert rows["stacked"]["modality"] == "joint + frame-difference"
    # The gain is that of the row over the same branch without pseudo-labels, which this one names.
    assert [(gain["row"], gain["over"]) for gain in found["gains"]] == [("joint-cmpl", "joint")]
    assert {seed: kinds.keys() for seed, kinds in found["pseudo"].items()} == {
        seed: {"pseudo", "pseudo-fitted"} for seed in ("0", "1")
    }
    text = (ablated / "run" / "ablation.md").read_text()
    assert "| ST-GCN | joint |" in text
    with (ablated / "run" / "cells.csv").open() as handle:
        cells = list(csv.DictReader(handle))
    assert len(cells) == 12
    assert (ablated / "run" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (ablated / "run" / "ablation.svg").read_text()


@pytest.mark.slow
def test_rows_share_what_they_can(ablated: Path) -> None:
    run = ablated / "run"
    # One training of the joint branch serves the row without mirrored views, which is another answer of it.
    assert (run / "seed0/rows/target-unmirrored.h5").exists()
    assert not (run / "seed0/rows/unmirrored.safetensors").exists()
    assert read_logits(run / "seed0/rows/target-unmirrored.h5").tta == "none"
    assert read_logits(run / "seed0/round1/target-joint.h5").tta == "flip"
    assert len(list(run.rglob("clips.h5"))) == 1
    # The adversary has met the target's clips, and is owned up to.
    split = read_split(run / "data/split.h5")
    keys = clip_keys(split.dataset, split.select("target")[0])
    taint = read_logits(run / "seed0/rows/target-adversarial.h5").taint
    assert (taint.trained_overlap(keys), taint.selected_overlap(keys)) == (0, 16)


@pytest.mark.slow
def test_finished_cells_are_kept_and_another_seed_is_added(ablated: Path) -> None:
    done = mg("ablate", ablated / "tiny.toml", "-o", ablated / "run")
    assert "started" not in done.stderr
    lost = ablated / "run" / "seed1" / "scores" / "stacked.json"
    lost.unlink()
    done = mg("ablate", ablated / "tiny.toml", "-o", ablated / "run")
    assert [line for line in done.stderr.splitlines() if "started" in line] == [
        "seed1/score-stacked: started"
    ]
    assert lost.exists()


@pytest.mark.slow
def test_a_row_that_fails_leaves_the_table_of_the_others(ablated: Path) -> None:
    recipe = write(ablated, VIDEO + ROWS + "fuser_options = { inverse_penalty = -1.0 }\n")
    done = mg("ablate", recipe, "-o", ablated / "run", code=2)
    assert "inverse_penalty" in done.stderr
    found = json.loads((ablated / "run" / "ablation.json").read_text())
    assert {row["name"]: len(row["cells"]) for row in found["rows"]}["stacked"] == 0
    assert "not run" in (ablated / "run" / "ablation.md").read_text()


@pytest.mark.slow
def test_cross_validation_leaves_every_person_out_once_and_touches_no_target(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    mg("run", recipe, "--folds", "subject", "-o", tmp_path / "cv", "--set", "adapt.rounds=0")
    found = json.loads((tmp_path / "cv" / "folds.json").read_text())
    assert found["people"] == [["s01"], ["s02"], ["s03"], ["s04"]]
    whole = read_split(tmp_path / "cv" / "data" / "split.h5")
    source = set(whole.clip_ids[whole.names != "target"].tolist())
    asked: list[str] = []
    for fold in range(1, 5):
        split = read_split(tmp_path / "cv" / f"fold{fold}" / "split.h5")
        ids, labels = split.select("target")
        assert set(labels.tolist()) == {-1}
        asked += ids.tolist()
        assert set(split.clip_ids.tolist()) == source
        logits = read_logits(tmp_path / "cv" / f"fold{fold}" / "round1" / "target-joint.h5")
        assert logits.taint.trained_overlap(clip_keys(split.dataset, ids)) == 0
    assert sorted(asked) == sorted(source)
    rows = found["rows"]["joint/before"]
    hits = sum(fold["accuracy"] * fold["n"] for fold in rows["folds"])
    assert rows["pooled"]["accuracy"] == pytest.approx(hits / len(source))
    assert rows["pooled"]["n"] == len(source)


@pytest.mark.slow
def test_after_pseudo_labels_a_vote_is_fitted_on_out_of_fold_logits_alone(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    mg("run", recipe, "-o", tmp_path / "run", "--set", "adapt.folds=1")
    run = tmp_path / "run"
    split = read_split(run / "data" / "split.h5")
    keys = clip_keys(split.dataset, split.select("val")[0])
    honest = read_logits(run / "out-of-fold" / "val-joint.h5")
    assert sorted(honest.clip_ids.tolist()) == sorted(split.select("val")[0].tolist())
    assert honest.taint.trained_overlap(keys) == 0
    fitted = json.loads((run / "round2" / "fusion.json").read_text())
    assert fitted["taint"]["trained_on"] == {}
    # The models of the second round have been trained on validation: a vote fitted on them is refused.
    own = run / "round2" / "val-joint.h5"
    mg("predict", run / "round2/joint.safetensors", "--data", run / "data/clips.h5", "--split",
       run / "data/split.h5", "--subset", "val", "-o", own)  # fmt: skip
    done = mg("fuse", run / "round2/target-joint.h5", "--fit", own, "--labels", run / "data/split.h5",
              "-o", run / "p.h5", code=5)  # fmt: skip
    assert "was trained on 8 of them" in done.stderr


@pytest.mark.slow
def test_one_row_at_a_time_runs_what_it_needs_and_keeps_what_is_there(tmp_path: Path) -> None:
    recipe, run = write(tmp_path, VIDEO + ROWS), tmp_path / "run"
    steps = mg("ablate", recipe, "-o", run, "--seeds", 0, "--rows", "baseline", "--dry").stdout.split()
    assert [step for step in steps if step.startswith("seed0")] == [
        "seed0/rows/train-baseline",
        "seed0/rows/predict-target-baseline",
        "seed0/score-baseline",
    ]
    assert "seed0/round2/train-joint" in mg("ablate", recipe, "-o", run, "--seeds", 0, "--dry").stdout.split()
    mg("ablate", recipe, "-o", run, "--seeds", 0, "--rows", "baseline")
    mg("ablate", recipe, "-o", run, "--seeds", 0, "--rows", "joint", "unmirrored")
    assert not list(run.rglob("video*.safetensors")), "no row that was asked for reads the video branch"
    found = json.loads((run / "ablation.json").read_text())
    filled = [row["name"] for row in found["rows"] if row["cells"]]
    assert filled == ["baseline", "joint", "unmirrored"]
    done = mg("ablate", recipe, "-o", run, "--rows", "jiont", "--dry", code=2)
    assert "--rows: the ablation has no row 'jiont', did you mean 'joint'?" in done.stderr
