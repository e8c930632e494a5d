"""Conversion between layouts: which points correspond, what is derived, what is refused."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from mg_data.contract import DataError, LayoutSpec, hookimpl
from mg_data.keypoints import _face_mesh as mesh
from mg_data.keypoints.convert import convert, correspondence
from mg_data.keypoints.layouts import LAYOUTS, find_layout, select
from mg_data.plugins import use_plugins


def _figure(name: str) -> np.ndarray:
    """Return the layout's own figure as keypoints (1, V, 3), all seen."""
    places = np.asarray(find_layout(name).figure)
    return np.concatenate([places, np.ones((len(places), 1))], axis=1).astype(np.float32)[None]


@pytest.mark.parametrize("source", [layout.name for layout in LAYOUTS if layout.dims == "xy"])
@pytest.mark.parametrize("target", [layout.name for layout in LAYOUTS if layout.dims == "xy"])
def test_a_converted_figure_stands_where_the_figure_of_the_target_stands(source: str, target: str) -> None:
    out = convert(_figure(source), source, target)
    seen = out[0, :, 2] > 0
    # Body and detail name some places twice (wrist and root of the hand), drawn a little apart.
    assert np.abs(out[0, seen, :2] - _figure(target)[0, seen, :2]).max() <= 4.0


def test_a_coco_body_gets_its_neck_and_mid_hip_from_both_sides() -> None:
    joints = np.zeros((2, 17, 3), np.float32)
    joints[0, [5, 6, 11, 12]] = [[10, 20, 0.9], [30, 24, 0.4], [12, 60, 0.8], [28, 60, 0.7]]
    joints[1, 5] = [10, 20, 0.9]
    out = convert(joints, "coco-17", "body-25")
    assert np.allclose(out[0, [1, 8]], [[20, 22, 0.4], [20, 60, 0.7]])
    assert (out[1, [1, 8]] == 0).all()  # one shoulder makes no neck


def test_the_correspondence_names_taken_derived_and_missing_points() -> None:
    way = correspondence("coco-wholebody-133", "openpose-137")
    assert way.derived == {1: (5, 6), 8: (11, 12)}
    assert way.missing == (93, 94)  # the pupils
    assert way.taken[25 + 30] == 23 + 30  # the tip of the nose
    assert way.taken[95] == 91
    assert len(way.taken) == 133


def test_hands_map_one_to_one_between_families() -> None:
    for target, left, right in (
        ("openpose-137", 95, 116),
        ("coco-wholebody-133", 91, 112),
        ("openpose-68", None, None),
    ):
        way = correspondence("mediapipe-holistic", target)
        names = find_layout(target).names
        first, second = left or names.index("left_hand_root"), right or names.index("right_hand_root")
        assert (way.taken[first], way.taken[second]) == (501, 522)
        if left is not None:
            assert [way.taken[left + point] for point in range(21)] == list(range(501, 522))


def test_the_68_landmarks_lie_where_they_should_in_the_canonical_face() -> None:
    x, y = np.asarray(mesh.POSITIONS)[list(mesh.LANDMARKS_68)].T
    assert len(set(mesh.LANDMARKS_68)) == 68
    jaw, brows, nose, right_eye, left_eye, lips = (
        slice(0, 17), slice(17, 27), slice(27, 36), slice(36, 42), slice(42, 48), slice(48, 68),
    )  # fmt: skip
    assert (np.diff(x[jaw]) > -0.2).all()  # from the person's right ear to the left one, by the chin
    assert y[jaw].argmax() == 8
    assert (np.diff(x[brows]) > 0).all()
    assert y[brows].max() < min(y[right_eye].min(), y[left_eye].min())
    assert (x[right_eye] < 0).all()
    assert (x[left_eye] > 0).all()
    assert x[36] == x[right_eye].min()
    assert x[39] == x[right_eye].max()
    assert (np.diff(y[27:31]) > 0).all()
    assert (np.diff(x[31:36]) > 0).all()
    assert y[nose].max() < y[lips].min()
    assert x[48] == x[lips].min()
    assert x[54] == x[lips].max()
    assert y[57] == y[lips].max()
    assert y[51] < y[62] < y[66] < y[57]


def test_pixels_do_not_become_metres() -> None:
    with pytest.raises(DataError, match=r"'kinect-20' \(xyz\) cannot become 'coco-17' \(xy\)"):
        convert(np.zeros((1, 20, 3), np.float32), "kinect-20", "coco-17")


def test_layouts_with_hardly_a_point_in_common_are_refused() -> None:
    hand = find_layout("openpose-137")
    from dataclasses import replace

    other = replace(hand, name="other", names=tuple(f"p{point}" for point in range(137)))
    with pytest.raises(DataError, match="cannot become 'other': found 0 points in common, want 5 or more"):
        correspondence("openpose-137", other)


def test_another_number_of_keypoints_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(2, 18, 3\) are not 'coco-17': want 17 keypoints"):
        convert(np.zeros((2, 18, 3), np.float32), "coco-17", "body-25")


def test_kinect_keeps_the_neck_of_ntu_apart_from_the_middle_of_the_shoulders() -> None:
    way = correspondence("kinect-20", "ntu-25")
    names = find_layout("ntu-25").names
    assert [names[point] for point in way.missing] == [
        "neck", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
    ]  # fmt: skip
    assert len(correspondence("ntu-25", "kinect-20").taken) == 20


@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS if layout.source] + ["theirs-5"])
def test_a_selection_is_made_by_its_columns_whatever_its_points_are_called(layout: str) -> None:
    columns = (1, 5, 6, 2, 3)  # of body-25
    theirs = LayoutSpec(
        name="theirs-5",
        summary="neck and arms",
        names=("hals", "schulter l", "ellbogen l", "schulter r", "ellbogen r"),
        edges=((0, 1), (1, 2), (0, 3), (3, 4)),
        pairs=((1, 3), (2, 4)),
        centre=0,
        parents=(0, 0, 1, 0, 3),
        source="body-25",
        columns=columns,
    )
    plugin = ModuleType("theirs")
    plugin.mg_register_layouts = hookimpl(lambda: [theirs])  # type: ignore[attr-defined]
    use_plugins(plugin)
    try:
        spec = find_layout(layout)
        joints = np.random.default_rng(0).random((2, len(find_layout(spec.source).names), 3), np.float32)
        np.testing.assert_array_equal(convert(joints, spec.source, layout), select(joints, spec))
        whole = np.random.default_rng(0).random((2, 137, 3), np.float32)
        np.testing.assert_array_equal(convert(whole, "openpose-137", "theirs-5"), whole[:, list(columns)])
    finally:
        use_plugins()
