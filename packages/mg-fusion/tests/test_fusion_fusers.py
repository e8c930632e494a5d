"""Fusers beyond the soft vote: worked by hand, as properties, and against public implementations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fusion_toys import Talk, toy_scores, write_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, StoreError, TaintError, UsageError
from mg_data.store import clip_keys, read_probs
from mg_fusion import soft_vote
from mg_fusion.commands.fuse import fuse
from mg_fusion.folds import group_folds
from mg_fusion.fusers import (
    bayesian_average,
    class_weights,
    fit_bayesian_average,
    fit_class_weights,
    fit_log_linear,
    fit_stacking_lightgbm,
    fit_stacking_logistic,
    log_linear,
    log_mean,
    rank,
    stacking_lightgbm,
    stacking_logistic,
)
from mg_fusion.fusers.fitting import FittedFuser, fit_fuser
from mg_fusion.fusers.stacking import stacking_features
from mg_fusion.vote import softmax

FITTED = ("class-weights", "log-linear", "bayesian-average", "stacking-logistic")
EVERYWHERE = np.ones((3, 80), dtype=bool)


def test_rank_gives_points_for_places() -> None:
    # Model 0 ranks c, a, b: points 1, 0, 2 of 3. Model 1 ties b and c below a: points 2, 0.5, 0.5.
    logits = np.array([[[0.1, -5.0, 9.0]], [[4.0, 1.0, 1.0]]])
    present = np.ones((2, 1), dtype=bool)
    np.testing.assert_allclose(rank(logits, present), [[1.5 / 3, 0.25 / 3, 1.25 / 3]])
    np.testing.assert_allclose(rank(logits, present, weights=[1, 3]), [[1.75 / 3, 0.375 / 3, 0.875 / 3]])
    present[0] = False
    np.testing.assert_allclose(rank(logits, present), [[2 / 3, 0.5 / 3, 0.5 / 3]])
    assert rank(np.zeros((1, 2, 1)), np.ones((1, 2), dtype=bool)).tolist() == [[1.0], [1.0]]


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(2, 6))
def test_rank_sees_the_order_of_the_scores_only(seed: int, models: int, classes: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(models, 5, classes)).round(1)
    present = np.ones((models, 5), dtype=bool)
    expected = rank(logits, present)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0)
    np.testing.assert_allclose(rank(np.exp(logits) * 7, present), expected, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(FITTED))
def test_permuting_models_clips_or_classes_permutes_a_fitted_fuser_and_nothing_else(
    seed: int, name: str
) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = toy_scores(40, (1.0, 2.0, 0.5), seed % 1000)
    models, clips, classes = (generator.permutation(size) for size in logits.shape)
    plain = fit_fuser(name, logits, labels, folds=0).predict_proba(logits)
    moved = logits[models][:, clips][:, :, classes]
    answer = fit_fuser(name, moved, np.argsort(classes)[labels[clips]], folds=0).predict_proba(moved)
    np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(answer, plain[clips][:, classes], atol=2e-4)


def test_equal_weights_for_every_class_are_the_soft_vote() -> None:
    logits, _ = toy_scores(80, (1.0, 2.0, 3.0))
    probs = class_weights(logits, EVERYWHERE, class_weights=np.full((3, 5), 2.0).tolist(), temperature=2.5)
    np.testing.assert_allclose(probs, soft_vote(logits, [1, 1, 1], 2.5), atol=1e-12)


def test_weights_by_class_are_those_of_the_equation() -> None:
    # p = (1/2, 1/2) and (1/4, 3/4); weights (1, 0) and (1, 2): class 0 gets 0.75, class 1 gets 1.5.
    logits = np.log([[[0.5, 0.5]], [[0.25, 0.75]]])
    probs = class_weights(logits, np.ones((2, 1), dtype=bool), class_weights=[[1, 0], [1, 2]])
    np.testing.assert_allclose(probs, [[1 / 3, 2 / 3]])


def test_class_weights_find_the_model_that_knows_a_class_and_shrink_to_the_equal_vote() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 400)
    logits = generator.normal(size=(2, 400, 2)) * 0.5
    # Model 0 says loudly 1 for every clip of class 0 too; model 1 is right about class 0.
    logits[0, :, 1] += 2.0
    logits[1, labels == 0, 0] += 4.0
    present = np.ones((2, 400), dtype=bool)
    weights = np.array(fit_class_weights(logits, labels, present)["class_weights"])
    assert weights[0, 1] < weights[1, 1]
    strict = fit_class_weights(logits, labels, present, shrinkage=1e9)
    np.testing.assert_allclose(strict["class_weights"], 1.0, atol=1e-5)
    np.testing.assert_allclose(
        class_weights(logits, present, fitted=strict),
        soft_vote(logits, [1, 1], strict["temperature"]),
        atol=1e-5,
    )


@pytest.mark.parametrize("shrinkage", [0.0, 5.0])
def test_log_linear_weights_are_the_optimum_that_scipy_finds(shrinkage: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = toy_scores(80, (0.0, 1.5, 3.0), seed=4)
    logits[0] -= 1.5 * np.eye(5)[labels]  # worse than chance: its weight is 0, as none may be negative
    found = fit_log_linear(logits, labels, EVERYWHERE, shrinkage=shrinkage)
    unit = 1 / (3 * found["temperature"])

    def loss(weights: np.ndarray) -> float:
        probs = softmax(np.einsum("m,mnk->nk", weights * unit, logits))
        own = probs[np.arange(80), labels]
        return float(-np.log(own).sum() + shrinkage / 2 * ((weights - 1) ** 2).sum())

    best = optimize.minimize(loss, np.ones(3), bounds=[(0, None)] * 3, options={"ftol": 1e-14, "gtol": 1e-9})
    np.testing.assert_allclose(np.array(found["weights"]) / unit, best.x, atol=2e-4)
    assert found["weights"][2] > found["weights"][1]
    if shrinkage == 0:
        assert found["weights"][0] == 0


def test_endless_shrinkage_leaves_the_calibrated_mean_of_the_logits() -> None:
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    fitted = fit_log_linear(logits, labels, EVERYWHERE, shrinkage=1e12)
    expected = log_mean(logits, EVERYWHERE, temperature=fitted["temperature"])
    np.testing.assert_allclose(log_linear(logits, EVERYWHERE, fitted=fitted), expected, atol=1e-9)


def test_in_the_log_linear_pool_a_missing_model_says_what_the_others_say() -> None:
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    present = EVERYWHERE.copy()
    present[0, :40] = False
    fitted = fit_log_linear(logits, labels, present)
    filled = logits - logits.mean(axis=2, keepdims=True)
    filled[0, :40] = (filled[1, :40] + filled[2, :40]) / 2
    np.testing.assert_allclose(
        log_linear(logits, present, fitted=fitted), log_linear(filled, EVERYWHERE, fitted=fitted), atol=1e-12
    )
    present[:, 0] = False
    with pytest.raises(DataError, match="1 clips have no answer from any model; leave them out"):
        fit_log_linear(logits, labels, present)


def test_bayesian_weights_are_the_likelihoods() -> None:
    logits, labels = toy_scores(80, (0.5, 0.8, 0.6))
    fitted = fit_bayesian_average(logits, labels, EVERYWHERE)
    loglik = [
        np.log(softmax(values, tau)[np.arange(80), labels]).sum()
        for values, tau in zip(logits, fitted["temperatures"], strict=True)
    ]
    np.testing.assert_allclose(fitted["log_likelihood"], loglik, rtol=1e-9)
    np.testing.assert_allclose(fitted["weights"], softmax(np.array(loglik)), rtol=1e-9)
    np.testing.assert_allclose(
        fit_bayesian_average(logits, labels, EVERYWHERE, power=0)["weights"], [1 / 3] * 3
    )
    spread = fit_bayesian_average(logits, labels, EVERYWHERE, bootstrap=200)["weights"]
    assert max(spread) < max(fitted["weights"])
    silent = EVERYWHERE.copy()
    silent[1] = False  # the best model: the others still answer
    assert np.isfinite(bayesian_average(logits, silent, fitted=fitted)).all()


def test_logistic_stacking_is_that_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    features = stacking_features(logits, EVERYWHERE)
    for penalty in (0.01, 1.0):
        public = linear.LogisticRegression(C=penalty, tol=1e-9, max_iter=20000).fit(features, labels)
        ours = stacking_logistic(
            logits,
            EVERYWHERE,
            fitted=fit_stacking_logistic(logits, labels, EVERYWHERE, inverse_penalty=penalty),
        )
        np.testing.assert_allclose(ours, public.predict_proba(features), atol=2e-5)


def test_a_class_without_a_clip_to_fit_on_is_never_answered_by_stacking() -> None:
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    labels = np.where(labels == 2, 1, labels)
    fitted = fit_stacking_logistic(logits, labels, EVERYWHERE)
    assert fitted["classes"] == [0, 1, 3, 4]
    assert (stacking_logistic(logits, EVERYWHERE, fitted=fitted)[:, 2] == 0).all()


def test_trees_are_deterministic_learn_by_heart_and_survive_json() -> None:
    pytest.importorskip("lightgbm")
    logits, labels = toy_scores(80, (0.0, 0.2, 0.1))
    fitted = fit_stacking_lightgbm(logits, labels, EVERYWHERE, rounds=60)
    assert fitted == fit_stacking_lightgbm(logits, labels, EVERYWHERE, rounds=60)
    kept = json.loads(json.dumps(fitted))
    probs = stacking_lightgbm(logits, EVERYWHERE, fitted=kept)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0)
    assert (probs.argmax(axis=1) == labels).mean() > 0.85
    for broken in (
        {**fitted, "trees": "tree\nnonsense"},
        {**fitted, "trees": 3},
        {**fitted, "classes": [0, 1]},
    ):
        with pytest.raises(DataError, match="fit again"):
            stacking_lightgbm(logits, EVERYWHERE, fitted=broken)
    one = fit_stacking_lightgbm(logits, np.full(80, 3), EVERYWHERE, rounds=1)
    assert stacking_lightgbm(logits, EVERYWHERE, fitted=one)[:, 3].tolist() == [1.0] * 80


def test_without_lightgbm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mg_fusion.fusers.stacking.find_spec", lambda name: None)
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    with pytest.raises(UsageError, match=r"needs lightgbm.*pip install 'mg-fusion\[stacking\]'"):
        fit_stacking_lightgbm(logits, labels, EVERYWHERE)


def test_cross_fitting_shows_that_stacking_learns_noise_by_heart() -> None:
    logits, labels = toy_scores(80, (0.0, 0.0, 0.0), classes=5)
    fitted = fit_fuser("stacking-logistic", logits, labels, options={"inverse_penalty": 100.0})
    assert fitted.in_sample["accuracy"] > 0.45
    assert fitted.cross_fitted["accuracy"] < 0.3
    assert fitted.cross_fitted["folds"] == 5


@pytest.mark.parametrize(("groups", "folds"), [(2, 2), (7, 3), (30, 5)])
def test_a_group_is_never_on_both_sides_of_a_fold(groups: int, folds: int) -> None:
    names = np.random.default_rng(0).integers(0, groups, 200)
    fold = group_folds(np.zeros(200, dtype=np.int64), names, folds)
    assert fold is not None
    assert all(len(set(fold[names == name])) == 1 for name in set(names))
    assert sorted(set(fold)) == list(range(folds))
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= np.bincount(names).max()


def test_folds_without_groups_share_out_each_class() -> None:
    labels = np.repeat([0, 1], [50, 10])
    fold = group_folds(labels, None, 5)
    assert fold is not None
    assert np.bincount(fold[labels == 1]).tolist() == [2] * 5
    assert group_folds(labels, None, 1) is None
    assert group_folds(labels, np.zeros(60), 5) is None


def test_the_command_fits_reuses_and_marks_the_clips_as_trained_on(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val", seed=1)
    target, _ = write_toy(tmp_path, "target", seed=2, shuffle=3)
    talk = Talk()
    first = fuse(
        console=talk,
        stores=target,
        out=tmp_path / "a.h5",
        fit=val,
        labels=labels,
        fuser="stacking-logistic",
        fuser_options={"folds": 3, "inverse_penalty": 0.1},
    )
    assert first.data["cross_fitted"]["folds"] == 3
    assert any("give --groups" in text for text in talk.warned)
    again = fuse(console=Talk(), stores=target[::-1], out=tmp_path / "b.h5", params=tmp_path / "fusion.json")
    assert again.data["digest"] == first.data["digest"]
    taint = read_probs(tmp_path / "a.h5").taint
    fitted_on = clip_keys("toy", [f"val{n:03d}" for n in range(60)])
    assert set(fitted_on) <= set(taint.trained_on.tolist())
    fitted = FittedFuser.load(tmp_path / "fusion.json")
    assert fitted.fitted_on["grouped_by"] == "clip"
    assert fitted.models == ("heat", "joint", "rgb")
    with pytest.raises(UsageError, match=r"found models heat, joint, .* was fitted on heat, joint, rgb"):
        fuse(console=Talk(), stores=target[:2], out=tmp_path / "c.h5", params=tmp_path / "fusion.json")
    with pytest.raises(UsageError, match="holds parameters of 'stacking-logistic', not of 'rank'"):
        fuse(
            console=Talk(),
            stores=target,
            out=tmp_path / "c.h5",
            params=tmp_path / "fusion.json",
            fuser="rank",
        )


def test_a_fusion_that_cannot_be_written_leaves_no_parameters(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    (tmp_path / "file").touch()
    params = tmp_path / "fusion.json"
    with pytest.raises(StoreError):
        fuse(
            console=Talk(),
            stores=val,
            out=tmp_path / "file" / "p.h5",
            fit=val,
            labels=labels,
            fuser="log-linear",
            params_out=params,
        )
    assert not params.exists()


def test_the_taint_rule_holds_for_fitted_fusers(tmp_path: Path) -> None:
    seen = clip_keys("toy", [f"val{n:03d}" for n in range(5)])
    val, labels = write_toy(tmp_path, "val", trained_on=seen)
    with pytest.raises(TaintError, match="'heat' was trained on 5"):
        fuse(console=Talk(), fit=val, labels=labels, params_out=tmp_path / "p.json", fuser="class-weights")
    assert not (tmp_path / "p.json").exists()


def test_groups_come_from_a_csv_too(tmp_path: Path) -> None:
    val, labels = write_toy(tmp_path, "val")
    table = tmp_path / "groups.csv"
    lines = [f"val{n:03d},video{n % 6}" for n in range(60)]
    table.write_text("clip_id,group\n" + "\n".join(lines) + "\n")
    options = {"fit": val, "labels": labels, "params_out": tmp_path / "p.json", "fuser": "bayesian-average"}
    fuse(console=Talk(), groups=table, group_by="video", **options)  # type: ignore[arg-type]
    assert FittedFuser.load(tmp_path / "p.json").fitted_on["grouped_by"] == "video"
    table.write_text("clip_id,group\n" + "\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match="1 of 60 clips have no group, the first is 'val000'"):
        fuse(console=Talk(), groups=table, **options)  # type: ignore[arg-type]
    table.write_text("clip,group\n")
    with pytest.raises(DataError, match="header clip_id,group"):
        fuse(console=Talk(), groups=table, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stores": ["a"], "out": "o", "fuser": "stacking-logistic"}, "fitted on labelled clips: give --fit"),
        (
            {"fit": ["a"], "params_out": "p", "fuser": "stacking-logistic", "temperature": 2.0},
            "--temperature belong",
        ),
        ({"fit": ["a"], "fuser": "stacking-logistic"}, "where to write the parameters"),
        ({"fit": ["a"], "params_out": "p", "fuser": "log-linear", "fuser_options": [3]}, "wanted name=value"),
        ({"stores": ["a"], "out": "o", "fuser_options": {"x": 1}}, "--fuser-options are for fusers"),
        ({"stores": ["a"], "out": "o", "fuser": "rank", "diagnose": "d"}, "explains the soft vote"),
        ({"stores": ["a"], "out": "o", "groups": "g"}, "--groups belongs to --fit"),
    ],
)
def test_options_that_contradict_a_fuser_are_refused(options, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=text):
        fuse(console=Talk(), **options)


def test_unknown_settings_of_a_fit_are_named() -> None:
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    with pytest.raises(UsageError, match="no option penalty; it has: inverse_penalty"):
        fit_fuser("stacking-logistic", logits, labels, options={"penalty": 1})
    with pytest.raises(UsageError, match="inverse_penalty: found -1"):
        fit_fuser("stacking-logistic", logits, labels, options={"inverse_penalty": -1})
    with pytest.raises(UsageError, match="'rank' has nothing to fit"):
        fit_fuser("rank", logits, labels)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "mg-fusion"}, "is no fitted fuser"),
        ({"version": 7}, "has version 7"),
        ({"fitted": 3}, "lacks or garbles a field"),
        ({"models": [1]}, "lacks or garbles a field"),
    ],
)
def test_parameters_that_cannot_be_read_name_the_file(
    tmp_path: Path, change: dict[str, object], text: str
) -> None:
    logits, labels = toy_scores(80, (1.0, 2.0, 3.0))
    value = fit_fuser("bayesian-average", logits, labels, folds=0).to_json()
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**value, **change}))
    with pytest.raises(StoreError, match=text) as caught:
        FittedFuser.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"in_sample": {"nll": "low"}, "cross_fitted": {"nll": None}, "baselines": {"equal_weight": 3}},
        {"in_sample": {"nll": 1, "accuracy": "high", "macro_f1": 0}, "baselines": {"equal_weight": ["nll"]}},
    ],
)
def test_metrics_that_are_no_numbers_are_not_told_and_the_stores_are_fused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    val, labels = write_toy(tmp_path, "val")
    params, out = tmp_path / "p.json", tmp_path / "out.h5"
    fuse(console=Talk(), fit=val, labels=labels, fuser="log-linear", params_out=params)
    value = json.loads(params.read_text())
    params.write_text(json.dumps({**value, **change}))
    text = fuse(console=Talk(), stores=val, out=out, params=params).text
    assert "on the clips fitted on" not in text
    assert "equal weights" not in text
    assert len(read_probs(out)) == 60
    params.write_text(json.dumps({**value, "fitted_on": {"clip_keys": ["f" * 30]}}))
    with pytest.raises(StoreError, match=r"fitted_on\.clip_keys is no list of keys: .*fit again"):
        fuse(console=Talk(), stores=val, out=tmp_path / "again.h5", params=params)
    assert not (tmp_path / "again.h5").exists()


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("garbage", [{}, {"weights": "x"}, {"classes": [0.5], "weights": [[1]], "bias": [0]}])
def test_garbled_parameters_are_one_line(name: str, garbage: dict[str, object]) -> None:
    fuser = FittedFuser(fuser=name, models=("a", "b", "c"), fitted=garbage)
    with pytest.raises(DataError, match="fit again"):
        fuser.predict_proba(toy_scores(8, (1.0, 2.0, 3.0))[0])
