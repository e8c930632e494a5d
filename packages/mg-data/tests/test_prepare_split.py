"""The split: people of the target are unseen, its labels stay behind, nobody is counted twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, StageResult, UsageError
from mg_data.labels import write_labels
from mg_data.prepare.split import split
from mg_data.prepare.stats import stats
from mg_data.store import ClipsWriter, read_split

QUIET = TerminalConsole(quiet=True)
SUBJECTS = ("anna", "ben", "cleo", "")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Four subjects (the last unknown), two videos each, two clips a video; label = number of the subject."""
    ids, labels = [], []
    with ClipsWriter(tmp_path / "clips.h5", dataset="d", class_names=("a", "b", "c", "d")) as writer:
        for index in range(16):
            subject, video = index // 4, index // 2
            writer.add(
                clip_id=f"c{index:02d}", subject_id=SUBJECTS[subject], video_id=f"v{video}", start=0, stop=3
            )
            ids.append(f"c{index:02d}")
            labels.append(subject)
    write_labels(tmp_path / "labels.csv", ids, labels, ("a", "b", "c", "d"))
    return tmp_path


def run(work: Path, protocol: str | dict[str, Any]) -> StageResult:
    given: dict[str, Any] = {"protocol_json": protocol}
    if isinstance(protocol, str):
        (work / "protocol.toml").write_text(protocol)
        given = {"protocol": work / "protocol.toml"}
    return split(
        clips=work / "clips.h5", labels=work / "labels.csv", out=work / "split.h5", console=QUIET, **given
    )


def test_target_labels_stay_behind(work: Path) -> None:
    result = run(
        work, '[train]\nsubjects = ["anna"]\n[val]\nsubjects = ["ben"]\n[target]\nsubjects = ["cleo"]\n'
    )
    store = read_split(work / "split.h5")
    assert result.data["clips"] == {"train": 4, "val": 4, "target": 4}
    assert result.data["left_out"] == 4
    assert result.data["warnings"] == []
    assert store.labels[store.names == "target"].tolist() == [-1] * 4
    ids, labels = store.select("train", "val")
    assert ids.tolist() == [f"c{index:02d}" for index in range(8)]
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert set(store.subject_ids) == {"anna", "ben", "cleo"}


def test_a_table_in_a_recipe_is_the_same_as_a_file(work: Path) -> None:
    one = run(work, {"rest": "target", "train": {"subjects": ["anna", "ben"]}})
    two = run(work, 'rest = "target"\n[train]\nsubjects = ["anna", "ben"]\n')
    marked = run(work, '\ufeffrest = "target"\n[train]\nsubjects = ["anna", "ben"]\n')  # by Windows' editor
    assert one.data["digest"] == two.data["digest"] == marked.data["digest"]
    assert one.data["clips"] == {"train": 8, "val": 0, "target": 8}
    assert "4 clip(s) have no known subject" in one.data["warnings"][0]


def test_parts_by_video_clip_and_file(work: Path) -> None:
    (work / "train.txt").write_text("anna\n\n")
    (work / "videos.txt").write_text("v2\n")
    run(
        work,
        '[train]\nsubjects_file = "train.txt"\n[val]\nvideos_file = "videos.txt"\nclips = ["c06"]\n'
        '[target]\nvideos = ["v4"]\n',
    )
    store = read_split(work / "split.h5")
    parts = {name: store.clip_ids[store.names == name].tolist() for name in ("train", "val", "target")}
    assert parts == {
        "train": ["c00", "c01", "c02", "c03"],
        "val": ["c04", "c05", "c06"],
        "target": ["c08", "c09"],
    }


def test_a_subject_in_train_and_val_is_a_warning_in_the_result(work: Path) -> None:
    result = run(
        work, {"train": {"videos": ["v0"]}, "val": {"videos": ["v1"]}, "target": {"subjects": ["cleo"]}}
    )
    assert result.data["warnings"] == ["1 subject(s) are in train and val (anna): val flatters"]


