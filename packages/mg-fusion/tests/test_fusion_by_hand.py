"""Metrics, tables, checks and folds against values worked out by hand, field by field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fusion_toys import Talk

from mg_data.contract import TaintError
from mg_data.store import Taint
from mg_fusion import classification_metrics, reliability
from mg_fusion.checks import fitted_array, fitted_table, positive, whole
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.folds import group_folds, warn_ungrouped
from mg_fusion.table import render_cells, results_table
from mg_fusion.tainted import check_fit_taint

PROBS = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
LABELS = np.array([0, 1, 1, 1])


def rounded(value: Any) -> Any:
    """Return a JSON value with its numbers rounded, to be compared as a whole."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def test_every_field_of_the_metrics_of_four_clips() -> None:
    nll = -(2 * np.log(0.7) + np.log(0.3) + np.log(0.8)) / 4
    # Bins of a fifteenth hold 0.6 and 0.8 alone and both 0.7: gaps 0.6, 0.2 and |1.4 - 2|.
    ece = (0.6 + 0.2 + 0.6) / 4
    # Class 0: a gap of 0.3 at its clip, 0.6, 0.1 and 0.2 at the others. Class 1: 0.2, 0.7, 0.2, 0.3. Class 2:
    # 0.1 at each.
    classwise = (1.2 / 4, 1.4 / 4, 0.4 / 4)
    f1 = (2 / 3, 4 / 5, 0.0)
    of_clips = {"n": 4, "accuracy": 0.75, "macro_f1": (f1[0] + f1[1]) / 2, "nll": nll, "ece": ece}
    expected = {
        **of_clips,
        "micro_f1": 0.75,
        "macro_f1_all": (f1[0] + f1[1]) / 3,
        "mean_class_accuracy": 5 / 6,
        "mean_class_accuracy_all": 5 / 9,
        "top_k": {"1": 0.75},
        "brier": (0.14 + 0.86 + 0.06 + 0.14) / 4,
        "ece_mass": ece,
        "classwise_ece": sum(classwise) / 3,
        # By the clips measured here: 3 and 1 are at least a fifth of 3.
        "groups": {
            "head": {
                **of_clips,
                "classes": 2,
                "mean_class_accuracy": 5 / 6,
                "classwise_ece": (classwise[0] + classwise[1]) / 2,
            },
            "empty": {
                **dict.fromkeys(("accuracy", "macro_f1", "mean_class_accuracy", "nll", "ece")),
                "classes": 1,
                "n": 0,
                "classwise_ece": classwise[2],
            },
        },
        "per_class": [
            {
                "index": 0,
                "name": "a",
                "f1": f1[0],
                "precision": 0.5,
                "recall": 1.0,
                "support": 1,
                "predicted": 2,
            },
            {
                "index": 1,
                "name": "b",
                "f1": f1[1],
                "precision": 1.0,
                "recall": 2 / 3,
                "support": 3,
                "predicted": 2,
            },
            {
                "index": 2,
                "name": "c",
                "f1": 0.0,
                "precision": 0.0,
                "recall": 0.0,
                "support": 0,
                "predicted": 0,
            },
        ],
        "confusion": [[1, 0, 0], [1, 2, 0], [0, 0, 0]],
    }
    measured = classification_metrics(PROBS, LABELS)
    assert rounded(measured.to_json(["a", "b", "c"])) == rounded(expected)
    assert [row["name"] for row in measured.to_json()["per_class"]] == ["0", "1", "2"]
    with pytest.raises(ScoresError, match="class names: found 2, wanted 3"):
        measured.to_json(["a", "b"])


def test_groups_are_measured_on_the_clips_of_their_classes() -> None:
    # Trained on 100, 10, 1 and 0 clips: head, medium, tail, empty.
    probs = np.array([[0.4, 0.6, 0, 0], [0, 0.9, 0.1, 0], [0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]])
    rows = classification_metrics(probs, [0, 1, 2, 3], class_counts=[100, 10, 1, 0]).groups
    assert list(rows) == ["head", "medium", "tail", "empty"]
    assert [row["classes"] for row in rows.values()] == [1] * 4
    assert [row["n"] for row in rows.values()] == [1] * 4
    assert [row["accuracy"] for row in rows.values()] == [0.0, 1.0, 1.0, 1.0]
    # Class 1 is also answered once for a clip of class 0.
    assert [row["macro_f1"] for row in rows.values()] == pytest.approx([0, 2 / 3, 1, 1])
    assert [row["mean_class_accuracy"] for row in rows.values()] == [0.0, 1.0, 1.0, 1.0]
    assert [row["nll"] for row in rows.values()] == pytest.approx([-np.log(p) for p in (0.4, 0.9, 1, 0.4)])
    assert [row["ece"] for row in rows.values()] == pytest.approx([0.6, 0.1, 0, 0.6])
    with pytest.raises(ScoresError, match=r"class counts: found shape \(3,\), wanted \(4,\)"):
        classification_metrics(probs, [0, 1, 2, 3], class_counts=[1, 1, 1])


