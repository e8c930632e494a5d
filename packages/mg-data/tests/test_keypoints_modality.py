"""Modalities over keypoints: shapes, determinism, flips, and what they refuse."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.contract import DataError, UsageError
from mg_data.keypoints import modality
from mg_data.keypoints import transform as tf
from mg_data.keypoints.layouts import find_layout
from mg_data.keypoints.records import MODALITIES
from mg_data.store import ClipsWriter, Provenance

STREAMS = ("joint", "limb", "motion", "joint-motion", "limb-motion")
NAMES = tuple(spec.name for spec in MODALITIES)


def _write(path: Path, dims: str) -> Path:
    rng = np.random.default_rng(0)
    spatial = dims == "xyz"
    layout = find_layout("kinect-20" if spatial else "openpose-137")
    with ClipsWriter(
        path,
        dataset="made",
        class_names=("a", "b"),
        vocabulary="made",
        layout=layout.name,
        columns=("x", "y", "z") if spatial else ("x", "y", "confidence"),
        image_size=(320, 240),
        camera=(285.63, 285.63, 160.0, 120.0) if spatial else None,
        signals={},
        provenance=Provenance(command="test", config={}, inputs={}),
    ) as writer:
        for number, frames in enumerate((40, 7, 1)):
            shape = (frames, 2, len(layout.names))
            if spatial:
                joints = rng.normal([0, 0, 3], 0.3, (*shape, 3))
                joints[:, 1] = 0
            else:
                xy = rng.uniform(50, 200, (*shape, 2))
                joints = np.concatenate([xy, rng.uniform(0, 1, (*shape, 1)) * [[[1.0]], [[0.5]]]], axis=-1)
                joints[joints[..., 2] < 0.1] = 0
            writer.add(
                clip_id=f"clip{number}",
                subject_id="s1",
                video_id="v1",
                start=0,
                stop=frames,
                joints=joints.astype(np.float32),
                signals={},
            )
    return path


@pytest.fixture(scope="module", params=["xy", "xyz"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("clips") / f"{request.param}.h5", request.param)


def _open(name: str, path: Path, **options: Any) -> Any:
    spec = next(spec for spec in MODALITIES if spec.name == name)
    return getattr(modality, spec.factory.split(":")[1])(path, **options)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_announced_shape_and_are_finite(name: str, store: Path) -> None:
    opened = _open(name, store, frames=16)
    for clip_id in opened.clip_ids:
        for rng in (None, np.random.default_rng(0)):
            sample = opened.sample(str(clip_id), rng)
            assert sample.shape == opened.input.shape
            assert sample.dtype == np.float32
            assert np.isfinite(sample).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_state_gives_the_same_sample(name: str, store: Path) -> None:
    opened = _open(name, store, bones=0.1, jitter=0.02, drop=0.1)
    a, b, c = (opened.sample("clip0", np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (a == b).all()
    assert (a != c).any()
    assert (opened.sample("clip0", None) == opened.sample("clip0", None)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_flip_is_an_exact_involution_that_copies(name: str, store: Path) -> None:
    opened = _open(name, store)
    for rng in (None, np.random.default_rng(0)):
        sample = opened.sample("clip0", rng)
        kept = sample.copy()
        flipped = opened.flip(sample)
        assert (sample == kept).all()
        assert (flipped != sample).any()
        assert (opened.flip(flipped) == sample).all()


def test_flipping_positions_and_taking_limbs_commute(store: Path) -> None:
    joints, limbs = _open("joint", store), _open("limb", store)
    layout, dims = joints.layout, joints._dims
    mirrored = joints.flip(joints.sample("clip0", None)).transpose(1, 2, 0)
    expected = tf.limbs(mirrored, layout.parents, dims).transpose(2, 0, 1)
    assert np.allclose(limbs.flip(limbs.sample("clip0", None)), expected, atol=1e-5)


def test_joint_motion_is_joint_and_motion_side_by_side(store: Path) -> None:
    both = _open("joint-motion", store).sample("clip0", None)
    assert (both[:3] == _open("joint", store).sample("clip0", None)).all()
    assert (both[3:] == _open("motion", store).sample("clip0", None)).all()


def test_the_most_confident_person_is_taken(store: Path) -> None:
    opened = _open("joint", store, centre="none", scale="none", sampling="bins", frames=7)
    stored = opened._clips.joints(1)[:, 0]
    seen = tf.present_points(stored, opened._dims)
    sample = opened.sample("clip1", None).transpose(1, 2, 0)
    assert np.allclose(sample[seen], stored[seen])


def test_views_are_as_many_as_asked_and_the_single_one_is_the_sample(store: Path) -> None:
    for name in ("joint", "heatmap"):
        one = _open(name, store).views("clip0")
        assert len(one) == 1
        assert (one[0] == _open(name, store).sample("clip0", None)).all()
        several = _open(name, store, clips=4, frames=8).views("clip0")
        assert len(several) == 4
        assert any((several[0] != other).any() for other in several[1:])


def test_heatmap_points_of_the_whole_box_lie_inside_the_padding(store: Path) -> None:
    sample = _open("heatmap", store, frames=40).sample("clip0", None)
    seen = sample[..., 2] > 0
    assert sample[..., :2][seen].min() >= 0.1 - 1e-5
    assert sample[..., :2][seen].max() <= 0.9 + 1e-5


def test_missing_persons_are_empty(store: Path) -> None:
    sample = _open("heatmap", store, persons=3).sample("clip0", None)
    assert sample.shape[0] == 3
    assert (sample[2] == 0).all()


def test_a_layout_can_be_asked_for(tmp_path: Path) -> None:
    path = _write(tmp_path / "c.h5", "xy")
    opened = _open("joint", path, layout="openpose-68")
    assert opened.input.shape == (3, 64, 68)
    assert opened.input.layout == "openpose-68"
    with pytest.raises(DataError, match=r"'openpose-137' \(xy\) cannot become 'kinect-20'"):
        _open("joint", path, layout="kinect-20")


def test_views_of_a_clip_that_starts_over_differ(store: Path) -> None:
    opened = _open("heatmap", store, frames=12, clips=7)  # clip1 has 7 frames
    views = opened.views("clip1")
    assert len({view.tobytes() for view in views}) == 7
    assert (views[3] == opened.sample("clip1", None)).all()  # the middle one is the test sample


def test_a_modality_survives_pickling(store: Path) -> None:
    opened = _open("joint", store)
    before = opened.sample("clip0", None)
    again = pickle.loads(pickle.dumps(opened))
    assert (again.sample("clip0", None) == before).all()


def test_wrong_options_and_clips_are_named(store: Path) -> None:
    with pytest.raises(UsageError, match="modality 'joint': unknown option 'frame'; known are bones"):
        _open("joint", store, frame=3)
    with pytest.raises(UsageError, match="centre = 'middle', want one of frame, first, none"):
        _open("joint", store, centre="middle")
    with pytest.raises(UsageError, match="frames = 0, want a whole number from 1 on"):
        _open("heatmap", store, frames=0)
    for name, option, value, wanted in (
        ("joint", "crop", 2.5, "more than 0 and up to 1"),
        ("joint", "zoom", -1.0, "0 or more and less than 1"),
        ("joint", "rotate", -5.0, "0 or more degrees, or -1 for the default"),
        ("limb", "bones", float("nan"), "0 or more and less than 1"),
        ("motion", "drop", 1.0, "0 or more and less than 1"),
        ("heatmap", "crop_area", 0.0, "more than 0 and up to 1"),
        ("heatmap", "padding", "x", "more than -1"),
    ):
        with pytest.raises(UsageError, match=f"modality '{name}': {option} = {value!r}, want {wanted}"):
            _open(name, store, **{option: value})
    with pytest.raises(DataError, match="clip 'nobody' is not among the 3 clips"):
        _open("joint", store).sample("nobody", None)


def test_listing_records_loads_no_numpy() -> None:
    code = "import sys, mg_data.keypoints.records; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_layout_of_another_family_is_converted_where_points_correspond(tmp_path: Path) -> None:
    path = tmp_path / "whole-body.h5"
    layout = find_layout("coco-wholebody-133")
    joints = np.random.default_rng(3).uniform(20, 200, (12, 1, len(layout.names), 3)).astype(np.float32)
    joints[..., 2] = 1.0
    with ClipsWriter(path, dataset="made", class_names=("a",), layout=layout.name) as writer:
        writer.add(clip_id="c", subject_id="s", video_id="v", start=0, stop=12, joints=joints)
    options = {"frames": 12, "centre": "none", "scale": "none"}
    sample = _open("joint", path, layout="openpose-68", **options).sample("c", None)
    wanted = find_layout("openpose-68")
    wrist = layout.names.index("left_wrist")
    np.testing.assert_allclose(
        sample[:2, :, wanted.names.index("left_wrist")].T, joints[:, 0, wrist, :2], rtol=1e-6
    )
    shoulders = [layout.names.index(f"{side}_shoulder") for side in ("left", "right")]
    np.testing.assert_allclose(
        sample[:2, :, wanted.names.index("neck")].T, joints[:, 0, shoulders, :2].mean(axis=1), rtol=1e-6
    )
    with pytest.raises(DataError, match="pixels and metres do not convert"):
        _open("joint", path, layout="kinect-20")
