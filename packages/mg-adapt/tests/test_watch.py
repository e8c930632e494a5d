"""``mg watch`` as a whole, over a toy model: what is found, by which settings, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mg_adapt_toy import CLASSES, FRAMES, POINTS, Talk, build

from mg_adapt.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mg_adapt.watch.command import watch
from mg_data.contract import DataError, InputSpec, MgError, StageResult, StoreError, UsageError
from mg_data.labels import write_labels
from mg_data.store import ClipsWriter, Provenance, Taint, clip_keys

# 8 frames a second, so that a window of one second is a toy clip.
FPS = float(FRAMES)
# (class, frames) of each video, in order; what drifts does so for 8 frames, as in training.
SCRIPTS = {
    "one": [
        ("still", 16),
        ("left", 8),
        ("still", 24),
        ("right", 8),
        ("still", 16),
        ("left", 8),
        ("still", 8),
    ],
    "two": [("still", 8), ("right", 8), ("still", 16), ("left", 8), ("still", 20)],
}


def write_videos(path: Path, points: int = POINTS, config: dict[str, Any] | None = None) -> Path:
    """Write the scripts as whole videos."""
    rng = np.random.default_rng(7)
    with ClipsWriter(
        path,
        dataset="toy",
        class_names=("unlabelled",),
        layout="toy",
        image_size=(100, 100),
        provenance=Provenance(config=config or {}),
    ) as writer:
        for name, script in SCRIPTS.items():
            parts, place = [], 0.0
            for gesture, frames in script:
                part = 0.02 * rng.standard_normal((frames, 1, points, 3)).astype(np.float32)
                move = {"left": -1.0, "right": 1.0, "still": 0.0}[gesture]
                part[..., 0] += (place + move * np.linspace(0, 1, frames))[:, None, None]
                place += move
                parts.append(part)
            joints = np.concatenate(parts)
            writer.add(
                clip_id=f"clip of {name}",
                subject_id="",
                video_id=name,
                start=0,
                stop=len(joints),
                joints=joints,
            )
    return path


def annotations() -> list[tuple[str, int, int, str]]:
    rows = []
    for name, script in SCRIPTS.items():
        at = 0
        for gesture, frames in script:
            rows.append((name, at, at + frames, gesture))
            at += frames
    return rows


def write_truth(path: Path, only: tuple[str, ...] = tuple(SCRIPTS)) -> Path:
    rows = [",".join(map(str, row)) for row in annotations() if row[0] in only]
    path.write_text("\n".join(["video_id,start,stop,class_name", *rows]) + "\n")
    return path


def write_checkpoint(
    path: Path, *, branch: str = "", swapped: bool = False, classes: tuple[str, ...] = CLASSES
) -> Path:
    """Write a toy network whose weights are set by hand: it adds up steps of x to the left and to the right.

    A drift takes two sevenths in two frames, so its logit is about 5.7 against the constant 3 of "still".
    """
    options = {"width": 2, "delay": 0.0, "kink": False, "weights": ""}
    spec = InputSpec(kind="keypoints", shape=(3, FRAMES, POINTS), layout="toy")
    state = build(len(CLASSES), input=spec, width=2).state_dict()
    for name, value in state.items():
        if name.startswith(("stem.0", "head")):
            value.zero_()
    for feature, sign in enumerate((-1.0, 1.0)):
        state["stem.0.weight"][feature, 0, :, 0] = sign * torch.tensor([-1.0, 0.0, 1.0])
        state["head.weight"][1 - feature if swapped else feature, feature] = 20.0
    state["head.bias"][2] = 3.0
    checkpoint = Checkpoint(
        model="toy-net",
        modality="drift",
        input=spec,
        class_names=classes,
        model_state=state,
        model_options=options,
        modality_options={"noise": 0.1, "poison": ""},
        branch=branch,
        dataset="toy",
        taint=Taint.of(clip_keys("toy", [f"c{number:03d}" for number in range(37)])),
    )
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture
def ready(toy_plugin: None, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return a checkpoint, whole videos and their annotations."""
    checkpoint = write_checkpoint(tmp_path / "toy.safetensors")
    return checkpoint, write_videos(tmp_path / "whole.h5"), write_truth(tmp_path / "truth.csv")


def run(ready: tuple[Path, Path, Path], out: Path | list[Path], **options: Any) -> StageResult:
    checkpoint, clips, _ = ready
    arguments: dict[str, Any] = {
        "console": Talk(),
        "checkpoints": [checkpoint],
        "clips": clips,
        "out": [out] if isinstance(out, Path) else out,
        "fps": FPS,
        "window": 1.0,
        "step": 0.25,
        "smooth": 0.0,
        "background": ["still"],
    }
    return watch(**arguments | options)


