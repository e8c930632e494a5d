"""Metrics by group, top-k, intervals and McNemar: worked by hand and against public implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fusion_toys import Talk, toy_scores, write_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, StoreError, UsageError
from mg_data.labels import read_labels, write_labels
from mg_data.store import write_split
from mg_fusion import classification_metrics
from mg_fusion.commands.score import score
from mg_fusion.compare import compare_results, mcnemar
from mg_fusion.intervals import bootstrap_interval, metric_intervals
from mg_fusion.metrics import class_groups, top_k_accuracy
from mg_fusion.vote import softmax

PROBS = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
LABELS = np.array([0, 1, 1, 1])


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    public = pytest.importorskip("sklearn.metrics")
    logits, labels = toy_scores(90, (0.7,), seed, classes=7)
    labels = np.where(labels == 4, 2, labels)  # class 4 does not occur
    probs = softmax(logits[0])
    ours = classification_metrics(probs, labels)
    answer, every, seen = probs.argmax(axis=1), np.arange(7), np.unique(labels)
    options = {"zero_division": 0}
    assert ours.accuracy == pytest.approx(public.f1_score(labels, answer, average="micro"))
    assert ours.macro_f1 == pytest.approx(
        public.f1_score(labels, answer, labels=seen, average="macro", **options)
    )
    assert ours.macro_f1_all == pytest.approx(
        public.f1_score(labels, answer, labels=every, average="macro", **options)
    )
    assert ours.mean_class_accuracy == pytest.approx(
        public.recall_score(labels, answer, labels=seen, average="macro", **options)
    )
    assert ours.mean_class_accuracy_all == pytest.approx(
        public.recall_score(labels, answer, labels=every, average="macro", **options)
    )
    np.testing.assert_allclose(
        ours.precision, public.precision_score(labels, answer, labels=every, average=None, **options)
    )
    assert ours.confusion.tolist() == public.confusion_matrix(labels, answer, labels=every).tolist()
    assert ours.nll == pytest.approx(public.log_loss(labels, probs, labels=every))
    for k, value in ours.top_k.items():
        assert value == pytest.approx(public.top_k_accuracy_score(labels, probs, k=k, labels=every))


def test_both_conventions_of_mean_class_accuracy_are_named() -> None:
    found = classification_metrics(PROBS, LABELS)
    assert found.mean_class_accuracy == pytest.approx((1 + 2 / 3) / 2)
    assert found.mean_class_accuracy_all == pytest.approx((1 + 2 / 3 + 0) / 3)
    value = found.to_json()
    assert {"mean_class_accuracy", "mean_class_accuracy_all", "macro_f1", "macro_f1_all", "top_k"} <= set(
        value
    )


def test_top_k_breaks_ties_like_the_answer() -> None:
    probs = np.array([[0.4, 0.4, 0.2]] * 3)
    assert top_k_accuracy(probs, [0, 1, 2], 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(probs, [0, 1, 2], 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(probs, [0, 1, 2], 9) == 1.0
    with pytest.raises(UsageError, match="at least 1"):
        top_k_accuracy(probs, [0, 1, 2], 0)


def test_groups_of_classes_share_out_all_clips() -> None:
    # Class 0 has 100 training clips, class 1 ten of them, class 2 one, so they are head, medium and tail.
    assert class_groups([100, 10, 1, 0]).tolist() == ["head", "medium", "tail", "empty"]
    probs = np.concatenate([PROBS, np.zeros((4, 1))], axis=1)
    rows = classification_metrics(probs, LABELS, class_counts=[100, 10, 1, 0]).groups
    assert rows["head"]["n"] == 1
    assert rows["head"]["accuracy"] == 1.0
    assert rows["medium"]["n"] == 3
    assert rows["medium"]["mean_class_accuracy"] == pytest.approx(2 / 3)
    assert rows["medium"]["macro_f1"] == pytest.approx(4 / 5)
    assert (rows["tail"]["n"], rows["tail"]["accuracy"]) == (0, None)
    with pytest.raises(DataError, match="class counts"):
        classification_metrics(probs, LABELS, class_counts=[1, 2])


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 2 / 32), (2, 8, 2 * (1 + 10 + 45) / 1024), (1, 0, 1.0)],
)
def test_mcnemar_by_hand(first: int, second: int, value: float) -> None:
    assert mcnemar(first, second) == pytest.approx(value)
    assert mcnemar(second, first) == pytest.approx(value)


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    if first + second == 0:
        return
    expected = stats.binomtest(first, first + second, 0.5).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-8, abs=1e-200)


def test_a_comparison_counts_who_is_right_where() -> None:
    other = PROBS[:, [1, 0, 2]]  # answers 1, 1, 0, 0: right on the second clip alone
    found = compare_results(PROBS, other, LABELS)
    assert (found["both_right"], found["only_this"], found["only_other"], found["both_wrong"]) == (0, 3, 1, 0)
    assert found["p_value"] == pytest.approx(2 * 5 / 16)
    assert found["accuracy"]["gain"] == pytest.approx(0.5)
    same = compare_results(PROBS, PROBS, LABELS)
    assert same["accuracy"] == {"gain": 0.0, "low": 0.0, "high": 0.0}


def test_intervals_over_groups_are_wider_where_clips_of_a_group_agree() -> None:
    generator = np.random.default_rng(0)
    right = np.repeat(generator.random(20) < 0.6, 30)
    labels = np.zeros(600, dtype=np.int64)
    probs = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    groups = np.repeat(np.arange(20), 30)
    by_clip = metric_intervals(probs, labels)["accuracy"]
    by_group = metric_intervals(probs, labels, groups)["accuracy"]
    assert by_group["high"] - by_group["low"] > 3 * (by_clip["high"] - by_clip["low"])


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mean_class_accuracy", "nll", "brier"])
def test_each_interval_holds_the_metric_itself(metric: str) -> None:
    logits, labels = toy_scores(300, (1.5,))
    probs = softmax(logits[0])
    found = metric_intervals(probs, labels)[metric]
    assert found["low"] < getattr(classification_metrics(probs, labels), metric) < found["high"]
    uniform = np.full_like(probs, 0.2)
    gain = bootstrap_interval(probs, uniform, labels, metric)["gain"]  # type: ignore[arg-type]
    one, two = (getattr(classification_metrics(values, labels), metric) for values in (probs, uniform))
    assert gain == pytest.approx(abs(one - two))


def test_the_command_compares_and_measures_by_group(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "target", shuffle=4)
    truth = read_labels(labels)
    split = tmp_path / "split.h5"
    write_split(
        split,
        dataset="toy",
        clip_ids=list(truth),
        names=["train"] * 60,
        labels=list(truth.values()),
        class_names=("rub hands", "touch <ear> & nose", "fold arms", "shrug", "scratch"),
        subject_ids=[f"s{n % 7}" for n in range(60)],
    )
    talk = Talk()
    score(console=talk, stores=paths[:1], labels=labels, intervals=True)
    assert ["the groups of the clips are unknown" in text for text in talk.warned] == [True]
    talk = Talk()
    score(console=talk, stores=paths[:1], labels=split, intervals=True, against=paths[1])
    assert not talk.warned  # the split knows the subjects
    result = score(
        console=Talk(),
        stores=paths[1:],
        labels=labels,
        against=paths[0],
        intervals=True,
        groups=split,
        counts=split,
    )
    row = result.data["scores"]["rgb"]
    assert row["intervals"]["groups"] == 7
    assert row["against"]["groups"] == 7
    assert row["against"]["only_this"] > row["against"]["only_other"]
    assert sum(group["n"] for group in row["groups"].values()) == 60
    assert sum(row["reliability"]["count"]) == 60
    assert "McNemar p" in result.text
    with pytest.raises(StoreError, match="knows no videos"):
        score(console=Talk(), stores=paths, labels=labels, groups=split, group_by="video", intervals=True)
    with pytest.raises(DataError, match="labels of training clips"):
        score(console=Talk(), stores=paths, labels=labels, counts=_of_one_class(tmp_path))


def _of_one_class(folder: Path) -> Path:
    path = folder / "far.csv"
    path.write_text("clip_id,label,class_name\nx,9,\n")
    return path


def test_training_counts_follow_the_classes_of_the_scores_and_are_of_training_clips(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "target")
    classes = ("rub hands", "touch <ear> & nose", "fold arms", "shrug", "scratch")
    other = tmp_path / "other.csv"
    write_labels(other, ["x", "y"], [0, 1], classes[::-1])
    with pytest.raises(StoreError, match=r"class 0 is 'rub hands', but 'scratch' in .*other\.csv"):
        score(console=Talk(), stores=paths, labels=labels, counts=other)
    split = tmp_path / "split.h5"
    of = {"dataset": "toy", "clip_ids": ["a", "b", "c"], "class_names": classes}
    write_split(split, names=["train", "train", "val"], labels=[0, -1, 1], **of)  # type: ignore[arg-type]
    row = score(console=Talk(), stores=paths[:1], labels=labels, counts=split).data["scores"]["heat"]
    assert {name: group["classes"] for name, group in row["groups"].items()} == {"head": 1, "empty": 4}
    write_split(split, names=["val"] * 3, labels=[0, 1, 1], **of)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="has no part 'train'"):
        score(console=Talk(), stores=paths, labels=labels, counts=split)
