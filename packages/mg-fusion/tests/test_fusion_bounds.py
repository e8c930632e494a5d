"""Skipping most of the grid changes nothing; the convex optimum and the temperature are those scipy finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fusion_toys import toy_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, UsageError
from mg_fusion import ScoresError, SettingError, fit_soft_vote, fit_temperature, soft_vote
from mg_fusion.convex import lowest_nll
from mg_fusion.search import bounds as bounds_module
from mg_fusion.search.bounds import TOLERANCE, Boxes, best_settings
from mg_fusion.search.objective import METRICS, VoteObjective, compositions
from mg_fusion.vote import softmax

TEMPERATURES = np.array([0.5, 1.0, 2.5, 6.0])


def grid(parts: int, steps: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(list(compositions(steps, parts)), dtype=np.int64)


def every_value(objective: VoteObjective, metric: Any, steps: Any) -> Any:
    weights = steps / steps[0].sum()
    return np.stack(
        [objective.evaluate(metric, objective.probabilities(tau), weights) for tau in TEMPERATURES]
    )


def problem(seed: int, models: int, clips: int, masked: bool) -> VoteObjective:
    generator = np.random.default_rng(seed)
    logits, labels = toy_scores(clips, generator.random(models) * 2, seed, classes=6)
    present = np.ones((models, clips), dtype=bool)
    if masked:
        present = generator.random((models, clips)) < 0.8
        present[generator.integers(0, models, clips), np.arange(clips)] = True
    return VoteObjective(np.where(present[:, :, None], logits, 0.0), labels, present)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["accuracy", "macro_f1"]),
    st.sampled_from([(2, 997), (3, 40), (3, 37), (4, 16), (5, 9)]),
    st.booleans(),
    st.sampled_from([50, 3_000, 1_000_000]),
)
def test_the_best_settings_are_those_that_trying_everything_finds(
    seed: int, metric: Any, shape: tuple[int, int], masked: bool, memory: int
) -> None:
    objective, steps = problem(seed, shape[0], 40, masked), grid(*shape)
    values = every_value(objective, metric, steps)
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        # Little memory cuts the search into batches, which must not show.
        patched.setattr(bounds_module, "_MOST_ENTRIES", memory)
        patched.setattr(bounds_module, "_FEW_SETTINGS", 0)
        best, tied = best_settings(objective, TEMPERATURES, steps, metric)
    if values.max() == -np.inf:
        assert best == -np.inf
        return
    assert best == pytest.approx(values.max(), abs=1e-12)
    np.testing.assert_array_equal(tied, values >= values.max() - TOLERANCE)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["accuracy", "macro_f1"]), st.booleans())
def test_compiled_judges_find_what_numpy_finds(seed: int, metric: Any, masked: bool) -> None:
    pytest.importorskip("numba")
    from mg_fusion.search.fast import judge_of

    objective, steps = problem(seed, 4, 60, masked), grid(4, 14)
    plain = best_settings(objective, TEMPERATURES, steps, metric)
    fast = best_settings(objective, TEMPERATURES, steps, metric, judge_of(metric))
    assert fast[0] == pytest.approx(plain[0], abs=1e-12)
    np.testing.assert_array_equal(fast[1], plain[1])


@pytest.mark.parametrize("shape", [(2, 20), (3, 7), (4, 20), (5, 6)])
def test_boxes_cover_every_setting_once_on_each_level(shape: tuple[int, int]) -> None:
    steps = grid(*shape)
    boxes = Boxes(steps)
    corners, width = boxes.first()
    while width > 1:
        halves = (corners[:, None, :] + boxes.halves(width)).reshape(-1, corners.shape[1])
        width //= 2
        corners = halves[halves.sum(axis=1) <= boxes.total]
        owner = steps[:, :-1] // width * width
        assert len(np.unique(corners, axis=0)) == len(corners)
        assert {tuple(row) for row in owner} <= {tuple(row) for row in corners}
    np.testing.assert_array_equal(np.sort(boxes.rows(corners)), np.arange(len(steps)))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_many_models_in_few_steps_are_tried_without_boxes(
    metric: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sixteen models in halves of the weight are 136 settings, but a box of theirs falls into 32,768.
    objective, steps = problem(0, 16, 12, True), grid(16, 2)
    monkeypatch.setattr(bounds_module, "_FEW_SETTINGS", 0)
    monkeypatch.setattr(bounds_module, "Boxes", None)
    best, tied = best_settings(objective, TEMPERATURES, steps, metric)
    values = every_value(objective, metric, steps)
    assert best == values.max()
    np.testing.assert_array_equal(tied, values >= best - TOLERANCE)


def test_clips_without_rivals_are_no_special_case() -> None:
    labels = np.arange(6) % 3
    sure = np.stack([np.eye(3)[labels] * 9] * 4)
    fitted = fit_soft_vote(sure, labels, metric="macro_f1")
    assert fitted.value == 1.0
    assert fitted.search["tied"] == fitted.search["settings"] == 1771 * 30
    assert fit_soft_vote(sure, (labels + 1) % 3).value == 0.0


def scipy_weights(target: Any) -> float:
    optimize = pytest.importorskip("scipy.optimize")
    models = len(target)
    found = optimize.minimize(
        lambda w: -np.log(w @ target).mean(),
        np.full(models, 1 / models),
        jac=lambda w: -(target / (w @ target)).mean(axis=1),
        bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    return float(found.fun)


@pytest.mark.parametrize("power", [1, 4, 12])
def test_the_convex_optimum_is_not_worse_than_scipys_and_is_proved(power: int) -> None:
    for seed in range(25):
        generator = np.random.default_rng(seed)
        target = generator.random((int(generator.integers(2, 9)), int(generator.integers(4, 120)))) ** power
        target = np.maximum(target, 1e-12)
        weights = lowest_nll(target)
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1.0)
        # Convexity: no weights are better by more than this (Karush, Kuhn, Tucker).
        assert (target / (weights @ target)).mean(axis=1).max() - 1 < 1e-6
        assert -np.log(weights @ target).mean() <= scipy_weights(target) + 1e-7


def test_newton_is_at_least_as_good_as_the_grid_and_says_what_it_is() -> None:
    logits, labels = toy_scores(120, [0.3, 1.0, 1.4], 2)
    exact = fit_soft_vote(logits, labels, metric="nll", method="newton")
    grid_ = fit_soft_vote(logits, labels, metric="nll", weight_step=0.1)
    assert exact.search["method"] == "newton"
    assert exact.value is not None
    assert grid_.value is not None
    assert exact.value <= grid_.value + 1e-12
    many, labels = toy_scores(80, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4], 3)
    assert fit_soft_vote(many, labels, metric="nll").search["method"] == "newton"


def test_newton_renormalises_weights_where_answers_are_missing() -> None:
    logits, labels = toy_scores(60, [0.5, 1.5, 1.0], 4)
    present = np.random.default_rng(0).random((3, 60)) < 0.7
    present[2] = True
    fitted = fit_soft_vote(
        np.where(present[:, :, None], logits, np.nan), labels, metric="nll", method="newton", present=present
    )
    equal = fitted.baselines["equal_weight"]["nll"]
    assert fitted.value is not None
    assert fitted.value < equal


# A problem a row: name, (N, K) logits, (N,) labels.
def temperature_problems() -> list[tuple[str, Any, Any]]:
    rows: list[tuple[str, Any, Any]] = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        clips, classes = int(generator.integers(1, 80)), int(generator.integers(2, 12))
        labels = generator.integers(0, classes, clips)
        kind = ("plain", "sharp", "separable", "constant", "adversarial", "offset")[seed % 6]
        logits = generator.normal(size=(clips, classes)) + np.eye(classes)[labels]
        if kind == "sharp":
            logits *= 30
        elif kind == "separable":
            logits = np.eye(classes)[labels] * generator.uniform(0.1, 50) + 1e-3 * logits
        elif kind == "constant":
            logits = np.full((clips, classes), generator.normal())
        elif kind == "adversarial":
            logits = logits * 1e4
        elif kind == "offset":
            logits = logits + 1e4 * generator.normal(size=(clips, 1))
        rows.append((kind, logits, labels))
    return rows


def test_the_temperature_is_the_optimum_that_scipy_finds_between_the_bounds() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    low, high = 0.05, 20.0
    for kind, logits, labels in temperature_problems():
        found = fit_temperature(logits, labels)
        assert low <= found <= high

        def loss(log_tau: float, logits: Any = logits, labels: Any = labels) -> float:
            scaled = (logits - logits.max(axis=1, keepdims=True)) / np.exp(log_tau)
            log_sum = np.log(np.exp(scaled).sum(axis=1))
            return float((log_sum - scaled[np.arange(len(labels)), labels]).mean())

        if kind == "constant":
            assert found == 1.0
            continue
        best = optimize.minimize_scalar(
            loss, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 1e-10}
        )
        assert loss(np.log(found)) <= best.fun + 1e-10, kind
        # Where the loss is flat to the last bit, as for separable logits, any tau is the optimum.
        if abs(loss(np.log(found)) - best.fun) > 1e-13 or kind == "plain":
            assert found == pytest.approx(float(np.exp(best.x)), abs=1e-4, rel=1e-4), kind


@pytest.mark.parametrize("bad", [-np.inf, np.inf, np.nan])
def test_the_temperature_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        fit_temperature([[0.0, bad]], [0])


def test_one_temperature_of_lowest_nll_is_that_of_all_answers_together() -> None:
    logits, labels = toy_scores(90, [1.0, 2.0], 1)
    fitted = fit_soft_vote(logits * 4, labels, temperature="nll")
    pooled = fit_temperature((logits * 4).reshape(180, -1), np.tile(labels, 2))
    assert fitted.temperature == pytest.approx(pooled)
    assert fitted.model_temperatures == {}


def test_each_models_own_temperature_makes_the_scale_of_its_logits_irrelevant(tmp_path: Any) -> None:
    logits, labels = toy_scores(90, [1.0, 1.5, 2.0], 1)
    scale = np.array([1.0, 7.0, 0.2])[:, None, None]
    first = fit_soft_vote(logits, labels, temperature="per-model", models=["a", "b", "c"])
    second = fit_soft_vote(logits * scale, labels, temperature="per-model", models=["a", "b", "c"])
    assert second.weights == first.weights
    np.testing.assert_allclose(second.predict_proba(logits * scale), first.predict_proba(logits), atol=1e-9)
    assert first.model_temperatures["a"] == pytest.approx(fit_temperature(logits[0], labels))
    # Who reads version 1 only must not overlook these temperatures.
    first.save(tmp_path / "fusion.json")
    assert first.to_json()["version"] == 2
    assert type(first).load(tmp_path / "fusion.json") == first


def test_several_temperatures_divide_each_model_by_its_own() -> None:
    logits, _ = toy_scores(5, [1.0, 2.0])
    mean = (softmax(logits[0], 0.5) + softmax(logits[1], 3.0)) / 2
    np.testing.assert_allclose(soft_vote(logits, [1, 1], [0.5, 3.0]), mean, atol=1e-15)
    with pytest.raises(SettingError, match=r"wanted one number, or \(2,\)"):
        soft_vote(logits, [1, 1], [1.0, 2.0, 3.0])


def test_cross_fitting_never_scores_a_group_with_weights_that_saw_it() -> None:
    logits, labels = toy_scores(100, [0.5, 1.0, 1.5], 5)
    groups = np.array([f"video {index % 20:02d}" for index in range(100)])
    crossed = fit_soft_vote(logits, labels, weight_step=0.2, groups=groups, folds=5).search["cross_fitted"]
    assert crossed["folds"] == 5
    assert sum(part["clips"] for part in crossed["parts"]) == 100
    assert all(part["clips"] % 5 == 0 for part in crossed["parts"])  # videos stay whole
    assert crossed["low"] <= crossed["value"] <= crossed["high"]
    gain = crossed["gain_over_equal_weight"]
    assert gain["value"] == pytest.approx(crossed["value"] - crossed["equal_weight"])
    assert gain["low"] <= gain["value"] <= gain["high"]


def test_on_noise_the_search_flatters_itself_and_cross_fitting_does_not() -> None:
    flattery = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        logits, labels = generator.normal(size=(4, 60, 3)), generator.integers(0, 3, 60)
        fitted = fit_soft_vote(logits, labels, folds=5, weight_step=0.1)
        assert fitted.value is not None
        flattery.append(fitted.value - fitted.search["cross_fitted"]["value"])
    assert np.mean(flattery) > 0.05


@pytest.mark.parametrize("grouped", [True, False])
def test_cross_fitting_does_not_depend_on_the_order_of_the_clips(grouped: bool) -> None:
    logits, labels = toy_scores(60, [0.5, 1.0], 6)
    groups = np.array([f"s{index % 7}" for index in range(60)]) if grouped else None
    order = np.random.default_rng(1).permutation(60)
    moved = None if groups is None else groups[order]
    first = fit_soft_vote(logits, labels, weight_step=0.1, groups=groups, folds=4)
    second = fit_soft_vote(logits[:, order], labels[order], weight_step=0.1, groups=moved, folds=4)
    assert second.search["cross_fitted"]["value"] == pytest.approx(first.search["cross_fitted"]["value"])
    assert second.search["cross_fitted"]["parts"] == first.search["cross_fitted"]["parts"]


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_of_weight_zero_may_as_well_not_be_there(metric: Any) -> None:
    logits, labels = toy_scores(40, [1.0, 2.0], 7)
    useless = np.where(np.eye(5)[labels] > 0, -9.0, 9.0)  # always wrong, and sure of it
    fitted = fit_soft_vote([*logits, useless], labels, metric=metric, temperature=1.0, weight_step=0.1)
    if fitted.weights["2"] == 0:
        alone = fit_soft_vote(logits, labels, metric=metric, temperature=1.0, weight_step=0.1)
        assert fitted.value == pytest.approx(alone.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "newton"}, "'newton' is for the metric 'nll', found 'accuracy'"),
        ({"method": "anneal"}, "'auto', 'grid', 'ascent' or 'newton'"),
        ({"engine": "gpu"}, "'auto', 'numpy' or 'numba'"),
        ({"folds": 1}, "wanted 0 or a whole number of at least 2"),
        ({"folds": 3, "groups": np.zeros(10)}, "found 3 for 1 groups"),
        ({"temperature": -1.0}, "finite number above 0"),
        ({"temperature": "auto"}, "'grid', 'nll', 'per-model' or a number"),
        ({"weight_step": 0.0001, "method": "grid"}, "take a larger weight_step"),
    ],
)
def test_settings_of_the_search_are_checked(options: dict[str, Any], text: str) -> None:
    logits, labels = toy_scores(10, [1.0, 1.0, 1.0])
    with pytest.raises(SettingError, match=text) as caught:
        fit_soft_vote(logits, labels, **options)
    assert "\n" not in str(caught.value)


def test_errors_of_the_library_are_value_errors_and_those_of_the_command_line() -> None:
    assert issubclass(SettingError, (ValueError,))
    assert issubclass(SettingError, UsageError)
    assert issubclass(ScoresError, (ValueError,))
    assert issubclass(ScoresError, DataError)
    with pytest.raises(ValueError, match="weights: found"):
        soft_vote([[[0.0, 1.0]]], [-1], 1.0)
    with pytest.raises(ValueError, match="not finite"):
        soft_vote([[[0.0, np.nan]]], [1], 1.0)


def test_numba_is_not_imported_unless_it_pays() -> None:
    import subprocess
    import sys

    code = (
        "import sys, numpy as np; from mg_fusion import fit_soft_vote;"
        "fit_soft_vote(np.random.default_rng(0).normal(size=(3, 20, 4)), np.arange(20) % 4);"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
