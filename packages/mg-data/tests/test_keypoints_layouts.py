"""Layouts: what every schema must hold, and that the Kinect order is the one of the recordings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import DataError, LayoutSpec, PluginError
from mg_data.keypoints.layouts import (
    LAYOUTS,
    check_layout,
    columns_from,
    find_layout,
    flip_permutation,
    limb_matrix,
    select,
)

ALL = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@ALL
def test_the_graph_is_connected_and_the_flip_maps_it_to_itself(layout: LayoutSpec) -> None:
    check_layout(layout)


@ALL
def test_the_flip_is_an_involution(layout: LayoutSpec) -> None:
    flip = flip_permutation(layout)
    assert (flip[flip] == np.arange(len(layout.names))).all()


@ALL
def test_sides_of_a_pair_are_named_left_and_right(layout: LayoutSpec) -> None:
    for pair in layout.pairs:
        names = {layout.names[point] for point in pair}
        sided = {name for name in names if "left" in name or "right" in name}
        assert {("left" in name) for name in sided} in (set(), {True, False})


@ALL
def test_columns_lie_in_the_source(layout: LayoutSpec) -> None:
    if layout.source:
        assert max(layout.columns) < len(find_layout(layout.source).names)
        assert len(layout.columns) == len(layout.names)
    else:
        assert layout.columns == ()


@ALL
def test_limb_vectors_add_up_to_positions(layout: LayoutSpec) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(len(layout.names), 3))
    limbs = points - points[list(layout.parents)]
    assert np.allclose(limb_matrix(layout) @ limbs, points - points[layout.centre])


def test_the_sizes_of_the_layouts() -> None:
    sizes = {layout.name: len(layout.names) for layout in LAYOUTS}
    assert sizes == {
        "openpose-137": 137,
        "openpose-68": 68,
        "imigue-35": 35,
        "openpose-22": 22,
        "body-25": 25,
        "coco-17": 17,
        "coco-wholebody-133": 133,
        "mediapipe-holistic": 543,
        "kinect-20": 20,
        "ntu-25": 25,
    }


def test_openpose_68_is_the_chosen_set_centred_on_the_neck() -> None:
    layout = find_layout("openpose-68")
    face = {4, 8, 12, 19, 24, 27, 30, 31, 35, 36, 39, 42, 45, 48, 51, 54, 57, 62, 66}
    assert set(layout.columns) == {*range(1, 8), *(25 + point for point in face), *range(95, 137)}
    assert layout.names[layout.centre] == "neck"


def test_openpose_68_walks_along_both_arms_and_reads_the_same_mirrored() -> None:
    layout = find_layout("openpose-68")
    walk = range(49)
    assert (flip_permutation(layout)[walk] == np.array(walk)[::-1]).all()
    edges = {frozenset(edge) for edge in layout.edges}
    neighbours = sum(frozenset((a, a + 1)) in edges for a in range(67))
    in_order_of_columns = sorted(range(68), key=lambda point: layout.columns[point])
    before = sum(frozenset((in_order_of_columns[a], in_order_of_columns[a + 1])) in edges for a in range(67))
    assert neighbours > before


def test_columns_are_found_over_several_steps() -> None:
    direct = columns_from(find_layout("openpose-22"), "openpose-137")
    assert direct[:8].tolist() == list(range(8))
    assert direct[-10:].tolist() == [99, 103, 107, 111, 115, 120, 124, 128, 132, 136]


def test_select_takes_the_named_columns() -> None:
    joints = np.arange(2 * 137 * 3, dtype=np.float32).reshape(2, 137, 3)
    layout = find_layout("openpose-68")
    assert (select(joints, layout) == joints[:, list(layout.columns)]).all()


def test_select_refuses_another_number_of_keypoints() -> None:
    with pytest.raises(DataError, match=r"shape \(4, 17, 3\) are not 'openpose-137': want 137 keypoints"):
        select(np.zeros((4, 17, 3), np.float32), find_layout("openpose-68"))


def test_layouts_that_share_no_source_are_refused() -> None:
    with pytest.raises(DataError, match="'kinect-20' cannot become 'openpose-68'"):
        columns_from(find_layout("openpose-68"), "kinect-20")


def test_an_unknown_layout_is_named() -> None:
    with pytest.raises(PluginError, match=r"layout 'openpose-99' is not registered; found .*openpose-68"):
        find_layout("openpose-99")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": ((4, 8), (4, 9))}, "in two left/right pairs"),
        ({"pairs": ((4, 9), (5, 8))}, "the flip maps edge"),
        ({"edges": ((0, 1),)}, "is no edge"),
        ({"centre": 4}, "the centre's its own"),
        ({"pairs": ((4, 25),)}, "outside its 20 keypoints"),
        ({"figure": ((0.0, 0.0),)}, "figure must be x, y of each of its 20 keypoints"),
        ({"figure": ((0.0, float("nan")),) * 20}, "figure must be x, y of each"),
    ],
)
def test_a_broken_layout_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_layout(replace(find_layout("kinect-20"), **change))  # type: ignore[arg-type]


def test_coco_wholebody_has_the_blocks_of_its_annotations() -> None:
    names = find_layout("coco-wholebody-133").names
    assert names[:17] == find_layout("coco-17").names
    assert names[17:23] == (
        *("left_big_toe", "left_small_toe", "left_heel"),
        *("right_big_toe", "right_small_toe", "right_heel"),
    )
    assert (names[23], names[23 + 67]) == ("face_jaw_0", "face_inner_lip_7")
    assert (names[91], names[112], names[132]) == ("left_hand_root", "right_hand_root", "right_hand_little_4")


def test_holistic_has_the_order_of_mediapipe() -> None:
    layout = find_layout("mediapipe-holistic")
    pose = dict(enumerate(layout.names[:33]))
    assert (pose[2], pose[9], pose[11], pose[16], pose[21]) == (
        *("left_eye", "left_mouth", "left_shoulder", "right_wrist", "left_thumb"),
    )
    assert (pose[24], pose[29], pose[32]) == ("right_hip", "left_heel", "right_foot_index")
    assert (layout.names[33], layout.names[500]) == ("face_mesh_0", "face_mesh_467")
    assert (layout.names[501], layout.names[522]) == ("left_hand_root", "right_hand_root")


def test_the_face_mesh_is_a_mirrored_triangulation() -> None:
    layout = find_layout("mediapipe-holistic")
    flip = flip_permutation(layout)
    face = np.arange(33, 501)
    middle = [point - 33 for point in face.tolist() if flip[point] == point]
    assert len(middle) == 28
    assert {1, 4, 10, 13, 14, 152, 168} <= set(middle)
    # The outer corners of the eyes, of the mouth, and the ears.
    for right, left in ((33, 263), (61, 291), (234, 454), (133, 362), (70, 300)):
        assert flip[33 + right] == 33 + left
    edges = {tuple(sorted((a - 33, b - 33))) for a, b in layout.edges if min(a, b) >= 33 and max(a, b) < 501}
    assert len(edges) == 1322 + 1  # the mesh, and the bone between the lips
    assert (13, 14) in edges
    # Each edge of the mesh is short: neighbours on paper are neighbours in the face.
    places = np.asarray(layout.figure)
    height = np.ptp(places[face, 1])
    lengths = [np.linalg.norm(places[33 + a] - places[33 + b]) for a, b in edges]
    assert max(lengths) < 0.25 * height


@pytest.mark.data
def test_kinect_bones_keep_their_length_in_the_recordings(shared_data: Path) -> None:
    loadmat = pytest.importorskip("scipy.io").loadmat
    layout = find_layout("kinect-20")
    for name in ("a1_s1_t1", "a9_s4_t2", "a22_s8_t1"):
        path = shared_data / "utd_mhad" / "Skeleton" / f"{name}_skeleton.mat"
        joints = loadmat(path)["d_skel"].transpose(2, 0, 1)
        length = np.linalg.norm(joints - joints[:, list(layout.parents)], axis=-1).mean(axis=0)
        spread = np.linalg.norm(joints - joints[:, list(layout.parents)], axis=-1).std(axis=0)
        at = {joint: length[row] for row, joint in enumerate(layout.names)}
        assert (spread < 0.06).all()
        assert 0.35 < at["left_knee"] < 0.6
        assert 0.3 < at["right_ankle"] < 0.5
        assert 0.15 < at["left_elbow"] < 0.4
        assert at["left_hand"] < 0.15
        height = dict(zip(layout.names, joints[..., 1].mean(axis=0)))
        assert height["head"] > height["shoulder_centre"] > height["hip_centre"] > height["left_foot"]
        left, right = (joints[:, layout.names.index(f"{side}_hip"), 0] for side in ("left", "right"))
        assert (right > left).all()
