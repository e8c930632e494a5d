"""Saliency crop (paper, section 3.1): the box, the padding, and what resizing does to colour and depth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_data.video.crop import (
    crop_frame,
    frame_choice,
    full_frame_box,
    keypoint_extremes,
    project,
    square_box,
)

pytest.importorskip("cv2")
CAMERA = (100.0, 200.0, 50.0, 60.0)
XYC = ("x", "y", "confidence")


def test_projection_turns_y_down() -> None:
    points = project(np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), CAMERA)
    np.testing.assert_allclose(points[:2], [[100.0, -40.0], [50.0, 60.0]])
    assert np.isnan(points[2]).all()


def test_extremes_are_those_of_visible_points_over_all_frames() -> None:
    joints = np.zeros((3, 1, 4, 3), np.float32)
    joints[0, 0, 0] = (30, 40, 0.9)
    joints[2, 0, 1] = (90, 10, 0.5)
    joints[1, 0, 2] = (500, 500, 0.1)  # not above the threshold
    extremes = keypoint_extremes(joints, XYC)
    assert extremes is not None
    assert extremes.tolist() == [30, 10, 90, 40]
    assert keypoint_extremes(np.zeros((3, 1, 4, 3), np.float32), XYC) is None


def test_three_dimensional_points_are_projected_and_missing_ones_skipped() -> None:
    joints = np.zeros((1, 1, 3, 3), np.float32)
    joints[0, 0, 0] = (1, 1, 2)
    joints[0, 0, 1] = (-1, -1, 4)
    extremes = keypoint_extremes(joints, ("x", "y", "z"), CAMERA)
    assert extremes is not None
    np.testing.assert_allclose(extremes, [25, -40, 100, 110])
    assert keypoint_extremes(joints, ("x", "y", "z"), None) is None


coordinate = st.floats(-2000, 2000, allow_nan=False, width=32)


@given(coordinate, coordinate, st.floats(0, 3000), st.floats(0, 3000), st.floats(0, 1))
def test_the_box_is_a_square_that_holds_extremes_and_margin(
    x0: float, y0: float, width: float, height: float, margin: float
) -> None:
    left, top, right, bottom = square_box(np.array([x0, y0, x0 + width, y0 + height]), margin).astype(float)
    assert right - left == bottom - top
    assert right - left >= (1 + 2 * margin) * max(width, height) - 1e-6 * max(width, height)
    assert right - left <= (1 + 2 * margin) * max(width, height) + 1.001
    assert abs((left + right) / 2 - (x0 + width / 2)) <= 0.51
    assert abs((top + bottom) / 2 - (y0 + height / 2)) <= 0.51


def test_a_box_beyond_the_image_is_padded_with_zero() -> None:
    frame = np.full((10, 10, 3), 200, np.uint8)
    cut = crop_frame(frame, np.array([-5, -5, 5, 5], np.float32), 10)
    assert cut[:5].max() == 0
    assert cut[:, :5].max() == 0
    assert cut[5:, 5:].min() == 200
    assert crop_frame(frame, np.array([20, 20, 30, 30], np.float32), 6).max() == 0


def test_cutting_keeps_pixels_where_no_resizing_is_needed() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    cut = crop_frame(frame, np.array([3, 4, 11, 12], np.float32), 8)
    np.testing.assert_array_equal(cut, frame[4:12, 3:11])


def test_shrinking_colour_is_the_mean_of_what_a_pixel_covers() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[0, 0] = 100
    assert crop_frame(frame, np.array([0, 0, 4, 4], np.float32), 2)[0, 0].tolist() == [25, 25, 25]


def test_missing_depth_never_mixes_with_distance() -> None:
    depth = np.full((4, 4), 3000, np.uint16)
    depth[0, 0] = 0  # one of four: the mean of the other three
    depth[2:, 2:] = 0
    depth[2, 2] = 3000  # one of four: too few
    small = crop_frame(depth, np.array([0, 0, 4, 4], np.float32), 2)
    assert small.tolist() == [[3000, 3000], [3000, 0]]
    large = crop_frame(depth, np.array([0, 0, 4, 4], np.float32), 9)
    assert set(np.unique(large)) == {0, 3000}
    assert large.dtype == np.uint16


def test_the_whole_frame_fits_its_square() -> None:
    assert full_frame_box(320, 240).tolist() == [0, -40, 320, 280]
    assert full_frame_box(720, 1280).tolist() == [-280, 0, 1000, 1280]


@given(st.integers(1, 300), st.integers(0, 80))
def test_kept_frames_are_spread_evenly(num_frames: int, max_frames: int) -> None:
    chosen = frame_choice(num_frames, max_frames)
    assert len(chosen) == (min(num_frames, max_frames) if max_frames else num_frames)
    assert chosen[0] >= 0
    assert chosen[-1] < num_frames
    steps = np.diff(chosen)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)
