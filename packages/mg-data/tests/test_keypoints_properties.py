"""What holds for every layout and every sequence: flips, conversion, sampling, gaps filled."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_data.contract import DataError, LayoutSpec
from mg_data.drawing.figure import figure_from_graph, figure_places, sides
from mg_data.keypoints.convert import convert, correspondence
from mg_data.keypoints.layouts import check_layout, find_layout, flip_permutation
from mg_data.keypoints.transform import (
    at_times,
    fill_missing,
    flip_people,
    flip_stream,
    present_points,
    sample_bins,
    sample_times,
)
from mg_data.plugins import registry

REGISTERED: tuple[LayoutSpec, ...] = tuple(registry().layouts.values())
EACH = pytest.mark.parametrize("layout", REGISTERED, ids=lambda layout: layout.name)
SEEDS = st.integers(0, 2**32 - 1)


def _convertible() -> list[tuple[str, str]]:
    pairs = []
    for a, b in itertools.permutations(REGISTERED, 2):
        try:
            correspondence(a, b)
        except DataError:
            continue
        pairs.append((a.name, b.name))
    return pairs


PAIRS = pytest.mark.parametrize(("source", "target"), _convertible())


def _joints(layout: LayoutSpec, seed: int, frames: int = 3) -> np.ndarray:
    """Random keypoints, about a fifth of them missing (0, 0, 0)."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0.1, 1.0, (frames, len(layout.names), 3)).astype(np.float32)
    joints[rng.random(joints.shape[:2]) < 0.2] = 0.0
    return joints


@EACH
def test_every_registered_layout_keeps_the_rules(layout: LayoutSpec) -> None:
    check_layout(layout)
    reached, front = {layout.centre}, [layout.centre]
    while front:
        point = front.pop()
        for edge in layout.edges:
            if point in edge:
                other = edge[1] if edge[0] == point else edge[0]
                if other not in reached:
                    reached.add(other)
                    front.append(other)
    assert len(reached) == len(layout.names)


@EACH
def test_the_flip_is_an_involution_that_maps_edges_to_edges(layout: LayoutSpec) -> None:
    flip = flip_permutation(layout)
    assert (flip[flip] == np.arange(len(flip))).all()
    edges = {frozenset(edge) for edge in layout.edges}
    assert len(edges) == len(layout.edges)
    assert {frozenset(int(flip[end]) for end in edge) for edge in edges} == edges


@EACH
def test_columns_lie_in_the_source(layout: LayoutSpec) -> None:
    if layout.source:
        assert max(layout.columns) < len(find_layout(layout.source).names)


@EACH
def test_the_figure_is_mirrored_by_the_flip_and_the_left_is_on_the_viewers_right(layout: LayoutSpec) -> None:
    places = figure_places(layout)
    assert places.shape == (len(layout.names), 2)
    assert np.allclose(places[flip_permutation(layout)], places * [-1, 1], atol=1e-9)
    assert (places[:, 0] * sides(layout) >= 0).all()


@pytest.mark.parametrize("name", ["kinect-20", "openpose-68", "coco-17"])
def test_a_figure_is_worked_out_from_a_graph(name: str) -> None:
    bare = replace(find_layout(name), figure=())
    places = figure_from_graph(bare)
    assert (places == figure_from_graph(bare)).all()
    assert np.allclose(places[flip_permutation(bare)], places * [-1, 1], atol=1e-9)
    assert (places[:, 0] * sides(bare) >= 0).all()
    lengths = np.linalg.norm(places[[a for a, _ in bare.edges]] - places[[b for _, b in bare.edges]], axis=1)
    assert lengths.max() < 8 * np.median(lengths)
    assert lengths.min() > 0.1 * np.median(lengths)


def test_a_graph_without_pairs_still_spreads_over_the_page() -> None:
    names = ("a", "b", "c", "d")
    star = LayoutSpec(
        name="star", summary="", names=names, edges=((0, 1), (0, 2), (0, 3)), pairs=(), centre=0,
        parents=(0, 0, 0, 0),
    )  # fmt: skip
    places = figure_from_graph(star)
    assert np.ptp(places, axis=0).min() > 0.5


# -- conversion ---------------------------------------------------------------------------------------------


@PAIRS
@given(seed=SEEDS)
@settings(max_examples=5, deadline=None)
def test_the_flip_commutes_with_conversion(source: str, target: str, seed: int) -> None:
    have, want = find_layout(source), find_layout(target)
    joints = _joints(have, seed)
    mirrored = joints[:, flip_permutation(have)] * np.float32([-1, 1, 1])
    converted = convert(joints, have, want)[:, flip_permutation(want)] * np.float32([-1, 1, 1])
    assert np.array_equal(convert(mirrored, have, want), converted)


