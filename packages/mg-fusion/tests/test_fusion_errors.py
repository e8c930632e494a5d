"""What a caller of the public names can get wrong is a ValueError of one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mg_fusion as mg
from mg_data.contract import DataError, UsageError

P = np.array([[0.9, 0.1], [0.3, 0.7]])
Y = np.array([0, 1])
LOGITS = np.log(P)[None]
FILE = Path("never-read")

SETTINGS: list[tuple[Callable[[], Any], str]] = [
    (lambda: mg.soft_vote(LOGITS, [1, 1], 1.0), r"weights: found shape \(2,\), wanted \(1,\)"),
    (lambda: mg.soft_vote(LOGITS, [1], 0.0), "temperature: found 0.0, wanted a finite number above 0"),
    (lambda: mg.soft_vote(LOGITS, ["a"], 1.0), "weights: found .'a'., wanted numbers"),
    (lambda: mg.soft_vote(LOGITS, [1], "warm"), "temperature: found 'warm', wanted numbers"),
    (lambda: mg.SoftVote(temperature=None, weights={"a": 1}), "temperature: found None, wanted a"),  # type: ignore[arg-type]
    (lambda: mg.fuse_to_store([FILE], "./never-read"), "is read and cannot be written too"),
    (lambda: mg.fuse_stores("a.h5"), "found the path 'a.h5', wanted a list of paths"),
    (lambda: mg.fuse_to_store(FILE, "out.h5"), "found the path 'never-read', wanted a list"),  # type: ignore[arg-type]
    (lambda: mg.fit_temperature(LOGITS[0], Y, bounds=(2, 1)), "bounds: found .2, 1., wanted 0 < lowest"),
    (lambda: mg.expected_calibration_error(P, Y, 0), "bins: found 0, wanted at least 1"),
    (lambda: mg.reliability(P, Y, scheme="depth"), "scheme: found 'depth', wanted one of width, mass"),  # type: ignore[arg-type]
    (lambda: mg.top_k_accuracy(P, Y, 0), "found k = 0, wanted at least 1"),
    (lambda: mg.metric_intervals(P, Y, metrics=[]), "metrics: found none, wanted some of accuracy"),
    (lambda: mg.metric_intervals(P, Y, metrics=["kappa"]), "metric: found 'kappa', wanted one of"),  # type: ignore[list-item]
    (lambda: mg.metric_intervals(P, Y, level=95), "level: found 95, wanted a share between 0 and 1"),
    (lambda: mg.metric_intervals(P, Y, rounds=0), "rounds: found 0, wanted at least 1"),
    (lambda: mg.find_vetoes(LOGITS, [1], 1.0, majority=1.0), "majority: found 1.0, wanted a share"),
    (lambda: mg.fit_calibrator(P, Y, "platt"), "no method 'platt', there are: temperature, vector"),  # type: ignore[arg-type]
    (lambda: mg.fit_calibrator(P, Y, "vector", shrinkage=-1), "shrinkage: found -1, wanted a finite number"),
    (lambda: mg.fit_fuser("majority", LOGITS, Y), "fuser 'majority' has nothing to fit"),
    (lambda: mg.fit_fuser("log-linear", LOGITS, Y, options={"c": 1}), "no option c; it has: shrinkage"),
    (lambda: mg.match_names(["a"], ["a"], "fuzzy"), "match: found 'fuzzy', wanted one of exact, casefold"),  # type: ignore[arg-type]
    (lambda: mg.read_score_file(FILE, "xls"), "format: found 'xls', wanted npz, csv, pyskl"),  # type: ignore[arg-type]
    (
        lambda: mg.write_score_file(
            FILE, "pyskl", clip_ids=["a"], values=[[1]], class_names=["x"], keys={"s": "t"}
        ),
        "keys: format pyskl has no s; it has: none",
    ),
    (
        lambda: mg.write_score_file(
            FILE, "mmaction2", clip_ids=["a", "b"], values=P, class_names="xy", keys={"names": "pred_score"}
        ),
        "keys: found 'pred_score' for both scores and names, wanted different ones",
    ),
    (lambda: mg.write_submission(FILE, ["a"], [0], classes=2, dialect="1999"), "dialect: found '1999'"),  # type: ignore[arg-type]
]  # fmt: skip
VALUES: list[tuple[Callable[[], Any], str]] = [
    (lambda: mg.soft_vote([[[np.nan, 0.0]]], [1], 1.0), "not finite, the first is model 0, clip row 0"),
    (lambda: mg.soft_vote([[[1, 2], [3]]], [1], 1.0), "logits: wanted numbers in rows of one length"),
    (lambda: mg.SoftVote(temperature=1, weights={"a": 1, "b": 1}).predict_proba({"a": P, "b": P[:1]}),
     r"logits: found shapes a \(2, 2\), b \(1, 2\), wanted one"),
    (lambda: mg.FittedFuser(fuser="rank", models=("a", "b"), fitted={}).predict_proba({"a": P, "b": P[:1]}),
     r"logits: found shapes a \(2, 2\), b \(1, 2\), wanted one"),
    (lambda: mg.fit_temperature([["x"]], [0]), "logits: wanted numbers in rows of one length"),
    (lambda: mg.classification_metrics([[1.0], [0.5, 0.5]], Y), "probs: wanted numbers in rows of one"),
    (lambda: mg.classification_metrics(LOGITS[0], Y), "negative or non-finite value"),
    (lambda: mg.classification_metrics(P, [0, 2]), "1 of 2 are outside 0..1"),
    (lambda: mg.classwise_calibration_error(P, [0.0, 1.0]), "labels: found dtype float64, wanted integers"),
    (lambda: mg.compare_results(P, P[:1], Y), r"found shapes \(2, 2\) and \(1, 2\), wanted equal ones"),
    (lambda: mg.metric_intervals(P, Y, ["one"]), r"groups: found shape \(1,\), wanted \(2,\)"),
    (lambda: mg.metric_intervals(P, Y, ["one", None]), "groups: wanted one text or number for each clip"),
    (lambda: mg.fit_soft_vote(LOGITS, Y, groups=[["a"], "b"]), "groups: wanted one text or number for each"),
    (lambda: mg.classification_metrics(P, [[0], [0, 1]]), "labels: wanted one whole number for each clip"),
    (lambda: mg.soft_vote(LOGITS, [1], 1.0, [[1], [1, 0]]), "present: wanted rows of one length"),
    (lambda: mg.classification_metrics(P, Y, class_counts=[1, -1]), "class counts: found -1, wanted numbers"),
    (lambda: mg.classification_metrics(P, Y, class_counts=[0.5, 1]), "class counts: found 0.5, wanted "),
    (lambda: mg.classification_metrics(P, Y, class_counts=[np.nan, 1]), "class counts: found nan, wan"),
    (lambda: mg.classification_metrics(P, Y, class_counts=["many", 1]), "class counts: wanted numbers"),
    (lambda: mg.classification_metrics(P, Y, class_counts=[1]), r"class counts: found shape \(1,\), wanted"),
    (lambda: mg.fit_fuser("log-linear", LOGITS, Y, class_names=["a"]), "class names: found 1, wanted 2"),
    (lambda: mg.mcnemar(-1, 2), "found counts -1 and 2, wanted at least 0"),
    (lambda: mg.match_names(["a", "a"], ["a"]), "the name 'a' stands twice, in places 1 and 2"),
    (lambda: mg.match_names(["a"], ["b"]), "none of the 1 names is one of the 1 ids wanted"),
    (lambda: mg.write_score_file(FILE, "csv", clip_ids=["a"], values=P, class_names=["x", "y"]),
     r"values: found shape \(2, 2\), wanted \(1, 2\): ids and classes"),
    (lambda: mg.write_score_file(FILE, "ctr-gcn", clip_ids=["a", "a"], values=P, class_names=["x", "y"]),
     "the clip id 'a' stands twice, in places 1 and 2"),
    (lambda: mg.write_score_file(FILE, "csv", clip_ids=["a", "b"], values=[[1, 2], [3]], class_names="xy"),
     "values: wanted numbers in rows of one length"),
    (lambda: mg.write_score_file(FILE, "npz", clip_ids="ab", values=[[1, 2], [3, 1e39]], class_names="xy"),
     "1 rows are not finite in float32, the first is that of 'b'"),
    (lambda: mg.write_submission(FILE, ["a", "a"], [0, 1], classes=2), "1 clip ids are there twice"),
    (lambda: mg.write_submission(FILE, ["a"], [2], classes=2), r"1 answers are outside 0\.\.1"),
    (lambda: mg.write_submission(FILE, ["a"], [0.5], classes=2),  # type: ignore[list-item]
     "1 answers are no whole numbers, the first is 0.5"),
    (lambda: mg.write_submission(FILE, ["a", "b"], [0, "1"], classes=2),  # type: ignore[list-item]
     "1 answers are no whole numbers, the first is '1'"),
    (lambda: mg.write_submission(FILE, ["a"], [None], classes=2),  # type: ignore[list-item]
     "1 answers are no whole numbers, the first is None"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), SETTINGS)
def test_an_argument_out_of_range(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(mg.SettingError, match=text) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    assert not FILE.exists()


@pytest.mark.parametrize(("call", "text"), VALUES)
def test_values_that_cannot_be_used(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(mg.ScoresError, match=text) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    assert not FILE.exists()
