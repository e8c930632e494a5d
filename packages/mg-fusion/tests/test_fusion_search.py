"""The search finds what trying everything finds, and does not depend on how its inputs are ordered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fusion_toys import toy_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, UsageError
from mg_fusion import classification_metrics, fit_soft_vote, fit_temperature, soft_vote
from mg_fusion.search.fit import TEMPERATURE_GRID
from mg_fusion.search.objective import METRICS, VoteObjective, compositions
from mg_fusion.search.regions import connected_regions

SIGN = {"accuracy": 1, "macro_f1": 1, "nll": -1}


def try_everything(logits, labels, metric, steps, temperatures, present=None):  # type: ignore[no-untyped-def]
    """Return the best value by a plain loop over soft_vote."""
    best = -np.inf
    for weights in compositions(steps, len(logits)):
        for tau in temperatures:
            probs = soft_vote(logits, weights, tau, present)
            best = max(best, SIGN[metric] * getattr(classification_metrics(probs, labels), metric))
    return SIGN[metric] * best


def test_the_grid_holds_the_papers_temperature() -> None:
    assert len(TEMPERATURE_GRID) == 30
    assert TEMPERATURE_GRID[0] == 0.25
    assert TEMPERATURE_GRID[-1] == 7.5
    assert 2.5 in TEMPERATURE_GRID


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_the_grid_search_is_as_good_as_trying_everything(metric: str, seed: int) -> None:
    logits, labels = toy_scores(40, [0.5, 1.0, 1.5], seed)
    fitted = fit_soft_vote(logits, labels, weight_step=0.2, metric=metric)  # type: ignore[arg-type]
    best = try_everything(logits, labels, metric, 5, TEMPERATURE_GRID)
    assert fitted.search["best"] == pytest.approx(best, abs=1e-9)
    assert fitted.value == pytest.approx(best, abs=1e-9)
    probs = fitted.predict_proba(logits)
    assert getattr(classification_metrics(probs, labels), metric) == pytest.approx(best, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(METRICS), st.booleans(), st.booleans())
def test_every_setting_is_valued_as_the_plain_vote_values_it(
    seed: int, metric, masked: bool, coarse: bool
) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(seed)
    logits, labels = toy_scores(15, [0.3, 0.8, 0.5], seed, classes=4)
    if coarse:
        # Whole numbers give exact ties between classes and between models.
        logits = np.round(logits / 3)
    present = np.ones((3, 15), dtype=bool)
    if masked:
        present = generator.random((3, 15)) < 0.7
        present[generator.integers(0, 3, 15), np.arange(15)] = True
    logits = np.where(present[:, :, None], logits, 0.0)
    objective = VoteObjective(logits, labels, present)
    weights = np.array(list(compositions(4, 3))) / 4
    values = objective.evaluate(metric, objective.probabilities(1.75), weights)
    for row, value in zip(weights, values, strict=True):
        answered = (row @ present > 0).all()
        assert np.isfinite(value) == answered
        if answered:
            probs = soft_vote(logits, row, 1.75, present)
            ordered = np.sort(probs, axis=1)
            if (ordered[:, -1] - ordered[:, -2]).min() < 1e-12 and metric != "nll":
                continue  # a tie of two sums may be broken by their last bit
            expected = SIGN[metric] * getattr(classification_metrics(probs, labels), metric)
            assert value == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(METRICS))
def test_permuting_models_clips_and_classes_changes_nothing_else(seed: int, metric) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(seed)
    logits, labels = toy_scores(30, [0.5, 1.0, 1.5], seed)
    groups = np.array([f"subject {index % 6}" for index in range(30)])
    keys = ["a", "b", "c"]
    first = fit_soft_vote(logits, labels, weight_step=0.1, metric=metric, groups=groups, models=keys)
    models, clips, classes = (generator.permutation(size) for size in logits.shape)
    moved = logits[models][:, clips][:, :, classes]
    second = fit_soft_vote(
        moved,
        np.argsort(classes)[labels[clips]],
        weight_step=0.1,
        metric=metric,
        groups=groups[clips],
        models=[keys[index] for index in models],
    )
    assert second.temperature == first.temperature
    assert second.weights == first.weights
    assert second.search["region"] == first.search["region"]
    assert second.search["tied"] == first.search["tied"]
    if metric == "accuracy":
        assert second.search["interval"] == pytest.approx(first.search["interval"])


def test_among_equally_good_settings_the_middle_of_the_largest_region_is_taken() -> None:
    # Three clips that any positive weight of the good model gets right: all its settings are equally good.
    labels = np.array([0, 1, 2])
    good, blind = np.eye(3) * 8.0, np.zeros((3, 3))
    fitted = fit_soft_vote([good, blind], labels, temperature=1.0, weight_step=0.1)
    assert fitted.value == 1.0
    assert fitted.search["regions"] == 1
    assert fitted.search["region"]["size"] == 10
    assert fitted.search["region"]["weights"]["0"] == [0.1, 1.0]
    # The middle of 0.1 .. 1.0 lies between 0.5 and 0.6, the lower NLL decides.
    assert fitted.weights == {"0": 0.6, "1": 0.4}


def test_regions_are_told_apart() -> None:
    steps = np.array(list(compositions(4, 2)))
    best = np.array([[True, True, False, True, True], [False, False, False, False, True]])
    regions = connected_regions(best, steps)
    assert [len(members) for members in regions.members] == [3, 2]
    assert regions.total == 5


def test_the_result_says_what_it_is_compared_with_and_what_it_cannot_see() -> None:
    logits, labels = toy_scores(80, [0.5, 1.0, 2.0], 3)
    keep = labels != 4
    fitted = fit_soft_vote(
        logits[:, keep], labels[keep], models=["a", "b", "c"], class_names=("p", "q", "r", "s", "t")
    )
    alone = {
        key: float((logits[m, keep].argmax(axis=1) == labels[keep]).mean()) for m, key in enumerate("abc")
    }
    assert fitted.baselines["models"] == pytest.approx(alone)
    assert fitted.baselines["best_single"]["model"] == "c"
    equal = soft_vote(logits[:, keep], [1, 1, 1], 1.0).argmax(axis=1) == labels[keep]
    assert fitted.baselines["equal_weight"]["accuracy"] == pytest.approx(equal.mean())
    assert fitted.baselines["gain_over_equal_weight"] == pytest.approx(fitted.value - equal.mean())
    assert fitted.search["unseen_classes"] == [{"index": 4, "name": "t"}]
    interval = fitted.search["interval"]
    assert interval["low"] <= fitted.value <= interval["high"]
    assert fitted.search["settings"] == 231 * 30


def test_a_fixed_temperature_is_kept() -> None:
    logits, labels = toy_scores(30, [1.0, 1.0])
    assert fit_soft_vote(logits, labels, temperature=2.5).temperature == 2.5


def test_many_models_climb_and_never_end_below_the_best_single_one() -> None:
    logits, labels = toy_scores(60, [0.3, 0.6, 0.9, 1.2, 1.5, 0.1], 1)
    fitted = fit_soft_vote(logits, labels, weight_step=0.1)
    assert fitted.search["method"] == "coordinate-ascent"
    assert fitted.value >= max(fitted.baselines["models"].values())
    assert fitted.value >= fitted.baselines["equal_weight"]["accuracy"]
    assert sum(fitted.weights.values()) == pytest.approx(1.0)


def test_intervals_over_few_groups_are_wider_than_over_clips() -> None:
    # Clips of one subject stand or fall together, so the number of subjects is what counts.
    generator = np.random.default_rng(0)
    subjects = np.repeat(np.arange(8), 25)
    labels = np.zeros(200, dtype=int)
    easy = generator.random(8) < 0.5
    logits = np.where(easy[subjects][:, None], [[3.0, 0.0]], [[0.0, 3.0]])[None]
    by_clip = fit_soft_vote(logits, labels, temperature=1.0).search["interval"]
    by_subject = fit_soft_vote(logits, labels, temperature=1.0, groups=subjects).search["interval"]
    assert by_subject["groups"] == 8
    assert by_subject["high"] - by_subject["low"] > 2 * (by_clip["high"] - by_clip["low"])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"weight_step": 0.3}, UsageError, "that divides 1"),
        ({"metric": "recall"}, UsageError, "accuracy, macro_f1, nll"),
        ({"temperature": "nonsense"}, UsageError, "'grid'"),
        ({"models": ["a", "a"]}, UsageError, "2 different ones"),
        ({"class_names": ["a"]}, DataError, "wanted 5"),
        ({"groups": ["a"]}, DataError, "one for each clip"),
    ],
)
def test_settings_out_of_range_are_refused(options, error, text) -> None:  # type: ignore[no-untyped-def]
    logits, labels = toy_scores(10, [1.0, 1.0])
    with pytest.raises(error, match=text):
        fit_soft_vote(logits, labels, **options)


def test_unknown_labels_are_refused() -> None:
    logits, labels = toy_scores(10, [1.0])
    labels[3] = -1
    with pytest.raises(DataError, match=r"1 of 10 are outside 0\.\.4"):
        fit_soft_vote(logits, labels)


def test_weights_that_leave_a_clip_unanswered_are_never_chosen() -> None:
    logits, labels = toy_scores(20, [4.0, 0.1], 2)
    present = np.ones((2, 20), dtype=bool)
    present[0, :3] = False
    fitted = fit_soft_vote(logits, labels, present=present, weight_step=0.1)
    assert fitted.weights["1"] > 0
    assert fitted.predict_proba(logits, present).shape == (20, 5)


def test_compositions_cover_the_simplex_once() -> None:
    rows = list(compositions(20, 4))
    assert len(rows) == len(set(rows)) == 1771
    assert all(sum(row) == 20 for row in rows)
    assert list(itertools.islice(rows, 1)) == [(0, 0, 0, 20)]


@pytest.mark.parametrize(("answer", "tau"), [(0, 0.05), (1, 20.0)])
def test_the_calibrated_temperature_of_answers_all_right_or_all_wrong_is_its_limit(
    answer: int, tau: float
) -> None:
    # Certainty costs nothing if every answer is right; if every one is wrong, the flattest vote is the best.
    logits = np.zeros((1, 12, 3))
    logits[:, :, answer] = 1.0
    fitted = fit_soft_vote(logits, np.zeros(12, dtype=int))
    assert fitted.search["calibrated_temperature"] == pytest.approx(tau, rel=1e-3)


def test_the_calibrated_temperature_follows_the_scale_of_the_logits() -> None:
    rng = np.random.default_rng(11)
    truth = rng.integers(0, 4, 400)
    scores = rng.normal(size=(1, 400, 4)) + 1.5 * np.eye(4)[truth]
    base = fit_soft_vote(scores, truth).search["calibrated_temperature"]
    wide = fit_soft_vote(5 * scores, truth).search["calibrated_temperature"]
    assert wide == pytest.approx(5 * base, rel=2e-3)
    # It is where one model's own temperature has its optimum.
    assert base == pytest.approx(fit_temperature(scores[0], truth), rel=2e-3)
