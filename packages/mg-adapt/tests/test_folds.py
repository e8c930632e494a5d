"""Folds of people: nobody is on both sides, and joined logits say who was left out of what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mg_adapt.folds import groups_of_people, read_folds
from mg_adapt.run.cross_validation import pooled
from mg_adapt.stages.adapt import adapt
from mg_adapt.stages.folds import join_folds, split_fold
from mg_data.contract import DataError, StoreError, UsageError
from mg_data.store import clip_keys, merge_stores, read_logits, read_split, write_logits, write_split

PEOPLE = {"train": ("ann", "bob", "cid"), "val": ("dan", "eve"), "target": ("fay",)}


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two clips of each person, classes 0 and 1; ann has four."""
    ids, names, subjects, labels = [], [], [], []
    for part, people in PEOPLE.items():
        for person in people:
            for number in range(4 if person == "ann" else 2):
                ids.append(f"{person}{number}")
                names.append(part)
                subjects.append(person)
                labels.append(-1 if part == "target" else number % 2)
    path = tmp_path / "split.h5"
    write_split(
        path, dataset="toy", clip_ids=ids, names=names, labels=labels, class_names=("a", "b"),
        subject_ids=subjects,
    )  # fmt: skip
    return path


def fold_of(split: Path, fold: int, **options: str) -> dict[str, set[str]]:
    from mg_adapt_toy import Talk

    out = split.with_name("fold.h5")
    split_fold(console=Talk(), split=split, out=out, fold=fold, **options)
    found = read_split(out)
    return {name: set(found.subject_ids[found.names == name].tolist()) for name in set(found.names.tolist())}


def logits(path: Path, ids: list[str], trained_on: list[str], branch: str = "joint") -> Path:
    write_logits(
        path,
        clip_ids=ids,
        values=np.arange(2 * len(ids)).reshape(-1, 2),
        class_names=("a", "b"),
        model="m",
        modality="joint",
        branch=branch,
        dataset="toy",
        labels=[0] * len(ids),
        trained_on=clip_keys("toy", trained_on),
        selected_on=clip_keys("toy", ids[:1]),
    )
    return path


def test_every_person_is_left_out_once_and_the_target_never_takes_part(split: Path) -> None:
    left_out = []
    for fold in range(1, 6):
        parts = fold_of(split, fold)
        assert parts.keys() == {"train", "val", "target"}
        assert set.union(*parts.values()) == {"ann", "bob", "cid", "dan", "eve"}
        assert sum(len(people) for people in parts.values()) == 5
        left_out += sorted(parts["target"])
    assert left_out == ["ann", "bob", "cid", "dan", "eve"]
    found = read_split(split.with_name("fold.h5"))
    assert set(found.labels[found.names == "target"].tolist()) == {-1}


def test_people_are_dealt_out_whole_and_evenly(split: Path) -> None:
    assert groups_of_people(["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"] * 2, 2) == [("a", "d"), ("b", "c")]
    assert fold_of(split, 1, folds="3")["target"] == {"ann"}
    assert fold_of(split, 2, folds="3") == {"target": {"bob", "dan"}, "val": {"cid", "eve"}, "train": {"ann"}}


def test_out_of_fold_holds_validation_people_and_leaves_the_rest(split: Path) -> None:
    parts = fold_of(split, 2, folds="2", purpose="out-of-fold")
    assert parts == {
        "train": {"ann", "bob", "cid"}, "val": {"dan"}, "held": {"eve"}, "target": {"fay"}
    }  # fmt: skip
    found = read_split(split.with_name("fold.h5"))
    assert found.select("held")[1].tolist() == [0, 1]