def test_gestures_are_found_where_they_are(ready: tuple[Path, Path, Path], tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("t.json", "t.csv", "t.eaf", "t.TextGrid")]
    result = run(ready, outs, truth=ready[2])
    value = json.loads(outs[0].read_text())
    found = [
        (video["video_id"], segment["class_name"])
        for video in value["videos"]
        for segment in video["segments"]
    ]
    assert found == [("one", "left"), ("one", "right"), ("one", "left"), ("two", "right"), ("two", "left")]
    assert value["evaluation"] == result.data["evaluation"]
    assert (value["evaluation"]["annotations"], value["evaluation"]["true_positives"]) == (5, 5)
    assert value["evaluation"]["f1"] == 1.0
    assert (value["window"], value["background"], value["temperature"]) == (1.0, ["still"], 1.0)
    assert value["inputs"].keys() == {"toy-net/drift", "clips", "truth"}
    assert {path.name for path in tmp_path.glob("t*.*") if path.suffix in (".eaf", ".TextGrid", ".csv")} == {
        *("t.csv", "t-one.eaf", "t-two.eaf", "t-one.TextGrid", "t-two.TextGrid", "truth.csv")
    }
    assert result.text.startswith("5 segments in 2 video(s), 18 s\nF1 100.0 % at IoU 0.5")
    # Without a class for it, sitting still is what happens most of the time.
    plain = run(ready, outs[0], background=[]).data
    assert plain["segments"] > 5
    assert "evaluation" not in plain


