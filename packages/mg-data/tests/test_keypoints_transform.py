"""Transforms are pure, give finite numbers, and keep the facts of geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mg_data.keypoints import transform as tf
from mg_data.keypoints.layouts import find_layout, flip_permutation, limb_matrix

KINECT, OPENPOSE = find_layout("kinect-20"), find_layout("openpose-68")


def _xyz(frames: int = 12, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.normal([0, 0, 3], 0.3, (frames, 20, 3)).astype(np.float32)


def _xy(frames: int = 12, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    points = rng.uniform(100, 500, (frames, 68, 2))
    return np.concatenate([points, rng.uniform(0.2, 1, (frames, 68, 1))], axis=-1).astype(np.float32)


def test_a_gap_is_bridged_in_a_straight_line_and_ends_hold() -> None:
    joints = _xy(5)
    joints[:, 3, :2] = [[0, 0], [10, 20], [0, 0], [30, 40], [0, 0]]
    joints[[0, 2, 4], 3] = 0
    present = tf.present_points(joints, "xy")
    filled = tf.fill_missing(joints, present, OPENPOSE.parents, OPENPOSE.centre, "xy")
    assert filled[:, 3, :2].tolist() == [[10, 20], [10, 20], [20, 30], [30, 40], [30, 40]]
    assert (filled[[0, 2, 4], 3, 2] == 0).all()


def test_a_keypoint_never_seen_stands_at_its_parent() -> None:
    joints = _xy()
    joints[:, 20:30] = np.nan
    present = tf.present_points(joints, "xy")
    filled = tf.fill_missing(joints, present, OPENPOSE.parents, OPENPOSE.centre, "xy")
    assert np.isfinite(filled).all()
    limbs = tf.limbs(filled, OPENPOSE.parents, "xy")
    assert (limbs[:, 20:30] == 0).all()


@pytest.mark.parametrize("dims", ["xy", "xyz"])
def test_a_clip_without_any_keypoint_gives_zeros_and_no_nan(dims: tf.Dims) -> None:
    layout = OPENPOSE if dims == "xy" else KINECT
    joints = np.zeros((4, len(layout.names), 3), np.float32)
    filled = tf.fill_missing(joints, tf.present_points(joints, dims), layout.parents, layout.centre, dims)
    size = tf.body_size(filled, layout.parents, dims)
    assert size == 1.0
    assert (tf.scale_normalise(filled, size, dims) == 0).all()


def test_centring_removes_where_the_person_stands() -> None:
    joints = _xyz()
    moved = joints + np.array([0.5, -0.2, 1.0], np.float32)
    a, b = (tf.centre_normalise(x, KINECT.centre, "xyz") for x in (joints, moved))
    assert np.allclose(a, b, atol=1e-6)
    assert (a[:, KINECT.centre] == 0).all()


def test_centring_on_the_first_frame_keeps_the_path() -> None:
    joints = _xyz()
    first = tf.centre_normalise(joints, KINECT.centre, "xyz", "first")
    assert np.allclose(first[:, KINECT.centre], joints[:, KINECT.centre] - joints[0, KINECT.centre])


def test_size_normalisation_makes_large_and_small_persons_equal() -> None:
    joints = _xyz()
    large = joints * np.float32(1.3)
    a, b = (tf.scale_normalise(x, tf.body_size(x, KINECT.parents, "xyz"), "xyz") for x in (joints, large))
    assert np.allclose(a, b, atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_bins_give_frames_of_the_clip_in_order(length: int, frames: int, seed: int) -> None:
    for rng in (None, np.random.default_rng(seed)):
        picked = tf.sample_bins(length, frames, rng, short="repeat")
        assert picked.shape == (frames,)
        assert picked.min() >= 0
        assert picked.max() < length
        assert (np.diff(picked) >= 0).all()
        if length >= frames:
            assert len(set(picked.tolist())) == frames
            edges = np.arange(frames + 1) * length // frames
            assert ((edges[:-1] <= picked) & (picked < edges[1:])).all()
        wrapped = tf.sample_bins(length, frames, rng, short="wrap")
        assert wrapped.max() < length


def test_short_clips_wrap_as_posec3d_does() -> None:
    assert tf.sample_bins(3, 7, None, short="wrap").tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_straight_motion_stays_straight_when_resampled() -> None:
    joints = (np.arange(30, dtype=np.float32)[:, None, None] * np.ones((1, 20, 3), np.float32)) * 0.1
    times = tf.sample_times(30, 64, np.random.default_rng(1), crop=0.5)
    steps = np.diff(tf.at_times(joints, times), axis=0)
    assert np.allclose(steps, steps[0, 0, 0], atol=1e-5)


def test_the_deterministic_sample_covers_the_whole_clip() -> None:
    assert tf.sample_times(30, 4, None, crop=0.5).tolist() == [0, 29 / 3, 58 / 3, 29]


def test_confidence_of_a_limb_is_the_lower_one_of_its_ends() -> None:
    joints = _xy()
    limbs = tf.limbs(joints, OPENPOSE.parents, "xy")
    expected = np.minimum(joints[..., 2], joints[:, list(OPENPOSE.parents), 2])
    assert (limbs[..., 2] == expected).all()


def test_motion_sums_to_the_whole_way() -> None:
    joints = _xyz()
    assert np.allclose(tf.motion(joints, "xyz").sum(axis=0), joints[-1] - joints[0], atol=1e-5)


def test_a_turn_about_the_vertical_keeps_heights_and_bone_lengths() -> None:
    joints = _xyz()
    view = tf.random_view(np.random.default_rng(3), "xyz", rotate=60, zoom=0, shear=0)
    turned = tf.transform_points(joints, view, joints[0, 3])
    assert np.allclose(turned[..., 1], joints[..., 1], atol=1e-6)
    lengths = [np.linalg.norm(tf.limbs(x, KINECT.parents, "xyz"), axis=-1) for x in (joints, turned)]
    assert np.allclose(*lengths, atol=1e-5)
    assert not np.allclose(turned, joints, atol=1e-2)


def test_stretched_bones_keep_their_directions_and_are_equal_left_and_right() -> None:
    joints = _xyz()
    rng = np.random.default_rng(0)
    flip = flip_permutation(KINECT)
    out = tf.stretch_bones(joints, KINECT.parents, limb_matrix(KINECT), flip, "xyz", 0.2, rng)
    before, after = (tf.limbs(x, KINECT.parents, "xyz") for x in (joints, out))
    ratio = np.linalg.norm(after, axis=-1)[:, 1:3] / np.linalg.norm(before, axis=-1)[:, 1:3]
    assert np.allclose(ratio, ratio[:1], atol=1e-4)
    bones = [v for v in range(20) if v != KINECT.centre]
    factor = (np.linalg.norm(after, axis=-1) / np.maximum(np.linalg.norm(before, axis=-1), 1e-9)).mean(axis=0)
    assert np.allclose(factor[bones], factor[flip][bones], atol=1e-3)
    assert (np.abs(factor[bones] - 1) <= 0.2 + 1e-3).all()


def test_projection_follows_the_camera() -> None:
    point = np.array([[[0.5, 0.25, 2.0]]], np.float32)
    camera = (285.63, 285.63, 160.0, 120.0)
    assert np.allclose(tf.project(point, camera), [[[160 + 285.63 / 4, 120 - 285.63 / 8]]])
    assert np.allclose(tf.project(point, None), [[[0.5, -0.25]]])


def test_a_point_behind_the_camera_stays_finite() -> None:
    assert np.isfinite(tf.project(np.array([[[1.0, 1.0, -2.0]]], np.float32), (1, 1, 0, 0))).all()


def test_the_box_is_square_and_padded_about_what_is_seen() -> None:
    points = np.array([[0.0, 0.0], [100.0, 40.0], [9999.0, 9999.0]])
    x0, y0, side = tf.square_box(points, np.array([True, True, False]), 0.25)
    assert (x0, y0, side) == (-12.5, -42.5, 125.0)


def test_random_crops_stay_in_the_unit_square() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, width, height = tf.random_crop(rng, 0.56)
        assert left >= 0
        assert top >= 0
        assert left + width <= 1 + 1e-9
        assert top + height <= 1 + 1e-9
        assert width * height >= 0.56 - 1e-9


@pytest.mark.parametrize("dims", ["xy", "xyz"])
def test_no_transform_changes_its_argument_or_the_global_generator(dims: tf.Dims) -> None:
    layout, joints = (OPENPOSE, _xy()) if dims == "xy" else (KINECT, _xyz())
    kept, rng = joints.copy(), np.random.default_rng(0)
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    flip = flip_permutation(layout)
    tf.fill_missing(joints, tf.present_points(joints, dims), layout.parents, layout.centre, dims)
    tf.centre_normalise(joints, layout.centre, dims)
    tf.scale_normalise(joints, 2.0, dims)
    tf.limbs(joints, layout.parents, dims)
    tf.motion(joints, dims)
    tf.transform_points(joints, tf.random_view(rng, dims, rotate=9, zoom=0.1, shear=0.1))
    tf.stretch_bones(joints, layout.parents, limb_matrix(layout), flip, dims, 0.1, rng)
    tf.jitter_points(joints, 0.1, dims, rng)
    tf.drop_points(joints, 0.5, rng)
    tf.flip_people(joints[None], flip)
    tf.flip_stream(np.ascontiguousarray(joints.transpose(2, 0, 1)), flip)
    assert (joints == kept).all()
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
