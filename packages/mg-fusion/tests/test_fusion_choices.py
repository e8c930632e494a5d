"""What a search chooses and says of it, field by field, on cases small enough to see through."""

from __future__ import annotations

import sys
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fusion_toys import toy_scores

from mg_fusion import fit_soft_vote, soft_vote
from mg_fusion.convex import lowest_nll
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.metrics import classification_metrics
from mg_fusion.search import choosing
from mg_fusion.search.choosing import _WORTH_COMPILING as WORTH
from mg_fusion.search.choosing import Plan, _judge, check_plan, choose
from mg_fusion.search.climb import _moves, _random_starts, climb
from mg_fusion.search.fit import _best_single
from mg_fusion.search.found import middle
from mg_fusion.search.objective import VoteObjective
from mg_fusion.vote import softmax

GOOD, BLIND = np.eye(3) * 8.0, np.zeros((3, 3))
LABELS = np.array([0, 1, 2])


def objective(*logits: np.ndarray, labels: np.ndarray = LABELS) -> VoteObjective:
    scores = np.stack(logits)
    return VoteObjective(scores, labels, np.ones(scores.shape[:2], dtype=bool))


def summary(probs: np.ndarray, metric: str) -> dict[str, float]:
    measured = classification_metrics(probs, LABELS)
    return {name: getattr(measured, name) for name in ("accuracy", "macro_f1", "nll", "ece")} | {
        "value": getattr(measured, metric)
    }


def test_every_field_of_a_search_of_three_clips() -> None:
    fitted = fit_soft_vote([GOOD, BLIND], LABELS, temperature=1.0, weight_step=0.1, models=["g", "b"])
    good, equal = softmax(GOOD), (softmax(GOOD) + 1 / 3) / 2
    fused = 0.6 * softmax(GOOD) + 0.4 / 3
    assert fitted.temperature == 1.0
    assert fitted.weights == {"g": 0.6, "b": 0.4}
    assert (fitted.metric, fitted.value, fitted.fitted_on) == ("accuracy", 1.0, {"clips": 3})
    assert (fitted.class_names, fitted.model_temperatures) == ((), {})
    search = dict(fitted.search)
    interval, warmest = search.pop("interval"), search.pop("calibrated_temperature")
    assert search.pop("fused") == pytest.approx(summary(fused, "accuracy"))
    assert search == {
        "method": "grid",
        "temperatures": [1.0],
        "weight_step": 0.1,
        "settings": 11,
        "best": 1.0,
        "tied": 10,
        "regions": 1,
        "region": {"size": 10, "temperature": [1.0, 1.0], "weights": {"g": [0.1, 1.0], "b": [0.0, 0.9]}},
        "unseen_classes": [],
    }
    assert (interval["low"], interval["high"], interval["groups"]) == (1.0, 1.0, 3)
    assert warmest == pytest.approx(0.05, abs=1e-3)
    # The blind model answers class 0 for all, for ties go to the first.
    blind = {**summary(softmax(BLIND), "accuracy"), "answered": 3}
    expected = {**summary(good, "accuracy"), "answered": 3}
    baselines = dict(fitted.baselines)
    assert baselines.pop("singles") == {"g": pytest.approx(expected), "b": pytest.approx(blind)}
    assert baselines.pop("best_single") == {
        "model": "g",
        **{k: pytest.approx(v) for k, v in expected.items()},
    }
    even = {"temperature": 1.0, **summary(equal, "accuracy")}
    assert baselines.pop("equal_weight") == pytest.approx(even)
    assert baselines == {
        "models": {"g": 1.0, "b": pytest.approx(1 / 3)},
        "gain_over_best_single": 0.0,
        "gain_over_equal_weight": 0.0,
    }


def test_gains_in_the_likelihood_are_positive_where_it_is_lower() -> None:
    logits, labels = toy_scores(60, (1.0, 0.5), 0)
    fitted = fit_soft_vote(logits, labels, metric="nll", weight_step=0.25, temperature=2.0)
    single, equal = fitted.baselines["best_single"]["nll"], fitted.baselines["equal_weight"]["nll"]
    assert fitted.baselines["gain_over_best_single"] == pytest.approx(single - fitted.value)
    assert fitted.baselines["gain_over_equal_weight"] == pytest.approx(equal - fitted.value)
    assert fitted.search["best"] == pytest.approx(fitted.value)
    assert fitted.search["temperatures"] == [2.0]
    assert list(fitted.weights) == ["0", "1"]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "nll"])