def test_a_probability_of_zero_costs_no_more_than_one_of_a_millionth_millionth() -> None:
    measured = classification_metrics([[1.0, 0.0], [1.0, 0.0]], [1, 1])
    assert measured.nll == pytest.approx(12 * np.log(10))
    assert measured.groups["head"]["nll"] == pytest.approx(12 * np.log(10))


def test_the_bins_of_a_reliability_diagram() -> None:
    found = reliability(PROBS, LABELS, bins=4)
    assert found["lower"] == [0.0, 0.25, 0.5, 0.75]
    assert found["upper"] == [0.25, 0.5, 0.75, 1.0]
    assert found["count"] == [0.0, 0.0, 3.0, 1.0]
    assert all(isinstance(count, float) for count in found["count"])
    assert found["confidence"] == pytest.approx([0, 0, 2 / 3, 0.8])
    assert found["accuracy"] == pytest.approx([0, 0, 2 / 3, 1])
    assert list(found) == ["lower", "upper", "count", "confidence", "accuracy"]
    # Of equally many clips: the two lowest, 0.6 and 0.7, and with the latter its equal.
    halves = reliability(PROBS, LABELS, bins=2, scheme="mass")
    assert (halves["lower"], halves["upper"], halves["count"]) == ([0.0, 0.7], [0.7, 1.0], [3.0, 1.0])
    assert len(reliability(PROBS, LABELS)["count"]) == 15


def test_the_table_of_results_letter_by_letter() -> None:
    scores = {
        "joint": {"accuracy": 0.9, "macro_f1": 0.88123, "ece": 0.01, "n": 430, "note": "of before"},
        "a|b": {"accuracy": 1.0, "macro_f1": None},
    }
    assert results_table(scores, {"a|b": "weight 0"}) == "\n".join(
        [
            "result  accuracy  macro-F1   ECE  clips  note",
            "------  --------  --------  ----  -----  ---------",
            "joint      90.00     88.12  1.00    430  of before",
            "a|b       100.00         —     —      —  weight 0",
        ]
    )
    assert results_table(scores, {"joint": "first", "a|b": "weight 0"}, "markdown") == "\n".join(
        [
            "| result | accuracy | macro-F1 |  ECE | clips | note     |",
            "| ------ | -------: | -------: | ---: | ----: | -------- |",
            "| joint  |    90.00 |    88.12 | 1.00 |   430 | first    |",
            r"| a\|b   |   100.00 |        — |    — |     — | weight 0 |",
        ]
    )
    assert render_cells(["n", "x"], [["1", "22"]]) == "n   x\n-  --\n1  22"


@pytest.mark.parametrize("value", [True, 2.0, "2", None, 1])
def test_what_is_no_whole_number_of_at_least_two_is_refused(value: object) -> None:
    with pytest.raises(SettingError, match=r"^trees: found .*, wanted a whole number of at least 2$"):
        whole(value, "trees", 2)
    assert whole(2, "trees", 2) == 2


@pytest.mark.parametrize("value", ["much", None, float("nan"), float("inf"), -1.0])
def test_what_is_no_number_above_zero_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^ridge: found .*, wanted a finite number above 0$"):
        positive(value, "ridge")
    with pytest.raises(SettingError, match=r"wanted a finite number of at least 0$"):
        positive(value, "ridge", zero=True)
    with pytest.raises(SettingError, match="found 0"):
        positive(0, "ridge")
    assert positive(0, "ridge", zero=True) == 0.0
    assert positive("0.5", "ridge") == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values", [None, "text", [1, 2], [[1, 2, 3]], [[1, 2], [3, float("nan")]], [[[1, 2]]]]
)
def test_fitted_arrays_of_another_make_are_refused(values: object) -> None:
    with pytest.raises(ScoresError, match=r"^fuser 'f': fitted 'w' .*fit again$"):
        fitted_array({"w": values} if values is not None else {}, "w", (-1, 2), "f")
    assert fitted_array({"w": [[1, 2], [3, 4]]}, "w", (-1, 2), "f").tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert fitted_array({"w": [[1, 2], [3, 4]]}, "w", (2, 2), "f").dtype == np.float64


def test_fitted_parameters_are_a_table() -> None:
    with pytest.raises(SettingError, match="fuser 'f' has to be fitted"):
        fitted_table(None, "f")
    with pytest.raises(ScoresError, match="fuser 'f': its fitted parameters are no table"):
        fitted_table([], "f")  # type: ignore[arg-type]
    assert fitted_table({"w": 1}, "f") == {"w": 1}


