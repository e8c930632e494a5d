"""Metrics and calibration against their definitions, worked by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fusion_toys import toy_scores

from mg_data.contract import DataError, UsageError
from mg_fusion import classification_metrics, expected_calibration_error, fit_temperature, reliability
from mg_fusion.calibration import _root_of_slope, check_probs, classwise_calibration_error
from mg_fusion.metrics import class_groups
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


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 15, 25, 50, 100])
def test_every_edge_belongs_to_the_bin_below_it(bins: int) -> None:
    # 0.28 * 100 is 28.000000000000004.
    edges = np.arange(1, bins + 1) / bins
    # Below one half another class is more probable, so each confidence stands alone in its row.
    own = edges[edges >= 0.5]
    table = reliability(np.stack([own, 1 - own], axis=1), np.zeros(len(own), dtype=int), bins=bins)
    assert table["count"] == [float(edge >= 0.5) for edge in edges]
    # Class 0 of a clip has the edge; at its truth every clip is short of 1 by what its bin holds.
    low = np.stack([edges, 1 - edges], axis=1)
    found = classwise_calibration_error(low, np.zeros(bins, dtype=int), bins=bins)[0]
    assert found == pytest.approx((1 - edges).mean())


def test_one_bin_compares_the_means() -> None:
    assert expected_calibration_error(PROBS, LABELS, bins=1) == pytest.approx(abs(0.7 - 0.75))


def test_errors_have_fifteen_bins_of_equal_width_unless_told_otherwise() -> None:
    # 0.66 and 0.67 lie on both sides of 10/15; of sixteen bins they would share one.
    assert expected_calibration_error([[0.66, 0.34], [0.67, 0.33]], [1, 0]) == pytest.approx(0.99 / 2)
    # 0.61 and 0.62 share one of fifteen bins of equal width, but none of equally many clips.
    probs = [[0.61, 0.39], [0.62, 0.38]]
    measured = classification_metrics(probs, [1, 0])
    assert measured.ece == pytest.approx(0.23 / 2)
    assert measured.ece_mass == pytest.approx(0.99 / 2)
    assert classwise_calibration_error(probs, [1, 0]).tolist() == pytest.approx([0.23 / 2] * 2)


def test_top_k_is_told_for_the_k_that_leave_a_class_out() -> None:
    assert list(classification_metrics(np.full((1, 6), 1 / 6), [0]).top_k) == [1, 3, 5]
    assert list(classification_metrics(np.full((1, 5), 1 / 5), [0]).top_k) == [1, 3]
    assert classification_metrics([[1.0]], [0]).top_k == {1: 1.0}


def test_counts_are_whole_numbers_and_a_single_answer_has_its_precision() -> None:
    measured = classification_metrics(PROBS, [0, 0, 1, 2])
    assert [field.dtype for field in (measured.support, measured.predicted, measured.confusion)] == [
        np.int64
    ] * 3
    assert measured.precision.tolist() == [1.0, 0.5, 0.0]
    one = classification_metrics([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    assert one.precision.tolist() == [1.0, 1.0]
    assert class_groups([]).tolist() == []
    assert check_probs(PROBS.astype(np.float32)).dtype == np.float64


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


def test_bounds_hold_where_every_temperature_is_as_good() -> None:
    flat = np.zeros((2, 3))
    assert fit_temperature(flat, [0, 1], bounds=(2.0, 3.0)) == 2.0
    assert fit_temperature(flat, [0, 1], bounds=(0.1, 0.5)) == 0.5


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.1, float("inf")), (-1.0, 1.0)])
def test_bounds_out_of_order_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match=r"bounds: found .*, wanted 0 < lowest < highest"):
        fit_temperature([[0.0, 1.0]], [0], bounds=bounds)


def test_what_is_added_to_all_logits_of_a_clip_changes_no_temperature() -> None:
    logits, labels = toy_scores(50, [1.0], 0)
    moved = logits[0] + np.where(np.arange(50) % 2, -1e4, 0)[:, None]
    assert fit_temperature(moved, labels) == pytest.approx(fit_temperature(logits[0], labels), rel=1e-6)


def test_the_temperatures_slope_knows_how_fast_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Callable[[float], tuple[float, float]]] = []

    def keep(slope: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
        kept.append(slope)
        return low

    monkeypatch.setattr("mg_fusion.calibration._root_of_slope", keep)
    logits, labels = toy_scores(50, [1.0], 0)
    fit_temperature(logits[0], labels)
    for tau in (0.5, 1.0, 3.0):
        above, below = kept[0](1 / (1 / tau + 1e-5))[0], kept[0](1 / (1 / tau - 1e-5))[0]
        assert kept[0](tau)[1] == pytest.approx((above - below) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(("low", "high", "root"), [(2.0, 20.0, 5.0), (0.05, 0.5, 0.1)])
def test_no_temperature_outside_the_bounds_is_tried(low: float, high: float, root: float) -> None:
    asked = []

    def slope(tau: float) -> tuple[float, float]:
        asked.append(tau)
        return 1 / tau - 1 / root, 1.0

    assert _root_of_slope(slope, low, high) == pytest.approx(root)
    assert low * (1 - 1e-12) <= min(asked) <= max(asked) <= high * (1 + 1e-12)


@pytest.mark.parametrize("root", [0.051, 0.3, 1.1, 2.5, 19.9])
@pytest.mark.parametrize("power", [1, 3])
def test_the_root_of_a_slope_is_found_in_few_steps(root: float, power: int) -> None:
    asked = []

    def slope(tau: float) -> tuple[float, float]:
        asked.append(tau)
        apart = 1 / tau - 1 / root
        return apart**power, power * apart ** (power - 1)

    assert _root_of_slope(slope, 0.05, 20.0) == pytest.approx(root, rel=1e-9)
    assert 0.05 <= min(asked) <= max(asked) <= 20.0
    # By halving alone it takes 39 steps, however simple the function.
    assert len(asked) <= (15 if power == 1 else 60)


@pytest.mark.parametrize("steep", [1e-3, 1.0, 1e3, 1e6])
def test_a_slope_that_newtons_steps_overshoot_is_halved(steep: float) -> None:
    def slope(tau: float) -> tuple[float, float]:
        value = float(np.arctan(steep * (1 / tau - 2)))
        return value, steep / (1 + (steep * (1 / tau - 2)) ** 2)

    assert _root_of_slope(slope, 0.05, 20.0) == pytest.approx(0.5, rel=1e-9)
    # A wrong growth, even none, costs time and not the answer.
    assert _root_of_slope(lambda tau: (slope(tau)[0], 0.0), 0.05, 20.0) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize(
    ("probs", "labels", "text"),
    [
        ([[0.5, 0.5], [0.6, 0.402]], [0, 0], r"a row sums to 1\.002, wanted 1"),
        ([[0.9, 0.102], [0.3, 0.2]], [0, 0], r"a row sums to 0\.5, wanted 1"),
        ([[0.5, 0.4], [0.9, 0.5]], [0, 0], r"a row sums to 1\.4, wanted 1"),
        ([0.5, 0.5], [0, 0], r"found shape \(2,\), wanted \(clips, classes\)"),
        ([[-0.5, 1.5]], [0], "negative or non-finite"),
        ([[0.5, 0.5]], [-1], r"1 of 1 are outside 0\.\.1"),
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


def test_the_nll_of_certain_answers_is_0_without_a_sign() -> None:
    found = classification_metrics([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    assert str(found.nll) == str(found.groups["head"]["nll"]) == "0.0"
