"""Following people through a clip, and smoothing what was found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mg_data.keypoints.smoothing import METHODS, OneEuro, clean, smooth
from mg_data.keypoints.tracking import track_people

pytest.importorskip("scipy")

NUM_POINTS = 12
Array = NDArray[np.float32]


def person(rng: np.random.Generator, x: float, y: float, height: float, confidence: float = 0.8) -> Array:
    """Return (V, 3) of somebody around (x, y); positions are quarter pixels, so that offsets are exact."""
    points = np.empty((NUM_POINTS, 3), np.float32)
    points[:, :2] = np.round(4 * (rng.uniform(-0.5, 0.5, (NUM_POINTS, 2)) * height + [x, y])) / 4
    points[0, :2], points[1, :2] = (x - height / 2, y - height / 2), (x + height / 2, y + height / 2)
    points[:, 2] = confidence
    return points


def sway(rng: np.random.Generator, shape: Array, frames: int, by: float = 4.0) -> Array:
    """Return (T, V, 3): the same person, moving by up to ``by`` pixels a frame."""
    steps = np.round(4 * rng.uniform(-by, by, (frames, 1, 2))) / 4
    out = np.repeat(shape[None], frames, axis=0)
    out[..., :2] += np.cumsum(steps, axis=0)
    return out


def test_the_person_in_the_foreground_wins_over_a_passer_by_listed_first() -> None:
    rng = np.random.default_rng(0)
    front = sway(rng, person(rng, 300, 300, 400), 40)
    passing = np.repeat(person(rng, 0, 200, 120)[None], 40, axis=0)
    passing[..., 0] += np.arange(40, dtype=np.float32)[:, None] * 15
    frames = [np.stack([passing[t], front[t]] if t % 3 else [front[t], passing[t]]) for t in range(40)]
    np.testing.assert_array_equal(track_people(frames)[:, 0], front)
    both = track_people(frames, persons=2)
    np.testing.assert_array_equal(both[:, 0], front)
    np.testing.assert_array_equal(both[:, 1], passing)


def test_two_people_of_one_size_are_never_mixed_up() -> None:
    rng = np.random.default_rng(1)
    left, right = (sway(rng, person(rng, x, 300, 300), 60) for x in (200, 500))
    right[..., 2] = 0.9
    order = rng.integers(0, 2, 60)
    frames = [np.stack([left[t], right[t]][:: 1 if order[t] else -1]) for t in range(60)]
    np.testing.assert_array_equal(track_people(frames, persons=2), np.stack([right, left], axis=1))


def test_a_gap_is_bridged_and_frames_without_the_person_are_zero() -> None:
    rng = np.random.default_rng(2)
    front = sway(rng, person(rng, 300, 300, 300), 30, by=1)
    other = sway(rng, person(rng, 700, 300, 200), 30, by=1)
    frames = [np.stack([other[t]] if 10 <= t < 16 else [other[t], front[t]]) for t in range(30)]
    tracked = track_people(frames)[:, 0]
    np.testing.assert_array_equal(tracked[:10], front[:10])
    assert not tracked[10:16].any()
    np.testing.assert_array_equal(tracked[16:], front[16:])
    cut = track_people(frames, max_gap=5)[:, 0]
    np.testing.assert_array_equal(cut, other)  # 30 frames of it outweigh 14 of the person in front


def test_someone_else_who_appears_far_away_is_no_continuation() -> None:
    rng = np.random.default_rng(3)
    frames = [person(np.random.default_rng(4), 200, 300, 300)[None]] * 20
    frames += [person(rng, 1500, 300, 200)[None]] * 5
    tracked = track_people(frames)
    assert tracked[:20].any(axis=(1, 2, 3)).all()
    assert not tracked[20:].any()


def test_a_smaller_one_who_stands_where_somebody_left_is_somebody_else() -> None:
    large = person(np.random.default_rng(5), 300, 300, 400)
    small = large.copy()
    small[:, :2] = 300 + (large[:, :2] - 300) * 0.6  # the same attitude, farther away
    nobody = np.zeros((0, NUM_POINTS, 3), np.float32)
    frames = [large[None]] * 20 + [nobody] * 40 + [small[None]] * 10 + [np.stack([small, large])] * 5
    tracked = track_people(frames)[:, 0]
    np.testing.assert_array_equal(tracked[:20], np.stack([large] * 20))
    assert not tracked[20:70].any()
    np.testing.assert_array_equal(tracked[70:], np.stack([large] * 5))


def test_a_detection_that_shows_other_points_is_linked_by_its_place() -> None:
    whole = person(np.random.default_rng(5), 300, 300, 300)
    upper, lower = whole.copy(), whole.copy()
    upper[6:] = 0
    lower[:6] = 0
    tracked = track_people([whole[None], upper[None], lower[None], whole[None]])
    np.testing.assert_array_equal(tracked[:, 0], np.stack([whole, upper, lower, whole]))


def test_of_a_person_taken_for_two_the_larger_part_goes_on() -> None:
    whole = person(np.random.default_rng(5), 300, 300, 300)
    moved = whole + np.array([6, 0, 0], np.float32)
    large, small = moved.copy(), whole.copy()  # the small part did not even move
    large[9:] = 0
    small[:9] = 0
    frames = [whole[None], np.stack([small, large]), whole[None], np.stack([large, small]), whole[None]]
    expected = np.stack([whole, large, whole, large, whole])
    np.testing.assert_array_equal(track_people(frames)[:, 0], expected)


def test_numbers_of_the_estimator_help_but_do_not_decide() -> None:
    one, two = (person(np.random.default_rng(6), x, 300, 300) for x in (300, 350))
    two[:, 2] = 0.7
    frames = [np.stack([one, two])] * 6
    right = track_people(frames, ids=[[1, 2]] * 6)
    swapped = track_people(frames, ids=[[1, 2], [2, 1]] * 3)
    np.testing.assert_array_equal(right, swapped)
    np.testing.assert_array_equal(right[:, 0], np.stack([one] * 6))
    with pytest.raises(ValueError, match="one number for each person"):
        track_people(frames, ids=[[1]] * 6)


@pytest.mark.parametrize(
    ("frames", "shape"),
    [
        ([], (0, 2, 0, 3)),
        ([np.zeros((0, 5, 3))], (1, 2, 5, 3)),
        ([np.zeros((3, 5, 3))] * 4, (4, 2, 5, 3)),
        ([np.full((1, 5, 3), np.nan)] * 2, (2, 2, 5, 3)),
    ],
)
def test_nobody_is_all_zero(frames: list[Array], shape: tuple[int, ...]) -> None:
    tracked = track_people(frames, persons=2)
    assert tracked.shape == shape
    assert tracked.dtype == np.float32
    assert not tracked.any()


def test_points_that_are_no_numbers_become_missing_and_arguments_stay() -> None:
    frame = person(np.random.default_rng(7), 300, 300, 300)[None]
    frame[0, 3], frame[0, 4, 0], frame[0, 5, 1] = np.nan, np.inf, 1e30
    before = frame.copy()
    tracked = track_people([frame, frame])
    assert np.isfinite(tracked).all()
    assert not tracked[:, 0, 3:6].any()
    np.testing.assert_array_equal(tracked[:, 0, 6:], np.stack([frame[0, 6:]] * 2))
    np.testing.assert_array_equal(frame, before)


def test_wrong_shapes_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(P, V, 3\) with one V"):
        track_people([np.zeros((1, 5, 3)), np.zeros((1, 6, 3))])
    with pytest.raises(ValueError, match=r"must be \(P, V, 3\)"):
        track_people([np.zeros((5, 3))])
    with pytest.raises(ValueError, match="persons is 0"):
        track_people([], persons=0)


def test_a_flickering_crowd_takes_time_in_proportion() -> None:
    rng = np.random.default_rng(8)
    frames = [rng.uniform(0, 1000, (int(rng.integers(0, 40)), 5, 3)).astype(np.float32) for _ in range(300)]
    assert track_people(frames, persons=3).shape == (300, 3, 5, 3)


@st.composite
def scenes(draw: st.DrawFn) -> list[Array]:
    """Frames with up to three people who come, go, tremble and lose points."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, length = draw(st.integers(0, 3)), draw(st.integers(0, 12))
    people = [
        sway(rng, person(rng, *rng.uniform(100, 900, 2).round(), float(rng.integers(40, 400))), length)
        for _ in range(count)
    ]
    frames = []
    for t in range(length):
        here = [one[t].copy() for one in people if rng.random() < 0.85]
        for points in here:
            points[rng.random(NUM_POINTS) < 0.15] = 0
        frames.append(np.stack(here) if here else np.zeros((0, NUM_POINTS, 3), np.float32))
    return frames


