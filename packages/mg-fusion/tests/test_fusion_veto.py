"""The veto effect: clips on which one overconfident model overrides the rest."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from fusion_toys import Talk, write_toy

from mg_data.contract import DataError
from mg_fusion import soft_vote
from mg_fusion.commands.fuse import fuse
from mg_fusion.veto import compare_vetoes, find_vetoes

# Five classes: one model is sure of class 0, two are somewhat sure of class 1.
SURE = [9.0, 0.0, 0.0, 0.0, 0.0]
UNSURE = [0.5, 1.0, 0.0, 0.0, 0.0]


def test_one_sure_model_overrides_two_unsure_ones() -> None:
    logits = np.array([[SURE], [UNSURE], [UNSURE]])
    found = find_vetoes(logits, [1, 1, 1], 1.0)
    assert (found.rows.tolist(), found.model.tolist(), found.answer.tolist()) == ([0], [0], [0])
    assert found.rest_answer.tolist() == [1]
    assert found.agreement[0] == pytest.approx(1.0)
    assert found.confidence[0] == pytest.approx(np.exp(9) / (np.exp(9) + 4))
    assert soft_vote(logits, [1, 1, 1], 1.0).argmax() == 0


def test_a_temperature_frees_a_clip_whose_second_class_the_sure_model_knows() -> None:
    # tau 1: 0.73 - 0.27 of the one against 2 (0.26 - 0.04) of the two; tau 2.5: 0.19 against 0.25.
    one, two = [9.0, 8.0, 0.0, 0.0, 0.0], [0.0, 2.0, 1.9, 1.9, 1.9]
    logits = np.array([[one], [two], [two]])
    assert len(find_vetoes(logits, [1, 1, 1], 1.0).rows) == 1
    assert len(find_vetoes(logits, [1, 1, 1], 2.5).rows) == 0


def test_a_high_temperature_adds_up_logits_and_so_makes_vetoes_too() -> None:
    # Saturated models vote like a majority; at tau 30 it is 9 against 2 * 4.
    strong = [0.0, 4.0, 0.0, 0.0, 0.0]
    logits = np.array([[SURE], [strong], [strong]])
    assert len(find_vetoes(logits, [1, 1, 1], 1.0).rows) == 0
    assert len(find_vetoes(logits, [1, 1, 1], 30.0).rows) == 1


def test_agreement_with_another_model_or_weight_zero_is_no_veto() -> None:
    logits = np.array([[SURE], [SURE], [UNSURE], [UNSURE], [UNSURE]])
    assert len(find_vetoes(logits, np.ones(5), 1.0).rows) == 0
    assert len(find_vetoes(logits, [1, 0, 1, 1, 0], 1.0).rows) == 1
    assert len(find_vetoes(logits, [1, 0, 0, 0, 0], 1.0).rows) == 0


def test_of_classes_that_the_rest_has_equal_the_first_is_its_answer() -> None:
    # The rest says 1 and 2 alike, so 1; taking the sure model's part off a sum again would leave crumbs.
    logits = np.array([[[0.0, 0.0, 1.0]], [[0.0, 2.0, 2.0]]])
    found = find_vetoes(logits, [3, 1], 1.0)
    assert (found.model.tolist(), found.answer.tolist(), found.rest_answer.tolist()) == ([0], [2], [1])


def test_a_rest_without_a_majority_is_not_overridden() -> None:
    # The two others disagree with each other too.
    logits = np.array([[SURE], [UNSURE], [[0.0, 0.4, 1.0, 0.0, 0.0]]])
    assert len(find_vetoes(logits, [1, 1, 1], 1.0).rows) == 0


@pytest.mark.parametrize(
    "weights",
    [np.ones(7), np.full(9, 0.1), np.array([1, 6, 4, 5, 5]) * 0.05, np.array([5, 8, 6, 9, 5]) * 0.05],
)
def test_just_half_of_the_rest_is_no_majority_however_its_weights_are_rounded(weights: np.ndarray) -> None:
    # One is sure of class 0, half of the others' weight says 1, and each other says something else.
    half = (len(weights) - 1) // 2
    logits = np.zeros((len(weights), 1, half + 2))
    logits[0, 0, 0] = 200.0
    logits[1 : 1 + half, 0, 1] = 0.02
    for place, model in enumerate(range(1 + half, len(weights)), start=2):
        logits[model, 0, place] = 0.01
    assert weights[1 : 1 + half].sum() == pytest.approx(weights[1 + half :].sum())
    # It decides for the majority, so it is just short of being one.
    assert find_vetoes(logits, weights, 1.0, majority=0.499).agreement.tolist() == pytest.approx([0.5])
    assert len(find_vetoes(logits, weights, 1.0).rows) == 0


def test_a_missing_model_vetoes_nothing() -> None:
    logits = np.array([[SURE, SURE], [UNSURE, UNSURE], [UNSURE, UNSURE]])
    present = np.array([[False, True], [True, True], [True, True]])
    assert find_vetoes(logits, [1, 1, 1], 1.0, present).rows.tolist() == [1]
    with pytest.raises(DataError, match="no answer from a model of positive weight"):
        find_vetoes(logits, [1, 0, 0], 1.0, present)


def test_vetoes_are_counted_by_what_they_did() -> None:
    logits = np.array([[SURE] * 3, [UNSURE] * 3, [UNSURE] * 3])
    found = find_vetoes(logits, [1, 1, 1], 1.0)
    row = compare_vetoes(found, found, ["a", "b", "c"], np.array([0, 1, 2]))
    assert row["before"]["by_model"] == {"a": 3, "b": 0, "c": 0}
    assert [row["before"][name] for name in ("helpful", "harmful", "neither")] == [1, 1, 1]
    assert (row["freed"], row["new"]) == (0, 0)


def test_the_command_writes_a_line_for_each_veto(tmp_path: Path) -> None:
    paths, labels = write_toy(tmp_path, "val", clips=200)
    out = tmp_path / "veto.csv"
    result = fuse(
        console=Talk(),
        stores=paths,
        out=tmp_path / "p.h5",
        temperature=4.0,
        diagnose=out,
        labels=labels,
    )
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    vetoes = result.data["vetoes"]
    assert len(rows) == vetoes["before"]["clips"] + vetoes["after"]["clips"] > 0
    assert {row["temperature"] for row in rows} == {"1", "4"}
    assert (
        sum(row["effect"] == "harmful" for row in rows if row["temperature"] == "1")
        == vetoes["before"]["harmful"]
    )
    assert all(row["answer"] != row["rest_answer"] for row in rows)
    assert "overrides the majority" in result.text
    # Without labels, nobody is said to be right.
    plain = fuse(console=Talk(), stores=paths, out=tmp_path / "p.h5", diagnose=out)
    assert "harmful" not in plain.data["vetoes"]["before"]
