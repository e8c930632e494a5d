"""Calibration equals that of public implementations, run in an environment of their own.

Their answers are in ``golden/calibration.json``; ``tools/parity_calibration.py`` writes it.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_fusion import (
    classification_metrics,
    classwise_calibration_error,
    expected_calibration_error,
    fit_calibrator,
    fit_temperature,
    soft_vote,
)

GOLDEN = Path(__file__).parent / "golden"
ANSWERS: dict[str, dict[str, float]] = json.loads((GOLDEN / "calibration.json").read_text(encoding="utf-8"))


def _rule() -> Any:
    spec = importlib.util.spec_from_file_location("calibration_rule", GOLDEN / "calibration_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RULE = _rule()


def _probs(name: str) -> tuple[Any, Any]:
    logits, labels = RULE.problem(name)
    return soft_vote(logits[None], [1.0], 1.0), labels


def test_every_problem_was_answered_by_both_peers() -> None:
    assert list(ANSWERS) == list(RULE.PROBLEMS)
    assert sum(key.startswith("netcal") for row in ANSWERS.values() for key in row) == 4 * 4
    assert sum(key.startswith("torch-uncertainty") for row in ANSWERS.values() for key in row) == 5 * 10 - 1


@pytest.mark.parametrize("name", list(RULE.PROBLEMS))
def test_calibration_errors_are_those_of_the_peers(name: str) -> None:
    probs, labels = _probs(name)
    for bins in RULE.BINS:
        for scheme, key in (("width", "ece"), ("mass", "ece_mass")):
            found = expected_calibration_error(probs, labels, bins, scheme)
            # torch-uncertainty adds in float32.
            assert found == pytest.approx(ANSWERS[name][f"torch-uncertainty/{key}/{bins}"], abs=1e-6)
        if f"netcal/ece/{bins}" in ANSWERS[name]:
            found = expected_calibration_error(probs, labels, bins)
            assert found == pytest.approx(ANSWERS[name][f"netcal/ece/{bins}"], abs=1e-12)
    if "torch-uncertainty/classwise_ece" in ANSWERS[name]:
        found = float(classwise_calibration_error(probs, labels).mean())
        assert found == pytest.approx(ANSWERS[name]["torch-uncertainty/classwise_ece"], abs=1e-12)


@pytest.mark.parametrize("name", list(RULE.PROBLEMS))
def test_brier_score_and_likelihood_are_those_of_the_peer(name: str) -> None:
    found = classification_metrics(*_probs(name))
    assert found.brier == pytest.approx(ANSWERS[name]["torch-uncertainty/brier"], abs=1e-12)
    assert found.nll == pytest.approx(ANSWERS[name]["torch-uncertainty/nll"], abs=1e-12)


@pytest.mark.parametrize("name", list(RULE.PROBLEMS))
def test_the_temperature_is_that_of_the_peers_and_never_worse(name: str) -> None:
    logits, labels = RULE.problem(name)
    found = fit_temperature(logits, labels)
    assert fit_calibrator(logits, labels).fitted["tau"] == pytest.approx(found)

    def nll(tau: float) -> float:
        return classification_metrics(soft_vote(logits[None], [1.0], tau), labels).nll

    for peer in ("torch-uncertainty", "netcal"):
        if f"{peer}/temperature" not in ANSWERS[name]:
            continue
        theirs = ANSWERS[name][f"{peer}/temperature"]
        assert found == pytest.approx(theirs, rel=2e-5)
        assert nll(found) <= nll(theirs) + 1e-12


@pytest.mark.parametrize("name", list(RULE.PROBLEMS))
def test_metrics_are_those_of_scikit_learn(name: str) -> None:
    public = pytest.importorskip("sklearn.metrics")
    probs, labels = _probs(name)
    found, answer, classes = classification_metrics(probs, labels), probs.argmax(axis=1), probs.shape[1]
    everything = list(range(classes))
    seen = sorted(set(labels.tolist()))
    options = {"labels": everything, "zero_division": 0}
    assert found.accuracy == pytest.approx(public.accuracy_score(labels, answer))
    assert found.accuracy == pytest.approx(public.f1_score(labels, answer, average="micro"))
    np.testing.assert_allclose(found.f1, public.f1_score(labels, answer, average=None, **options))
    np.testing.assert_allclose(found.recall, public.recall_score(labels, answer, average=None, **options))
    np.testing.assert_allclose(
        found.precision, public.precision_score(labels, answer, average=None, **options)
    )
    assert found.macro_f1 == pytest.approx(public.f1_score(labels, answer, average="macro", labels=seen))
    assert found.macro_f1_all == pytest.approx(public.f1_score(labels, answer, average="macro", **options))
    assert found.mean_class_accuracy == pytest.approx(public.balanced_accuracy_score(labels, answer))
    np.testing.assert_array_equal(found.confusion, public.confusion_matrix(labels, answer, labels=everything))
    assert found.nll == pytest.approx(public.log_loss(labels, probs, labels=everything))
    for k, value in found.top_k.items():
        if classes > 2:
            wanted = public.top_k_accuracy_score(labels, probs, k=k, labels=everything)
            assert value == pytest.approx(wanted)
