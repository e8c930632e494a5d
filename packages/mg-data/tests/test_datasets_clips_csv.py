"""A csv of clips: what is read is what was written, each slip is named by line and column, spans fit."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, UsageError
from mg_data.datasets.clips.importer import import_clips, open_frames, read_clip_table
from mg_data.labels import read_labels
from mg_data.prepare.importing import import_data
from mg_data.store import ClipsWriter, open_clips

QUIET = TerminalConsole(quiet=True)
HEADER = "clip_id,video,start,stop,label,subject,split\n"


def table(folder: Path, text: str | bytes, classes: str = "") -> Path:
    path = folder / "clips.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if classes:
        (folder / "classes.txt").write_text(classes)
    return path


# --- the table


def test_only_the_video_is_needed(tmp_path: Path) -> None:
    found = read_clip_table(table(tmp_path, "video\na.mp4\nb/c.d.mp4\n"))
    assert [(row.clip_id, row.video, row.start, row.stop, row.label) for row in found.rows] == [
        ("a", "a.mp4", None, None, -1),
        ("c.d", "b/c.d.mp4", None, None, -1),
    ]
    assert found.class_names == ("unknown",)
    assert found.columns == ("video",)


def test_names_numbers_and_further_columns(tmp_path: Path) -> None:
    text = "label,video,start,stop,note\n wave ,a.mp4,0,5,x\nnod,a.mp4,5,9,\n\n,a.mp4,9,12,\n"
    found = read_clip_table(table(tmp_path, text))
    assert [(row.clip_id, row.label, row.line) for row in found.rows] == [
        ("a_0", 1, 2),
        ("a_5", 0, 3),
        ("a_9", -1, 5),
    ]
    assert found.class_names == ("nod", "wave")
    assert found.ignored == ("note",)
    numbers = read_clip_table(table(tmp_path, "video,label\na,2\nb,0\nc,\n"))
    assert [row.label for row in numbers.rows] == [2, 0, -1]
    assert numbers.class_names == ("class 0", "class 1", "class 2")


def test_a_list_of_classes_takes_names_and_numbers(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffvideo,label\na,nod\nb,0\nc,2\n", "wave\nnod\nzögern\n\n")
    found = read_clip_table(path, tmp_path / "classes.txt")
    assert [row.label for row in found.rows] == [1, 0, 2]
    assert found.class_names == ("wave", "nod", "zögern")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "clips.csv: is empty, wanted a header such as clip_id,video"),
        (" \n\n", "clips.csv: is empty"),
        (HEADER, "clips.csv: lists no clip, it holds a header only"),
        (
            "clip_id,vidoe\na,b\n",
            "line 1: lacks the column video, found 'clip_id,vidoe'; did you mean 'video' by",
        ),
        ("video;start;stop\na;1;2\n", "line 1: columns are separated by ';' or tabs, wanted ','"),
        ("video,video\na,b\n", "line 1: column 'video' stands twice"),
        ('video\n"a\n', "line 2: is no csv"),
        ("video,start,stop\na,1\n", "line 2: has 2 cells, wanted 3"),
        ("video,clip_id\na,x\nb,x\n", "line 3, column clip_id: clip id 'x' stands in line 2 already"),
        (
            "video\na/x.mp4\nb/x.mp4\n",
            "line 3, column clip_id: clip id 'x' stands in line 2 already (made of",
        ),
        ("video,start,stop\na,5,5\n", "line 2, column stop: stop 5 is not after start 5"),
        ("video,start,stop\na,-1,5\n", "line 2, column start: frame -1 is negative"),
        ("video,start,stop\na,1,\n", "line 2, column stop: is empty, but start is not"),
        ("video,start,stop\na,,4\n", "line 2, column start: is empty, but stop is not"),
        ("video,start,stop\na,1.0,4\n", "line 2, column start: '1.0' is no frame"),
        (
            "video,start,stop\na,1,99999999999999999999\n",
            "line 2, column stop: '99999999999999999999' is no frame",
        ),
        ("video,start,stop\na,1,\uff15\n", "line 2, column stop: '\uff15' is no frame"),
        ("video,label\na,1\nb,wave\n", "line 2, column label: '1' is a number, but other labels are names"),
        ("video,label\na,-1\n", "line 2, column label: class -1 is out of range"),
        ("video,label\na,10000\n", "line 2, column label: class 10000 is out of range 0..9999"),
        ("video\n/etc/passwd\n", "line 2, column video: '/etc/passwd' is an absolute path"),
        ("video\nC:/a.mp4\n", "line 2, column video: 'C:/a.mp4' is an absolute path"),
        ("video\na/../../b.mp4\n", "line 2, column video: 'a/../../b.mp4' holds '..'"),
        ("video\na\\..\\b.mp4\n", "holds '..'"),
        ("video\na\\b.mp4\n", "holds '\\', wanted '/'"),
        ("video\n.\n", "line 2, column video: '.' names no file"),
        ("video,label\n,x\n", "line 2, column video: is empty, wanted the video's path"),
        ('video\n"a\nb"\n', "line 2, column video: holds a line break or another control character"),
        (b"video\na\n\xff.mp4\n", "line 3: byte 0xff is not UTF-8; save the table as UTF-8"),
        ("video\na.mp4\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        (b"video\na\x00b\n", "line 2: holds a NUL byte"),
        ("video\n" + "a" * 200_000 + "\n", "line 2: is no csv: field larger than field limit"),
    ],
)
def test_each_slip_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_clip_table(table(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "clips.csv"))


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        ("wawe", "wave\nnod\n", "line 2, column label: class 'wawe' is not in"),
        ("wawe", "wave\nnod\n", "(did you mean 'wave'?)"),
        ("2", "wave\nnod\n", "line 2, column label: class 2 is out of range"),
        ("1", "wave\nwave\n", "classes.txt, line 2: class name 'wave' stands in line 1 already"),
        ("1", "1\n2\n", "classes.txt, line 1: class 0 is named '1', which could as well be the number"),
        ("1", "\n\n", "classes.txt: holds no class name"),
        ("1", "a\n\nb\n", "classes.txt, line 2: is empty, wanted the name of class 1"),
    ],
)
def test_each_slip_with_classes_is_named(tmp_path: Path, label: str, classes: str, message: str) -> None:
    path = table(tmp_path, f"video,label\na,{label}\n", classes)
    with pytest.raises(DataError) as caught:
        read_clip_table(path, tmp_path / "classes.txt")
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the table cannot be read: No such file"):
        read_clip_table(tmp_path / "none.csv")


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(WORD, min_size=1, max_size=6, unique=True),
    subject=WORD,
    start=st.integers(0, 2**40),
    length=st.integers(1, 2**40),
)
def test_what_csv_wrote_is_read_back(
    tmp_path: Path, names: list[str], subject: str, start: int, length: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["split", "subject", "video", "stop", "start", "clip_id"])
    for name in names:
        writer.writerow(["dev", subject, "v.mp4", start + length, start, name])
    found = read_clip_table(table(tmp_path, text.getvalue()))
    assert [row.clip_id for row in found.rows] == names
    assert {(row.video, row.start, row.stop, row.subject, row.split) for row in found.rows} == {
        ("v.mp4", start, start + length, subject, "dev")
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80), head=st.sampled_from([b"", HEADER.encode(), b"video,label\n"]))
def test_any_bytes_give_a_table_or_a_data_error(tmp_path: Path, content: bytes, head: bytes) -> None:
    message = ""
    try:
        assert read_clip_table(table(tmp_path, head + content)).rows
    except DataError as error:
        message = str(error)
    assert "\n" not in message


# --- the data set


def run(folder: Path, source: Path, **options: Any) -> Any:
    keep = options.pop("keep_going", False)
    return import_data(
        name="clips",
        source=source,
        out=folder / "clips.h5",
        labels=folder / "labels.csv",
        options=options,
        keep_going=keep,
        console=QUIET,
    )


def test_an_index_without_keypoints(tmp_path: Path) -> None:
    source = table(tmp_path, HEADER + "x,a.mp4,0,5,wave,s1,train\n,ü/b.mp4,7,9,,s2,test\n")
    run(tmp_path, source)
    clips = open_clips(tmp_path / "clips.h5")
    assert clips.clip_ids.tolist() == ["x", "b_7"]
    assert clips.video_ids.tolist() == ["a.mp4", "ü/b.mp4"]
    assert clips.stop.tolist() == [5, 9]
    assert (clips.layout, clips.dataset) == ("", "clips")
    assert read_labels(tmp_path / "labels.csv") == {"x": 0, "b_7": -1}
    with pytest.raises(DataError, match="line 2, column stop: is empty, but without keypoints and videos"):
        import_clips(table(tmp_path, "video\na.mp4\n"))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos of 12 frames of 64 x 48 pixels."""
    root = tmp_path / "videos"
    (root / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.mp4"):
        write_video(root / name, 64, 48)
    return root


def write_video(path: Path, width: int, height: int) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for value in range(12):
            image = np.full((height, width, 3), value * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_whole_videos_take_their_length_from_the_video(tmp_path: Path, videos: Path) -> None:
    source = table(
        tmp_path, "clip_id,video,start,stop\na,a.mp4,,\nb,deep/b.mp4,3,12\nc,a.mp4,3,13\nd,no.mp4,0,1\n"
    )
    with pytest.raises(DataError, match=r"c: frames 3\.\.12, but .*a\.mp4 has only 12 frames"):
        run(tmp_path, source, root=str(videos))
    result = run(tmp_path, source, root=str(videos), keep_going=True)
    clips = open_clips(tmp_path / "clips.h5")
    assert clips.clip_ids.tolist() == ["a", "b"]
    assert clips.stop.tolist() == [12, 12]
    assert [item["what"] for item in result.data["dropped"]] == ["c", "no.mp4"]
    frames = list(open_frames(videos, "rgb").frames("deep/b.mp4", 10, 12))
    assert len(frames) == 2
    assert abs(float(frames[1].mean()) - 220) < 12
    for outside in ("../a.mp4", str(videos / "a.mp4")):
        with pytest.raises(DataError, match="wanted"):
            open_frames(videos, "rgb").frames(outside, 0, 1)
    with pytest.raises(UsageError, match="clips has no stream 'depth'"):
        open_frames(videos, "depth")


def poses(path: Path, spans: dict[str, tuple[int, int]]) -> dict[str, np.ndarray[Any, Any]]:
    """Write a clips store of whole videos, as 'mg data pose' does; return their keypoints."""
    rng = np.random.default_rng(0)
    joints = {
        name: rng.uniform(1, 60, (b - a, 2, 17, 3)).astype(np.float32) for name, (a, b) in spans.items()
    }
    with ClipsWriter(
        path, dataset="pose", class_names=("unknown",), layout="coco-17", image_size=(64, 48)
    ) as writer:
        for name, (start, stop) in spans.items():
            writer.add(
                clip_id=name, subject_id="", video_id=name, start=start, stop=stop, joints=joints[name]
            )
    return joints


def test_spans_are_cut_out_of_a_store_of_whole_videos(tmp_path: Path) -> None:
    joints = poses(tmp_path / "poses.h5", {"b": (0, 12), "a.mp4": (2, 12), "other": (0, 3)})
    text = (
        "clip_id,video,start,stop\nx,a.mp4,4,9\ny,deep/b.mp4,,\nz,a.mp4,,\nlate,a.mp4,5,13\nearly,a.mp4,0,5\n"
    )
    source = table(tmp_path, text + "none,no.mp4,0,2\n")
    result = run(tmp_path, source, keypoints=str(tmp_path / "poses.h5"), keep_going=True)
    clips = open_clips(tmp_path / "clips.h5")
    assert clips.clip_ids.tolist() == ["x", "z", "y"]
    assert clips.video_ids.tolist() == ["a.mp4", "a.mp4", "deep/b.mp4"]
    assert (clips.layout, clips.image_size) == ("coco-17", (64, 48))
    assert clips.start.tolist() == [4, 2, 0]
    np.testing.assert_array_equal(clips.joints(0), joints["a.mp4"][2:7])
    np.testing.assert_array_equal(clips.joints(1), joints["a.mp4"])
    np.testing.assert_array_equal(clips.joints(2), joints["b"])
    why = {item["what"]: item["why"] for item in result.data["dropped"]}
    assert why["late"] == "frames 5..12, but the keypoints of 'a.mp4' have only frames 2..11"
    assert why["early"] == "frames 0..4, but the keypoints of 'a.mp4' have only frames 2..11"
    assert "has no keypoints of video 'no.mp4' (1 clip(s))" in why["no.mp4"]
    assert why[f"1 video(s) of {tmp_path / 'poses.h5'}"] == "the table has no clip of them"


def test_stores_that_cannot_be_joined(tmp_path: Path) -> None:
    poses(tmp_path / "poses.h5", {"b": (0, 12)})
    points = str(tmp_path / "poses.h5")
    with pytest.raises(DataError, match=r"has none of the videos, such as 'a\.mp4' \(it has: b"):
        import_clips(table(tmp_path, "video\na.mp4\n"), keypoints=points)
    both = table(tmp_path, "clip_id,video\nx,x/b.mp4\ny,y/b.mp4\n")
    with pytest.raises(DataError, match=r"its video 'b' fits both 'x/b\.mp4' and 'y/b\.mp4'"):
        import_clips(both, keypoints=points)
    with pytest.raises(DataError, match="does not exist"):
        import_clips(both, keypoints=str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"wanted b\.pose or a folder b with OpenPose JSON files"):
        import_clips(both, keypoints=str(tmp_path / "empty"))


def _person(rng: np.random.Generator) -> dict[str, Any]:
    sizes = {"pose": 25, "face": 70, "hand_left": 21, "hand_right": 21}
    return {
        f"{part}_keypoints_2d": rng.uniform(2, 60, (size, 3)).clip(None, 60).round(3).reshape(-1).tolist()
        for part, size in sizes.items()
    }


def test_openpose_json_recordings(tmp_path: Path) -> None:
    pytest.importorskip("orjson")
    rng = np.random.default_rng(0)
    folder = tmp_path / "json" / "deep" / "b"
    folder.mkdir(parents=True)
    person = _person(rng)
    for name in person:
        person[name][2::3] = [0.9] * len(person[name][2::3])
    for frame in range(5):
        people = json.dumps({"version": 1.3, "people": [person]})
        (folder / f"b_{frame:012d}_keypoints.json").write_text(people)
    source = table(tmp_path, "video,start,stop\ndeep/b.mp4,1,4\n")
    run(tmp_path, source, keypoints=str(tmp_path / "json"))
    clips = open_clips(tmp_path / "clips.h5")
    assert clips.layout == "openpose-137"
    wanted = np.concatenate([np.reshape(values, (-1, 3)) for values in person.values()])
    np.testing.assert_allclose(clips.joints(0), np.broadcast_to(wanted, (3, 1, 137, 3)), rtol=1e-6)


@pytest.mark.parametrize("beside", [True, False])
def test_keypoints_in_pixels_of_another_image_are_refused(tmp_path: Path, beside: bool) -> None:
    pytest.importorskip("orjson")
    person = _person(np.random.default_rng(0))
    places = tmp_path / "json", tmp_path / "videos"
    videos = places[0] if beside else places[1]
    videos.mkdir()
    for name, width in (("a", 64), ("b", 32), ("c", 64)):
        (places[0] / name).mkdir(parents=True)
        for frame in range(3):
            text = json.dumps({"people": [person]})
            (places[0] / name / f"{name}_{frame}_keypoints.json").write_text(text)
        write_video(videos / f"{name}.mp4", width, width * 3 // 4)
    source = table(tmp_path, "video\na.mp4\nb.mp4\nc.mp4\n")
    options = {"keypoints": str(places[0]), **({} if beside else {"root": str(videos)})}
    with pytest.raises(
        DataError,
        match=r"has frames of 32x24, but those of the first video are of 64x48 \(import them apart\)",
    ):
        run(tmp_path, source, **options)
    result = run(tmp_path, source, keep_going=True, **options)
    clips = open_clips(tmp_path / "clips.h5")
    assert (clips.clip_ids.tolist(), clips.image_size) == (["a", "c"], (64, 48))
    assert [item["what"] for item in result.data["dropped"]] == ["b.mp4"]


@pytest.mark.data
def test_pose_files_and_json_of_one_folder(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pose_format")
    folder = shared_data / "openpose_json/src/python/tests/data"
    source = table(tmp_path, "video,start,stop\nopenpose.mp4,10,90\n")
    run(tmp_path, source, keypoints=str(folder))
    clips = open_clips(tmp_path / "clips.h5")
    assert (clips.layout, clips.image_size) == ("openpose-137", (1000, 1000))
    assert clips.joints(0).shape == (80, 1, 137, 3)
    source = table(tmp_path, "video,start,stop\nopenpose.mp4,10,94\n")
    with pytest.raises(
        DataError, match=r"frames 10\.\.93, but the keypoints of 'openpose\.mp4' have only 93"
    ):
        run(tmp_path, source, keypoints=str(folder))
