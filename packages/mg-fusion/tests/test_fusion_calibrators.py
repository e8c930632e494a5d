"""Calibration of one model: definitions worked by hand, public implementations, what the command writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fusion_toys import CLASSES, Talk, toy_scores, write_toy
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, StoreError, TaintError, UsageError
from mg_data.labels import read_labels, write_labels
from mg_data.store import clip_keys, read_logits, read_probs
from mg_fusion import expected_calibration_error, fit_temperature, reliability
from mg_fusion.calibration import classwise_calibration_error
from mg_fusion.calibrators import METHODS, Calibrator, fit_calibrator, isotonic_fit
from mg_fusion.commands.calibrate import calibrate
from mg_fusion.commands.fuse import fuse
from mg_fusion.vote import softmax


def noisy(seed: int = 0, clips: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, 5) that are twice too confident, and labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, clips)
    return (generator.normal(size=(clips, 5)) * 1.5 + 1.2 * np.eye(5)[labels]) * 2, labels


def test_ece_and_temperature_equal_those_of_netcal() -> None:
    # netcal 1.4.0 on the probabilities of noisy(): ECE(15).measure and TemperatureScaling().fit.
    logits, labels = noisy()
    assert expected_calibration_error(softmax(logits), labels) == pytest.approx(0.30864674521419627, abs=1e-9)
    assert fit_temperature(logits, labels) == pytest.approx(3.82839179, rel=1e-4)


def test_bins_of_equal_mass_hold_equally_many_clips() -> None:
    # Confidences 0.6, 0.7, 0.8, 0.9; right, wrong, right, right: bins {0.6, 0.7} and {0.8, 0.9}.
    probs = np.array([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
    labels = [0, 1, 0, 0]
    table = reliability(probs, labels, bins=2, scheme="mass")
    assert table["count"] == [2.0, 2.0]
    assert table["upper"] == [0.7, 1.0]
    gap = (2 * abs(0.65 - 0.5) + 2 * abs(0.85 - 1)) / 4
    assert expected_calibration_error(probs, labels, bins=2, scheme="mass") == pytest.approx(gap)
    # Equal confidences cannot be told apart and share a bin.
    tied = np.tile([0.8, 0.2], (4, 1))
    assert reliability(tied, [0, 0, 1, 1], bins=3, scheme="mass")["count"].count(4.0) == 1
    with pytest.raises(UsageError, match="wanted one of width, mass"):
        reliability(probs, labels, scheme="depth")  # type: ignore[arg-type]


def test_classwise_error_looks_at_every_probability() -> None:
    # Class 0: p 0.9, 0.9 of which one is class 0 -> 0.4; class 1 the mirror image; class 2 never and p 0.
    probs = [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]
    np.testing.assert_allclose(classwise_calibration_error(probs, [0, 1]), [0.4, 0.4, 0.0])


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_the_order_of_clips_changes_no_calibration_error(seed: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    probs = softmax(generator.normal(size=(40, 3)).round(1))
    labels = generator.integers(0, 3, 40)
    order = generator.permutation(40)
    for scheme in ("width", "mass"):
        found = expected_calibration_error(probs, labels, bins, scheme)
        assert 0 <= found <= 1
        assert expected_calibration_error(probs[order], labels[order], bins, scheme) == pytest.approx(found)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=30))
def test_isotonic_regression_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    public = pytest.importorskip("sklearn.isotonic")
    values, targets = np.array(pairs, dtype=np.float64).T
    x, y = isotonic_fit(values, targets)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= 0).all()
    model = public.IsotonicRegression(out_of_bounds="clip").fit(values, targets)
    asked = np.linspace(-1, 7, 33)
    np.testing.assert_allclose(np.interp(asked, x, y), model.predict(asked), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(METHODS))
def test_every_method_gives_probabilities_and_follows_its_classes(seed: int, method: str) -> None:
    logits, labels = noisy(seed, 60)
    order = np.random.default_rng(seed).permutation(5)
    fitted = fit_calibrator(logits, labels, method)
    probs = fitted.predict_proba(logits)
    assert (probs >= 0).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-9)
    moved = fit_calibrator(logits[:, order], np.argsort(order)[labels], method).predict_proba(
        logits[:, order]
    )
    np.testing.assert_allclose(moved, probs[:, order], atol=1e-4)
    # Adding a number to all logits of a clip says nothing.
    shift = np.random.default_rng(seed).normal(size=(60, 1)) * 5
    np.testing.assert_allclose(fitted.predict_proba(logits + shift), probs, atol=1e-9)


@pytest.mark.parametrize("method", ["vector", "matrix-diagonal", "matrix"])
def test_endless_shrinkage_leaves_the_temperature(method: str) -> None:
    logits, labels = noisy()
    expected = fit_calibrator(logits, labels, "temperature").predict_proba(logits)
    fitted = fit_calibrator(logits, labels, method, shrinkage=1e9)
    np.testing.assert_allclose(fitted.predict_proba(logits), expected, atol=1e-5)


def test_vector_mends_the_shares_of_classes_and_a_diagonal_matrix_cannot() -> None:
    generator = np.random.default_rng(0)
    labels = generator.choice(3, size=600, p=[0.8, 0.1, 0.1])
    logits = np.zeros((600, 3)) + generator.normal(size=(600, 3)) * 1e-3
    shares = np.bincount(labels) / 600
    vector = fit_calibrator(logits, labels, "vector", shrinkage=1e-3).predict_proba(np.zeros((1, 3)))
    np.testing.assert_allclose(vector[0], shares, atol=0.01)
    diagonal = fit_calibrator(logits, labels, "matrix-diagonal", shrinkage=1e-3).predict_proba(
        np.zeros((1, 3))
    )
    np.testing.assert_allclose(diagonal[0], 1 / 3, atol=1e-9)


def test_more_parameters_fit_the_fit_clips_better() -> None:
    logits, labels = noisy()

    def loss(method: str) -> float:
        probs = fit_calibrator(logits, labels, method, shrinkage=1e-3).predict_proba(logits)
        return -float(np.log(probs[np.arange(200), labels]).mean())

    losses = [loss(method) for method in ("temperature", "matrix-diagonal", "vector", "matrix")]
    assert losses == sorted(losses, reverse=True)


def test_a_histogram_says_the_share_of_its_bin() -> None:
    # Two bins. Class 0: p of 0.9, 0.8, 0.6 are in the upper one, two of three are class 0; of 0.2 none.
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.2, 0.8]])
    fitted = fit_calibrator(np.log(probs), [0, 1, 0, 1], "histogram", bins=2)
    np.testing.assert_allclose(fitted.fitted["levels"], [[0.0, 2 / 3], [1 / 3, 1.0]])
    np.testing.assert_allclose(fitted.predict_proba(np.log([[0.7, 0.3]])), [[2 / 3, 1 / 3]])
    # In four bins nothing lies in 0.25..0.5 of class 0: the bin says its middle.
    four = fit_calibrator(np.log(probs), [0, 1, 0, 1], "histogram", bins=4)
    assert four.fitted["levels"][0][1] == 0.375


def test_a_class_without_a_clip_to_fit_on_stays_finite() -> None:
    logits, labels = noisy()
    labels = np.where(labels == 2, 1, labels)
    for method in METHODS:
        assert np.isfinite(fit_calibrator(logits, labels, method).predict_proba(logits * 50)).all()


def test_a_class_without_a_clip_to_fit_on_is_answered_by_an_empty_bin_only(tmp_path: Path) -> None:
    logits = np.log([[0.9, 0.1], [0.1, 0.9]])
    never = fit_calibrator(logits[:1], [0], "isotonic")
    np.testing.assert_allclose(never.predict_proba(logits), [[1, 0], [1, 0]])
    # Its lower bin holds a clip, none of it; its upper one is empty and says 0.75, as the other's lower 0.25.
    seldom = fit_calibrator(logits[:1], [0], "histogram", bins=2)
    np.testing.assert_allclose(seldom.predict_proba(logits), [[1, 0], [0.25, 0.75]])
    val, labels = write_val(tmp_path)
    truth = read_labels(labels)
    write_labels(labels, list(truth), [min(label, 3) for label in truth.values()], CLASSES)
    for method, text in (("isotonic", "isotonic never answers them"), ("histogram", "only at a probability")):
        talk = Talk()
        calibrate(
            console=talk, fit=val, labels=labels, method=method, params_out=tmp_path / "c.json", folds=0
        )
        assert any(text in warning for warning in talk.warned)


def test_isotonic_never_answers_an_unseen_class_however_sure_the_model_is_of_it() -> None:
    # Low probabilities of the other two mean 0 by their own curves, so nothing is left to scale to sum 1.
    logits, labels = noisy()
    labels = np.where(labels == 0, 1, labels)
    fitted = fit_calibrator(logits, labels, "isotonic")
    sure = 50.0 * np.eye(logits.shape[1])[:1]
    seen = np.unique(labels)
    expected = np.zeros(logits.shape[1])
    expected[seen] = 1 / len(seen)
    np.testing.assert_allclose(fitted.predict_proba(sure)[0], expected)
    assert np.isin(fitted.predict_proba(np.concatenate([sure, logits, -logits])).argmax(axis=1), seen).all()


def write_val(folder: Path, part: str = "val", **options: object) -> tuple[Path, Path]:
    paths, labels = write_toy(folder, part, branches=("joint",), strengths=(1.5,), **options)  # type: ignore[arg-type]
    return paths[0], labels


@pytest.mark.parametrize("method", METHODS)
def test_the_command_writes_a_store_that_is_fused_like_any_other(tmp_path: Path, method: str) -> None:
    val, labels = write_val(tmp_path, seed=1)
    target, _ = write_val(tmp_path, "target", seed=2)
    talk = Talk()
    first = calibrate(
        console=talk,
        store=target,
        out=tmp_path / "c.h5",
        fit=val,
        labels=labels,
        method=method,
        params_out=tmp_path / "c.json",
    )
    again = calibrate(console=Talk(), store=target, out=tmp_path / "d.h5", params=tmp_path / "c.json")
    assert again.data["digest"] == first.data["digest"]
    store = read_logits(tmp_path / "c.h5")
    assert (store.space, store.key) == ("prob", "joint")
    fit_keys = set(clip_keys("toy", [f"val{n:03d}" for n in range(60)]).tolist())
    seen = store.taint.selected_on if method == "temperature" else store.taint.trained_on
    assert fit_keys <= set(seen.tolist())
    fuse(console=talk, stores=[tmp_path / "c.h5"], out=tmp_path / "f.h5")
    np.testing.assert_allclose(read_probs(tmp_path / "f.h5").values, store.values, atol=1e-5)
    assert first.data["cross_fitted"]["folds"] == 5
    assert first.data["after"]["nll"] < first.data["before"]["nll"]


def test_fused_probabilities_are_calibrated_too(tmp_path: Path) -> None:
    val, labels = write_val(tmp_path)
    fuse(console=Talk(), stores=[val], out=tmp_path / "f.h5")
    calibrate(
        console=Talk(), store=tmp_path / "f.h5", out=tmp_path / "c.h5", fit=tmp_path / "f.h5", labels=labels
    )
    logits, truth = toy_scores(60, (1.5,))
    expected = softmax(logits[0], fit_temperature(logits[0], truth))
    np.testing.assert_allclose(read_probs(tmp_path / "c.h5").values, expected, atol=1e-4)


def test_the_taint_rule_holds_for_calibration(tmp_path: Path) -> None:
    val, labels = write_val(tmp_path, trained_on=clip_keys("toy", ["val003"]))
    with pytest.raises(TaintError, match="'joint' was trained on 1"):
        calibrate(console=Talk(), fit=val, labels=labels, params_out=tmp_path / "c.json")
    talk = Talk()
    calibrate(console=talk, fit=val, labels=labels, params_out=tmp_path / "c.json", allow_tainted=True)
    assert "too good to be true" in Calibrator.load(tmp_path / "c.json").taint["override"]


def test_a_calibration_is_of_one_model(tmp_path: Path) -> None:
    val, labels = write_val(tmp_path)
    other, _ = write_toy(tmp_path, "target", branches=("rgb",), strengths=(1.0,))
    with pytest.raises(StoreError, match=r"is model 'rgb', but .* is of 'joint'"):
        calibrate(console=Talk(), store=other[0], out=tmp_path / "c.h5", fit=val, labels=labels)
    assert not (tmp_path / "c.h5").exists()


def test_parameters_of_another_method_are_not_taken_for_it(tmp_path: Path) -> None:
    val, labels = write_val(tmp_path)
    params = tmp_path / "c.json"
    calibrate(console=Talk(), fit=val, labels=labels, params_out=params, folds=0)
    with pytest.raises(UsageError, match="calibration by temperature, not by vector"):
        calibrate(console=Talk(), store=val, out=tmp_path / "c.h5", params=params, method="vector")


def test_a_calibration_that_cannot_be_written_leaves_no_parameters(tmp_path: Path) -> None:
    val, labels = write_val(tmp_path)
    (tmp_path / "file").touch()
    params = tmp_path / "c.json"
    with pytest.raises(StoreError):
        calibrate(
            console=Talk(),
            store=val,
            out=tmp_path / "file" / "c.h5",
            fit=val,
            labels=labels,
            params_out=params,
        )
    assert not params.exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "either --fit .* or --params"),
        ({"fit": "a", "params": "b"}, "either --fit .* or --params"),
        ({"fit": "a", "store": "b"}, "go together"),
        ({"fit": "a"}, "nothing to do"),
        ({"params": "a", "store": "b", "out": "c", "labels": "d"}, "belong to --fit"),
        ({"params": "a", "store": "b", "out": "c", "shrinkage": 2.0}, "belong to --fit"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=text):
        calibrate(console=Talk(), **options)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"format": "x"}, StoreError, "is no calibration"),
        ({"version": 2}, StoreError, "has version 2"),
        ({"method": "magic"}, StoreError, "lacks or garbles"),
        ({"classes": 7}, DataError, "found 5 classes, wanted 7"),
        ({"fitted": {}}, DataError, "fit again"),
        ({"fitted": {"x": [[0, 0]] * 5, "y": [[0, 1]] * 5}}, DataError, "do not rise"),
    ],
)
def test_garbled_calibrations_are_one_line(
    tmp_path: Path, change: dict[str, object], error: type[Exception], text: str
) -> None:
    logits, labels = noisy()
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**fit_calibrator(logits, labels, "isotonic").to_json(), **change}))
    with pytest.raises(error, match=text):
        Calibrator.load(path).predict_proba(logits)


@pytest.mark.parametrize("keys", [["f" * 30], ["-1"], ["x"], 5, [3]])
def test_garbled_keys_of_the_clips_fitted_on_are_one_line(tmp_path: Path, keys: object) -> None:
    val, labels = write_val(tmp_path)
    params, out = tmp_path / "c.json", tmp_path / "out.h5"
    calibrate(console=Talk(), fit=val, labels=labels, params_out=params)
    value = json.loads(params.read_text())
    params.write_text(json.dumps({**value, "fitted_on": {"clip_keys": keys}}))
    with pytest.raises(StoreError, match=r"fitted_on\.clip_keys is no list of keys: .*fit again"):
        calibrate(console=Talk(), store=val, out=out, params=params)
    assert not out.exists()


@pytest.mark.parametrize("junk", ["x", None, [1]])
def test_metrics_that_are_no_numbers_are_not_told_and_the_store_is_calibrated(
    tmp_path: Path, junk: object
) -> None:
    val, labels = write_val(tmp_path)
    params, out = tmp_path / "c.json", tmp_path / "out.h5"
    calibrate(console=Talk(), fit=val, labels=labels, params_out=params)
    value = json.loads(params.read_text())
    value["before"]["nll"] = value["cross_fitted"]["ece"] = junk
    params.write_text(json.dumps(value))
    text = calibrate(console=Talk(), store=val, out=out, params=params).text
    assert "after, same clips" in text
    assert "before" not in text
    assert "folds" not in text
    assert read_logits(out).space == "prob"
