"""Facts of the soft vote (paper Eq. 2-3), as properties over arbitrary scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, StoreError, UsageError
from mg_fusion import SoftVote, soft_vote
from mg_fusion.fusers import log_mean, majority
from mg_fusion.vote import check_scores, check_weights

Case = tuple[np.ndarray, np.ndarray, float]


@st.composite
def votes(draw: st.DrawFn) -> Case:
    """Return logits (M, N, K), weights (M,) and tau."""
    models, clips, classes = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(2, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = generator.normal(size=(models, clips, classes)) * draw(st.sampled_from([0.1, 3.0, 1e4]))
    weights = generator.random(models) + 0.01
    return logits, weights, draw(st.floats(0.05, 20.0))


@given(votes())
def test_rows_are_probabilities(case: Case) -> None:
    probs = soft_vote(*case)
    assert (probs >= 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-12)


@given(votes(), st.randoms(use_true_random=False))
def test_permuting_models_clips_or_classes_permutes_the_answer_and_nothing_else(
    case: Case, random: object
) -> None:
    logits, weights, tau = case
    generator = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    models, clips, classes = (generator.permutation(size) for size in logits.shape)
    expected = soft_vote(logits, weights, tau)[clips][:, classes]
    moved = logits[models][:, clips][:, :, classes]
    np.testing.assert_allclose(soft_vote(moved, weights[models], tau), expected, atol=1e-12)


@given(votes())
def test_weight_zero_is_leaving_the_model_out(case: Case) -> None:
    logits, weights, tau = case
    extra = np.concatenate([logits, logits[:1] * -7 + 1])
    np.testing.assert_array_equal(
        soft_vote(extra, np.append(weights, 0.0), tau), soft_vote(logits, weights, tau)
    )


@given(votes())
def test_temperature_keeps_the_order_of_a_single_models_classes(case: Case) -> None:
    logits, _, tau = case
    top = soft_vote(logits[:1] / 1e3, [1.0], tau).argmax(axis=1)
    np.testing.assert_array_equal(top, logits[0].argmax(axis=1))


@given(votes())
def test_only_the_ratio_of_weights_matters(case: Case) -> None:
    logits, weights, tau = case
    np.testing.assert_allclose(
        soft_vote(logits, weights * 40, tau), soft_vote(logits, weights, tau), atol=1e-12
    )


def test_a_missing_model_leaves_its_share_to_the_others() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 4, 5))
    present = np.ones((3, 4), dtype=bool)
    present[1, 2] = False
    logits[1, 2] = np.nan
    probs = soft_vote(logits, [0.5, 0.3, 0.2], 2.5, present)
    np.testing.assert_allclose(probs[2], soft_vote(logits[[0, 2], 2:3], [0.5, 0.2], 2.5)[0], atol=1e-12)
    np.testing.assert_array_equal(probs[0], soft_vote(logits[:, :1], [0.5, 0.3, 0.2], 2.5)[0])


def test_a_clip_that_no_model_answers_is_an_error() -> None:
    with pytest.raises(DataError, match=r"1 of 3 clips have no answer from a model .* \(first rows \[1\]\)"):
        soft_vote(np.zeros((2, 3, 3)), [1, 0], 1.0, [[True, False, True], [True, True, True]])


@pytest.mark.parametrize("shape", [(2, 3), (0, 3, 2), (2, 3, 0), (1, 2, 3, 4)])
def test_scores_are_of_models_clips_and_classes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"logits: found shape .*, wanted \(models, clips, classes\)"):
        check_scores(np.zeros(shape), None)
    assert check_scores(np.zeros((2, 0, 3)), None)[0].shape == (2, 0, 3)


def test_what_is_absent_becomes_zero_and_all_is_double_precision() -> None:
    given_scores = np.array([[[1, 2], [np.nan, 4]]], dtype=np.float32)
    scores, mask = check_scores(given_scores, [[1, 0]])
    assert scores.tolist() == [[[1.0, 2.0], [0.0, 0.0]]]
    assert (scores.dtype, mask.dtype) == (np.float64, np.bool_)
    assert check_scores(given_scores[:, :1], None)[0].dtype == np.float64
    with pytest.raises(DataError, match=r"present: found shape \(2,\), wanted \(1, 2\) \(models, clips\)"):
        check_scores(given_scores, [1, 0])


def test_shares_are_worked_out_in_double_precision() -> None:
    # As halves they would add up to infinity.
    assert check_weights(np.array([6e4, 2e4], dtype=np.float16), 2).tolist() == pytest.approx(
        [0.75, 0.25], rel=1e-3
    )


def test_weights_whose_sum_is_beyond_float64_are_weights_too() -> None:
    logits = np.array([[[1.0, 0.0]], [[0.0, 3.0]]])
    for weights in ([1e308, 1e308], [1.7e308, 1.7e308]):
        np.testing.assert_allclose(soft_vote(logits, weights, 1.0), soft_vote(logits, [1, 1], 1.0))


@pytest.mark.parametrize(
    ("weights", "tau", "text"),
    [
        ([1, -1], 1.0, "weights: found"),
        ([0, 0], 1.0, "one of them positive"),
        ([1], 1.0, "one for each model"),
        ([1, 1], 0.0, "temperature: found 0.0"),
        ([1, 1], float("nan"), "finite number above 0"),
    ],
)
def test_parameters_out_of_range_are_refused(weights: list[float], tau: float, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        soft_vote(np.zeros((2, 1, 3)), weights, tau)


def test_non_finite_scores_are_refused() -> None:
    with pytest.raises(DataError, match="model 1, clip row 0"):
        soft_vote([[[0.0, 1.0]], [[np.inf, 0.0]]], [1, 1], 1.0)


def test_parameters_survive_saving(tmp_path: Path) -> None:
    vote = SoftVote(
        temperature=2.5, weights={"joint": 0.75, "rgb": 0.25}, class_names=("a", "b"), metric="nll"
    )
    vote.save(tmp_path / "fusion.json")
    assert SoftVote.load(tmp_path / "fusion.json") == vote
    logits = np.random.default_rng(0).normal(size=(2, 3, 2))
    expected = soft_vote(logits, [0.75, 0.25], 2.5)
    np.testing.assert_array_equal(vote.predict_proba(logits), expected)
    np.testing.assert_array_equal(vote.predict_proba({"rgb": logits[1], "joint": logits[0]}), expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not a JSON file"),
        ("{}", "is not fusion parameters"),
        ('{"format": "mg-fusion", "version": 9}', "has version 9"),
        ('{"format": "mg-fusion", "version": 1, "temperature": 1}', "lacks or garbles a field"),
        ('{"format": "mg-fusion", "version": 1, "temperature": -1, "weights": {"a": 1}}', "above 0"),
    ],
)
def test_parameters_that_cannot_be_read_name_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "fusion.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=reason) as caught:
        SoftVote.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fusion_json_has_the_documented_fields() -> None:
    value = json.loads(json.dumps(SoftVote(temperature=1.0, weights={"a": 1.0}).to_json()))
    assert value["format"] == "mg-fusion"
    assert value["version"] == 1
    assert {"temperature", "weights", "class_names", "metric", "search", "baselines", "fitted_on"} <= set(
        value
    )


FULL = SoftVote(
    temperature=2.0,
    weights={"joint": 0.75, "rgb": 0.25, "heat": 0.0},
    class_names=("a", "ü"),
    metric="nll",
    value=0.5,
    search={"best": 1},
    baselines={"models": {}},
    fitted_on={"clips": 3},
    taint={"state": "known"},
    model_temperatures={"joint": 1.0, "rgb": 0.5, "heat": 3.0},
)


def test_every_field_of_fusion_json_is_written_and_read_back(tmp_path: Path) -> None:
    assert FULL.to_json() == {
        "format": "mg-fusion",
        "version": 2,
        "temperature": 2.0,
        "model_temperatures": {"joint": 1.0, "rgb": 0.5, "heat": 3.0},
        "weights": {"joint": 0.75, "rgb": 0.25, "heat": 0.0},
        "class_names": ["a", "ü"],
        "metric": "nll",
        "value": 0.5,
        "search": {"best": 1},
        "baselines": {"models": {}},
        "fitted_on": {"clips": 3},
        "taint": {"state": "known"},
    }
    FULL.save(tmp_path / "fusion.json")
    assert SoftVote.load(tmp_path / "fusion.json") == FULL
    plain = SoftVote(temperature=2.0, weights={"joint": 1.0}).to_json()
    assert plain["version"] == 1
    assert "model_temperatures" not in plain


def test_temperature_and_weights_are_all_that_a_file_must_have(tmp_path: Path) -> None:
    path = tmp_path / "fusion.json"
    path.write_text('{"format": "mg-fusion", "version": 1, "temperature": 2, "weights": {"a": 3}}')
    assert SoftVote.load(path) == SoftVote(temperature=2.0, weights={"a": 3.0})
    assert isinstance(SoftVote.load(path).weights["a"], float)


@pytest.mark.parametrize(
    "field", ["search", "baselines", "fitted_on", "taint", "model_temperatures", "class_names", "weights"]
)
def test_a_field_of_the_wrong_kind_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "fusion.json"
    for garbage in (3, [1, 2]):
        path.write_text(json.dumps({**FULL.to_json(), field: garbage}))
        with pytest.raises(StoreError) as caught:
            SoftVote.load(path)
        named = "items" if field == "weights" else field
        assert "fusion.json: lacks or garbles a field: " in str(caught.value)
        assert named in str(caught.value)
        assert str(caught.value).endswith(" (fit again)")


def test_temperatures_of_the_models_come_on_top_of_the_common_one() -> None:
    assert FULL.temperatures_for(["rgb", "joint"]).tolist() == [1.0, 2.0]
    assert SoftVote(temperature=2.0, weights={"a": 1.0}).temperatures_for(["a"]).tolist() == [2.0]
    logits = np.random.default_rng(0).normal(size=(3, 4, 2))
    expected = 0.75 * soft_vote(logits[:1], [1.0], 2.0) + 0.25 * soft_vote(logits[1:2], [1.0], 1.0)
    np.testing.assert_allclose(FULL.predict_proba(logits), expected, atol=1e-12)
    with pytest.raises(
        UsageError, match=r"model temperatures: found \['a'\], wanted one for each of \['b'\]"
    ):
        SoftVote(temperature=1.0, weights={"b": 1.0}, model_temperatures={"a": 1.0})


def test_a_model_that_is_missing_leaves_its_share_in_fitted_votes_too() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 2, 2))
    present = np.array([[True, False], [True, True], [True, True]])
    found = FULL.predict_proba(logits, present)
    np.testing.assert_allclose(found[1], soft_vote(logits[1:2, 1:], [1.0], 1.0)[0], atol=1e-12)
    np.testing.assert_allclose(found[0], FULL.predict_proba(logits)[0], atol=1e-12)


def test_weights_follow_the_models_at_hand() -> None:
    assert FULL.weights_for(["rgb", "joint"]).tolist() == [0.25, 0.75]
    assert SoftVote(temperature=1.0, weights={"a": 1, "b": 3}).weights_for(["b", "a"]).dtype == np.float64
    with pytest.raises(
        UsageError, match=r"^fusion parameters: no weight for flow, depth; it knows joint, rgb"
    ):
        FULL.weights_for(["joint", "rgb", "flow", "depth"])
    with pytest.raises(UsageError, match=r"^p\.json: rgb has positive weight, but no store of it was given"):
        FULL.weights_for(["joint"], "p.json")


@settings(max_examples=25)
@given(votes())
def test_the_geometric_mean_answers_like_the_weighted_sum_of_logits(case: Case) -> None:
    logits, weights, tau = case
    probs = log_mean(
        logits / 1e3, np.ones(logits.shape[:2], dtype=bool), weights=weights.tolist(), temperature=tau
    )
    np.testing.assert_array_equal(
        probs.argmax(axis=1), np.einsum("m,mnk->nk", weights, logits).argmax(axis=1)
    )


def test_majority_is_the_share_of_the_votes() -> None:
    logits = np.array([[[1.0, 0.0, 0.0]], [[0.0, 5.0, 0.0]], [[0.0, 0.2, 0.1]]])
    present = np.ones((3, 1), dtype=bool)
    np.testing.assert_allclose(majority(logits, present), [[1 / 3, 2 / 3, 0]])
    np.testing.assert_allclose(majority(logits, present, weights=[2, 1, 1]), [[0.5, 0.5, 0]])
    present[2] = False
    np.testing.assert_allclose(majority(logits, present), [[0.5, 0.5, 0]])