@pytest.mark.parametrize(
    ("protocol", "error", "message"),
    [
        (
            {"train": {"videos": ["v0"]}, "target": {"videos": ["v1"]}},
            DataError,
            r"subject\(s\) anna are in the target and also in train or val",
        ),
        (
            {"train": {"clips": ["c12"]}, "target": {"clips": ["c13"]}},
            DataError,
            r"video\(s\) v6 are in the target and also in train or val",
        ),
        (
            {"train": {"subjects": ["anna"]}, "val": {"videos": ["v1"]}},
            DataError,
            r"2 clip\(s\) are claimed twice, the first is 'c02' by \[train\] and \[val\]",
        ),
        (
            {"train": {"subjects": ["dora"]}},
            DataError,
            r"\[train\] subjects has 'dora'.*it has: anna, ben, cleo",
        ),
        ({"target": {"subjects": ["anna"]}}, DataError, "no clip is in train"),
        ({"train": {"people": ["anna"]}}, UsageError, r"\[train\] has 'people', wanted one of: subjects"),
        ({"train": {"subjects": "anna"}}, UsageError, r"\[train\] subjects must be a list of ids"),
        (
            {"test": {"subjects": ["anna"]}},
            UsageError,
            r"knows \[train\], \[val\], \[target\] and rest, found 'test'",
        ),
        ({"rest": "dev", "train": {"subjects": ["anna"]}}, UsageError, "rest is 'dev', wanted one of"),
        ("[train\n", UsageError, r"protocol\.toml: is no TOML"),
        ('[train]\nsubjects_file = "no.txt"\n', UsageError, r"no\.txt: cannot be read"),
    ],
)
def test_protocols_that_are_refused(
    work: Path, protocol: str | dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(work, protocol)
    assert not (work / "split.h5").exists()


def test_exactly_one_protocol_is_needed(work: Path) -> None:
    with pytest.raises(UsageError, match="exactly one of --protocol, --protocol-json and --table"):
        split(clips=work / "clips.h5", labels=work / "labels.csv", out=work / "s.h5", console=QUIET)


def test_a_source_clip_without_a_label_is_named(work: Path) -> None:
    write_labels(work / "labels.csv", ["c00", "c01"], [0, -1], ("a", "b", "c", "d"))
    with pytest.raises(DataError, match=r"has no label for 3 train or val clip\(s\), the first is 'c01'"):
        run(work, {"train": {"subjects": ["anna"]}})


def test_labels_of_another_class_list_are_refused(work: Path) -> None:
    write_labels(work / "labels.csv", ["c00", "c01"], [0, 1], ("a", "c"))
    with pytest.raises(
        DataError, match=r"labels\.csv: class 1 is 'c', not 'b' as in .*clips\.h5; the labels follow"
    ):
        run(work, {"train": {"clips": ["c00", "c01"]}})


def test_a_label_out_of_range_is_that_of_the_labels(work: Path) -> None:
    write_labels(work / "labels.csv", ["c00", "c01"], [0, 4], ("a", "b", "c", "d", "e"))
    with pytest.raises(
        DataError, match=r"labels\.csv: clip 'c01' has label 4, .*clips\.h5 has classes 0\.\.3"
    ):
        run(work, {"train": {"clips": ["c00", "c01"]}})
    assert not (work / "split.h5").exists()


def test_stats_by_part_know_no_target_class(work: Path) -> None:
    run(work, {"rest": "target", "train": {"subjects": ["anna", "ben"]}})
    data = stats(clips=work / "clips.h5", split=work / "split.h5", console=QUIET).data
    assert data["clips_by_part"] == {"target": 8, "train": 8}
    assert data["clips_by_class"] == {"train": [4, 4, 0, 0]}
    both = stats(
        clips=work / "clips.h5", split=work / "split.h5", labels=work / "labels.csv", console=QUIET
    ).data
    assert both["clips_by_class"]["target"] == [0, 0, 4, 4]
    assert np.sum(both["clips_by_class"]["train"]) == 8


def by_table(work: Path, text: str) -> StageResult:
    (work / "table.csv").write_text(text)
    return split(
        clips=work / "clips.h5",
        labels=work / "labels.csv",
        out=work / "split.h5",
        table=work / "table.csv",
        console=QUIET,
    )


def _lines(words: dict[int, str]) -> str:
    lines = [f"c{index:02d},v{index // 2}.mp4,{word}" for index, word in words.items()]
    return "\n".join(["clip_id,video,split", *lines, ""])


def test_a_table_says_the_parts_by_clip_id_in_any_order(work: Path) -> None:
    words = {11: "test", 8: "target", 0: "Train", 1: "training", 4: "dev", 5: "validation", 6: ""}
    result = by_table(work, _lines(words))
    store = read_split(work / "split.h5")
    parts = {
        name: sorted(store.clip_ids[store.names == name].tolist()) for name in ("train", "val", "target")
    }
    assert parts == {"train": ["c00", "c01"], "val": ["c04", "c05"], "target": ["c08", "c11"]}
    assert store.labels[store.names == "target"].tolist() == [-1, -1]
    assert result.data["left_out"] == 10
    same = run(
        work,
        {
            "train": {"clips": ["c00", "c01"]},
            "val": {"clips": ["c04", "c05"]},
            "target": {"clips": ["c08", "c11"]},
        },
    )
    assert same.data["digest"] == result.data["digest"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_lines({0: "trian"}), "line 2, column split: 'trian' is no part (did you mean 'train'?)"),
        (_lines({0: "train", 77: "val"}), "line 3: .* does not hold clip 'c77'"),
        ("clip_id,video\nc00,v0.mp4\n", "line 1: lacks the column split"),
        (_lines({0: "train", 1: "test"}), "subject(s) anna are in the target and also in train or val"),
        (_lines({0: "val"}), "no clip is in train"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(work: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        by_table(work, text)
    assert re.search(message if ".*" in message else re.escape(message), str(caught.value))
    assert not (work / "split.h5").exists()


def test_exactly_one_way_to_say_the_parts(work: Path) -> None:
    (work / "table.csv").write_text(_lines({0: "train"}))
    with pytest.raises(UsageError, match="exactly one of --protocol, --protocol-json and --table"):
        split(
            clips=work / "clips.h5",
            labels=work / "labels.csv",
            out=work / "split.h5",
            protocol_json={},
            table=work / "table.csv",
            console=QUIET,
        )
