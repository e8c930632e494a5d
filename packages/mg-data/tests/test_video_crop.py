"""Saliency crop (paper, section 3.1): the box, the padding, and what resizing does to colour and depth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_data.video.crop import (
    clip_extremes,
    crop_frame,
    frame_choice,
    frame_extremes,
    full_frame_box,
    keypoint_extremes,
    project,
    shaped_boxes,
    smooth_boxes,
    square_box,
    steady_points,
    visible_points,
)
from mg_data.video.picture import Picture

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


def test_a_box_moved_by_a_part_of_a_pixel_moves_the_picture_by_that_part() -> None:
    rows, columns = np.mgrid[0:60, 0:80]
    frame = np.repeat((2 * columns + rows)[..., None], 3, axis=2).astype(np.uint8)
    for side in (20, 40):  # growing, and shrinking to the mean
        for shift in np.linspace(0, 1, 9):
            box = np.array([10 + shift, 8, 10 + shift + side, 8 + side])
            cut = crop_frame(frame, box, 30).astype(float)
            place = 10 + shift + side * (np.arange(30) + 0.5) / 30 - 0.5
            height = 8 + side * (np.arange(30) + 0.5) / 30 - 0.5
            expected = 2 * place[None] + height[:, None]
            # A mean of whole pixels is a step function's, so it is off the ramp by a little.
            assert np.abs(cut[..., 0] - expected).max() <= 0.7


@given(
    st.floats(-30, 60),
    st.floats(-30, 60),
    st.floats(3, 90),
    st.sampled_from(["zero", "replicate", "reflect"]),
)
def test_shrinking_keeps_the_mean_and_stays_within_the_colours(
    x: float, y: float, side: float, padding: str
) -> None:
    frame = np.random.default_rng(0).integers(40, 200, (48, 64, 3), np.uint8)
    cut = crop_frame(frame, np.array([x, y, x + side, y + side]), 16, padding)
    assert cut.shape == (16, 16, 3)
    assert cut.max() <= frame.max()
    if padding != "zero":
        assert cut.min() >= frame.min()


def test_beyond_the_border_lies_what_was_asked_for() -> None:
    frame = np.arange(1, 6, dtype=np.uint8)[None].repeat(5, axis=0) * 10
    box = np.array([-3, 0, 5, 5])
    assert crop_frame(frame, box, (8, 5))[0].tolist() == [0, 0, 0, 10, 20, 30, 40, 50]
    assert crop_frame(frame, box, (8, 5), "replicate")[0].tolist() == [10, 10, 10, 10, 20, 30, 40, 50]
    assert crop_frame(frame, box, (8, 5), "reflect")[0].tolist() == [40, 30, 20, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "yuv444p", "nv12", "gray"])
@pytest.mark.parametrize("space", [0, 1, 2, 5, 6, 7, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_cutting_before_converting_equals_converting_before_cutting(
    form: str, space: int, full_range: bool
) -> None:
    av = pytest.importorskip("av")
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(space)
    # Blurred, so that hardly a pixel lies outside what RGB can show: there alone the order matters.
    noise = cv2.GaussianBlur(rng.random((98, 131, 3)).astype(np.float32), (0, 0), 3)
    image = np.clip(255 * (noise - 0.35) / 0.3, 20, 235).astype(np.uint8)[:98, :130]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format=form)
    frame.colorspace, frame.color_range = space, 2 if full_range else 1
    whole = Picture(frame).rgb()
    for box in ([10, 12, 90, 92], [11, 13, 72, 74], [-20.5, 30.25, 60.5, 111.25], [40, 40, 60.5, 60.5]):
        for padding in ("zero", "replicate", "reflect"):
            expected = crop_frame(whole, np.array(box), 32, padding).astype(int)
            difference = np.abs(Picture(frame).crop(np.array(box), 32, padding) - expected)
            # FFmpeg's conversion is itself up to two levels off, mostly downwards.
            assert difference.max() <= 6
            assert difference.mean() < 2.0


def tracked(noise: float = 0.0, count: int = 40) -> np.ndarray:
    """Return joints (T, 1, 20, 3) of a person who sways; the last keypoint is a hand that is raised once."""
    rng = np.random.default_rng(5)
    joints = np.empty((count, 1, 20, 3), np.float32)
    body = rng.uniform([200, 100], [300, 300], (20, 2))
    joints[:, 0, :, :2] = body + 10 * np.sin(np.arange(count) / 8)[:, None, None]
    joints[:, 0, :, :2] += rng.normal(0, noise, (count, 20, 2)) if noise else 0
    joints[15:19, 0, 19, :2] = (250, 20)
    joints[..., 2] = 0.9
    return joints


def test_a_point_that_jumps_for_a_frame_does_not_blow_up_the_box() -> None:
    joints = tracked()
    clean = clip_extremes(visible_points(joints, XYC))
    assert clean is not None
    wild = joints.copy()
    wild[4, 0, 3, :2] = (900, 900)
    wild[0, 0, 5, :2] = (-500, 0)
    wild[39, 0, 6, :2] = (2000, 40)
    wild[20:22, 0, 7, :2] = (10, 800)
    points = visible_points(wild, XYC)
    steady = clip_extremes(steady_points(points))
    assert steady is not None
    np.testing.assert_allclose(steady, clean, atol=4)
    # The raised hand of four frames is no error.
    assert steady[1] == pytest.approx(20)
    everything = clip_extremes(points)
    assert everything is not None
    assert everything[2] == 2000


def test_points_seen_too_rarely_are_dropped_unless_there_is_nothing_else() -> None:
    joints = tracked()
    joints[:, 0, 3] = 0
    joints[7, 0, 3] = (700, 700, 0.9)
    steady = clip_extremes(steady_points(visible_points(joints, XYC)))
    assert steady is not None
    assert steady.max() < 400
    lonely = np.zeros((9, 1, 4, 3), np.float32)
    lonely[4, 0, 1] = (30, 40, 0.5)
    points = visible_points(lonely, XYC)
    np.testing.assert_array_equal(steady_points(points), points)
    assert clip_extremes(steady_points(np.full((9, 1, 4, 2), np.nan))) is None
    short = visible_points(tracked(count=4), XYC)
    np.testing.assert_array_equal(steady_points(short), short)


@given(st.integers(1, 60), st.floats(0, 12), st.integers(0, 2**32 - 1))
def test_smoothed_boxes_hold_every_frames_own_box(count: int, sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 100, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 200, (count, 2))], axis=1)
    boxes[rng.random(count) < 0.3] = np.nan
    smooth = smooth_boxes(boxes, sigma)
    seen = np.isfinite(boxes[:, 0])
    assert (smooth is None) == (not seen.any())
    if smooth is not None:
        assert np.isfinite(smooth).all()
        assert (smooth[seen, :2] <= boxes[seen, :2] + 1e-9).all()
        assert (smooth[seen, 2:] >= boxes[seen, 2:] - 1e-9).all()


def test_boxes_of_frames_do_not_jitter() -> None:
    raw = frame_extremes(visible_points(tracked(noise=3.0), XYC))
    smooth = smooth_boxes(raw, 4.0)
    assert smooth is not None
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.35 * np.abs(np.diff(raw, axis=0)).mean()
    assert np.abs(np.diff(smooth, n=2, axis=0)).mean() < 0.1 * np.abs(np.diff(raw, n=2, axis=0)).mean()


def test_frames_without_keypoints_lie_between_their_neighbours() -> None:
    boxes = np.full((9, 4), np.nan)
    boxes[2], boxes[6] = (0, 0, 10, 10), (40, 0, 50, 10)
    filled = smooth_boxes(boxes, 0.0)
    assert filled is not None
    assert filled[:, 0].tolist() == [0, 0, 0, 10, 20, 30, 40, 40, 40]


@given(
    st.floats(1, 500),
    st.floats(1, 500),
    st.floats(0, 1),
    st.sampled_from([(224, 224), (192, 256), (320, 180)]),
)
def test_boxes_grow_to_the_outputs_aspect(
    width: float, height: float, margin: float, size: tuple[int, int]
) -> None:
    box = shaped_boxes(np.array([50.0, 60.0, 50 + width, 60 + height]), margin, size[0] / size[1]).astype(
        float
    )
    wide, high = box[2] - box[0], box[3] - box[1]
    assert wide / high == pytest.approx(size[0] / size[1], rel=1e-3)
    assert wide >= (1 + 2 * margin) * width * 0.9999
    assert high >= (1 + 2 * margin) * height * 0.9999
    assert (box[0] + box[2]) / 2 == pytest.approx(50 + width / 2, abs=1e-2)
    assert (box[1] + box[3]) / 2 == pytest.approx(60 + height / 2, abs=1e-2)


def test_the_whole_frame_of_another_aspect_is_not_squeezed() -> None:
    np.testing.assert_allclose(full_frame_box(320, 240, 0.75), [0, -93.3333, 320, 333.3333], rtol=1e-4)
    np.testing.assert_allclose(full_frame_box(720, 1280, 16 / 9), [-777.7778, 0, 1497.7778, 1280], atol=1e-3)