def test_folds_that_cannot_be_are_refused(split: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found '2\.5', wanted 'subject' or a whole number"):
        read_folds("2.5")
    with pytest.raises(UsageError, match="found '0', wanted"):
        read_folds(0)
    with pytest.raises(DataError, match="at least 3 folds, found 2: one is scored, one fits the vote"):
        fold_of(split, 1, folds="2")
    with pytest.raises(DataError, match="3 folds need as many people, found 2"):
        fold_of(split, 1, folds="3", purpose="out-of-fold")
    with pytest.raises(UsageError, match=r"--fold must lie in 1\.\.5, found 6"):
        fold_of(split, 6)
    with pytest.raises(DataError, match=r"x: 1 clip\(s\) have no known subject"):
        groups_of_people(["a", ""], "subject", "x")


def test_pseudo_labels_can_bring_the_splits_of_an_out_of_fold_vote(
    toy_plugin: None, split: Path, tmp_path: Path
) -> None:
    from mg_adapt_toy import Talk

    answers = logits(tmp_path / "t.h5", ["fay0", "fay1"], ["ann0"])
    found = adapt(console=Talk(), logits=[answers], split=split, out=tmp_path / "pseudo.h5", folds=2)
    assert [Path(path).name for path in found.data["folds"]] == ["pseudo-fold1.h5", "pseudo-fold2.h5"]
    held = [read_split(path).select("held")[0].tolist() for path in found.data["folds"]]
    assert held == [["dan0", "dan1"], ["eve0", "eve1"]]
    with pytest.raises(UsageError, match="--folds must be at least 0, found -1"):
        adapt(console=Talk(), logits=[answers], split=split, out=tmp_path / "p.h5", folds=-1)
    with pytest.raises(DataError, match="3 folds need as many people, found 2"):
        adapt(console=Talk(), logits=[answers], split=split, out=tmp_path / "p.h5", folds=3)
    assert not (tmp_path / "p.h5").exists()


def test_a_joined_clip_counts_as_trained_on_only_if_its_own_model_was(tmp_path: Path) -> None:
    from mg_adapt_toy import Talk

    first = logits(tmp_path / "1.h5", ["v1", "v2"], ["t", "v3"])
    second = logits(tmp_path / "2.h5", ["v3"], ["t", "v1", "v2", "p"])
    join_folds(console=Talk(), stores=[second, first], out=tmp_path / "joined.h5")
    joined = read_logits(tmp_path / "joined.h5")
    assert joined.clip_ids.tolist() == ["v1", "v2", "v3"]
    assert joined.values.tolist() == [[0, 1], [2, 3], [0, 1]]
    assert joined.taint.trained_on.tolist() == sorted(clip_keys("toy", ["t", "p"]).tolist())
    assert joined.taint.selected_on.tolist() == sorted(clip_keys("toy", ["v1", "v3"]).tolist())
    # A merge of shards knows nothing of folds: it takes the union.
    merge_stores([first, second], tmp_path / "merged.h5")
    merged = read_logits(tmp_path / "merged.h5")
    assert merged.taint.trained_overlap(clip_keys("toy", ["v1", "v2", "v3"])) == 3
    # And a model that was trained on what it answers for is not made honest by joining.
    guilty = logits(tmp_path / "3.h5", ["v3"], ["t", "v3"])
    join_folds(console=Talk(), stores=[first, guilty], out=tmp_path / "joined.h5")
    assert read_logits(tmp_path / "joined.h5").taint.trained_overlap(clip_keys("toy", ["v3"])) == 1


def test_folds_of_other_branches_or_common_clips_are_no_folds(tmp_path: Path) -> None:
    from mg_adapt_toy import Talk

    first = logits(tmp_path / "1.h5", ["v1"], ["t"])
    out = tmp_path / "joined.h5"
    with pytest.raises(StoreError, match="is of another branch than"):
        join_folds(console=Talk(), stores=[first, logits(tmp_path / "2.h5", ["v2"], ["t"], "limb")], out=out)
    with pytest.raises(StoreError, match="clip 'v1' stands in two of the folds"):
        join_folds(console=Talk(), stores=[first, logits(tmp_path / "3.h5", ["v1"], ["t"])], out=out)
    assert not out.exists()


def test_pooled_scores_are_those_of_all_clips_together() -> None:
    first, second = np.array([[8, 2], [0, 0]]), np.array([[0, 0], [1, 4]])
    found = pooled([first, second])
    assert (found["accuracy"], found["n"]) == (0.8, 15)
    # Class 0: 8 hits, 10 true, 9 answered; class 1: 4 hits, 5 true, 6 answered.
    assert found["macro_f1"] == pytest.approx((16 / 19 + 8 / 11) / 2)
    # A class that no clip has leaves the mean; one that is never answered counts 0.
    assert pooled([np.array([[3, 1], [0, 0]])])["macro_f1"] == pytest.approx(6 / 7)