@settings(max_examples=60, deadline=None)
@given(scenes(), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_the_order_of_people_in_a_frame_changes_nothing(frames: list[Array], seed: int, persons: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = [frame[rng.permutation(len(frame))] for frame in frames]
    np.testing.assert_array_equal(
        track_people(shuffled, persons=persons), track_people(frames, persons=persons)
    )


@settings(max_examples=60, deadline=None)
@given(scenes(), st.integers(-800, 800), st.integers(-800, 800))
def test_moving_the_picture_moves_the_track(frames: list[Array], dx: int, dy: int) -> None:
    moved = [
        np.where(frame[..., 2:] > 0, frame + np.array([dx, dy, 0], np.float32), 0).astype(np.float32)
        for frame in frames
    ]
    expected = track_people(frames)
    expected[..., :2] += np.where(expected[..., 2:] > 0, np.array([dx, dy], np.float32), np.float32(0))
    np.testing.assert_array_equal(track_people(moved), expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.8), st.integers(1, 20))
def test_a_second_smaller_person_never_wins(seed: int, scale: float, length: int) -> None:
    rng = np.random.default_rng(seed)
    large = sway(rng, person(rng, 400, 400, 300), length)
    small = large.copy()
    small[..., :2] = large[..., :2] * scale + rng.uniform(0, 900, 2)
    frames = [np.stack([small[t], large[t]]) for t in range(length)]
    np.testing.assert_array_equal(track_people(frames)[:, 0], large)


# --- cleaning and smoothing


def test_clean_removes_what_cannot_be_used_and_counts_it() -> None:
    points = np.array(
        [
            [10, 20, 0.9],
            [0, 0, 0],
            [-1, 5, 0.9],
            [5, 721, 0.9],
            [5, 5, 0.04],
            [np.nan, 1, 1],
            [1280, 720, 0.5],
        ],
        np.float32,
    )[None, None]
    before = points.copy()
    cleaned, removed = clean(points, (1280, 720), 0.05)
    assert removed == 4
    np.testing.assert_array_equal(cleaned[0, 0, [0, 6]], points[0, 0, [0, 6]])
    assert not cleaned[0, 0, 1:6].any()
    np.testing.assert_array_equal(points, before)
    assert clean(points, (0, 0), 0.05)[1] == 2  # an unknown size has no outside


@st.composite
def clips(draw: st.DrawFn) -> Array:
    """(T, P, V, 3) with missing points."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(0, 30), st.integers(1, 2), st.integers(1, 4)))
    joints = np.concatenate([rng.uniform(0, 1000, (*shape, 2)), rng.uniform(0.05, 1, (*shape, 1))], axis=-1)
    joints[rng.random(shape) < draw(st.floats(0, 1))] = 0
    return joints.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(clips(), st.sampled_from(METHODS))
def test_missing_stays_missing_and_is_not_used(joints: Array, method: str) -> None:
    before = joints.copy()
    smoothed = smooth(joints, fps=25, method=method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(joints, before)
    assert smoothed.shape == joints.shape
    assert np.isfinite(smoothed).all()
    np.testing.assert_array_equal(smoothed[..., 2], joints[..., 2])
    missing = joints[..., 2] == 0
    assert not smoothed[missing].any()
    other = joints.copy()
    other[missing, :2] = 777.0  # whatever stands at a missing point
    kept = smooth(other, fps=25, method=method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(kept[~missing], smoothed[~missing])


@settings(max_examples=60, deadline=None)
@given(clips(), st.sampled_from(METHODS))
def test_a_point_that_stays_is_kept_exactly(joints: Array, method: str) -> None:
    if len(joints):
        still = np.where(joints[..., 2:] > 0, joints[:1, ..., :2].copy(), np.float32(0))
        joints = np.concatenate([still, joints[..., 2:]], axis=-1)
    np.testing.assert_array_equal(smooth(joints, fps=25, method=method), joints)  # type: ignore[arg-type]


def test_gaussian_has_no_lag_and_keeps_straight_motion_to_the_ends() -> None:
    joints = np.ones((50, 1, 1, 3), np.float32)
    joints[:, 0, 0, 0] = 3 * np.arange(50)
    joints[:, 0, 0, 1] = 200 + np.where(np.arange(50) == 25, 10, 0)
    joints[7:9] = 0
    smoothed = smooth(joints, fps=25, method="gaussian")
    there = joints[:, 0, 0, 2] > 0
    np.testing.assert_allclose(smoothed[there, 0, 0, 0], joints[there, 0, 0, 0], atol=1e-3)
    bump = smoothed[20:31, 0, 0, 1]
    np.testing.assert_allclose(bump, bump[::-1], atol=1e-4)
    assert 202 < bump.max() < 206
    assert bump.argmax() == 5


def test_gaussian_trusts_confident_points_more() -> None:
    joints = np.ones((21, 1, 1, 3), np.float32) * [100, 100, 0.9]
    joints[10, 0, 0, 0] = 130
    sure = smooth(joints, fps=25, method="gaussian")[10, 0, 0, 0]
    joints[10, 0, 0, 2] = 0.1
    unsure = smooth(joints, fps=25, method="gaussian")[10, 0, 0, 0]
    assert 100 < unsure < 103 < sure < 130


def _one_euro(values: list[float], fps: float, low: float, beta: float, slope: float) -> list[float]:
    """The published algorithm for one coordinate, written down from the paper."""

    def factor(cutoff: float) -> float:
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau * fps)

    out, speed, raw = [values[0]], 0.0, values[0]
    for value in values[1:]:
        speed += factor(slope) * ((value - raw) * fps - speed)
        out.append(out[-1] + factor(low + beta * abs(speed)) * (value - out[-1]))
        raw = value
    return out


def test_one_euro_is_the_published_filter_where_confidence_is_one() -> None:
    rng = np.random.default_rng(9)
    joints = np.ones((80, 1, 2, 3), np.float32)
    joints[..., :2] = np.cumsum(rng.normal(0, 3, (80, 1, 2, 2)), axis=0)
    smoothed = smooth(joints, fps=30, method="one-euro", min_cutoff=0.8, beta=0.01, derivative_cutoff=1.2)
    for point in range(2):
        for axis in range(2):
            expected = _one_euro(joints[:, 0, point, axis].tolist(), 30, 0.8, 0.01, 1.2)
            np.testing.assert_allclose(smoothed[:, 0, point, axis], expected, atol=1e-3)


def test_one_euro_looks_back_only_and_starts_anew_after_a_long_absence() -> None:
    joints = np.ones((60, 1, 1, 3), np.float32) * [100, 100, 1]
    joints[30:50] = 0
    joints[50:, 0, 0, 0] = 500
    smoothed = smooth(joints, fps=25, method="one-euro")
    np.testing.assert_array_equal(smoothed, joints)  # 0.8 s away: no glide from 100 to 500
    np.testing.assert_array_equal(smooth(joints[:20], fps=25, method="one-euro"), smoothed[:20])
    stream = OneEuro(fps=25)
    np.testing.assert_array_equal(np.stack([stream.step(frame) for frame in joints]), smoothed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fps": 0}, "fps is 0"),
        ({"fps": 25, "method": "median"}, "method is 'median', wanted one of: none, one-euro, gaussian"),
        ({"fps": 25, "method": "gaussian", "sigma": 0}, "sigma is 0"),
        ({"fps": 25, "method": "one-euro", "min_cutoff": 0}, "min_cutoff"),
    ],
)
def test_smoothing_refuses_numbers_out_of_range(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smooth(np.ones((2, 1, 1, 3), np.float32), **arguments)  # type: ignore[arg-type]