@PAIRS
@given(seed=SEEDS)
@settings(max_examples=5, deadline=None)
def test_there_and_back_is_the_identity_on_common_points(source: str, target: str, seed: int) -> None:
    way, back = correspondence(source, target), correspondence(target, source)
    joints = _joints(find_layout(source), seed)
    before = joints.copy()
    returned = convert(convert(joints, source, target), target, source)
    assert np.array_equal(joints, before)
    common = [point for point, via in back.taken.items() if way.taken.get(via) == point]
    assert len(common) >= 5
    assert np.array_equal(returned[:, common], joints[:, common])


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("coco-17", "coco-wholebody-133"),
        ("coco-17", "body-25"),
        ("body-25", "openpose-137"),
        ("openpose-68", "openpose-137"),
        ("coco-wholebody-133", "openpose-137"),
        ("coco-17", "mediapipe-holistic"),
        ("kinect-20", "ntu-25"),
    ],
)
def test_nothing_is_lost_in_a_superset(part: str, whole: str) -> None:
    joints = _joints(find_layout(part), 0)
    assert np.array_equal(convert(convert(joints, part, whole), whole, part), joints)


@EACH
def test_a_layout_converts_to_itself_unchanged(layout: LayoutSpec) -> None:
    if len(layout.names) >= 5:
        joints = _joints(layout, 1)
        assert np.array_equal(convert(joints, layout, layout), joints)


# -- streams ------------------------------------------------------------------------------------------------


@EACH
@given(seed=SEEDS)
@settings(max_examples=5, deadline=None)
def test_flips_of_samples_are_involutions_that_leave_their_argument(layout: LayoutSpec, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flip = flip_permutation(layout)
    stream = rng.normal(size=(6, 2, len(layout.names))).astype(np.float32)
    people = rng.random((1, 2, len(layout.names), 3)).astype(np.float32)
    for function, sample in ((flip_stream, stream), (flip_people, people)):
        before = sample.copy()
        once = function(sample, flip)
        assert np.allclose(function(once, flip), sample, atol=1e-6)
        assert np.array_equal(sample, before)


@given(
    length=st.integers(1, 300),
    frames=st.integers(1, 100),
    seed=st.none() | SEEDS,
    offset=st.floats(0, 1),
    short=st.sampled_from(["wrap", "repeat"]),
)
def test_sampled_frames_ascend_within_the_clip(
    length: int, frames: int, seed: int | None, offset: float, short: str
) -> None:
    def draw() -> np.ndarray:
        rng = None if seed is None else np.random.default_rng(seed)
        return sample_bins(length, frames, rng, offset=offset, short=short)  # type: ignore[arg-type]

    numbers = draw()
    assert numbers.shape == (frames,)
    assert numbers.min() >= 0
    assert numbers.max() < length
    assert np.array_equal(numbers, draw())
    steps = np.diff(numbers)
    if length < frames and short == "wrap":
        assert set(steps.tolist()) <= {1, 1 - length}
    else:
        assert (steps >= 0).all()
    if length >= frames:
        assert (steps > 0).all()


@given(
    length=st.integers(1, 300),
    frames=st.integers(1, 100),
    crop=st.floats(0.05, 1),
    offset=st.floats(0, 1),
    seed=st.none() | SEEDS,
)
def test_sampled_times_ascend_within_the_clip(
    length: int, frames: int, crop: float, offset: float, seed: int | None
) -> None:
    def draw() -> np.ndarray:
        rng = None if seed is None else np.random.default_rng(seed)
        return sample_times(length, frames, rng, crop=crop, offset=offset)

    times = draw()
    assert times.shape == (frames,)
    assert np.array_equal(times, draw())
    assert (np.diff(times) >= 0).all()
    assert times.min() >= 0
    assert times.max() <= length - 1 + 1e-9


@given(length=st.integers(1, 20), seed=SEEDS, frames=st.integers(1, 30))
def test_interpolated_frames_lie_between_their_neighbours(length: int, seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(length, 2, 3)).astype(np.float32)
    before, times = joints.copy(), sample_times(length, frames, rng, crop=0.5)
    times_before = times.copy()
    out = at_times(joints, times)
    assert np.array_equal(joints, before)
    assert np.array_equal(times, times_before)
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, length - 1)
    assert (out >= np.minimum(joints[low], joints[high]) - 1e-5).all()
    assert (out <= np.maximum(joints[low], joints[high]) + 1e-5).all()
    assert np.array_equal(at_times(joints, np.arange(length, dtype=float)), joints)


@pytest.mark.parametrize("name", ["openpose-68", "kinect-20", "mediapipe-holistic"])
@given(
    seed=SEEDS, frames=st.integers(1, 8), lost=st.floats(0, 1), value=st.sampled_from([0.0, np.nan, np.inf])
)
@settings(max_examples=20, deadline=None)
def test_filled_keypoints_are_finite_and_seen_ones_unchanged(
    name: str, seed: int, frames: int, lost: float, value: float
) -> None:
    layout = find_layout(name)
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0.1, 1, (frames, len(layout.names), 3)).astype(np.float32)
    joints[rng.random(joints.shape[:2]) < lost] = value
    present, before = present_points(joints, layout.dims), joints.copy()
    filled = fill_missing(joints, present, layout.parents, layout.centre, layout.dims)
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[present], joints[present])
    assert np.array_equal(joints, before, equal_nan=True)
