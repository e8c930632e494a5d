"""mg compare: who is right where, joined by clip id, with what is missing named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_toys import CLASSES, DATASET, Talk, make_run, write_toy

from mg_data.contract import DataError, StoreError, UsageError
from mg_data.labels import write_labels
from mg_data.store import write_logits, write_probs
from mg_fusion.commands.compare import compare
from mg_fusion.commands.score import score
from mg_fusion.compare import mcnemar

IDS = [f"c{index}" for index in range(8)]
TRUTH = [0, 0, 1, 1, 2, 2, 3, 4]
#        fixed, fixed, broken, both right, wrong otherwise, wrong alike, both right, both right
FIRST = [1, 2, 1, 1, 0, 0, 3, 4]
SECOND = [0, 0, 3, 1, 1, 0, 3, 4]


def write_answers(path: Path, answers: list[int], ids: list[str], classes: tuple[str, ...] = CLASSES) -> Path:
    """Write a probs store that gives each clip its answer with 60 per cent."""
    probs = np.full((len(ids), len(classes)), 0.4 / (len(classes) - 1))
    probs[np.arange(len(ids)), answers] = 0.6
    write_probs(path, clip_ids=ids, values=probs, class_names=classes, dataset=DATASET)
    return path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a complete run folder."""
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def sides(tmp_path: Path) -> dict[str, Path]:
    """Return two results in different order of rows, and the truth."""
    write_labels(tmp_path / "labels.csv", IDS, TRUTH, CLASSES)
    return {
        "first": write_answers(tmp_path / "a.h5", FIRST, IDS),
        "second": write_answers(tmp_path / "b.h5", SECOND[::-1], IDS[::-1]),
        "labels": tmp_path / "labels.csv",
    }


def test_every_clip_is_fixed_broken_or_neither(sides: dict[str, Path]) -> None:
    found = compare(console=Talk(), **sides)
    assert "] over 8 clips, McNemar p" in found.text
    data = found.data
    assert data["counts"] == {
        "fixed": 2,
        "broken": 1,
        "both wrong, otherwise": 1,
        "both wrong, alike": 1,
        "both right": 3,
    }
    states = {clip["clip_id"]: clip["state"] for clip in data["clips"]}
    assert states == {
        "c0": "fixed",
        "c1": "fixed",
        "c2": "broken",
        "c4": "both wrong, otherwise",
        "c5": "both wrong, alike",
    }
    assert data["p_value"] == mcnemar(1, 2)
    assert data["gains"]["accuracy"]["gain"] == pytest.approx(1 / 8)
    assert data["missing"] == {"in_first": [], "in_second": []}
    row = next(item for item in data["per_class"] if item["index"] == 0)
    assert (row["fixed"], row["broken"], row["support"], row["f1_first"]) == (2, 0, 2, 0.0)