def test_cross_fitting_is_a_search_without_each_group_voted_on_that_group(metric: Any) -> None:
    logits, labels = toy_scores(46, (1.0, 0.8, 0.6), 3)
    # Two groups and two folds: each group is left out once, and no clip of it is searched on.
    first = np.arange(46) % 3 == 0
    groups = np.where(first, "anna", "ben")
    present = np.ones((3, 46), dtype=bool)
    present[1, ::4] = present[2, 1::4] = False
    settings: dict[str, Any] = {"metric": metric, "weight_step": 0.25, "models": ["a", "b", "c"]}
    fitted = fit_soft_vote(logits, labels, groups=groups, present=present, folds=2, **settings)
    crossed = fitted.search["cross_fitted"]
    fused, single = np.empty((46, logits[0].shape[1])), np.empty((46, logits[0].shape[1]))
    parts = []
    for out in (first, ~first):
        part = fit_soft_vote(
            [values[~out] for values in logits], labels[~out], present=present[:, ~out], **settings
        )
        weights = [part.weights[name] for name in "abc"]
        fused[out] = soft_vote([v[out] for v in logits], weights, part.temperature, present[:, out])
        best = "abc".index(part.baselines["best_single"]["model"])
        alone = softmax(logits[best][out])
        alone[~present[best, out]] = 1 / alone.shape[1]  # who does not answer knows nothing
        single[out] = alone
        parts.append((int(out.sum()), part.temperature, part.weights, "abc"[best]))
    found = [
        (part["clips"], part["temperature"], part["weights"], part["best_single"])
        for part in crossed["parts"]
    ]
    assert sorted(found, key=str) == sorted(parts, key=str)
    equal = soft_vote(logits, [1, 1, 1], 1.0, present)
    for key, probs in (("value", fused), ("equal_weight", equal), ("best_single", single)):
        measured = classification_metrics(probs, labels)
        assert crossed[key] == pytest.approx(getattr(measured, metric)), key
    sign = -1 if metric == "nll" else 1
    for name in ("equal_weight", "best_single"):
        gain = crossed[f"gain_over_{name}"]
        assert gain["value"] == pytest.approx(sign * (crossed["value"] - crossed[name]))
    if metric != "macro_f1":  # whose classes are those of all clips, whatever is drawn
        # Two groups: a bootstrap over them draws one of them twice, or both.
        values = [
            getattr(classification_metrics(fused[rows], labels[rows]), metric) for rows in (first, ~first)
        ]
        assert [crossed["low"], crossed["high"]] == pytest.approx(sorted(values))


def test_cross_fitting_tells_each_part_and_what_it_gains() -> None:
    logits, labels = toy_scores(40, (1.5, 0.3), 0)
    groups = [f"v{clip // 4}" for clip in range(40)]
    fitted = fit_soft_vote(logits, labels, groups=groups, folds=2, weight_step=0.5, models=["a", "b"])
    crossed = fitted.search["cross_fitted"]
    assert crossed["folds"] == len(crossed["parts"]) == 2
    assert [part["clips"] for part in crossed["parts"]] == [20, 20]
    for part in crossed["parts"]:
        assert set(part) == {"clips", "temperature", "weights", "best_single"}
        assert sum(part["weights"].values()) == pytest.approx(1.0)
        assert part["best_single"] == "a"
    equal = (soft_vote(logits, [1, 1], 1.0).argmax(axis=1) == labels).mean()
    single = (logits[0].argmax(axis=1) == labels).mean()
    assert crossed["equal_weight"] == pytest.approx(equal)
    assert crossed["best_single"] == pytest.approx(single)
    assert crossed["value"] == crossed["accuracy"]
    for name, value in (("equal_weight", equal), ("best_single", single)):
        gain = crossed[f"gain_over_{name}"]
        assert gain["value"] == pytest.approx(crossed["value"] - value)
        assert gain["low"] <= gain["value"] <= gain["high"]
    assert crossed["low"] <= crossed["value"] <= crossed["high"]
    with pytest.raises(SettingError, match="folds: found 2 for 1 groups of clips, wanted at least 2 of each"):
        fit_soft_vote(logits, labels, groups=["v"] * 40, folds=2)
    for folds in (True, 1, -1, 2.0):
        with pytest.raises(SettingError, match=r"folds: found .*, wanted 0 or a whole number of at least 2"):
            fit_soft_vote(logits, labels, folds=folds)  # type: ignore[arg-type]


