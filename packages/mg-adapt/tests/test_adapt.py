"""Pseudo-labels: threshold, votes, weights from fusion.json, the round guard and the taint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_adapt.files import file_digest
from mg_adapt.stages.adapt import adapt
from mg_data.contract import PluginError, StoreError, TaintError, UsageError
from mg_data.store import clip_keys, read_logits, read_pseudo, read_split, write_logits, write_split

CLASSES = ("a", "b")
TARGET = ("t0", "t1", "t2", "t3")


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "split.h5"
    write_split(
        path,
        dataset="toy",
        clip_ids=["x0", "x1", "x2", *TARGET],
        names=["train", "train", "val", *["target"] * 4],
        labels=[0, 0, 1, -1, -1, -1, -1],
        class_names=CLASSES,
    )
    return path


def logits(
    path: Path, branch: str, probs_of_a: Sequence[float], ids: Sequence[str] = TARGET, **options: Any
) -> Path:
    p = np.array(probs_of_a)
    write_logits(
        path,
        clip_ids=ids,
        values=np.log(np.stack([p, 1 - p], axis=1)),
        class_names=options.pop("class_names", CLASSES),
        model="m",
        modality="joint",
        branch=branch,
        dataset="toy",
        trained_on=options.pop("trained_on", clip_keys("toy", ["x0", "x1"])),
        **options,
    )
    return path


def fusion(
    path: Path, weights: dict[str, float], temperature: float = 2.5, fit: Sequence[str] = ("x2",)
) -> Path:
    keys = [f"{int(key):016x}" for key in clip_keys("toy", fit)]
    value = {
        "format": "mg-fusion",
        "version": 1,
        "temperature": temperature,
        "weights": weights,
        "class_names": list(CLASSES),
        "fitted_on": {"clips": len(keys), "clip_keys": keys},
    }
    path.write_text(json.dumps(value))
    return path


def run(split: Path, stores: Sequence[Path], **options: Any) -> tuple[dict[str, Any], Any]:
    from mg_adapt_toy import Talk

    out = split.with_name("pseudo.h5")
    result = adapt(console=Talk(), logits=list(stores), split=split, out=out, **options)
    return dict(result.data), read_pseudo(out)


def test_the_weighted_vote_above_alpha_becomes_the_label(split: Path, tmp_path: Path) -> None:
    first = logits(tmp_path / "1.h5", "joint", [0.9, 0.6, 0.2, 0.5])
    # Rows in another order, and a clip that is no target: joined by id, the stranger left aside.
    second = logits(tmp_path / "2.h5", "rgb", [0.5, 0.2, 0.7, 0.8, 0.99], ids=("t3", "t2", "t1", "t0", "x2"))
    params = fusion(tmp_path / "fusion.json", {"joint": 3.0, "rgb": 1.0})
    data, pseudo = run(split, [first, second], params=params)
    # a: 3/4 * (.9 .6 .2 .5) + 1/4 * (.8 .7 .2 .5) = .875 .625 .2 .5
    assert pseudo.clip_ids.tolist() == ["t0", "t2"]
    assert pseudo.labels.tolist() == [0, 1]
    assert pseudo.confidence.tolist() == pytest.approx([0.875, 0.8], abs=1e-6)
    assert pseudo.votes.tolist() == [[0, 0], [1, 1]]
    assert pseudo.model_names == ("joint", "rgb")
    assert (pseudo.threshold, pseudo.temperature, pseudo.round, pseudo.candidates) == (0.65, 1.0, 1, 4)
    assert data["yield"] == 0.5
    assert data["agreement"] == 1.0
    # At tau 2.5 only t0 stays: sigmoid(ln(9) / 2.5) = .707, sigmoid(ln(4) / 2.5) = .635 -> .689; t2: .635
    assert data["yield_at_fitted_temperature"] == 0.25
    assert [row["expected"] for row in data["classes"]] == [2.67, 1.33]


def test_the_taint_is_the_models_and_the_fitted_clips(split: Path, tmp_path: Path) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9] * 4)
    _, pseudo = run(split, [store], params=fusion(tmp_path / "fusion.json", {"joint": 1.0}))
    assert set(pseudo.taint.trained_on.tolist()) == set(clip_keys("toy", ["x0", "x1"]).tolist())
    assert set(pseudo.taint.selected_on.tolist()) == set(clip_keys("toy", ["x2"]).tolist())


def test_a_vote_that_target_clips_chose_is_refused(split: Path, tmp_path: Path) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9] * 4)
    params = fusion(tmp_path / "fusion.json", {"joint": 1.0}, fit=("x2", "t0", "t3"))
    for round_number in (1, 2):
        with pytest.raises(
            TaintError, match=r"--params: was fitted on 2 target clip\(s\) of .*split\.h5, whose"
        ):
            run(split, [store], params=params, round=round_number)


def test_a_second_round_must_be_asked_for(split: Path, tmp_path: Path) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9] * 4, trained_on=clip_keys("toy", ["x0", "t1"]))
    with pytest.raises(TaintError, match=r"'joint' was trained on 1 pseudo-labelled target clip.*--round 2"):
        run(split, [store])
    _, pseudo = run(split, [store], round=2)
    assert pseudo.round == 2


def test_an_absent_answer_leaves_the_vote_to_the_others(split: Path, tmp_path: Path) -> None:
    first = logits(tmp_path / "1.h5", "joint", [0.9, 0.9, 0.1, 0.5])
    second = logits(tmp_path / "2.h5", "rgb", [0.1] * 4, present=[0, 1, 1, 0])
    _, pseudo = run(split, [first, second])
    assert pseudo.clip_ids.tolist() == ["t0", "t2"]
    assert pseudo.votes.tolist() == [[0, -1], [1, 1]]


def test_agreement_wants_the_models_own_votes(split: Path, tmp_path: Path) -> None:
    first = logits(tmp_path / "1.h5", "joint", [0.99, 0.9, 0.1, 0.5])
    second = logits(tmp_path / "2.h5", "rgb", [0.45, 0.8, 0.2, 0.5])
    _, plain = run(split, [first, second])
    assert plain.clip_ids.tolist() == ["t0", "t1", "t2"]
    _, strict = run(split, [first, second], adapter="agreement")
    assert strict.clip_ids.tolist() == ["t1", "t2"]


def test_nothing_above_alpha_is_an_empty_store(split: Path, tmp_path: Path) -> None:
    data, pseudo = run(split, [logits(tmp_path / "1.h5", "joint", [0.5] * 4)])
    assert len(pseudo) == 0
    assert data["labels"] == 0


def test_stores_and_weights_that_do_not_fit_are_refused(split: Path, tmp_path: Path) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9] * 4)
    with pytest.raises(UsageError, match="no weight for branch 'joint'"):
        run(split, [store], params=fusion(tmp_path / "f1.json", {"rgb": 1.0}))
    with pytest.raises(UsageError, match="gives weight 1 to branch 'rgb', whose logits are not given"):
        run(split, [store], params=fusion(tmp_path / "f2.json", {"joint": 1.0, "rgb": 1.0}))
    with pytest.raises(UsageError, match="two logit stores are of one branch"):
        run(split, [store, store])
    with pytest.raises(StoreError, match="lacks 1 of 4"):
        run(split, [logits(tmp_path / "2.h5", "rgb", [0.9] * 3, ids=TARGET[:3])])
    with pytest.raises(StoreError, match="its 2 classes are not the 2 of"):
        run(split, [logits(tmp_path / "3.h5", "rgb", [0.9] * 4, class_names=("b", "a"))])
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(StoreError, match="is no JSON file"):
        run(split, [store], params=bad)
    with pytest.raises(UsageError, match=r"--threshold must lie in \[0, 1\)"):
        run(split, [store], threshold=1.5)


@pytest.fixture(autouse=True)
def _plugins(toy_plugin: None) -> None:
    """Every test here reads the registry."""


def test_the_fitted_temperature_can_be_asked_for(split: Path, tmp_path: Path) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9, 0.6, 0.2, 0.5])
    params = fusion(tmp_path / "fusion.json", {"joint": 1.0})
    data, pseudo = run(split, [store], params=params, temperature="fitted")
    assert pseudo.temperature == 2.5
    assert data["yield"] == data["yield_at_fitted_temperature"]
    with pytest.raises(UsageError, match=r"--temperature fitted needs --params"):
        run(split, [store], temperature="fitted")
    with pytest.raises(UsageError, match=r"calibrated: the fusion\.json has none"):
        run(split, [store], params=params, temperature="calibrated")
    value = json.loads(params.read_text())
    params.write_text(json.dumps({**value, "search": {"calibrated_temperature": 0.5}}))
    data, pseudo = run(split, [store], params=params, temperature="calibrated")
    # At tau 0.5: sigmoid(2 ln(9)) = .988, sigmoid(2 ln(1.5)) = .692, sigmoid(2 ln(4)) = .941, .5
    assert pseudo.clip_ids.tolist() == ["t0", "t1", "t2"]
    with pytest.raises(UsageError, match="must be a number, 'fitted' or 'calibrated', found 'warm'"):
        run(split, [store], temperature="warm")
    with pytest.raises(UsageError, match="must be positive, found 0"):
        run(split, [store], temperature=0)


def test_a_small_temperature_leaves_the_votes_as_they_are_and_none_is_no_number(
    split: Path, tmp_path: Path
) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9, 0.6, 0.2, 0.4])
    # ln(9) / 1e-308 is beyond the range of numbers.
    _, pseudo = run(split, [store], temperature=1e-308)
    assert (pseudo.labels.tolist(), pseudo.confidence.tolist()) == ([0, 0, 1, 1], [1.0] * 4)
    params = fusion(tmp_path / "fusion.json", {"joint": 1.0})
    value = json.loads(params.read_text())
    for change, tau in (
        ({"temperature": float("inf")}, "inf"),
        ({"search": {"calibrated_temperature": 0}}, "0.0"),
        ({"search": {"calibrated_temperature": float("nan")}}, "nan"),
    ):
        params.write_text(json.dumps(value | change))
        with pytest.raises(StoreError, match=f"needs finite temperatures above 0, found {tau}"):
            run(split, [store], params=params, temperature="calibrated")


def test_the_record_names_the_digest_of_everything_that_was_read(split: Path, tmp_path: Path) -> None:
    first = logits(tmp_path / "1.h5", "joint", [0.9] * 4)
    second = logits(tmp_path / "2.h5", "split", [0.9] * 4)
    params = fusion(tmp_path / "fusion.json", {"joint": 1.0, "split": 1.0})
    data, pseudo = run(split, [first, second], params=params)
    assert pseudo.provenance.inputs == {
        "joint": read_logits(first).digest,
        "logits:split": read_logits(second).digest,
        "split": read_split(split).digest,
        "params": file_digest(params),
    }
    assert data["inputs"] == pseudo.provenance.inputs


def test_the_yield_of_each_class_stands_against_the_sources_frequencies(split: Path, tmp_path: Path) -> None:
    data, _ = run(split, [logits(tmp_path / "1.h5", "joint", [0.9, 0.8, 0.7, 0.1])])
    # Source: two thirds a. Labels: three a (least 0.7), one b.
    first, second = data["classes"]
    assert (first["labels"], first["expected"]) == (3, 2.67)
    assert first["ratio"] == pytest.approx((3 / 4) / (2 / 3), abs=1e-4)
    assert first["least_confidence"] == pytest.approx(0.7, abs=1e-6)
    assert second["ratio"] == pytest.approx((1 / 4) / (1 / 3), abs=1e-4)
    data, _ = run(split, [logits(tmp_path / "2.h5", "joint", [0.5] * 4)])
    assert data["classes"][0] == {
        "class": "a", "labels": 0, "expected": 2.67, "ratio": None, "least_confidence": None
    }  # fmt: skip


def test_the_yield_at_the_fitted_temperature_is_that_of_the_adapter_itself(
    split: Path, tmp_path: Path
) -> None:
    first = logits(tmp_path / "1.h5", "joint", [0.99, 0.98, 0.97, 0.96])
    second = logits(tmp_path / "2.h5", "rgb", [0.9, 0.9, 0.4, 0.4])
    params = fusion(tmp_path / "fusion.json", {"joint": 1.0, "rgb": 1.0}, temperature=1.5)
    data, _ = run(split, [first, second], params=params, adapter="agreement", threshold=0.6)
    assert (data["labels"], data["yield_at_fitted_temperature"]) == (2, 0.5)


def test_an_adapter_without_alpha_writes_none(split: Path, tmp_path: Path) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9, 0.8, 0.3, 0.2])
    data, pseudo = run(split, [store], adapter="balanced-top-k", options={"prior": "uniform"})
    assert pseudo.clip_ids.tolist() == ["t0", "t3"]
    assert (pseudo.threshold, data["threshold"], data["adapter"]) == (0.0, 0.0, "balanced-top-k")
    assert pseudo.probs is not None
    # An alpha among the options is the one that held, and so the one that is written.
    data, pseudo = run(split, [store], adapter="flexmatch", options={"threshold": 0.75, "floor": 0.0})
    assert pseudo.threshold == data["threshold"] == 0.75


def test_a_round_asked_for_too_early_is_said(split: Path, tmp_path: Path) -> None:
    from mg_adapt_toy import Talk

    talk = Talk()
    store = logits(tmp_path / "1.h5", "joint", [0.9] * 4)
    adapt(console=talk, logits=[store], split=split, out=tmp_path / "p.h5", round=2)
    assert any("--round 2: no model has trained on target clips yet" in line for line in talk.lines)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([0, 0], [1, 1], r"rows that are not distinct numbers of 0\.\.3"),
        ([4], [1], r"rows that are not distinct numbers of 0\.\.3"),
        ([1], [2], r"labels outside 0\.\.1"),
        ([1, 2], [0], "rows, labels and confidence of unequal shapes"),
    ],
)
def test_an_answer_that_is_no_choice_of_clips_is_the_adapters_error(
    split: Path, tmp_path: Path, rows: list[int], labels: list[int], message: str
) -> None:
    store = logits(tmp_path / "1.h5", "joint", [0.9] * 4)
    with pytest.raises(PluginError, match=f"adapter 'strange' returned {message}"):
        run(split, [store], adapter="strange", options={"rows": rows, "labels": labels})
