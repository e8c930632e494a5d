"""Raw OpenPose JSON: numbers, order of frames, several people, and files that are no OpenPose JSON."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, DatasetImport, RawClip, UsageError
from mg_data.datasets.openpose.importer import import_openpose, open_frames, read_recording
from mg_data.prepare.importing import import_data

pytest.importorskip("orjson")
pytest.importorskip("scipy")

SIZES = {
    "pose_keypoints_2d": 25,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
}


def body(x: float, size: float, seed: int = 0) -> dict[str, Any]:
    """Return one person as OpenPose writes it."""
    rng = np.random.default_rng(seed)
    person: dict[str, Any] = {"person_id": [-1]}
    for part, count in SIZES.items():
        points = np.concatenate([x + size * rng.random((count, 2)), rng.uniform(0.2, 1, (count, 1))], axis=1)
        person[part] = [round(value, 3) for value in points.ravel().tolist()]
    return {**person, "pose_keypoints_3d": [], "face_keypoints_3d": []}


def numbers(person: dict[str, Any]) -> np.ndarray:
    return np.array([value for part in SIZES for value in person[part]], np.float32).reshape(137, 3)


def write(folder: Path, number: int, people: Any, stem: str = "take") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}_{number:012d}_keypoints.json"
    path.write_text(json.dumps({"version": 1.3, "people": people}))
    return path


def clips_of(data: DatasetImport) -> list[RawClip]:
    clips = []
    for source in data.sources:
        read, dropped = source.read()
        assert not [item for item in dropped if not item.note]
        assert len(read) == source.clips
        clips += read
    return clips


@pytest.mark.data
def test_real_recording_equals_an_independent_reading(shared_data: Path) -> None:
    folder = shared_data / "openpose_json" / "sample-data" / "json"
    data = import_openpose(folder)
    assert (data.layout, data.image_size) == ("openpose-137", (1280, 720))  # of the video in ../video
    assert not data.dropped
    (clip,) = clips_of(data)
    assert (clip.clip_id, clip.start, clip.stop, clip.label) == ("json", 0, 9, -1)
    for number in range(9):
        path = folder / f"video_{number:012d}_keypoints.json"
        (person,) = json.loads(path.read_text())["people"]
        assert clip.joints is not None
        np.testing.assert_array_equal(clip.joints[number, 0], numbers(person))
    only = clips_of(import_openpose(folder, keypoints="body"))[0]
    np.testing.assert_array_equal(only.joints, clip.joints[:, :, :25])


@pytest.mark.data
def test_real_points_lie_on_the_person_in_the_video(shared_data: Path) -> None:
    """The wall behind is grey and dark; face points fall on skin, which is red before it is blue."""
    root = shared_data / "openpose_json" / "sample-data"
    joints = read_recording(root / "json").joints[:, 0]
    frames = list(open_frames(root, "rgb").select("json", np.array([0, 4, 8])))
    assert [frame.shape for frame in frames] == [(720, 1280, 3)] * 3
    for frame, points in zip(frames, joints[[0, 4, 8]]):
        x, y, confidence = points[25 + 27 : 25 + 31].T  # the bridge of the nose
        assert (confidence > 0.3).all()
        skin = frame[y.astype(int), x.astype(int)].astype(int)
        assert ((skin[:, 0] - skin[:, 2]) > 30).all()


def test_frames_are_ordered_by_number_and_missing_ones_are_empty_and_reported(tmp_path: Path) -> None:
    people = {number: body(100 + number, 300) for number in (2, 9, 10, 100 // 9)}
    for number, person in people.items():
        (tmp_path / f"take_{number}_keypoints.json").write_text(json.dumps({"people": [person]}))
    data = import_openpose(tmp_path, image_size="1280x720")
    (clip,) = clips_of(data)
    assert (clip.start, clip.stop) == (2, 12)
    assert clip.joints is not None
    for number, person in people.items():
        np.testing.assert_array_equal(clip.joints[number - 2, 0], numbers(person))
    assert not clip.joints[1:7].any()
    (note,) = data.dropped
    assert note.why == "6 frame(s) have no file and count as frames without a person: 3..8"


def test_the_person_in_front_is_kept_whatever_the_order_in_the_files(tmp_path: Path) -> None:
    front = [body(100 + t, 400) for t in range(8)]
    for t, person in enumerate(front):
        behind = {**body(700, 90, seed=1), "person_id": 3}
        write(tmp_path, t, [person, behind] if t % 2 else [behind, person])
    recording = read_recording(tmp_path, persons=2)
    np.testing.assert_array_equal(recording.joints[:, 0], np.stack([numbers(one) for one in front]))
    np.testing.assert_array_equal(recording.joints[:, 1], np.stack([numbers(behind)] * 8))
    assert recording.image_size is None
    assert recording.notes == ()


def test_missing_parts_are_missing_points_and_person_ids_may_be_anything(tmp_path: Path) -> None:
    whole = body(100, 300)
    for number, ident in enumerate([5, [5], [], "five", None, [[5]], {"id": 5}, 1e300]):
        person = {**whole, "person_id": ident}
        if number == 1:
            person["face_keypoints_2d"] = []
        if number == 2:
            del person["hand_left_keypoints_2d"], person["person_id"]
        write(tmp_path, number, [person, {part: [] for part in SIZES}])
    joints = read_recording(tmp_path).joints[:, 0]
    expected = np.stack([numbers(whole)] * 8)
    expected[1, 25:95] = 0
    expected[2, 95:116] = 0
    np.testing.assert_array_equal(joints, expected)


def test_coco_18_bodies_find_their_place_in_body_25(tmp_path: Path) -> None:
    arms = ["nose", "neck", "rsho", "relb", "rwri", "lsho", "lelb", "lwri"]
    rest = ["rhip", "rkne", "rank", "lhip", "lkne", "lank", "reye", "leye", "rear", "lear"]
    names_coco, names_25 = [*arms, *rest], [*arms, "midhip", *rest, *["foot"] * 6]
    values = np.random.default_rng(0).uniform(1, 500, (18, 3)).round(2)
    values[:, 2] = 0.5
    write(tmp_path, 0, [{"pose_keypoints_2d": values.ravel().tolist()}])
    recording = read_recording(tmp_path, keypoints="body")
    assert recording.joints.shape == (1, 1, 25, 3)
    for point, name in enumerate(names_25):
        wanted = values[names_coco.index(name)] if name in names_coco else np.zeros(3)
        np.testing.assert_array_equal(recording.joints[0, 0, point], wanted.astype(np.float32))
    assert "COCO-18" in recording.notes[0]
    assert [note.what for note in import_openpose(tmp_path, image_size="640x480").dropped] == [
        "1 recording(s) or more with COCO-18 bodies"
    ]


def test_files_of_the_first_versions_are_read(tmp_path: Path) -> None:
    person = body(100, 300)
    old = {part.removesuffix("_2d"): person[part] for part in SIZES}
    (tmp_path / "take_000000000000_keypoints.json").write_text(json.dumps({"version": 1.0, "people": [old]}))
    np.testing.assert_array_equal(read_recording(tmp_path).joints[0, 0], numbers(person))


def test_a_tree_names_recordings_by_their_folders(tmp_path: Path) -> None:
    for number, folder in enumerate(("äther/b", "a", "a/deep er/x")):
        write(tmp_path / folder, 0, [body(100, 300, seed=number)], stem="v")
    write(tmp_path / "two", 0, [body(100, 300)], stem="one")
    write(tmp_path / "two", 4, [body(100, 300)], stem="other")
    (tmp_path / "a" / "x_keypoints.json").write_text("{}")
    (tmp_path / "a" / "notes.json").write_text("{}")
    data = import_openpose(tmp_path, image_size="640x480")
    assert [source.name for source in data.sources] == ["a", "a/deep er/x", "two/one", "two/other", "äther/b"]
    assert [clip.clip_id for clip in clips_of(data)] == [source.name for source in data.sources]
    assert [clip.video_id for clip in clips_of(data)] == [source.name for source in data.sources]
    assert data.sources[0].files == (tmp_path / "a" / "v_000000000000_keypoints.json",)
    (note,) = data.dropped
    assert note.why == "its name has no frame number before _keypoints.json"
    with pytest.raises(DataError, match=r"two: holds files of 2 recordings \('one', 'other'\), wanted one"):
        read_recording(tmp_path / "two")


def test_without_a_video_the_size_is_taken_from_the_points_and_said(tmp_path: Path) -> None:
    person = body(100, 300)
    person["pose_keypoints_2d"][:3] = [1919.4, 900.2, 0.5]
    write(tmp_path, 0, [person])
    data = import_openpose(tmp_path)
    assert data.image_size == (1920, 901)
    assert data.dropped[0].what == "image size"
    assert "taken as 1920x901, the extremes of the points (state it with image_size)" in data.dropped[0].why
    assert import_openpose(tmp_path, image_size="1920x1080").image_size == (1920, 1080)
    assert not import_openpose(tmp_path, image_size="1920x1080").dropped


def test_the_reason_is_what_was_met_and_a_size_is_not_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in" / "empty", 0, [])
    wanted = {"name": "openpose", "source": tmp_path / "in", "out": tmp_path / "c.h5", "keep_going": True}
    with pytest.raises(DataError, match=r"imported, the first reason: empty: .*nobody is in any of its"):
        import_data(**wanted, console=TerminalConsole())
    write(tmp_path / "in" / "full", 0, [body(100, 300)])
    result = import_data(**wanted, console=TerminalConsole())
    assert [item["what"] for item in result.data["dropped"]] == ["empty"]
    assert [item["what"] for item in result.data["notes"]] == ["image size"]
    said = capsys.readouterr().err
    assert "left out empty: " in said
    assert "warning: image size: unknown, as there is no video" in said


def write_video(path: Path, width: int, height: int, frames: int = 4) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = np.full((height, width, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_the_video_is_found_beside_the_files_and_gives_size_and_frames(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(4):
            write(tmp_path / name, number, [body(10, 100)], stem=f"take{name}")
    write_video(tmp_path / "a" / "takea.mp4", 320, 240)
    write_video(tmp_path / "b.avi", 160, 120)
    data = import_openpose(tmp_path)
    assert data.image_size == (320, 240)
    assert len(data.sources[0].read()[0]) == 1
    with pytest.raises(
        DataError, match=r"b\.avi: has frames of 160x120, but those of the first .* of 320x240"
    ):
        data.sources[1].read()
    assert len(clips_of(import_openpose(tmp_path, image_size="320x240"))) == 2
    frames = list(open_frames(tmp_path, "rgb").frames("b", 1, 3))
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 2
    assert [round(float(frame.mean()) / 40) for frame in frames] == [1, 2]
    with pytest.raises(UsageError, match="openpose has no stream 'depth'"):
        open_frames(tmp_path, "depth")
    with pytest.raises(DataError, match="holds no recording 'c'"):
        next(open_frames(tmp_path, "rgb").frames("c", 0, 1))
    (tmp_path / "b.avi").unlink()
    with pytest.raises(DataError, match=r"b: has no video \(wanted takeb\.mp4, "):
        next(open_frames(tmp_path, "rgb").frames("b", 0, 1))


def test_a_table_cuts_the_recordings(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(5, 15):
        write(tree / "day" / "one", number, [body(100 + number, 300)])
    write(tree / "unused", 0, [body(100, 300)])
    table = tmp_path / "clips.csv"
    table.write_text(
        "clip_id,video,start,stop,label,subject\nx,day/one.mp4,5,8,wave,s1\ny,day/one.mp4,8,15,clap,s2\n"
        "z,day/one.mp4,,,clap,s2\n"
    )
    data = import_openpose(tree, clips=str(table), image_size="640x480")
    assert data.class_names == ("clap", "wave")
    clips = clips_of(data)
    assert [(clip.clip_id, clip.start, clip.stop, clip.label, clip.subject_id) for clip in clips] == [
        ("x", 5, 8, 1, "s1"),
        ("y", 8, 15, 0, "s2"),
        ("z", 5, 15, 0, "s2"),
    ]
    assert {clip.video_id for clip in clips} == {"day/one"}
    assert clips[1].joints is not None
    np.testing.assert_array_equal(clips[1].joints[0, 0], numbers(body(108, 300)))
    assert [(note.what, "has no clip of it" in note.why) for note in data.dropped] == [("unused", True)]
    table.write_text("clip_id,video,start,stop\nx,one,3,8\nw,nowhere,0,1\n")
    data = import_openpose(tree, clips=str(table), image_size="640x480")
    _, (lost,) = data.sources[0].read()
    assert (lost.what, lost.why) == ("x", "frames 3..7, but the files are of frames 5..14")
    with pytest.raises(DataError, match="holds no recording of video 'nowhere'"):
        data.sources[1].read()


GOOD = body(100, 300)


def text_of(change: dict[str, Any]) -> str:
    return json.dumps({"people": [{**GOOD, **change}]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, wanted OpenPose JSON"),
        (text_of({})[:3000], r"is no valid JSON \(cut off or damaged\?\): "),
        (b'{"people": [{"pose_keypoints_2d": "\xff\xfe"}]}', "is no valid JSON"),
        ("[" * 100_000, "is no valid JSON"),
        ('{"people":' + '{"a":' * 100_000, "is no valid JSON"),
        ("[]", "has no list 'people', wanted OpenPose JSON"),
        ("{}", "has no list 'people'"),
        ('{"people": 5}', "has the number 5 as 'people'"),
        ('{"people": {"a": 1}}', "has an object as 'people'"),
        ('{"people": [7]}', "person 0 is the number 7, wanted keypoint lists by name"),
        ('{"people": [{}]}', "person 0 has no list 'pose_keypoints_2d' nor any other known one"),
        (text_of({"face_keypoints_2d": 3}), "person 0: the face is the number 3, wanted a list of numbers"),
        (text_of({"face_keypoints_2d": None}), "person 0: the face is null, wanted a list"),
        (
            text_of({"face_keypoints_2d": [1.0] * 209}),
            "person 0: the face has 209 numbers, wanted 210 or none",
        ),
        (
            text_of({"pose_keypoints_2d": [1.0] * 45}),
            r"the body has 45 numbers, wanted 75 \(BODY_25\) or 54 \(COCO-18\)",
        ),
        (
            text_of({"hand_left_keypoints_2d": ["12.5"] * 63}),
            "the left hand holds the text '12.5', wanted numbers",
        ),
        (text_of({"hand_right_keypoints_2d": [None] * 63}), "the right hand holds null, wanted numbers only"),
        (text_of({"face_keypoints_2d": [[1]] * 210}), "the face holds a list, wanted numbers only"),
        (text_of({"face_keypoints_2d": [math.nan] * 210}), "is no valid JSON"),
        (text_of({"face_keypoints_2d": [1e300] * 210}), "holds a number that is not finite"),
        (
            text_of({"pose_keypoints_2d": [2.0] * 54}),
            "is of model COCO-18, but the people before are of BODY_25",
        ),
        (b" " * (17 * 2**20), "has more than 16 MiB, wanted the people of one frame"),
    ],
)
def test_damage_is_named_with_its_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    write(tmp_path, 0, [GOOD])
    path = tmp_path / "take_000000000001_keypoints.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=re.escape(str(path)) + ": .*" + message) as caught:
        read_recording(tmp_path)
    assert "\n" not in str(caught.value)
    source = import_openpose(tmp_path).sources[0]  # the tree opens; the recording says what is wrong
    with pytest.raises(DataError, match=message):
        source.read()


def test_recordings_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no OpenPose recording"):
        import_openpose(tmp_path)
    with pytest.raises(DataError, match="nothing: is no folder"):
        import_openpose(tmp_path / "nothing")
    with pytest.raises(DataError, match="nothing: cannot be listed"):
        read_recording(tmp_path / "nothing")
    write(tmp_path / "empty", 0, [])
    with pytest.raises(DataError, match="empty: nobody is in any of its 1 frames"):
        import_openpose(tmp_path).sources[0].read()
    assert not read_recording(tmp_path / "empty").joints.any()
    small = {part: (np.array(values) / 5000).tolist() for part, values in GOOD.items() if part in SIZES}
    write(tmp_path / "scaled", 0, [small])
    with pytest.raises(DataError, match=r"scaled: all points lie within 0\.\.1, wanted pixels"):
        read_recording(tmp_path / "scaled")
    (tmp_path / "empty" / "take_0_keypoints.json").write_text("{}")
    with pytest.raises(DataError, match=r"empty: take_0{12}_.* and take_0_keypoints\.json are both frame 0"):
        import_openpose(tmp_path)


def test_a_frame_number_out_of_all_proportion_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 0, [GOOD])
    write(tmp_path, 999_999_999_999, [GOOD])
    with pytest.raises(DataError, match="has 2 files, but their frame numbers run from 0 to 999999999999"):
        import_openpose(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "take_0_keypoints.json")
    with pytest.raises(DataError, match=r"take_0_keypoints\.json: is empty"):
        read_recording(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keypoints": "hands"}, "option keypoints is 'hands', wanted one of: all, body"),
        ({"keypoints": ["body"]}, r"option keypoints is '\['body'\]', wanted one of: all, body"),
        ({"persons": 0}, "option persons is '0', wanted a whole number from 1 to 32"),
        ({"persons": "two"}, "option persons is 'two'"),
        ({"image_size": "720p"}, "option image_size is '720p', wanted WIDTHxHEIGHT"),
        ({"min_confidence": 2}, "option min_confidence is '2'"),
        ({"max_gap": -1}, "option max_gap is '-1'"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write(tmp_path, 0, [GOOD])
    with pytest.raises(UsageError, match=message):
        import_openpose(tmp_path, **options)
