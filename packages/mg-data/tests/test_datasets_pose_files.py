"""Pose files: equal to an independent reading, points found by name, hostile sizes refused unread."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, UsageError
from mg_data.datasets.pose.importer import LAYOUT_COMPONENTS, import_pose, open_pose, read_pose
from mg_data.prepare.importing import import_data
from mg_data.store import open_clips

pytest.importorskip("pose_format")
FILES = Path("openpose_json/src/python/tests/data")


def text(value: str) -> bytes:
    content = value.encode()
    return struct.pack("<H", len(content)) + content


def component(name: str, points: list[str], form: str = "XYC") -> bytes:
    names = b"".join(text(point) for point in points)
    return text(name) + text(form) + struct.pack("<HHH", len(points), 0, 0) + names


def header(components: list[bytes], version: float = 0.2, size: tuple[int, int] = (640, 480)) -> bytes:
    return struct.pack("<fHHHH", version, *size, 0, len(components)) + b"".join(components)


def body(points: NDArray[np.float32], confidence: NDArray[np.float32], version: float = 0.2) -> bytes:
    """Return the body of (T, P, V, D) points and (T, P, V) confidences."""
    frames, people = points.shape[:2]
    facts = (
        struct.pack("<fIH", 25.0, frames, people)
        if version > 0.15
        else struct.pack("<HHH", 25, frames, people)
    )
    return facts + points.astype("<f4").tobytes() + confidence.astype("<f4").tobytes()


def openpose_components() -> list[bytes]:
    return [
        component(name, list(wanted) if isinstance(wanted, tuple) else [f"p{i}" for i in range(wanted)])
        for name, wanted in LAYOUT_COMPONENTS["openpose-137"].items()
    ]


def points_of(frames: int = 3, people: int = 1, count: int = 137, columns: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(1, 400, (frames, people, count, columns)).astype(np.float32)


def openpose_file(frames: int = 3, people: int = 1, size: tuple[int, int] = (640, 480)) -> bytes:
    points = points_of(frames, people)
    return header(openpose_components(), size=size) + body(points, np.full(points.shape[:3], 0.5, np.float32))


# --- real files, read independently of the library


def _walk_real(data: bytes) -> tuple[int, list[tuple[str, str, list[str]]]]:
    """Return where the body begins and the components, by the published format."""
    at = 12

    def read_text(at: int) -> tuple[str, int]:
        (size,) = struct.unpack_from("<H", data, at)
        return data[at + 2 : at + 2 + size].decode(), at + 2 + size

    components = []
    for _ in range(struct.unpack_from("<H", data, 10)[0]):
        name, at = read_text(at)
        form, at = read_text(at)
        points, limbs, colours = struct.unpack_from("<HHH", data, at)
        at += 6
        names = []
        for _ in range(points):
            point, at = read_text(at)
            names.append(point)
        at += 4 * limbs + 6 * colours
        components.append((name, form, names))
    return at, components


@pytest.mark.data
def test_openpose_file_equals_its_bytes(shared_data: Path) -> None:
    path = shared_data / FILES / "openpose.pose"
    data = path.read_bytes()
    at, _ = _walk_real(data)
    _, frames = struct.unpack_from("<HH", data, at)
    at += 4
    wanted = np.zeros((frames, 137, 3), np.float32)
    for frame in range(frames):
        (people,) = struct.unpack_from("<H", data, at)
        at += 2
        for person in range(people):
            values = np.frombuffer(data, "<f4", 137 * 3, at + 2).reshape(137, 3)
            at += 2 + 137 * 12
            if person == 0:
                wanted[frame] = np.where(values[:, 2:] > 0, values, 0)
    assert at == len(data)
    pose = read_pose(path)
    assert (pose.facts.layout, pose.facts.image_size, pose.facts.fps) == ("openpose-137", (1000, 1000), 24)
    assert pose.joints.shape == (93, 1, 137, 3)
    np.testing.assert_array_equal(pose.joints[:, 0], wanted)


@pytest.mark.data
def test_holistic_file_equals_its_bytes_point_by_point(shared_data: Path) -> None:
    path = shared_data / FILES / "mediapipe.pose"
    with pytest.raises(DataError, match="has only 8 of the 33 points of POSE_LANDMARKS and 128 of the 468"):
        read_pose(path)
    data = path.read_bytes()
    at, components = _walk_real(data)
    _, frames, people = struct.unpack_from("<HHH", data, at)
    names = [(name, point) for name, _, points in components for point in points]
    count = len(names)
    values = np.frombuffer(data, "<f4", frames * people * count * 3, at + 6).reshape(frames, count, 3)
    confidence = np.frombuffer(data, "<f4", frames * people * count, at + 6 + values.nbytes).reshape(
        frames, count
    )
    pose = read_pose(path, partial_points=True)
    assert pose.joints.shape == (170, 1, 543, 3)
    starts = {
        "POSE_LANDMARKS": 0,
        "FACE_LANDMARKS": 33,
        "LEFT_HAND_LANDMARKS": 501,
        "RIGHT_HAND_LANDMARKS": 522,
    }
    filled = set()
    for column, (part, point) in enumerate(names):
        order = LAYOUT_COMPONENTS["mediapipe-holistic"][part]
        assert isinstance(order, tuple)
        place = starts[part] + order.index(point)
        filled.add(place)
        seen = confidence[:, column] > 0
        np.testing.assert_array_equal(pose.joints[seen, 0, place, :2], values[seen, column, :2])
        np.testing.assert_array_equal(pose.joints[:, 0, place, 2], confidence[:, column])
        assert not pose.joints[~seen, 0, place].any()
    assert not pose.joints[:, 0, sorted(set(range(543)) - filled)].any()
    assert place == 522 + 20
    # The left shoulder lies to the right of the right one in the image of a person who faces the camera.
    assert np.median(pose.joints[:, 0, 11, 0]) > np.median(pose.joints[:, 0, 12, 0])


@pytest.mark.data
def test_a_file_of_before_the_format_was_settled_is_refused(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"cut off, or no \.pose file of version 0\.0, 0\.1 or 0\.2"):
        open_pose(shared_data / "openpose_json/sample-data/video/sample.pose")


@pytest.mark.data
def test_the_json_frames_written_as_pose_come_back(shared_data: Path, tmp_path: Path) -> None:
    rows = []
    for path in sorted((shared_data / "openpose_json/sample-data/json").glob("*.json")):
        person = json.loads(path.read_text())["people"][0]
        parts = ("pose", "face", "hand_left", "hand_right")
        rows.append([value for part in parts for value in person[f"{part}_keypoints_2d"]])
    wanted = np.asarray(rows, np.float32).reshape(len(rows), 1, 137, 3)
    file = tmp_path / "a.pose"
    file.write_bytes(header(openpose_components()) + body(wanted[..., :2], wanted[..., 2]))
    np.testing.assert_array_equal(read_pose(file).joints, np.where(wanted[..., 2:] > 0, wanted, 0))


# --- what becomes of a file


@pytest.mark.parametrize("version", [0.1, 0.2])
def test_masked_points_and_the_depth_are_left_out(tmp_path: Path, version: float) -> None:
    parts = [
        component(name, list(wanted) if isinstance(wanted, tuple) else [], "XYZC")
        for name, wanted in LAYOUT_COMPONENTS["mediapipe-holistic"].items()
    ]
    parts.insert(1, component("POSE_WORLD_LANDMARKS", ["NOSE"], "XYZC"))
    points = points_of(2, 1, 544, 3)
    confidence = np.ones((2, 1, 544), np.float32)
    confidence[0, 0, 5] = 0
    points[1, 0, 7] = np.nan
    path = tmp_path / "a.pose"
    path.write_bytes(header(parts, version) + body(points, confidence, version))
    pose = read_pose(path)
    assert pose.facts.passed_over == ("POSE_WORLD_LANDMARKS",)
    assert pose.joints.shape == (2, 1, 543, 3)
    assert not pose.joints[0, 0, 5].any()
    assert not pose.joints[1, 0, 7].any()
    np.testing.assert_array_equal(pose.joints[0, 0, 33:, :2], points[0, 0, 34:, :2])
    assert pose.joints[0, 0, 33, 2] == 1


def test_the_body_alone_and_a_body_in_another_order(tmp_path: Path) -> None:
    names = LAYOUT_COMPONENTS["body-25"]["pose_keypoints_2d"]
    assert isinstance(names, tuple)
    points = points_of(2, 1, 25)
    path = tmp_path / "a.pose"
    backwards = component("pose_keypoints_2d", list(reversed(names)))
    path.write_bytes(header([backwards]) + body(points, np.ones((2, 1, 25), np.float32)))
    pose = read_pose(path)
    assert pose.facts.layout == "body-25"
    np.testing.assert_array_equal(pose.joints[..., :2], points[:, :, ::-1])


def test_the_person_seen_most_is_kept_and_missing_ones_are_zero(tmp_path: Path) -> None:
    points = points_of(3, 2)
    confidence = np.full((3, 2, 137), 0.5, np.float32)
    confidence[:, 0, 50:] = 0
    path = tmp_path / "a.pose"
    path.write_bytes(header(openpose_components()) + body(points, confidence))
    np.testing.assert_array_equal(read_pose(path).joints[:, 0, :, :2], points[:, 1])
    three = read_pose(path, persons=3).joints
    assert three.shape == (3, 3, 137, 3)
    assert not three[:, 2].any()
    np.testing.assert_array_equal(three[:, 1, :50, :2], points[:, 0, :50])


def test_a_folder_with_labels_from_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "ü").mkdir(parents=True)
    (folder / "a.pose").write_bytes(openpose_file(3))
    (folder / "ü" / "b.pose").write_bytes(openpose_file(4, 2))
    (folder / "c.pose").write_bytes(openpose_file(2)[:-5])
    (tmp_path / "clips.csv").write_text(
        "clip_id,video,label,subject\na,a,wave,s1\nü/b,b,nod,s2\nx,x,nod,s3\n"
    )
    options = {"clips": str(tmp_path / "clips.csv")}
    arguments = {"name": "pose", "source": folder, "out": tmp_path / "c.h5", "labels": tmp_path / "l.csv"}
    console = TerminalConsole(quiet=True)
    with pytest.raises(DataError, match=r"c\.pose: 2 frames of 1 people needs"):
        import_data(**arguments, options=options, console=console)
    result = import_data(**arguments, options=options, keep_going=True, console=console)
    clips = open_clips(tmp_path / "c.h5")
    assert sorted(clips.clip_ids.tolist()) == ["a", "ü/b"]
    assert (clips.layout, clips.image_size) == ("openpose-137", (640, 480))
    assert set(clips.subject_ids.tolist()) == {"s1", "s2"}
    assert (tmp_path / "l.csv").read_text().splitlines()[1:] == ["a,1,wave", "ü/b,0,nod"]
    dropped = [item["what"] for item in result.data["dropped"]]
    assert f"1 line(s) of {tmp_path / 'clips.csv'}" in dropped
    assert "labels of 1 clip(s)" in dropped


def test_files_of_another_image_are_told_and_never_cut_as_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.pose").write_bytes(openpose_file())
    (folder / "b.pose").write_bytes(openpose_file(size=(320, 240)))
    console = TerminalConsole(quiet=True)
    result = import_data(name="pose", source=folder, out=tmp_path / "c.h5", console=console)
    why = "its image is 320x240, that of the first 640x480; its coordinates stay its own pixels"
    assert result.data["notes"] == [{"what": "b", "why": why}]
    (tmp_path / "clips.csv").write_text("video\na.mp4\nb.mp4\n")
    arguments = {"name": "clips", "source": tmp_path / "clips.csv", "options": {"keypoints": str(folder)}}
    with pytest.raises(DataError, match=r"b\.pose: has frames of 320x240, .* \(import them apart\)"):
        import_data(**arguments, out=tmp_path / "d.h5", console=console)


def test_the_first_file_that_can_be_read_tells_the_layout(tmp_path: Path) -> None:
    (tmp_path / "a.pose").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.pose: the header needs 4 bytes"):
        import_pose(tmp_path)
    (tmp_path / "b.pose").write_bytes(openpose_file())
    data = import_pose(tmp_path)
    assert (data.layout, data.image_size) == ("openpose-137", (640, 480))
    with pytest.raises(DataError, match=r"a\.pose: the header needs 4 bytes"):
        data.sources[0].read()
    assert len(data.sources[1].read()[0]) == 1


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.pose file"):
        import_pose(tmp_path)
    (tmp_path / "a.pose").write_bytes(openpose_file())
    with pytest.raises(UsageError, match="option layout is 'coco-17', wanted one of: openpose-137"):
        import_pose(tmp_path, layout="coco-17")
    with pytest.raises(UsageError, match=r"option layout is '\['body-25'\]', wanted one of"):
        import_pose(tmp_path, layout=["body-25"])  # type: ignore[arg-type]
    for persons in (0, True, 1.5, 17):
        wanted = f"option persons is {persons}, wanted a whole number from 1 to 16"
        with pytest.raises(UsageError, match=wanted):
            import_pose(tmp_path, persons=persons)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="holds no point of layout mediapipe-holistic"):
        import_pose(tmp_path, layout="mediapipe-holistic")


# --- hostile files


def _hostile() -> dict[str, bytes]:
    good = header(openpose_components())
    names = ["p"] * 65535
    crowd = header([component("pose_keypoints_2d", names), component("face_keypoints_2d", names)], 0.0)
    return {
        "empty": b"",
        "noise": bytes(range(256)),
        "frames": good + struct.pack("<fIH", 25.0, 2**32 - 1, 65535),
        "one frame more": good + struct.pack("<fIH", 25.0, 2, 1) + bytes(137 * 12),
        "frames 0.1": header(openpose_components(), 0.1)
        + struct.pack("<HHH", 25, 500, 1)
        + bytes(137 * 12 * 2),
        "half a frame 0.1": header(openpose_components(), 0.1) + struct.pack("<HHH", 25, 1, 1) + bytes(1000),
        "nobody": good + struct.pack("<fIH", 25.0, 5, 0),
        "nobody 0.1": header(openpose_components(), 0.1) + struct.pack("<HHH", 25, 5, 0),
        "no frames": good + struct.pack("<fIH", 25.0, 0, 1),
        "no components": header([]),
        "no points": header([component("pose_keypoints_2d", [])]) + struct.pack("<fIH", 25.0, 2**32 - 1, 9),
        "zeros without end": crowd + struct.pack("<HH", 25, 65535) + bytes(2 * 65535),
        "version": header(openpose_components(), 7.0),
        "version nan": struct.pack("<fHHHH", float("nan"), 1, 1, 0, 1),
        "no confidence": header([component("pose_keypoints_2d", ["a"], "XY")]) + bytes(50),
        "no format": header([component("pose_keypoints_2d", ["a"], "")]) + bytes(50),
        "names not utf-8": struct.pack("<fHHHH", 0.2, 1, 1, 0, 1)
        + struct.pack("<H", 2)
        + b"\xff\xfe"
        + bytes(99),
        "components twice": header([component("pose_keypoints_2d", ["Nose"])] * 2)
        + body(points_of(1, 1, 2), np.ones((1, 1, 2), np.float32)),
        "unknown": header([component("TAIL\n", ["tip"])])
        + body(points_of(1, 1, 1), np.ones((1, 1, 1), np.float32)),
        "infinite": good
        + body(np.full((1, 1, 137, 2), np.inf, np.float32), np.ones((1, 1, 137), np.float32)),
    }


@pytest.mark.parametrize("name", list(_hostile()))
def test_hostile_files_are_refused_without_taking_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pose"
    path.write_bytes(_hostile()[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_pose(path, partial_points=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert peak < 64 << 20


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(st.tuples(st.integers(0, 2**14), st.integers(0, 255)), max_size=5),
    cut=st.integers(0, 6000),
)
def test_flipped_and_cut_files_give_a_result_or_a_data_error(
    tmp_path: Path, flips: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(openpose_file(2))
    for place, value in flips:
        changed[place % len(changed)] = value
    path = tmp_path / "a.pose"
    path.write_bytes(changed[: len(changed) - cut] if cut < len(changed) and cut % 2 else changed)
    message = ""
    try:
        assert np.isfinite(read_pose(path, partial_points=True).joints).all()
    except DataError as error:
        message = str(error)
    assert "\n" not in message