def test_a_video_may_begin_late_and_be_shorter_than_a_window(
    ready: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    late = tmp_path / "late.h5"
    with ClipsWriter(late, dataset="toy", class_names=("x",), layout="toy") as writer:
        joints = np.zeros((FRAMES, 1, POINTS, 3), np.float32)
        joints[..., 0] = np.linspace(0, -1, FRAMES)[:, None, None]
        writer.add(clip_id="a", subject_id="", video_id="a", start=100, stop=100 + FRAMES, joints=joints)
    out = tmp_path / "t.json"
    run(ready, out, clips=late, window=5.0)
    (video,) = json.loads(out.read_text())["videos"]
    (segment,) = video["segments"]
    assert (segment["start_frame"], segment["stop_frame"]) == (100, 108)
    assert (segment["start"], segment["class_name"]) == (12.5, "left")


def test_a_rate_is_taken_from_the_store_or_asked_for(ready: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    with pytest.raises(UsageError, match="how many frames a second video 'one' has: give --fps, or --video"):
        run(ready, out, fps=None)
    for config in ({"fps": FPS}, {"fps": {"one": FPS, "two": FPS}}):
        known = write_videos(tmp_path / "known.h5", config=config)
        assert run(ready, out, clips=known, fps=None).data["segments"] == 5
    mixed = write_videos(tmp_path / "known.h5", config={"fps": {"one": FPS}})
    with pytest.raises(UsageError, match="video 'two' has: give --fps"):
        run(ready, out, clips=mixed, fps=None)
    assert run(ready, out, clips=mixed, fps=None, only=["one"]).data["videos"] == 1
    for fps in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match=r"--fps is .*, wanted more than 0"):
            run(ready, out, fps=fps)


def test_two_checkpoints_are_averaged_or_weighed(ready: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other.safetensors", branch="silly", swapped=True)
    both, out = [ready[0], other], tmp_path / "t.json"
    with pytest.raises(UsageError, match="a second checkpoint of branch 'toy-net/drift': name it"):
        run(ready, out, checkpoints=[ready[0], ready[0]])
    fusion = tmp_path / "fusion.json"
    value = {
        "format": "mg-fusion",
        "version": 1,
        "temperature": 0.5,
        "class_names": list(CLASSES),
        "weights": {"toy-net/drift": 3.0, "silly": 0.0},
    }
    fusion.write_text(json.dumps(value))
    weighed = run(ready, out, checkpoints=both, fusion=fusion, truth=ready[2]).data
    assert weighed["evaluation"]["f1"] == 1.0
    assert weighed["temperature"] == 0.5
    assert [item["weight"] for item in weighed["checkpoints"]] == [1.0, 0.0]
    assert run(ready, out, checkpoints=both, truth=ready[2]).data["evaluation"]["f1"] < 1.0
    with pytest.raises(UsageError, match=r"gives weight 1 to branch 'rgb', whose checkpoint is not given"):
        fusion.write_text(json.dumps({**value, "weights": {"toy-net/drift": 1.0, "silly": 0, "rgb": 1.0}}))
        run(ready, out, checkpoints=both, fusion=fusion)
    with pytest.raises(UsageError, match="--fusion has no weight for branch 'silly'"):
        fusion.write_text(json.dumps({**value, "weights": {"toy-net/drift": 1.0}}))
        run(ready, out, checkpoints=both, fusion=fusion)
    write_checkpoint(other, branch="silly", classes=("left", "still", "right"))
    with pytest.raises(StoreError, match=r"class 1 is 'still', in .*toy.safetensors it is 'right'"):
        run(ready, out, checkpoints=both)


def test_thresholds_are_chosen_on_some_videos_and_used_on_others(
    ready: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    out, chosen = tmp_path / "t.json", tmp_path / "thresholds.json"
    with pytest.raises(UsageError, match="--choose needs --truth"):
        run(ready, out, choose=chosen)
    talk = Talk()
    first = run(ready, out, only=["one"], truth=ready[2], choose=chosen, console=talk)
    assert first.data["evaluation"]["f1"] == json.loads(chosen.read_text())["f1"] == 1.0
    assert first.data["evaluation"]["videos_that_chose_thresholds"] == ["one"]
    assert any("chosen on 1 of the 1 scored videos: F1 flatters" in line for line in talk.lines)
    talk = Talk()
    free = {"window": None, "step": None, "smooth": None, "thresholds": chosen, "console": talk}
    second = run(ready, out, only=["two"], truth=ready[2], **free)
    assert second.data["evaluation"]["videos_that_chose_thresholds"] == []
    assert not [line for line in talk.lines if "flatters" in line]
    assert second.data["thresholds"] == first.data["thresholds"]
    assert (second.data["window"], second.data["step"]) == (1.0, 0.25)
    assert second.data["thresholds_chosen_on"] == ["one"]
    # What is said on the command line wins.
    assert run(ready, out, **{**free, "min_duration": 0.9}).data["thresholds"]["min_duration"] == 0.9
    with pytest.raises(DataError, match="has no annotation of these videos to choose thresholds by"):
        run(ready, out, only=["two"], truth=write_truth(tmp_path / "a.csv", ("one",)), choose=chosen)
    chosen.write_text("{}")
    with pytest.raises(StoreError, match="is no thresholds file of version 1"):
        run(ready, out, thresholds=chosen)


def test_the_truth_may_be_a_clips_store_and_what_was_trained_on_is_said(
    ready: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    truth, labels = tmp_path / "cut" / "clips.h5", tmp_path / "cut" / "labels.csv"
    rows = annotations()
    names = ("still", "right", "left")  # the store's own order
    ids = [f"c{number:03d}" for number in range(len(rows))]  # and ids that are training clips' too
    with ClipsWriter(truth, dataset="toy", class_names=names) as writer:
        for clip_id, (video, start, stop, _) in zip(ids, rows):
            writer.add(clip_id=clip_id, subject_id="", video_id=video, start=start, stop=stop)
    write_labels(labels, ids, [names.index(row[3]) for row in rows], names)
    talk = Talk()
    found = run(ready, tmp_path / "t.json", truth=truth, console=talk).data["evaluation"]
    assert (found["f1"], found["annotations"], found["clips_trained_on"]) == (1.0, 5, len(rows))
    assert any("12 annotated clips were trained on" in line for line in talk.lines)
    write_labels(labels, ids, [-1] * len(ids), names)
    with pytest.raises(DataError, match=r"none of the 12 clips of .* has a label"):
        run(ready, tmp_path / "t.json", truth=truth)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"background": ["stil"]}, UsageError, "no class 'stil', did you mean 'still'"),
        ({"only": ["ome"]}, UsageError, "has no video 'ome', did you mean 'one'"),
        ({"window": 0.0}, UsageError, "--window is 0, wanted more than 0"),
        ({"step": 2.0}, UsageError, "--step 2 is longer than --window 1"),
        ({"enter": 0.2, "leave": 0.4}, UsageError, r"--leave 0\.4 is above --enter 0\.2"),
        ({"iou": 0.0}, UsageError, "--iou is 0, wanted more than 0, at most 1"),
        ({"out": [Path("t.srt")]}, UsageError, r"t\.srt: ends in none of"),
        ({"video": Path("nowhere")}, UsageError, "--video nowhere: does not exist"),
        ({"batch_size": 0}, UsageError, "--batch-size must be at least 1, found 0"),
    ],
)
def test_wrong_options_are_named_and_nothing_is_written(
    ready: tuple[Path, Path, Path],
    tmp_path: Path,
    options: dict[str, Any],
    error: type[MgError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        run(ready, **{"out": tmp_path / "t.json", **options})
    assert not (tmp_path / "t.json").exists()


def test_nothing_that_is_read_is_written_over(ready: tuple[Path, Path, Path], tmp_path: Path) -> None:
    truth, film, out = ready[2], tmp_path / "one.mp4", tmp_path / "t.json"
    film.write_bytes(b"a film")
    before = truth.read_bytes()
    for options, message in (
        ({"out": [truth], "truth": truth}, r"-o .*truth\.csv: is the file of --truth too; write to another"),
        ({"out": [tmp_path / "x" / ".." / "truth.csv"], "truth": truth}, "is the file of --truth too"),
        ({"out": [tmp_path / "labels.csv"], "truth": ready[1]}, "is the file of the labels too"),
        (
            {"overlay": film, "video": film, "only": ["one"]},
            r"--overlay .*one\.mp4: is the file of --video too",
        ),
        ({"out": [out, out]}, r"-o .*t\.json: is the file of -o too"),
        ({"out": [out], "truth": truth, "choose": out}, r"--choose .*t\.json: is the file of -o too"),
    ):
        with pytest.raises(UsageError, match=message):
            run(ready, **{"out": out, **options})
    assert (truth.read_bytes(), film.read_bytes()) == (before, b"a film")


def test_what_does_not_fit_the_checkpoint_is_refused(ready: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    checkpoint = ready[0]
    with pytest.raises(DataError, match="annotates none of the 2 watched videos, the first is 'one'"):
        (tmp_path / "no.csv").write_text("video_id,start,stop,class_name\nthree,,,\n")
        run(ready, out, truth=tmp_path / "no.csv")
    cut = tmp_path / "cut.h5"
    with ClipsWriter(cut, dataset="toy", class_names=("x",), layout="toy") as writer:
        for start in (0, 8):
            joints = np.zeros((8, 1, POINTS, 3), np.float32)
            writer.add(
                clip_id=f"c{start}", subject_id="", video_id="v", start=start, stop=start + 8, joints=joints
            )
    with pytest.raises(DataError, match="holds 2 clips of video 'v', wanted whole videos, one clip each"):
        run(ready, out, clips=cut)
    bare = tmp_path / "bare.h5"
    with ClipsWriter(bare, dataset="toy", class_names=("x",)) as writer:
        writer.add(clip_id="a", subject_id="", video_id="a", start=0, stop=20)
    with pytest.raises(StoreError, match="holds no keypoints"):
        run(ready, out, clips=bare)
    trained = load_checkpoint(checkpoint)
    wider = type(trained.input)(kind="keypoints", shape=(3, FRAMES, 5), layout="toy")
    save_checkpoint(checkpoint, type(trained)(**{**trained.__dict__, "input": wider}))
    with pytest.raises(
        StoreError, match=r"whole.h5: gives samples of \(3, 8, 3\) \(toy\), the checkpoint was"
    ):
        run(ready, out)


def test_what_cannot_be_scored_chosen_by_or_written_is_said_before_any_model_is_asked(
    ready: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*given: Any, **named: Any) -> Any:
        raise AssertionError("a model was asked")

    monkeypatch.setattr("mg_adapt.watch.command.answer_windows", ask)
    other = tmp_path / "other.csv"
    other.write_text("video_id,start,stop,class_name\nelsewhere,0,8,left\n")
    with pytest.raises(DataError, match="annotates none of the 2 watched videos, the first is 'one'"):
        run(ready, tmp_path / "t.json", truth=other)
    other.write_text("video_id,start,stop,class_name\none,,,\n")
    with pytest.raises(DataError, match="has no annotation of these videos to choose thresholds by"):
        run(ready, tmp_path / "t.json", truth=other, choose=tmp_path / "thresholds.json")
    twins = tmp_path / "twins.h5"
    with ClipsWriter(twins, dataset="toy", class_names=("x",), layout="toy") as writer:
        for name in ("day 1", "day_1"):
            joints = np.zeros((16, 1, POINTS, 3), np.float32)
            writer.add(clip_id=name, subject_id="", video_id=name, start=0, stop=16, joints=joints)
    with pytest.raises(UsageError, match=r"two videos would be written to t-day_1\.eaf"):
        run(ready, tmp_path / "t.eaf", clips=twins)
