"""The parts of the search against plain definitions: intervals, optima, what rules a class out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mg_fusion.calibrators import fit_calibrator
from mg_fusion.convex import lowest_nll, model_minimum
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.intervals import bootstrap_interval, group_index, metric_intervals
from mg_fusion.minimise import fit_linear, minimise
from mg_fusion.search.climb import _moves, _random_starts, climb
from mg_fusion.search.objective import VoteObjective, undominated
from mg_fusion.vote import softmax

RIGHT, WRONG = [0.8, 0.2], [0.4, 0.6]
ZEROS = np.zeros(2, dtype=np.int64)


def test_two_clips_are_drawn_as_none_one_or_both_of_them() -> None:
    # Of two draws from a right and a wrong answer a quarter are twice right, a quarter twice wrong.
    probs, other = np.array([RIGHT, WRONG]), np.array([WRONG, WRONG])
    wide = bootstrap_interval(probs, other, ZEROS, "accuracy", rounds=300)
    assert wide == {
        "low": 0.0,
        "high": 1.0,
        "gain": 0.5,
        "gain_low": 0.0,
        "gain_high": 1.0,
        "level": 0.95,
        "groups": 2,
        "rounds": 300,
        "seed": 0,
    }
    narrow = bootstrap_interval(probs, other, ZEROS, "accuracy", level=0.4, rounds=300, seed=5)
    assert (narrow["low"], narrow["high"], narrow["level"], narrow["seed"]) == (0.5, 0.5, 0.4, 5)
    together = bootstrap_interval(probs, other, ZEROS, "accuracy", ["v", "v"])
    assert (together["low"], together["high"], together["groups"], together["rounds"]) == (0.5, 0.5, 1, 1000)


@pytest.mark.parametrize(
    ("metric", "ours", "theirs"),
    [
        ("accuracy", 2 / 3, 1 / 3),
        # Class 0 alone occurs, three times; it is answered twice and once: F1 = 4 / (2 + 3) and 2 / (1 + 3).
        ("macro_f1", 4 / 5, 2 / 4),
        ("mean_class_accuracy", 2 / 3, 1 / 3),
        ("nll", -(2 * np.log(0.8) + np.log(0.4)) / 3, -(np.log(0.8) + 2 * np.log(0.4)) / 3),
        ("brier", (2 * 0.08 + 0.72) / 3, (0.08 + 2 * 0.72) / 3),
    ],
)
def test_the_gain_of_every_metric_is_positive_where_it_is_better(
    metric: Any, ours: float, theirs: float
) -> None:
    probs, other = np.array([RIGHT, RIGHT, WRONG]), np.array([RIGHT, WRONG, WRONG])
    labels, one = np.zeros(3, dtype=np.int64), ["v"] * 3
    # A hundred are drawn at a time.
    found = bootstrap_interval(probs, other, labels, metric, one, rounds=150)
    sign = -1 if metric in ("nll", "brier") else 1
    assert found["low"] == pytest.approx(ours)
    assert found["high"] == pytest.approx(ours)
    for name in ("gain", "gain_low", "gain_high"):
        assert found[name] == pytest.approx(sign * (ours - theirs))
    assert metric_intervals(probs, labels, one, metrics=[metric], rounds=150) == {
        metric: {"low": found["low"], "high": found["high"]},
        "level": 0.95,
        "groups": 1,
        "rounds": 150,
        "seed": 0,
    }


def test_intervals_are_of_all_metrics_unless_told_otherwise_and_refuse_what_makes_none() -> None:
    probs = np.array([RIGHT, WRONG])
    found = metric_intervals(probs, ZEROS, level=0.5, rounds=20, seed=3)
    assert list(found)[:5] == ["accuracy", "macro_f1", "mean_class_accuracy", "nll", "brier"]
    assert (found["level"], found["groups"], found["rounds"], found["seed"]) == (0.5, 2, 20, 3)
    again = bootstrap_interval(probs, probs, ZEROS, "nll", level=0.5, rounds=20, seed=3)
    assert found["nll"] == {"low": again["low"], "high": again["high"]}
    assert metric_intervals(probs, ZEROS)["rounds"] == 1000
    for options, text in (
        ({"level": 0.0}, "level: found 0.0"),
        ({"level": 1.0}, "level: found 1.0"),
        ({"rounds": 0}, "rounds: found 0"),
        ({"metrics": []}, "metrics: found none"),
        ({"metrics": ["ece"]}, "metric: found 'ece', wanted one of accuracy, macro_f1"),
    ):
        with pytest.raises(SettingError, match=text):
            metric_intervals(probs, ZEROS, **options)  # type: ignore[arg-type]
    assert metric_intervals(probs, ZEROS, rounds=1)["rounds"] == 1


def test_a_probability_of_zero_costs_twelve_decades_in_intervals_too() -> None:
    certain = np.array([[0.0, 1.0]] * 2)
    found = bootstrap_interval(certain, certain, ZEROS, "nll", rounds=2)
    assert found["low"] == pytest.approx(12 * np.log(10))


def test_a_class_of_one_clip_counts_in_intervals() -> None:
    one_each = np.array([0, 1])
    found = metric_intervals([RIGHT, RIGHT], one_each, ["v", "v"], rounds=2)
    assert found["mean_class_accuracy"] == {"low": 0.5, "high": 0.5}
    assert found["macro_f1"]["low"] == pytest.approx((2 / 3) / 2)


def test_the_order_of_the_clips_changes_no_interval_and_many_groups_are_drawn_in_parts() -> None:
    generator = np.random.default_rng(0)
    probs = generator.dirichlet([1, 1, 1], 50_000)
    labels = generator.integers(0, 3, 50_000)
    few, order = slice(30), generator.permutation(30)
    first = metric_intervals(probs[few], labels[few], rounds=50)
    second = metric_intervals(probs[few][order], labels[few][order], rounds=50)
    for metric in ("accuracy", "macro_f1", "nll", "brier"):
        assert second[metric] == pytest.approx(first[metric], abs=1e-12)
    many = metric_intervals(probs, labels, metrics=["nll"], rounds=3)
    assert many["groups"] == 50_000
    assert many["nll"]["high"] - many["nll"]["low"] < 0.1


def test_groups_are_numbered_by_name() -> None:
    assert group_index(None, 3).tolist() == [0, 1, 2]
    assert group_index(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    with pytest.raises(ScoresError, match=r"groups: found shape \(2,\), wanted \(3,\)"):
        group_index(["a", "b"], 3)


def nll(weights: np.ndarray, target: np.ndarray, present: np.ndarray) -> float:
    return -float(np.log((weights @ target) / (weights @ present)).mean())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_no_weights_nearby_or_on_a_grid_have_a_lower_nll(seed: int, masked: bool) -> None:
    generator = np.random.default_rng(seed)
    target = generator.random((3, 40)) ** 3 + 1e-6
    present = np.ones((3, 40), dtype=bool)
    if masked:
        present = generator.random((3, 40)) < 0.8
        present[0] |= ~present.any(axis=0)
        target = target * present
    found = lowest_nll(target, present)
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()
    best = nll(found, target, present)
    for _ in range(200):
        other = np.abs(found + generator.normal(size=3) * 10.0 ** generator.uniform(-6, -1))
        assert best <= nll(other, target, present) + 1e-12
    if not masked:
        np.testing.assert_array_equal(lowest_nll(target), found)
        for weights in generator.dirichlet(np.ones(3), 300):
            assert best <= nll(weights, target, present) + 1e-12


def test_a_model_that_is_worse_everywhere_has_no_weight() -> None:
    assert lowest_nll([[0.9, 0.8], [0.5, 0.4]]).tolist() == [1.0, 0.0]
    assert lowest_nll([[0.9, 0.0], [0.0, 0.0]]).tolist() == pytest.approx([1.0, 0.0])
    assert lowest_nll([[0.3, 0.2]]).tolist() == [1.0]


def test_a_quadratic_is_minimised_and_the_start_stays_as_it_was() -> None:
    curve, place = np.diag([1.0, 10.0, 300.0]), np.array([1.0, -2.0, 3.0])
    asked: list[float] = []

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        apart = point - place
        asked.append(float(apart @ curve @ apart) / 2)
        return asked[-1], curve @ apart

    start = np.zeros(3)
    found = minimise(objective, start)
    assert found == pytest.approx(place, abs=1e-6)
    assert start.tolist() == [0.0, 0.0, 0.0]
    assert len(asked) < 40
    np.testing.assert_array_equal(minimise(objective, start, steps=0), start)
    one = minimise(objective, start, steps=1)
    assert objective(one)[0] < objective(start)[0]
    assert not np.allclose(one, place, atol=1e-3)
    np.testing.assert_array_equal(minimise(objective, place), place)


def test_a_curved_valley_is_followed_to_its_end() -> None:
    asked = []

    def rosenbrock(point: np.ndarray) -> tuple[float, np.ndarray]:
        x, y = point
        asked.append(1)
        slope = np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2, slope

    assert minimise(rosenbrock, np.array([-1.2, 1.0]), tolerance=1e-10) == pytest.approx([1.0, 1.0], abs=1e-6)
    assert len(asked) < 80


def test_a_step_into_infinity_is_shortened() -> None:
    def barrier(point: np.ndarray) -> tuple[float, np.ndarray]:
        if point[0] <= 0:
            return np.inf, np.array([np.nan])
        return float(1e-3 / point[0] + 5 * point[0]), np.array([-1e-3 / point[0] ** 2 + 5])

    assert minimise(barrier, np.array([1.0])) == pytest.approx([np.sqrt(1e-3 / 5)], rel=1e-4)


@pytest.mark.parametrize("from_start", [False, True])
def test_the_regression_is_where_its_own_objective_is_flat(from_start: bool) -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(60, 3)) * [1, 5, 0.2], generator.integers(0, 4, 60)
    ridge, ridge_bias = 0.7, 0.3
    start = (generator.normal(size=(4, 3)), generator.normal(size=4)) if from_start else None
    first_w, first_b = start if start is not None else (np.zeros((4, 3)), np.zeros(4))

    def penalised(matrix: np.ndarray, bias: np.ndarray) -> float:
        scores = features @ matrix.T + bias
        likelihood = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(60), labels]
        pull = ridge / 2 * ((matrix - first_w) ** 2).sum() + ridge_bias / 2 * ((bias - first_b) ** 2).sum()
        return float(likelihood.sum() + pull)

    matrix, bias = fit_linear(features, labels, classes=4, ridge=ridge, ridge_bias=ridge_bias, start=start)
    assert (matrix.shape, bias.shape) == ((4, 3), (4,))
    best = penalised(matrix, bias)
    for _ in range(100):
        size = 10.0 ** generator.uniform(-3, 0)
        other = penalised(
            matrix + size * generator.normal(size=(4, 3)), bias + size * generator.normal(size=4)
        )
        assert best < other
    for index in np.ndindex(4, 3):
        moved = matrix.copy()
        moved[index] += 1e-4
        back = matrix.copy()
        back[index] -= 1e-4
        assert penalised(moved, bias) - penalised(back, bias) == pytest.approx(0.0, abs=2e-8)
    for c in range(4):
        moved, back = bias.copy(), bias.copy()
        moved[c] += 1e-4
        back[c] -= 1e-4
        assert penalised(matrix, moved) - penalised(matrix, back) == pytest.approx(0.0, abs=2e-8)


def test_scores_of_any_size_overflow_no_fit() -> None:
    # One clip's scores are in the thousands, the other's near 0: each needs a maximum of its own.
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        start = (1e3 * np.eye(2), np.zeros(2))
        matrix, _ = fit_linear(np.array([[1.0, 0.0], [0.0, 0.01]]), [0, 1], classes=2, ridge=1.0, start=start)
        scale = fit_calibrator([[2e3, 0.0], [0.01, 0.0]], [0, 0], "vector").fitted["scale"]
    assert np.isfinite(matrix).all()
    assert np.isfinite(scale).all()


def test_a_bias_that_nothing_pulls_makes_mean_probabilities_the_shares_of_the_classes() -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(40, 2)), generator.permutation([0] * 30 + [1] * 8 + [2] * 2)
    matrix, bias = fit_linear(features, labels, classes=3, ridge=1.0)
    probs = softmax(features @ matrix.T + bias)
    assert probs.mean(axis=0) == pytest.approx([0.75, 0.2, 0.05], abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_minimum_of_a_quadratic_over_weights_of_at_least_zero(seed: int) -> None:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(4, 6)) * 10.0 ** generator.uniform(-2, 2, (4, 1))
    curve, slope = root @ root.T, generator.normal(size=4) * 3
    weights = generator.random(4) * (generator.random(4) < 0.7)
    found = model_minimum(weights, slope, curve)
    assert (found >= 0).all()
    # Where a weight is above 0 the slope is flat, at 0 it may only rise: in units of each weight's curvature.
    steep = (slope + curve @ (found - weights)) / np.sqrt(np.diag(curve))
    assert steep.min() > -1e-8
    assert steep[found > 0] == pytest.approx(0.0, abs=1e-8)


def test_a_class_is_ruled_out_by_one_that_every_answering_model_ranks_above_it() -> None:
    generator = np.random.default_rng(0)
    for _ in range(30):
        logits = generator.integers(0, 3, (2, 5, 4)).astype(float)
        present = generator.random((2, 5)) < 0.7
        found = undominated(logits, present)
        for clip in range(5):
            answering = [logits[m, clip] for m in range(2) if present[m, clip]]
            for b in range(4):
                strictly = bool(answering) and any(
                    all(row[a] > row[b] for row in answering) for a in range(4)
                )
                # Also of a clip that nobody answers: all is 0, and the answer the first class.
                by_place = any(all(row[a] >= row[b] for row in answering) for a in range(b))
                assert found[clip, b] == (not strictly and not by_place)


def plain_climb(
    clips: VoteObjective, taus: Any, step: float, metric: Any, restarts: int, seed: int
) -> tuple[float, int, int]:
    """Return best value, settings tried and settings tied for best, of the ascent as it is described."""
    tried: dict[tuple[float, ...], float] = {}

    def judge(tau: float, weights: Any) -> tuple[float, float]:
        probs = clips.probabilities(tau)
        value = float(clips.evaluate(metric, probs, weights[None])[0])
        tried[(tau, *np.round(weights, 12))] = value
        return value, float(clips.evaluate("nll", probs, weights[None])[0])

    def higher(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] > other[0] + 1e-12 or (abs(one[0] - other[0]) <= 1e-12 and one[1] > other[1])

    for tau in taus:
        corners = list(np.eye(clips.models))
        probs = clips.probabilities(tau)
        alone = [
            tuple(float(clips.evaluate(name, probs, corner[None])[0]) for name in (metric, "nll"))
            for corner in corners
        ]
        single = max(range(clips.models), key=lambda model: (round(alone[model][0], 12), alone[model][1]))
        likely = lowest_nll(clips.truths(probs), clips.present)
        random = _random_starts(clips.models, restarts, round(1 / step), seed)
        for start in (np.full(clips.models, 1 / clips.models), corners[single], likely, *random):
            current, score = start, judge(tau, start)
            while score[0] > -np.inf:  # else a clip has no answer at all: no start
                moves = [(judge(tau, weights), weights) for weights in _moves(current, step)]
                best, reached = moves[0]
                for value, weights in moves[1:]:
                    if higher(value, best):
                        best, reached = value, weights
                if best[0] <= score[0] + 1e-12 and (best[0] < score[0] - 1e-12 or best[1] <= score[1] + 1e-6):
                    break
                current, score = reached, best
    top = max(tried.values())
    return top, len(tried), sum(value >= top - 1e-12 for value in tried.values())


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_ascent_is_the_one_that_is_described(metric: Any, absent: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 14)
    logits = rng.normal(0, 1.5, (4, 14, 3)) + np.eye(3)[labels]
    present = np.ones((4, 14), dtype=np.bool_)
    if absent:
        present[rng.integers(0, 4, 6), np.arange(6)] = False
        logits[~present] = 0.0
    clips, taus = VoteObjective(logits, labels, present), np.array([0.7, 1.5])
    found = climb(clips, taus, 0.25, metric, restarts=2, seed=seed)
    assert (found.best, found.settings, found.tied) == plain_climb(clips, taus, 0.25, metric, 2, seed)
    # The whole step is one corner or another.
    assert (
        climb(clips, taus, 1.0, metric, restarts=3).settings == plain_climb(clips, taus, 1.0, metric, 3, 0)[1]
    )
