"""Stores are joined by clip id and by nothing else; what cannot be joined says which file and why."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from fusion_toys import CLASSES, DATASET, toy_scores, write_toy

from mg_data.contract import DataError, PluginError, StoreError, UsageError
from mg_data.store import clip_keys, read_logits, read_probs, write_logits
from mg_fusion import SoftVote, fuse_stores, join_stores, soft_vote


def rewrite(path: Path, target: Path, **changes: object) -> Path:
    """Write a copy of a logit store with some arguments changed."""
    store = read_logits(path)
    arguments = {
        "clip_ids": store.clip_ids,
        "values": store.values,
        "class_names": store.class_names,
        "model": store.model,
        "modality": store.modality,
        "branch": store.branch,
        "dataset": store.dataset,
    }
    write_logits(target, **{**arguments, **changes})  # type: ignore[arg-type]
    return target


def test_shuffled_stores_fuse_to_the_same_bytes_and_digest(tmp_path: Path) -> None:
    ordered, _ = write_toy(tmp_path / "a", "val")
    shuffled, _ = write_toy(tmp_path / "b", "val", shuffle=1)
    first, second = fuse_stores(ordered, temperature=2.5), fuse_stores(shuffled[::-1], temperature=2.5)
    assert first.probs.tobytes() == second.probs.tobytes()
    assert first.clip_ids.tolist() == second.clip_ids.tolist()
    digests = {first.write(tmp_path / "1.h5"), second.write(tmp_path / "2.h5")}
    assert len(digests) == 1


def test_fusing_is_the_soft_vote_of_the_joined_scores(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val", shuffle=3)
    logits, _ = toy_scores(60, (1.0, 2.0, 3.0))
    fused = fuse_stores(paths, weights=[1, 2, 1], temperature=2.5)
    expected = soft_vote(logits.astype(np.float32), [1, 2, 1], 2.5)
    np.testing.assert_allclose(fused.probs, expected, atol=1e-6)
    assert fused.weights == {"heat": 0.25, "joint": 0.5, "rgb": 0.25}


def test_weights_follow_the_order_of_the_paths_or_the_branch_names(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    listed = fuse_stores(paths[::-1], weights=[3, 2, 1])
    named = fuse_stores(paths, weights={"rgb": 3, "joint": 2, "heat": 1})
    assert listed.weights == named.weights
    assert listed.probs.tobytes() == named.probs.tobytes()


def test_stores_of_probabilities_vote_like_stores_of_logits(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    logits = read_logits(paths[0])
    probs = np.exp(logits.as_log()) / np.exp(logits.as_log()).sum(axis=1, keepdims=True)
    twin = rewrite(paths[0], tmp_path / "twin.h5", values=probs, space="prob")
    np.testing.assert_allclose(
        fuse_stores([twin, *paths[1:]], temperature=2.5).probs,
        fuse_stores(paths, temperature=2.5).probs,
        atol=1e-6,
    )


def broken(tmp_path: Path, paths: list[Path], what: str) -> tuple[list[Path], str]:
    """Return paths with one store spoilt, and what the message must say."""
    victim, bad = paths[1], tmp_path / "bad.h5"
    if what == "classes":
        rewrite(victim, bad, class_names=[*CLASSES[:-1], "other"])
        return [paths[0], bad], "class 4 is 'scratch', but 'other'|class 4 is 'other', but 'scratch'"
    if what == "class count":
        rewrite(victim, bad, class_names=CLASSES[:-1], values=read_logits(victim).values[:, :-1])
        return [paths[0], bad], "has 4 classes"
    if what == "missing id":
        rewrite(
            victim, bad, clip_ids=read_logits(victim).clip_ids[:-2], values=read_logits(victim).values[:-2]
        )
        return [paths[0], bad, paths[2]], "lacks 2 of 60 clips: 'val058', 'val059'"
    if what == "twice":
        rewrite(victim, bad)
        return [victim, bad], "is model 'joint', and so is"
    if what == "data set":
        rewrite(victim, bad, dataset="other")
        return [paths[0], bad], "is of dataset 'other'"
    if what == "text":
        bad.write_text("clip_id,score\n")
        return [paths[0], bad], "is not an HDF5 file"
    if what == "truncated":
        content = victim.read_bytes()
        bad.write_bytes(content[: len(content) // 2])
        return [paths[0], bad], "is truncated"
    if what == "absent":
        return [paths[0], bad], "does not exist"
    bad.write_bytes(victim.read_bytes())
    with h5py.File(bad, "r+") as file:
        if what == "nan":
            file["logits/values"][3, 1] = np.nan
        else:
            file["index/clip_id"][1] = file["index/clip_id"][0]
    return [paths[0], bad], "holds NaN or infinity in 1 row" if what == "nan" else "1 duplicate clip id"


@pytest.mark.parametrize(
    "what",
    [
        "classes",
        "class count",
        "missing id",
        "twice",
        "data set",
        "text",
        "truncated",
        "absent",
        "nan",
        "duplicate",
    ],
)
def test_stores_that_cannot_be_joined_are_named_in_one_line(tmp_path: Path, what: str) -> None:
    paths, _ = write_toy(tmp_path, "val")
    given, reason = broken(tmp_path, paths, what)
    with pytest.raises(StoreError, match=reason) as caught:
        fuse_stores(given)
    assert "bad.h5" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_names_spelled_differently_are_never_matched_by_position(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    ids = read_logits(paths[1]).clip_ids
    other = rewrite(paths[1], tmp_path / "bad.h5", clip_ids=np.char.replace(ids, "val05", "VAL05"))
    with pytest.raises(
        StoreError, match=r"lacks 10 of 70 clips: .* and it has 10 that no other store has"
    ) as caught:
        fuse_stores([paths[0], other, paths[2]])
    assert "bad.h5" in str(caught.value)
    assert "joined by their exact id" in str(caught.value)


def test_missing_allow_fuses_each_clip_from_the_models_that_answer(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    part = rewrite(
        paths[2],
        tmp_path / "bad.h5",
        clip_ids=read_logits(paths[2]).clip_ids[5:],
        values=read_logits(paths[2]).values[5:],
    )
    fused = fuse_stores([*paths[:2], part], missing="allow", weights=[1, 1, 2])
    alone = fuse_stores(paths[:2], weights=[1, 1])
    everyone = fuse_stores(paths, weights=[1, 1, 2])
    np.testing.assert_allclose(fused.probs[:5], alone.probs[:5], atol=1e-12)
    np.testing.assert_array_equal(fused.probs[5:], everyone.probs[5:])
    assert fused.answered == {"heat": 60, "joint": 60, "rgb": 55}


def test_a_clip_without_any_answer_is_named(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    mask = np.arange(60) != 7
    silent = [rewrite(path, tmp_path / f"s{n}.h5", present=mask) for n, path in enumerate(paths)]
    with pytest.raises(DataError, match=r"1 of 60 clips have no answer .*'val007'"):
        fuse_stores(silent)


def test_parameters_of_other_branches_are_refused(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    params = SoftVote(temperature=2.0, weights={"heat": 0.5, "joint": 0.5})
    with pytest.raises(UsageError, match="no weight for rgb"):
        fuse_stores(paths, params=params)
    with pytest.raises(UsageError, match="joint has positive weight, but no store"):
        fuse_stores(paths[:1], params=params)
    with pytest.raises(StoreError, match="another class list than the fusion parameters"):
        fuse_stores(
            paths[:2], params=SoftVote(temperature=2.0, weights=params.weights, class_names=("a", "b"))
        )


def test_a_branch_of_weight_zero_need_not_be_given(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    params = SoftVote(temperature=2.0, weights={"heat": 0.0, "joint": 0.5, "rgb": 0.5})
    assert (
        fuse_stores(paths, params=params).probs.tobytes()
        == fuse_stores(paths[1:], params=params).probs.tobytes()
    )


def test_the_result_has_seen_what_its_models_and_its_fit_have_seen(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val", branches=("heat",), strengths=(1.0,))
    more, _ = write_toy(
        tmp_path,
        "val",
        branches=("rgb",),
        strengths=(1.0,),
        trained_on=clip_keys(DATASET, ["train001"]),
        selected_on=clip_keys(DATASET, ["chosen"]),
    )
    fit = clip_keys(DATASET, ["fit000"])
    params = SoftVote(
        temperature=1.0, weights={"heat": 0.5, "rgb": 0.5}, fitted_on={"clip_keys": [f"{int(fit[0]):016x}"]}
    )
    fused = fuse_stores([*paths, *more], params=params)
    fused.write(tmp_path / "probs.h5")
    taint = read_probs(tmp_path / "probs.h5").taint
    assert set(taint.trained_on) == set(clip_keys(DATASET, ["train000", "train001"]))
    assert set(taint.selected_on) == {*fit, *clip_keys(DATASET, ["chosen"])}
    assert taint.known


def test_fusers_come_by_name(tmp_path: Path) -> None:
    paths, _ = write_toy(tmp_path, "val")
    answers = {name: fuse_stores(paths, fuser=name).probs for name in ("soft-vote", "log-mean", "majority")}
    for probs in answers.values():
        np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-9)
    total = join_stores(paths).logits.sum(axis=0)
    np.testing.assert_array_equal(answers["log-mean"].argmax(axis=1), total.argmax(axis=1))
    with pytest.raises(PluginError, match="did you mean 'soft-vote'"):
        fuse_stores(paths, fuser="softvote")