def test_intervals_keep_the_groups_together_that_are_given(sides: dict[str, Path], tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    rows = [f"{clip},{'anna' if number < 3 else 'ben'}" for number, clip in enumerate(IDS)]
    groups.write_text("\n".join(["clip_id,group", *rows]))
    found = compare(console=Talk(), **sides, groups=groups)
    assert (found.data["groups"], found.data["grouped_by"]) == (2, "subject")
    assert "] over 2 subjects, McNemar p" in found.text
    assert {clip["group"] for clip in found.data["clips"]} == {"anna", "ben"}
    groups.write_text("\n".join(["clip_id,group", *rows[:-1]]))
    with pytest.raises(DataError, match="1 of 8 clips have no group, the first is 'c7'"):
        compare(console=Talk(), **sides, groups=groups)


def test_the_other_way_round_swaps_fixed_and_broken(sides: dict[str, Path]) -> None:
    there = compare(console=Talk(), **sides).data
    back = compare(console=Talk(), first=sides["second"], second=sides["first"], labels=sides["labels"]).data
    assert (back["counts"]["fixed"], back["counts"]["broken"]) == (1, 2)
    assert back["gains"]["accuracy"]["gain"] == -there["gains"]["accuracy"]["gain"]
    assert back["p_value"] == there["p_value"]


def test_clips_of_one_side_are_named_and_left_out(sides: dict[str, Path], tmp_path: Path) -> None:
    talk = Talk()
    part = write_answers(tmp_path / "part.h5", SECOND[2:], IDS[2:])
    data = compare(console=talk, first=sides["first"], second=part, labels=sides["labels"]).data
    assert data["n"] == 6
    assert data["missing"] == {"in_first": [], "in_second": ["c0", "c1"]}
    assert talk.warned == ["compare: the second lacks 2 clips of the other, left out: 'c0', 'c1'"]


def test_two_runs_are_compared_by_their_fused_rows_as_mg_score_does(run_folder: Path, tmp_path: Path) -> None:
    folder = run_folder
    out = tmp_path / "compare.html"
    found = compare(console=Talk(), first=folder / "round1" / "target-fused.h5", second=folder, out=out)
    wanted = score(
        console=Talk(),
        stores=[folder / "round2" / "target-fused.h5"],
        labels=folder / "data" / "labels.csv",
        against=folder / "round1" / "target-fused.h5",
        groups=folder / "data" / "split.h5",
    ).data["scores"]["target-fused"]["against"]
    data: dict[str, Any] = dict(found.data)
    assert data["second"]["row"] == "fused/after"
    assert data["gains"]["accuracy"] == wanted["accuracy"]
    assert data["gains"]["macro_f1"] == wanted["macro_f1"]
    assert (data["counts"]["fixed"], data["counts"]["broken"]) == (wanted["only_this"], wanted["only_other"])
    assert (data["p_value"], data["groups"], data["grouped_by"]) == (wanted["p_value"], 5, "subject")
    json.dumps(data, allow_nan=False)
    page = out.read_text(encoding="utf-8")
    assert "<ear>" not in page
    assert "touch &lt;ear&gt; &amp; nose" in page
    assert f'data-title="fixed">{data["counts"]["fixed"]}</button>' in page
    assert "target-fused.h5 → run" in page


def test_a_row_of_the_runs_can_be_named(run_folder: Path) -> None:
    folder = run_folder
    data = compare(console=Talk(), first=folder, second=folder, row="rgb/before").data
    assert data["first"]["row"] == data["second"]["row"] == "rgb/before"
    assert data["counts"]["fixed"] == data["counts"]["broken"] == 0
    with pytest.raises(DataError, match=r"metrics\.json holds no row rgb/befor \(it has: heat/before, "):
        compare(console=Talk(), first=folder, second=folder, row="rgb/befor")


def test_runs_whose_scores_cannot_be_read_are_refused_in_one_line(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    metrics = json.loads((folder / "metrics.json").read_text())

    def refused(row: str = "", **scores: Any) -> Any:
        (folder / "metrics.json").write_text(json.dumps({**metrics, "scores": scores}))
        return compare(console=Talk(), first=folder, second=run_folder, row=row)

    gone = {name: {**row, "store": "gone/gone.h5"} for name, row in metrics["scores"].items()}
    for row in ("", "joint/after"):
        with pytest.raises(DataError, match=r"the store of row \S+, gone\.h5, is not in this run folder$"):
            refused(row, **gone)
    fused = metrics["scores"]["fused/after"]
    for junk in (3, {**fused, "per_class": [3]}, {**fused, "per_class": 3}, {**fused, "per_class": [{}]}):
        with pytest.raises(DataError, match=r"run: its metrics\.json could not be read: .*; score again"):
            refused(**{"fused/after": junk})


def test_what_cannot_be_compared_is_refused_in_one_line(sides: dict[str, Path], tmp_path: Path) -> None:
    def refused(**other: Any) -> Any:
        return compare(console=Talk(), **{**sides, **other})

    with pytest.raises(UsageError, match=r"compare: .*absent does not exist; give two run folders or two"):
        refused(second=tmp_path / "absent")
    with pytest.raises(DataError, match=r"a\.h5: no truth was found; give --labels labels\.csv"):
        refused(labels=None)
    with pytest.raises(UsageError, match=r"--row is of metrics\.json in run folders"):
        refused(row="joint/after")
    strangers = write_answers(tmp_path / "s.h5", [0, 1], ["x0", "x1"])
    write_labels(tmp_path / "more.csv", [*IDS, "x0", "x1"], [*TRUTH, 0, 1], CLASSES)
    with pytest.raises(
        DataError, match="have no labelled clip in common; clips are joined by their exact id"
    ):
        refused(second=strangers, labels=tmp_path / "more.csv")
    renamed = write_answers(tmp_path / "r.h5", SECOND, IDS, (*CLASSES, "another"))
    with pytest.raises(StoreError, match=r"r\.h5.* has another class list than .*a\.h5"):
        refused(second=renamed)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: metrics\.json is not in this run folder"):
        refused(second=tmp_path / "empty")


def test_runs_whose_truths_differ_are_refused(run_folder: Path, tmp_path: Path) -> None:
    one, two = run_folder, tmp_path / "two"
    shutil.copytree(one, two)
    text = (two / "data" / "labels.csv").read_text().splitlines()
    clip, label, _ = text[1].split(",", 2)
    other = (int(label) + 1) % len(CLASSES)
    write_labels(tmp_path / "line.csv", [clip], [other], CLASSES)
    text[1] = (tmp_path / "line.csv").read_text().splitlines()[1]
    (two / "data" / "labels.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(DataError, match="label 1 clips differently, the first is 'target000'"):
        compare(console=Talk(), first=one, second=two)


def test_logits_are_compared_like_probabilities(tmp_path: Path) -> None:
    paths, truth = write_toy(tmp_path, "target", clips=30)
    write_logits(
        tmp_path / "again.h5",
        clip_ids=[f"target{index:03d}" for index in range(30)],
        values=np.zeros((30, len(CLASSES))),
        class_names=CLASSES,
        model="toy",
        modality="none",
    )
    data = compare(console=Talk(), first=tmp_path / "again.h5", second=paths[2], labels=truth).data
    # Scores that are all equal answer the first class.
    assert data["first"]["accuracy"] == pytest.approx(
        np.mean([line.split(",")[1] == "0" for line in truth.read_text().splitlines()[1:]])
    )
