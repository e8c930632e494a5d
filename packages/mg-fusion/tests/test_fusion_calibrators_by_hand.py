"""Calibrations by hand: curves, scales, and every field of their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_fusion.calibrators import Calibrator, fit_calibrator, isotonic_fit
from mg_fusion.errors import ScoresError, SettingError


def test_isotonic_corners_by_hand() -> None:
    # 2.0 stands twice, with mean 0.5; 3 and 4 would fall from 1 to 0 and are pooled; 5 to 7 are flat.
    values = np.array([1.0, 2, 2, 3, 4, 5, 6, 7])
    targets = np.array([0.0, 0, 1, 1, 0, 1, 1, 1])
    x, y = isotonic_fit(values, targets)
    assert x.tolist() == [1.0, 2.0, 4.0, 5.0, 7.0]
    assert y.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]
    x, y = isotonic_fit(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [0.5, 0.5])
    x, y = isotonic_fit(np.array([3.0]), np.array([1.0]))
    assert (x.tolist(), y.tolist()) == ([3.0], [1.0])


def test_every_field_of_a_calibration_is_written_and_read_back(tmp_path: Path) -> None:
    full = Calibrator(
        method="vector",
        classes=2,
        fitted={"scale": [1.0, 2.0], "bias": [0.5, -0.5]},
        options={"shrinkage": 1.0},
        model="joint",
        class_names=("a", "ü"),
        before={"nll": 1.0},
        after={"nll": 0.5},
        cross_fitted={"folds": 2},
        fitted_on={"clips": 3},
        taint={"state": "known"},
    )
    assert full.to_json() == {
        "format": "mg-calibration",
        "version": 1,
        "method": "vector",
        "classes": 2,
        "fitted": {"scale": [1.0, 2.0], "bias": [0.5, -0.5]},
        "options": {"shrinkage": 1.0},
        "model": "joint",
        "class_names": ["a", "ü"],
        "before": {"nll": 1.0},
        "after": {"nll": 0.5},
        "cross_fitted": {"folds": 2},
        "fitted_on": {"clips": 3},
        "taint": {"state": "known"},
    }
    full.save(tmp_path / "c.json")
    assert Calibrator.load(tmp_path / "c.json") == full
    assert full.parameters == 4
    # softmax(w * L + b) of the centred logits (1, -1): (1.5, -2.5).
    assert full.predict_proba([[3.0, 1.0]])[0, 0] == pytest.approx(1 / (1 + np.exp(-4.0)))


def test_matrix_and_diagonal_by_hand() -> None:
    matrix = Calibrator(method="matrix", classes=2, fitted={"matrix": [[1, 2], [0, 1]], "bias": [0.5, 0.0]})
    # L = (1, -1): (1 - 2 + 0.5, -1).
    assert matrix.predict_proba([[2.0, 0.0]])[0, 0] == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert matrix.parameters == 6
    diagonal = Calibrator(method="matrix-diagonal", classes=2, fitted={"scale": [2, 1]})
    assert diagonal.predict_proba([[2.0, 0.0]])[0, 0] == pytest.approx(1 / (1 + np.exp(-3.0)))
    warm = Calibrator(method="temperature", classes=2, fitted={"tau": 2.0})
    assert warm.predict_proba([[2.0, 0.0]])[0, 0] == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert warm.parameters == 1


def test_curves_by_hand() -> None:
    # p = (0.75, 0.25).
    logits = [[np.log(3.0), 0.0]]
    lines = {"x": [[0.5, 1.0], [0.0, 0.5]], "y": [[0.0, 1.0], [0.2, 0.6]]}
    isotonic = Calibrator(method="isotonic", classes=2, fitted=lines)
    assert isotonic.predict_proba(logits)[0].tolist() == pytest.approx([0.5 / 0.9, 0.4 / 0.9])
    steps = {"edges": [[0.5], [0.25]], "levels": [[0.1, 0.6], [0.2, 0.9]]}
    histogram = Calibrator(method="histogram", classes=2, fitted=steps)
    assert histogram.predict_proba(logits)[0].tolist() == pytest.approx([0.75, 0.25])
    blank = Calibrator(method="histogram", classes=2, fitted={"edges": [[], []], "levels": [[0], [0]]})
    assert blank.predict_proba(logits)[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "fitted",
    [
        {"x": [[0.0, 1.0]], "y": [[0.0, 1.0]]},
        {"x": [[0.0, 1.0]] * 2},
        {"x": [["low", 1.0]] * 2, "y": [[0.0, 1.0]] * 2},
        {"x": [[1.0, 0.0]] * 2, "y": [[0.0, 1.0]] * 2},
        {"x": [[1.0, 1.0]] * 2, "y": [[0.0, 1.0]] * 2},
        {"x": [[0.0, 1.0]] * 2, "y": [[-0.1, 1.0]] * 2},
        {"x": [[0.0, 1.0]] * 2, "y": [[0.0]] * 2},
        {"x": [[]] * 2, "y": [[]] * 2},
    ],
)
def test_curves_that_are_none_are_refused(fitted: dict[str, Any]) -> None:
    with pytest.raises(ScoresError, match=r"calibration isotonic.*fit again"):
        Calibrator(method="isotonic", classes=2, fitted=fitted).predict_proba([[1.0, 0.0]])


@pytest.mark.parametrize(
    ("method", "fitted", "name"),
    [
        ("temperature", {"tau": "warm"}, "tau"),
        ("vector", {"scale": [1.0], "bias": [0.0, 0.0]}, "scale"),
        ("vector", {"scale": [1.0, 1.0]}, "bias"),
        ("matrix-diagonal", {}, "scale"),
        ("matrix", {"matrix": [1.0, 1.0], "bias": [0.0, 0.0]}, "matrix"),
        ("matrix", {"matrix": [[1.0, 0.0], [0.0, 1.0]]}, "bias"),
    ],
)
def test_parameters_that_are_none_are_named(method: str, fitted: dict[str, Any], name: str) -> None:
    with pytest.raises(ScoresError, match=f"^fuser 'calibration {method}': fitted '{name}' .*fit again$"):
        Calibrator(method=method, classes=2, fitted=fitted).predict_proba([[1.0, 0.0]])


def test_a_histogram_by_hand() -> None:
    # p of class 0 is 0.75 twice and 0.25 once; of two bins the upper one holds a hit and a miss.
    logits = [[np.log(3.0), 0.0], [np.log(3.0), 0.0], [0.0, np.log(3.0)]]
    found = fit_calibrator(logits, [0, 1, 1], "histogram", bins=2)
    assert found.fitted == {"edges": [[0.5], [0.5]], "levels": [[0.0, 0.5], [0.5, 1.0]]}
    assert found.options == {"bins": 2}
    finer = fit_calibrator(logits, [0, 1, 1], "histogram", bins=4)
    # Empty bins say their middle; 0.75 and 0.25 stand on edges and belong below them.
    assert finer.fitted["levels"] == [[0.0, 0.375, 0.5, 0.875], [0.5, 0.375, 1.0, 0.875]]
    assert len(fit_calibrator(logits, [0, 1, 1], "histogram").fitted["levels"][0]) == 15
    assert fit_calibrator(logits, [0, 1, 1], "histogram", bins=1).fitted["edges"] == [[], []]
    assert fit_calibrator(logits, [0, 1, 1], "vector").options == {"shrinkage": 1.0}
    with pytest.raises(SettingError, match=r"^bins: found 0"):
        fit_calibrator(logits, [0, 1, 1], "histogram", bins=0)
    with pytest.raises(SettingError, match=r"^shrinkage: found 0"):
        fit_calibrator(logits, [0, 1, 1], "vector", shrinkage=0)


@pytest.mark.parametrize("method", ["vector", "matrix-diagonal"])
def test_a_scale_for_each_class_is_where_its_penalised_likelihood_is_flat(method: Any) -> None:
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(50, 3)) * 2, generator.integers(0, 3, 50)
    centred = logits - logits.mean(axis=1, keepdims=True)
    tau = fit_calibrator(logits, labels).fitted["tau"]
    found = fit_calibrator(logits, labels, method, shrinkage=0.5)
    assert found.options == {"shrinkage": 0.5}
    assert set(found.fitted) == ({"scale", "bias"} if method == "vector" else {"scale"})

    def penalised(flat: np.ndarray) -> float:
        scores = centred * flat[:3] + flat[3:]
        likelihood = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(50), labels]
        return float(likelihood.sum() + 0.25 * (((flat[:3] - 1 / tau) ** 2).sum() + (flat[3:] ** 2).sum()))

    point = np.array([*found.fitted["scale"], *found.fitted.get("bias", [0.0] * 3)])
    for place in range(6 if method == "vector" else 3):
        step = 1e-4 * np.eye(6)[place]
        assert penalised(point + step) - penalised(point - step) == pytest.approx(0.0, abs=2e-8)