def test_the_largest_group_is_dealt_first_so_that_folds_come_out_even() -> None:
    for seed in range(5):
        fold = group_folds(np.zeros(6, dtype=np.int64), ["x", "x", "x", "a", "b", "c"], 2, seed)
        assert fold is not None
        assert np.bincount(fold).tolist() == [3, 3]


def test_two_clips_or_two_groups_make_two_folds_and_one_makes_none() -> None:
    pair = np.array([0, 0])
    for groups in (None, ["a", "b"]):
        fold = group_folds(pair, groups, 2)
        assert fold is not None
        assert sorted(fold.tolist()) == [0, 1]
        assert fold.dtype == np.int64
        assert group_folds(pair, groups, 1) is None
        assert group_folds(pair, groups, 0) is None
    assert group_folds(pair[:1], None, 2) is None
    with pytest.raises(SettingError, match="folds: found -1, wanted at least 0"):
        group_folds(pair, None, -1)


def test_each_class_is_shared_out_however_its_clips_are_mixed() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], [50, 10]))
    fold = group_folds(labels, None, 5)
    assert fold is not None
    assert np.bincount(fold[labels == 0]).tolist() == [10] * 5
    assert np.bincount(fold[labels == 1]).tolist() == [2] * 5


def test_folds_are_drawn_by_the_seed_and_by_nothing_else() -> None:
    # What is equal keeps the order in which it was shuffled, whatever sorting the machine has.
    shuffled = np.random.default_rng(0).permutation(300)
    labels = np.arange(300) % 2
    fold = group_folds(labels, None, 3)
    assert fold is not None
    for label in (0, 1):
        assert fold[[clip for clip in shuffled if labels[clip] == label]].tolist() == [0, 1, 2] * 50
    assert not np.array_equal(fold, group_folds(labels, None, 3, seed=1))
    # Groups of two clips, with odd numbers, come before those of one.
    names = np.array([f"{group:03}" for group in range(300) for _ in range(1 + group % 2)])
    dealt = group_folds(np.zeros(len(names), dtype=np.int64), names, 3)
    assert dealt is not None
    for parity in (0, 1):
        groups = [f"{group:03}" for group in shuffled if group % 2 == parity]
        assert [int(dealt[names == name][0]) for name in groups] == [0, 1, 2] * 50


def test_unknown_groups_are_warned_of() -> None:
    talk = Talk()
    warn_ungrouped(["a"], talk)
    assert talk.warned == []
    warn_ungrouped(None, talk)
    assert len(talk.warned) == 1


def test_what_models_have_seen_is_recorded_refused_and_told() -> None:
    clips = np.array([1, 2, 3, 4], dtype=np.uint64)
    taints = [Taint.of(trained_on=[3, 4, 9], selected_on=[1]), Taint.of(selected_on=[7]), Taint.unknown()]
    keys, talk = ["a", "b", "c"], Talk()
    with pytest.raises(
        TaintError, match="of the 4 clips to fit on, model 'a' was trained on 2 of them; reuse"
    ):
        check_fit_taint(keys, taints, clips, allow=False, console=talk)
    assert talk.warned == []
    found = check_fit_taint(keys, taints, clips, allow=True, console=talk)
    override = found.pop("override")
    assert found == {
        "state": "unknown",
        "unknown": ["c"],
        "trained_on": {"a": 2},
        "selected_on": {"a": 1},
    }
    assert override.startswith(
        "--allow-tainted: of the 4 clips fitted on, model 'a' was trained on 2 of them"
    )
    assert talk.warned[0] == override
    assert talk.warned[1].startswith("fit: model 'a' was selected on 1 of the 4 clips")
    assert len(talk.warned) == 2
    assert talk.said == ["fit: nothing is declared of what these models have seen: c"]


def test_what_no_model_has_seen_may_be_fitted_on_without_a_word() -> None:
    talk = Talk()
    clips = np.array([1, 2], dtype=np.uint64)
    found = check_fit_taint(["a"], [Taint.of(trained_on=[5])], clips, allow=False, console=talk)
    assert found == {"state": "known", "unknown": [], "trained_on": {}, "selected_on": {}, "override": ""}
    assert (talk.warned, talk.said) == ([], [])
    both = [Taint.of(trained_on=[1]), Taint.of(trained_on=[1, 2])]
    with pytest.raises(TaintError, match="model 'a' was trained on 1 of them, 'b' was trained on 2 of them"):
        check_fit_taint(["a", "b"], both, clips, allow=False, console=talk)
