"""Metrics and calibration against their definitions, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fusion_toys import toy_scores

from mg_data.contract import DataError
from mg_fusion import classification_metrics, expected_calibration_error, fit_temperature, reliability
from mg_fusion.table import results_table
from mg_fusion.vote import softmax

PROBS = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
LABELS = np.array([0, 1, 1, 1])


def test_metrics_of_four_clips() -> None:
    measured = classification_metrics(PROBS, LABELS)
    assert measured.accuracy == 0.75
    # Class 0: precision 1/2, recall 1 -> F1 2/3; class 1: precision 1, recall 2/3 -> 4/5; no class 2.
    assert measured.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert measured.mean_class_accuracy == pytest.approx((1 + 2 / 3) / 2)
    assert measured.nll == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.7]).mean())
    expected = np.mean([0.09 + 0.04 + 0.01, 0.36 + 0.49 + 0.01, 0.01 + 0.04 + 0.01, 0.04 + 0.09 + 0.01])
    assert measured.brier == pytest.approx(expected)
    assert measured.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert measured.support.tolist() == [1, 3, 0]
    value = measured.to_json(["a", "b", "c"])
    assert value["per_class"][1]["name"] == "b"
    assert value["micro_f1"] == value["accuracy"]


def test_adding_a_class_that_never_occurs_changes_no_mean() -> None:
    wider = np.concatenate([PROBS, np.zeros((4, 1))], axis=1)
    assert classification_metrics(wider, LABELS).macro_f1 == classification_metrics(PROBS, LABELS).macro_f1


def test_ece_is_the_gap_between_confidence_and_accuracy() -> None:
    # All four at confidence 0.8, half of them right.
    probs = np.tile([0.8, 0.2], (4, 1))
    assert expected_calibration_error(probs, [0, 0, 1, 1]) == pytest.approx(0.3)
    assert expected_calibration_error([[1.0, 0.0]], [0]) == 0.0


def test_a_confidence_on_an_edge_falls_into_the_lower_bin() -> None:
    table = reliability([[0.5, 0.5], [0.6, 0.4]], [0, 0], bins=2)
    assert table["count"] == [1.0, 1.0]
    assert table["confidence"] == [0.5, 0.6]


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_the_fitted_temperature_undoes_a_scale(scale: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 5)) * 2
    labels = np.array([generator.choice(5, p=row) for row in softmax(logits)])
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=0.1)


def test_the_fitted_temperature_is_the_minimum_of_the_nll() -> None:
    optimize = pytest.importorskip("scipy.optimize")

    for seed in range(30):
        logits, labels = toy_scores(50, [1.0], seed)

        def loss(tau: float, logits: np.ndarray = logits, labels: np.ndarray = labels) -> float:
            return -float(np.log(softmax(logits[0], tau)[np.arange(50), labels]).mean())

        best = optimize.minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-9})
        assert fit_temperature(logits[0], labels) == pytest.approx(best.x, abs=1e-4)


def test_the_fitted_temperature_stays_within_its_bounds() -> None:
    labels = np.array([0, 1, 2])
    assert fit_temperature(np.eye(3), labels) == 0.05
    assert fit_temperature(-np.eye(3), labels) == 20.0
    assert fit_temperature(np.zeros((3, 3)), labels) == 1.0
    assert fit_temperature(np.eye(3) * 1e4, labels) == 0.05
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(np.array([[-np.inf, 0.0]]), [1])


@pytest.mark.parametrize(
    ("probs", "labels", "text"),
    [
        ([[2.0, 1.0]], [0], "a row sums to 3"),
        ([[np.nan, 1.0]], [0], "negative or non-finite"),
        ([[0.5, 0.5]], [2], r"outside 0\.\.1"),
        ([[0.5, 0.5]], [0, 1], "one for each clip"),
        ([[0.5, 0.5]], [0.5], "wanted integers"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), "found no clip"),
    ],
)
def test_what_cannot_be_measured_is_refused(probs, labels, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=text):
        classification_metrics(probs, labels)


def test_the_table_is_aligned_and_has_notes_only_where_there_are_some() -> None:
    scores = {
        "joint/before": {"accuracy": 0.9, "macro_f1": 0.88123, "ece": 0.01, "n": 430},
        "fused": {"accuracy": 1.0, "macro_f1": None, "ece": 0.1, "n": 430},
    }
    plain = results_table(scores)
    assert "note" not in plain
    assert plain.splitlines()[2] == "joint/before     90.00     88.12   1.00    430"
    assert len({len(line) for line in plain.splitlines()}) == 1
    noted = results_table(scores, {"joint/before": "FAILING: floor 95 %"}, "markdown")
    assert "| FAILING: floor 95 % |" in noted
    assert noted.splitlines()[1].startswith("| ------------ | -------: |")