def test_of_equally_good_models_the_more_likely_and_then_the_first_by_name_leads() -> None:
    rows = {"b": {"value": 0.5, "nll": 1.0}, "a": {"value": 0.5, "nll": 1.0}, "c": {"value": 0.4, "nll": 0.1}}
    assert _best_single(rows, "accuracy") == "a"
    assert _best_single({**rows, "d": {"value": 0.5, "nll": 0.9}}, "accuracy") == "d"
    assert _best_single({key: {**row, "value": row["nll"]} for key, row in rows.items()}, "nll") == "c"


def test_a_plan_keeps_what_it_was_told() -> None:
    plan = check_plan(2.5, 0.05, "nll", "newton", "numpy")
    assert plan == Plan(temperature=2.5, steps=20, metric="nll", method="newton", engine="numpy")
    for temperature in ("grid", "nll", "per-model"):
        assert check_plan(temperature, 1.0, "accuracy", "auto", "auto").temperature == temperature  # type: ignore[arg-type]
    assert check_plan("grid", 1.0, "accuracy", "grid", "numba").steps == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metric": "ece"}, "metric: found 'ece', wanted one of accuracy, macro_f1, nll"),
        ({"temperature": "warm"}, "temperature: found 'warm'"),
        ({"temperature": 0.0}, "temperature: found 0.0, wanted a finite number above 0"),
        ({"method": "luck"}, "method: found 'luck'"),
        ({"method": "newton"}, "method: 'newton' is for the metric 'nll', found 'accuracy'"),
        ({"engine": "abacus"}, "engine: found 'abacus'"),
        ({"weight_step": 0.0}, "weight step: found 0.0"),
        ({"weight_step": 1.5}, "weight step: found 1.5"),
        ({"weight_step": 0.3}, "weight step: found 0.3"),
        ({"weight_step": -0.5}, "weight step: found -0.5"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(change: dict[str, Any], text: str) -> None:
    settings: dict[str, Any] = {
        "temperature": "grid",
        "weight_step": 0.5,
        "metric": "accuracy",
        "method": "auto",
        "engine": "auto",
    }
    with pytest.raises(SettingError) as caught:
        check_plan(**{**settings, **change})
    assert text in str(caught.value)


def test_a_clip_that_no_chosen_model_answers_is_uniform() -> None:
    plan = check_plan(1.0, 1.0, "accuracy", "grid", "numpy")
    chosen = choose(np.stack([BLIND, GOOD]), np.ones((2, 3), dtype=bool), LABELS, plan)
    assert chosen.weights.tolist() == [0.0, 1.0]
    mask = np.array([[True, True, True], [True, False, True]])
    probs = chosen.vote(np.stack([GOOD, GOOD]), mask)
    np.testing.assert_allclose(probs[1], 1 / 3)
    np.testing.assert_allclose(probs[[0, 2]], softmax(GOOD)[[0, 2]])


def test_the_method_follows_from_models_metric_and_size() -> None:
    logits, labels = toy_scores(20, (1.0, 0.5, 0.2, 0.3, 0.1, 0.4), 0)
    ones = np.ones((6, 20), dtype=bool)

    def method(models: int, metric: Any, step: float = 0.5) -> str:
        plan = check_plan(1.0, step, metric, "auto", "numpy")
        return choose(logits[:models], ones[:models], labels, plan).method

    assert [method(5, "accuracy"), method(6, "accuracy"), method(6, "nll")] == [
        "grid",
        "coordinate-ascent",
        "newton",
    ]
    # 0.005 for five models are more than twenty million settings.
    assert method(5, "nll", 0.005) == "newton"
    with pytest.raises(SettingError, match="method: 'grid' would be 70058751 settings, at most 20000000"):
        choose(logits[:5], ones[:5], labels, check_plan(1.0, 0.005, "accuracy", "grid", "numpy"))


def test_weights_move_in_whole_steps_from_one_model_to_another() -> None:
    moves = {tuple(np.round(row, 9).tolist()) for row in _moves(np.array([0.75, 0.25, 0.0]), 0.5)}
    assert moves == {
        (0.25, 0.75, 0.0),
        (0.0, 1.0, 0.0),
        (0.25, 0.25, 0.5),
        (0.0, 0.25, 0.75),
        (1.0, 0.0, 0.0),
        (0.75, 0.0, 0.25),
    }
    amounts = {round(float(row[1]), 9) for row in _moves(np.array([0.75, 0.0]), 0.25)}
    assert amounts == {0.25, 0.5, 0.75}
    starts = _random_starts(3, 50, 4, 0)
    assert starts.shape == (50, 3)
    np.testing.assert_allclose(starts.sum(axis=1), 1.0)
    np.testing.assert_allclose(starts * 4, np.round(starts * 4))
    assert not np.array_equal(starts, _random_starts(3, 50, 4, 1))
    np.testing.assert_array_equal(starts, _random_starts(3, 50, 4, 0))


def test_ascent_finds_the_one_setting_that_is_right_everywhere() -> None:
    # Each of the models is right on its own clip and says the wrong thing there less loudly elsewhere.
    logits = np.full((3, 3, 3), 0.0)
    for model in range(3):
        logits[model, model, model] = 6.0
        logits[model, (model + 1) % 3, model] = 1.0
    found = climb(objective(*logits), np.array([1.0, 2.0]), 0.25, "accuracy")
    assert found.best == 1.0
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.regions == 1
    assert found.tied == len(found.region_temperatures) == len(found.region_weights)
    np.testing.assert_allclose(found.region_weights.sum(axis=1), 1.0)
    assert set(found.region_temperatures) <= {1.0, 2.0}
    probs = soft_vote(logits, found.weights, found.temperature)
    assert (probs.argmax(axis=1) == LABELS).all()
    alone = climb(objective(GOOD), np.array([1.0]), 0.5, "accuracy")
    assert (alone.weights.tolist(), alone.best) == ([1.0], 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_ascent_ends_where_no_move_of_weight_is_better(seed: int) -> None:
    logits, labels = toy_scores(60, (0.4, 0.5, 0.6, 0.5), seed)
    clips = objective(*logits, labels=labels)
    found = climb(clips, np.array([1.5]), 0.25, "accuracy", restarts=0)
    probs = clips.probabilities(1.5)
    likely = lowest_nll(clips.truths(probs))
    for start in (np.full(4, 0.25), *np.eye(4), likely):
        assert clips.evaluate("accuracy", probs, start[None])[0] <= found.best
    for start in (np.full(4, 0.25), likely):
        assert clips.evaluate("accuracy", probs, _moves(start, 0.25)).max() <= found.best
    tops = [
        clips.evaluate("accuracy", probs, _moves(weights, 0.25)).max() for weights in found.region_weights
    ]
    assert min(tops) <= found.best
    assert found.settings > 3 * len(_moves(np.full(4, 0.25), 0.25)) / 2


def test_ascent_is_repeated_to_the_bit_and_has_two_random_starts() -> None:
    logits, labels = toy_scores(60, (0.4, 0.5, 0.6, 0.5), 0)
    clips, taus = objective(*logits, labels=labels), np.array([1.0, 2.0])
    plain, same = climb(clips, taus, 0.25, "nll"), climb(clips, taus, 0.25, "nll", restarts=2, seed=0)
    assert (plain.settings, plain.best) == (same.settings, same.best)
    assert climb(clips, taus, 0.25, "nll", restarts=3).settings != plain.settings
    assert climb(clips, taus, 0.25, "nll", seed=1).settings != plain.settings
    # What is returned is worth what it says.
    probs = clips.probabilities(plain.temperature)
    assert clips.evaluate("nll", probs, plain.weights[None])[0] == pytest.approx(plain.best, abs=1e-9)
    # For the likelihood no weights at all are better than the best it starts from.
    best = max(
        clips.evaluate("nll", p, lowest_nll(clips.truths(p))[None])[0] for p in map(clips.probabilities, taus)
    )
    assert plain.best == pytest.approx(best, abs=1e-9)


def test_newton_says_what_it_searched_and_minds_who_answers() -> None:
    logits, labels = toy_scores(40, (1.0, 0.8, 0.2), 1)
    fitted = fit_soft_vote(logits, labels, metric="nll", method="newton")
    assert {name: fitted.search[name] for name in ("method", "settings", "tied", "regions")} == {
        "method": "newton",
        "settings": 30,
        "tied": 1,
        "regions": 1,
    }
    assert fitted.search["region"]["size"] == 1
    present = np.random.default_rng(0).random((3, 40)) < 0.7
    present[2] |= ~present.any(axis=0)
    scores = np.where(present[:, :, None], logits, 0.0)
    chosen = choose(scores, present, labels, check_plan(1.0, 1.0, "nll", "newton", "numpy"))
    truths = softmax(scores)[:, np.arange(40), labels] * present
    np.testing.assert_allclose(chosen.weights, lowest_nll(truths, present), atol=1e-6)


def test_a_choice_votes_with_its_own_temperatures_and_over_those_who_answer() -> None:
    logits, labels = toy_scores(60, (1.0, 1.0), 0)
    logits[1] *= 4
    plan = check_plan("per-model", 0.5, "nll", "grid", "numpy")
    chosen = choose(logits, np.ones((2, 60), dtype=bool), labels, plan)
    assert (chosen.weights > 0).all()
    mask = np.ones((2, 60), dtype=bool)
    mask[0, :5] = mask[1, 5:9] = False
    expected = soft_vote(logits, chosen.weights, chosen.temperature * chosen.own, mask)
    np.testing.assert_allclose(chosen.vote(logits, mask), expected)
    assert not np.allclose(chosen.own, 1.0)


def test_a_clip_that_one_model_alone_answers_keeps_that_model_in() -> None:
    logits, labels = toy_scores(20, (3.0, 0.1, 0.1), 2)
    present = np.ones((3, 20), dtype=bool)
    present[0, :3] = False
    present[1, :2] = False
    scores = np.where(present[:, :, None], logits, 0.0)
    for method, metric in (("ascent", "accuracy"), ("newton", "nll"), ("grid", "accuracy")):
        plan = check_plan(1.0, 0.25, metric, method, "numpy")  # type: ignore[arg-type]
        chosen = choose(scores, present, labels, plan)
        assert chosen.weights[2] > 0
        assert np.isfinite(chosen.found.best)
    # In steps of a whole share one model has to answer all.
    present[2, 5] = False
    with pytest.raises(ScoresError, match="no weights on this grid answer every clip"):
        choose(scores, present, labels, check_plan(1.0, 1.0, "accuracy", "grid", "numpy"))


def test_a_choice_is_the_same_to_the_last_bit_however_models_are_ordered() -> None:
    logits, labels = toy_scores(50, (1.0, 0.8, 1.2, 0.9), 3)
    mask = np.ones((4, 50), dtype=bool)
    plan = check_plan(1.0, 0.25, "nll", "grid", "numpy")
    first = choose(logits, mask, labels, plan)
    for order in permutations(range(4)):
        chosen = choose(logits[list(order)], mask, labels, plan)
        assert chosen.found.best == first.found.best
        assert chosen.weights.tolist() == first.weights[list(order)].tolist()


def test_ascent_moves_weights_in_the_steps_of_the_plan() -> None:
    logits, labels = toy_scores(80, (1.0, 0.9, 1.1), 5)
    mask = np.ones((3, 80), dtype=bool)
    chosen = choose(logits, mask, labels, check_plan(1.0, 0.1, "accuracy", "ascent", "numpy"))
    by_step = {
        step: climb(VoteObjective(logits, labels, mask), np.ones(1), step, "accuracy").settings
        for step in (0.1, 0.2, 10.0)
    }
    assert by_step[0.1] > 2 * by_step[0.2] > 4 * by_step[10.0]
    assert chosen.found.settings == pytest.approx(
        by_step[0.1], rel=0.1
    )  # models are climbed in another order


def test_a_grid_of_exactly_the_most_settings_is_still_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = toy_scores(20, (1.0, 0.9), 0)
    mask = np.ones((2, 20), dtype=bool)

    def method(wanted: Any) -> str:
        return choose(logits, mask, labels, check_plan(1.0, 0.1, "accuracy", wanted, "numpy")).method

    monkeypatch.setattr(choosing, "_MOST_SETTINGS", 11)
    assert (method("auto"), method("grid")) == ("grid", "grid")
    monkeypatch.setattr(choosing, "_MOST_SETTINGS", 10)
    assert method("auto") == "coordinate-ascent"
    with pytest.raises(SettingError, match="'grid' would be 11 settings, at most 10"):
        method("grid")


def test_the_middle_is_the_most_central_weight_at_its_likeliest_temperature() -> None:
    temperatures, weights = np.array([1.0, 2.0, 3.0]), np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    whole = np.array([[row, column] for row in range(3) for column in range(3)], dtype=np.int64)
    # With a sure model in front the coldest temperature is the likeliest.
    assert middle(objective(GOOD, GOOD), [whole], temperatures, weights)[:2] == (0, 1)
    # With one that is sure of the wrong, the warmest.
    wrong = np.roll(GOOD, 1, axis=1)
    assert middle(objective(wrong, wrong), [whole], temperatures, weights)[:2] == (2, 1)
    # One that is wrong once in twenty clips is to be believed a little less: 0.31, 0.25 and 0.34.
    labels = np.arange(20) % 3
    often = 6.0 * np.eye(3)[np.where(np.arange(20) == 7, (labels + 1) % 3, labels)]
    assert middle(objective(often, often, labels=labels), [whole], temperatures, weights)[:2] == (1, 1)
    # Of two regions the one with the likelier middle is taken.
    left, right = np.array([[0, 0]], dtype=np.int64), np.array([[0, 2]], dtype=np.int64)
    row, column, members = middle(objective(GOOD, BLIND), [left, right], temperatures, weights)
    assert (row, column) == (0, 2)
    assert members is right


def test_each_model_may_have_its_own_temperature() -> None:
    logits, labels = toy_scores(200, (1.0, 1.0), 0)
    logits[1] *= 5
    fitted = fit_soft_vote(logits, labels, temperature="per-model", weight_step=0.5, models=["a", "b"])
    assert fitted.temperature == 1.0
    assert fitted.search["temperatures"] == [1.0]
    assert fitted.model_temperatures["b"] > 2 * fitted.model_temperatures["a"]
    one = fit_soft_vote(logits, labels, temperature="nll", weight_step=0.5)
    assert one.search["temperatures"] == [one.temperature]
    assert one.model_temperatures == {}


def test_a_tie_of_two_models_goes_to_the_first_class_and_unseen_classes_count_nowhere() -> None:
    first, second = np.array([[1.0, 0.0, -9.0]] * 2), np.array([[0.0, 1.0, -9.0]] * 2)
    clips = objective(first, second, labels=np.array([0, 1]))
    half = np.array([[0.5, 0.5]])
    probs = clips.probabilities(1.0)
    assert clips.evaluate("accuracy", probs, half).tolist() == [0.5]
    assert clips.answers(probs, half).tolist() == [[0], [0]]
    # Of the two classes that occur, one has F1 = 2 / (1 + 2).
    assert clips.evaluate("macro_f1", probs, half).tolist() == pytest.approx([1 / 3])


@pytest.mark.parametrize(
    ("engine", "metric", "work", "installed", "loaded", "taken"),
    [
        ("numpy", "accuracy", WORTH, True, True, False),
        ("numba", "nll", WORTH, True, True, False),
        ("auto", "nll", WORTH, True, True, False),
        ("numba", "accuracy", 1, True, False, True),
        ("auto", "macro_f1", WORTH, True, False, True),
        ("auto", "accuracy", WORTH - 1, True, False, False),
        ("auto", "accuracy", 1, True, True, True),
        ("auto", "accuracy", WORTH, False, True, False),
    ],
)
def test_the_fast_engine_is_taken_where_it_is_worth_its_start(
    monkeypatch: pytest.MonkeyPatch,
    engine: Any,
    metric: Any,
    work: int,
    installed: bool,
    loaded: bool,
    taken: bool,
) -> None:
    asked: list[str] = []

    def find_spec(name: str) -> object:
        asked.append(name)
        return object() if installed else None

    fast = SimpleNamespace(judge_of=lambda metric: f"judge of {metric}")
    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setitem(sys.modules, "mg_fusion.search.fast", fast)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "numba", fast)
    assert _judge(engine, metric, work) == (f"judge of {metric}" if taken else None)
    assert set(asked) <= {"numba"}


@pytest.mark.parametrize("error", [ImportError("no llvm"), RuntimeError("no folder for it")])
def test_a_fast_engine_that_cannot_be_had_is_said_if_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise error

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "mg_fusion.search.fast", Broken())
    assert _judge("auto", "accuracy", WORTH) is None
    with pytest.raises(SettingError, match=f"engine: 'numba' cannot be used: .*{error}.*fast"):
        _judge("numba", "accuracy", WORTH)
