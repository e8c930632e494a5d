"""Segments of hand-made probabilities, and how they are matched with annotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mg_adapt.watch.matching import Annotation, evaluate, match
from mg_adapt.watch.segments import (
    Segment,
    Thresholds,
    find_segments,
    place_windows,
    smooth_probabilities,
)
from mg_data.contract import UsageError

# One frame a second and windows of one frame: windows, frames and seconds are the same numbers.
PLAIN = Thresholds(enter=0.6, leave=0.4, smooth=0.0, merge=0.0, min_duration=1.0, overlap=0.3)


def columns(*rows: str) -> NDArray[np.float64]:
    """Return (N, K) probabilities: a row of digits a class, tenths."""
    return np.array([[int(digit) / 10 for digit in row] for row in rows]).T


def found(
    probs: NDArray[np.float64], background: tuple[int, ...] = (), **changes: float
) -> list[tuple[int, ...]]:
    thresholds = Thresholds(**{**PLAIN.__dict__, **changes})
    segments = find_segments(probs, place_windows(len(probs), 1, 1), 1.0, thresholds, background)
    return [(segment.start, segment.stop, segment.label) for segment in segments]


@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 20))
def test_windows_reach_both_ends_and_share_out_every_frame(length: int, window: int, step: int) -> None:
    windows = place_windows(length, window, step)
    assert windows.start[0] == 0
    assert windows.stop[-1] == length
    assert set((windows.stop - windows.start).tolist()) == {min(window, length)}
    assert (np.diff(windows.start) >= 1).all()
    assert (np.diff(windows.start) <= step).all()
    bounds = windows.bounds()
    assert (bounds[0], bounds[-1], len(bounds)) == (0, length, len(windows) + 1)
    assert (np.diff(bounds) >= 1).all()
    # Frames that a window stands for are in it, unless windows leave gaps between them.
    if step <= window:
        assert (bounds[:-1] >= windows.start).all()
        assert (bounds[1:] <= windows.stop).all()


def test_a_video_shorter_than_a_window_is_one_window() -> None:
    windows = place_windows(7, 30, 5)
    assert (windows.start.tolist(), windows.stop.tolist()) == ([0], [7])
    segments = find_segments(np.array([[0.1, 0.9]]), windows, 25.0, Thresholds(min_duration=0.2))
    assert segments == [Segment(0, 7, 1, 0.9)]


def test_a_segment_is_begun_by_the_high_threshold_and_held_by_the_low_one() -> None:
    assert found(columns("0457654302450", "0000000000000")) == [(1, 7, 0)]
    assert found(columns("0455555430000")) == []  # never above 0.6
    assert found(columns("0697969900"), leave=0.6) == [(1, 8, 0)]
    assert found(columns("0695969900"), leave=0.6) == [(1, 3, 0), (4, 8, 0)]
    assert found(columns("0695969900")) == [(1, 8, 0)]  # a waver about 0.6 parts nothing


def test_segments_reach_the_ends_of_the_video() -> None:
    assert found(columns("9900099")) == [(0, 2, 0), (5, 7, 0)]
    assert found(columns("99")) == [(0, 2, 0)]


def test_neighbours_of_one_class_are_merged_over_short_gaps_only() -> None:
    probs = columns("99009000099")
    assert found(probs) == [(0, 2, 0), (4, 5, 0), (9, 11, 0)]
    assert found(probs, merge=2.0) == [(0, 5, 0), (9, 11, 0)]
    assert found(columns("9900000", "0099000")) == [(0, 2, 0), (2, 4, 1)]


def test_short_segments_are_dropped_after_merging() -> None:
    probs = columns("900990099900")
    assert found(probs, min_duration=2.0) == [(3, 5, 0), (7, 10, 0)]
    assert found(probs, min_duration=3.0) == [(7, 10, 0)]
    assert found(probs, min_duration=3.0, merge=2.0) == [(0, 10, 0)]


def test_no_frame_has_two_segments_and_the_more_confident_one_stays() -> None:
    # Thresholds below one half let two classes be there at once.
    probs = columns("0666664440", "0000445560")
    assert found(probs, enter=0.5) == [(1, 9, 0)]  # shares 5 of 8 frames: suppressed
    assert found(probs, enter=0.5, overlap=0.7) == [(1, 9, 0)]  # what is left does not reach 'enter' ...
    probs = columns("0666664440", "0000445666")
    assert found(probs, enter=0.5, overlap=0.7) == [(1, 9, 0), (9, 10, 1)]  # ... and here it does


def test_background_takes_probability_and_is_no_segment() -> None:
    probs = columns("0099900", "9900099", "1100011")
    assert found(probs, background=(1,)) == [(2, 5, 0)]
    assert found(probs) == [(0, 2, 1), (2, 5, 0), (5, 7, 1)]


def test_confidence_is_the_mean_over_the_segment_and_times_are_frames() -> None:
    windows = place_windows(40, 10, 5)  # centres 5, 10 ... 35
    probs = np.zeros((len(windows), 2))
    probs[2:4, 1] = (0.6, 0.8)
    (segment,) = find_segments(probs, windows, 10.0, Thresholds(smooth=0.0))
    assert (segment.start, segment.stop) == (13, 23)  # 12.5 and 22.5 between the centres
    assert segment.confidence == pytest.approx(0.7)


def test_smoothing_keeps_sums_and_constants_and_removes_a_blip() -> None:
    generator = np.random.default_rng(0)
    probs = generator.dirichlet(np.ones(4), size=30)
    smoothed = smooth_probabilities(probs, 2.0)
    np.testing.assert_allclose(smoothed.sum(axis=1), 1.0)
    assert smoothed.std(axis=0).max() < probs.std(axis=0).min()
    constant = np.tile([0.3, 0.7], (12, 1))
    np.testing.assert_allclose(smooth_probabilities(constant, 1.5), constant)
    assert smooth_probabilities(probs, 0.0) is probs
    np.testing.assert_allclose(smooth_probabilities(probs[:2], 50.0)[0], probs[:2].mean(axis=0), rtol=1e-3)
    assert found(smooth_probabilities(columns("000900000"), 1.0)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"enter": 1.2}, "--enter is 1.2, wanted 0 to 1"),
        ({"leave": 0.7, "enter": 0.6}, "--leave 0.7 is above --enter 0.6"),
        ({"min_duration": -1.0}, "--min-duration is -1, wanted 0 to 3600"),
        ({"smooth": float("nan")}, "--smooth is nan"),
    ],
)
def test_thresholds_out_of_range_are_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        Thresholds(**changes).check()


TRUTH = [Annotation(0, 10, 0), Annotation(20, 30, 1), Annotation(40, 50, 0)]


def test_a_gesture_is_found_once_by_the_most_confident_segment_of_its_class() -> None:
    twice = [Segment(0, 10, 0, 0.6), Segment(1, 10, 0, 0.9)]
    assert match(twice, TRUTH, 0.5) == [(1, 0, pytest.approx(0.9))]
    assert match([Segment(20, 30, 0, 0.9)], TRUTH, 0.5) == []  # another class
    assert match([Segment(20, 30, 0, 0.9)], TRUTH, 0.5, any_class=True) == [(0, 1, 1.0)]
    # 5 of 10 frames: exactly one half is enough, a little less is not.
    assert match([Segment(0, 5, 0, 0.9)], TRUTH, 0.5) == [(0, 0, 0.5)]
    assert match([Segment(0, 5, 0, 0.9)], TRUTH, 0.51) == []
    # The confident one takes what it shares most with, and leaves the rest to others.
    near = [Annotation(0, 10, 0), Annotation(8, 18, 0)]
    pairs = match([Segment(3, 12, 0, 0.5), Segment(2, 10, 0, 0.9)], near, 0.25)
    assert [(number, place) for number, place, _ in pairs] == [(1, 0), (0, 1)]


def test_scores_over_all_videos() -> None:
    segments = {
        "a": [Segment(0, 10, 0, 0.9), Segment(0, 9, 0, 0.5), Segment(21, 30, 1, 0.8)],
        "b": [Segment(5, 9, 1, 0.9)],
        "not annotated": [Segment(0, 4, 0, 1.0)],
    }
    result = evaluate(segments, {"a": TRUTH, "b": []})
    assert (result["true_positives"], result["segments"], result["annotations"]) == (2, 4, 3)
    assert (result["precision"], result["recall"]) == (0.5, pytest.approx(2 / 3))
    assert result["f1"] == pytest.approx(4 / 7)
    assert result["mean_iou"] == pytest.approx(0.95)
    assert result["videos"] == 2


def test_what_cannot_be_divided_is_none() -> None:
    nothing = evaluate({}, {"a": []})
    assert (nothing["f1"], nothing["precision"], nothing["recall"]) == (None, None, None)
    silent = evaluate({}, {"a": TRUTH})
    assert (silent["f1"], silent["precision"], silent["recall"]) == (0.0, None, 0.0)
    noisy = evaluate({"a": [Segment(0, 4, 0, 1.0)]}, {"a": []})
    assert (noisy["f1"], noisy["precision"], noisy["recall"]) == (0.0, 0.0, None)


def test_a_gesture_under_a_wrong_name_is_found_all_the_same() -> None:
    segments = {"a": [Segment(0, 10, 1, 0.9), Segment(20, 30, 1, 0.8)]}
    result = evaluate(segments, {"a": TRUTH})
    assert result["f1"] == pytest.approx(2 / 5)
    assert result["f1_any_class"] == pytest.approx(4 / 5)
