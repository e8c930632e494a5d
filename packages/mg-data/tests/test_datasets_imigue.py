"""The challenge's layouts: label conventions, keypoint files, and what happens to files that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import DataError, UsageError
from mg_data.datasets.imigue.files import read_label_csv, read_light_hand, read_openpose_xlsx
from mg_data.datasets.imigue.importer import CLASS_NAMES, import_imigue, open_frames
from mg_data.datasets.synthetic.skeleton import light_hand
from mg_data.datasets.synthetic.xlsx import write_xlsx

openpyxl = pytest.importorskip("openpyxl")


def write_video(root: Path, video_id: str, labels: str, frames: int = 20) -> np.ndarray:
    """Write one video's folder without its mp4 and return its (T, 137, 3) keypoints."""
    folder = root / video_id
    folder.mkdir(parents=True)
    points = np.round(np.random.default_rng(int(video_id)).uniform(0, 700, (frames, 137, 3)), 3)
    points[::3, 40] = 0
    write_xlsx(folder / f"{video_id}_openpose.xlsx", points.reshape(frames, -1))
    hands = light_hand(points).reshape(frames, -1)
    lines = [",".join([str(index), *(f"{value:.3f}" for value in row)]) for index, row in enumerate(hands)]
    (folder / f"{video_id}_light_hand.csv").write_text("\n".join(lines) + "\n")
    (folder / f"{video_id}_label.csv").write_text(labels)
    return points


@pytest.mark.parametrize(
    ("convention", "text", "expected"),
    [
        ("raw", "1,0,4\n31,5,9\n99,10,19\n", [0, 30, 31]),
        ("challenge", "0,0,4\n30,5,9\n31,10,19\n", [0, 30, 31]),
        ("raw-1based32", "1,0,4\n31,5,9\n32,10,19\n", [0, 30, 31]),
    ],
)
def test_three_conventions_name_the_same_classes(
    tmp_path: Path, convention: str, text: str, expected: list[int]
) -> None:
    write_video(tmp_path, "0001", text)
    clips = list(import_imigue(tmp_path, labels=convention).all_clips())
    assert [clip.label for clip in clips] == expected
    assert [(clip.start, clip.stop) for clip in clips] == [(0, 5), (5, 10), (10, 20)]
    assert [clip.clip_id for clip in clips] == ["0001_0", "0001_1", "0001_2"]


def test_a_class_outside_the_convention_names_the_one_that_fits(tmp_path: Path) -> None:
    write_video(tmp_path, "0001", "0,0,4\n12,5,9\n")
    wanted = (
        r"class 0 is outside the convention labels=raw \(1\.\.31 and 99\); the file fits labels=challenge$"
    )
    with pytest.raises(DataError, match=wanted):
        import_imigue(tmp_path)
    (tmp_path / "0001" / "0001_label.csv").write_text("55,0,4\n")
    with pytest.raises(DataError, match="it fits no known convention"):
        import_imigue(tmp_path)


def test_a_missing_class_is_an_unknown_label(tmp_path: Path) -> None:
    write_video(tmp_path, "0001", ",0,4\n-1,5,9\n")
    assert [clip.label for clip in import_imigue(tmp_path).all_clips()] == [-1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,start,end\n1,0,4\n", r"line 1 is 'class,start,end', wanted class,start,end as whole numbers"),
        ("1,0\n", r"line 1 is '1,0', wanted"),
        ("1,0,4\n2,9,5\n", r"line 2 has frames 9\.\.5, wanted 0 <= start <= end"),
    ],
)
def test_malformed_label_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "0001_label.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_label_csv(path, "raw")


def test_both_keypoint_files_are_read_exactly(tmp_path: Path) -> None:
    points = write_video(tmp_path, "0001", "5,3,12\n")
    openpose = import_imigue(tmp_path)
    clip = next(openpose.all_clips())
    assert clip.joints is not None
    assert openpose.layout == "openpose-137"
    np.testing.assert_array_equal(clip.joints[:, 0], points[3:13].astype(np.float32))
    light = import_imigue(tmp_path, keypoints="light_hand")
    clip = next(light.all_clips())
    assert clip.joints is not None
    assert light.layout == "imigue-35"
    # The finger tips of the left hand follow the body, then those of the right hand.
    np.testing.assert_array_equal(clip.joints[:, 0, 25], points[3:13, 95 + 4].astype(np.float32))
    np.testing.assert_array_equal(clip.joints[:, 0, 34], points[3:13, 116 + 20].astype(np.float32))


def test_an_independent_reader_and_writer_of_xlsx_agree(tmp_path: Path) -> None:
    table = np.round(np.random.default_rng(3).uniform(-5, 900, (7, 411)), 3)
    write_xlsx(tmp_path / "ours.xlsx", table)
    sheet = openpyxl.load_workbook(tmp_path / "ours.xlsx", read_only=True).active
    np.testing.assert_array_equal(np.array(list(sheet.values), float), table)
    book = openpyxl.Workbook()
    for row in table.tolist():
        book.active.append(row)
    book.active.cell(1, 1).value = None  # an empty cell makes its point a missing one
    book.save(tmp_path / "theirs.xlsx")
    points = read_openpose_xlsx(tmp_path / "theirs.xlsx")
    assert points[0, 0].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(points[1:].reshape(6, -1), table[1:].astype(np.float32))


def test_videos_that_do_not_fit_are_left_out_with_the_reason(tmp_path: Path) -> None:
    write_video(tmp_path, "0001", "1,0,4\n2,15,25\n")
    write_video(tmp_path, "0002", "")
    write_video(tmp_path, "0003", "1,0,4\n")
    write_video(tmp_path, "0004", "1,0,4\n")
    write_video(tmp_path, "0005", "1,0,4\n")
    write_xlsx(tmp_path / "0003" / "0003_openpose.xlsx", np.zeros((20, 408)))
    (tmp_path / "0004" / "0004_openpose.xlsx").write_text("no zip")
    (tmp_path / "0005" / "0005_openpose.xlsx").unlink()
    data = import_imigue(tmp_path)
    clips, reasons = [], {item.what: item.why for item in data.dropped}
    for unit in data.sources:
        try:
            found, dropped = unit.read()
        except DataError as error:
            reasons[unit.name] = str(error)
            continue
        clips += found
        reasons.update({item.what: item.why for item in dropped})
    assert [clip.clip_id for clip in clips] == ["0001_0"]
    assert reasons["0001_1"] == "frames 15..25, but 0001_openpose.xlsx has only 20 frames"
    assert reasons["0002"] == "0002_label.csv is empty: the video has no clips"
    assert "has 408 columns, wanted 411" in reasons["0003"]
    assert "is no readable xlsx file" in reasons["0004"]
    assert reasons["0005"].endswith("0005_openpose.xlsx: does not exist (the keypoints of 1 clips)")
    assert sum(unit.clips for unit in data.sources) == 5


def test_a_list_of_clip_ids_is_taken_exactly(tmp_path: Path) -> None:
    write_video(tmp_path, "0001", "1,0,4\n2,5,9\n")
    write_video(tmp_path, "0002", "1,0,4\n")
    (tmp_path / "test.csv").write_text("Id,Target\n0001_1,\n")
    data = import_imigue(tmp_path, ids="test.csv")
    assert [clip.clip_id for clip in data.all_clips()] == ["0001_1"]
    assert [unit.name for unit in data.sources] == ["0001"]
    for text, message in (
        ("0001_1\n0001_1\n", "lists clip '0001_1' twice"),
        ("0001_2\n", "lists clip '0001_2', but video '0001' has 2 clips"),
        ("0009_0\n", "lists clip '0009_0', but video '0009' is not there"),
        (f"0001_{'9' * 5000}\n", "but video '0001' has 2 clips"),
        ("Id\n0001\0_1\n", "test.csv, line 2: holds a NUL byte; the table is damaged or UTF-16"),
        ("Id\n", "lists no clip id, wanted one a line"),
    ):
        (tmp_path / "test.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            import_imigue(tmp_path, ids="test.csv")


def test_whole_videos_are_one_clip_each_without_a_label(tmp_path: Path) -> None:
    points = write_video(tmp_path, "0001", "1,0,4\n2,5,9\n")
    data = import_imigue(tmp_path, whole=True)
    assert data.frame_rates == {}  # no mp4 tells
    (clip,) = data.all_clips()
    assert (clip.clip_id, clip.video_id, clip.start, clip.stop, clip.label) == ("0001", "0001", 0, 20, -1)
    assert clip.joints is not None
    np.testing.assert_allclose(clip.joints[:, 0], points, rtol=1e-6)
    for options, message in (
        ({"whole": True, "background": 3}, "options background and whole exclude each other"),
        ({"ids": "test.csv", "background": 3}, "options background and ids exclude each other"),
        ({"ids": "test.csv", "whole": True}, "options whole and ids exclude each other"),
        ({"background": 1.5}, r"option background is 1\.5, wanted a number of frames"),
    ):
        with pytest.raises(UsageError, match=message):
            import_imigue(tmp_path, **options)  # type: ignore[arg-type]


def test_a_video_without_a_label_csv_is_said_or_is_a_whole_video(tmp_path: Path) -> None:
    for folder, video_id in (("train", "0001"), ("new", "0002")):
        write_video(tmp_path / folder, video_id, "1,0,4\n")
    (tmp_path / "new" / "0002" / "0002_label.csv").unlink()
    (tmp_path / "new" / "0002" / "0002.mp4").touch()
    data = import_imigue(tmp_path)
    assert [source.name for source in data.sources] == ["0001"]
    (left_out,) = data.dropped
    assert left_out.what.endswith("0002")
    assert left_out.why == "has no 0002_label.csv, which would list its clips"
    data = import_imigue(tmp_path, whole=True, image_size="720x1280")
    assert {clip.clip_id: clip.stop for clip in data.all_clips()} == {"0001": 20, "0002": 20}
    assert not data.dropped
    frames = open_frames(tmp_path, "rgb")
    assert frames.video_path("0002") == tmp_path / "new" / "0002" / "0002.mp4"
    for video_id in ("0001", "0002"):
        write_video(tmp_path / "old", video_id, "1,0,4\n")
        (tmp_path / "old" / video_id / f"{video_id}_label.csv").unlink()
        with pytest.raises(DataError, match=rf"video '{video_id}' is there twice: .*(new|train).* and .*old"):
            import_imigue(tmp_path, whole=True, image_size="720x1280")
        assert len(import_imigue(tmp_path).dropped) == 2
        shutil.rmtree(tmp_path / "old")


@pytest.mark.parametrize("whole", [False, True])
def test_a_video_of_another_size_than_the_first_is_refused(tmp_path: Path, whole: bool) -> None:
    """Its keypoints would be taken as pixels of the first one's frames, and its crops cut elsewhere."""
    av = pytest.importorskip("av")
    for video_id, width in (("0001", 96), ("0002", 48)):
        write_video(tmp_path, video_id, "1,0,4\n")
        with av.open(str(tmp_path / video_id / f"{video_id}.mp4"), "w") as file:
            stream = file.add_stream("mpeg4", rate=25)
            stream.width, stream.height = width, 2 * width
            frame = av.VideoFrame.from_ndarray(np.zeros((2 * width, width, 3), np.uint8))
            file.mux([*stream.encode(frame), *stream.encode()])
    data = import_imigue(tmp_path, whole=whole)
    assert data.image_size == (96, 192)
    first, second = data.sources
    assert first.read()
    with pytest.raises(
        DataError, match=r"0002\.mp4: has frames of 48x96, but those of the first video are of 96x192"
    ):
        second.read()
    assert import_imigue(tmp_path, whole=whole, image_size="96x192").sources[1].read()
    (tmp_path / "0002" / "0002.mp4").write_bytes(b"damaged")
    assert import_imigue(tmp_path, whole=whole).sources[1].read()


def test_background_clips_lie_where_nothing_is_labelled(tmp_path: Path) -> None:
    points = write_video(tmp_path, "0001", "1,3,6\n2,12,12\n")
    data = import_imigue(tmp_path, background=3)
    assert data.class_names == (*CLASS_NAMES, "background")
    assert data.vocabulary == "imigue-32-background"
    found = {clip.clip_id: clip for clip in data.all_clips()}
    assert list(found) == ["0001_0", "0001_1", "0001_b0", "0001_b1", "0001_b2", "0001_b3"]
    spans = [(found[f"0001_b{number}"].start, found[f"0001_b{number}"].stop) for number in range(4)]
    assert spans == [(0, 3), (7, 10), (13, 16), (16, 19)]
    assert {found[f"0001_b{number}"].label for number in range(4)} == {32}
    np.testing.assert_allclose(found["0001_b1"].joints[:, 0], points[7:10], rtol=1e-6)  # type: ignore[index]
    assert import_imigue(tmp_path).vocabulary == "imigue-32"


def test_text_in_an_xlsx_is_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append([f"c{index}" for index in range(411)])
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match="row 1 holds the text 'c0', wanted numbers without header"):
        read_openpose_xlsx(tmp_path / "x.xlsx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty, wanted one line a frame"),
        ("0,1,2\n", "has 3 columns, wanted 106"),
        ("a,b\n", "is no table of numbers without header"),
        (",".join(["7"] * 106) + "\n", "line 1 has index 7, wanted 0 or 1: frames before it are missing"),
        ("\n\n", "is empty, wanted one line a frame"),
        (",".join(["0"] * 106) + "\n" + ",".join(["2"] * 106) + "\n", "line 2 has index 2, wanted one more"),
    ],
)
def test_malformed_light_hand_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "0001_light_hand.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_light_hand(path)


def test_subjects_and_folders(tmp_path: Path) -> None:
    write_video(tmp_path / "train", "0001", "1,0,4\n")
    write_video(tmp_path / "validation", "0002", "1,0,4\n")
    (tmp_path / "subjects.csv").write_text("video_id,subject_id\n0001,p7\n")
    data = import_imigue(tmp_path)
    assert {clip.video_id: clip.subject_id for clip in data.all_clips()} == {"0001": "p7", "0002": ""}
    assert data.image_size == (720, 1280)
    assert data.class_names == CLASS_NAMES
    assert len(set(CLASS_NAMES)) == 32
    (tmp_path / "subjects.csv").write_text("video,person\n")
    with pytest.raises(DataError, match="has header 'video,person', wanted video_id,subject_id"):
        import_imigue(tmp_path)
    write_video(tmp_path / "test", "0001", "1,0,4\n")
    with pytest.raises(DataError, match="video '0001' is there twice"):
        import_imigue(tmp_path)


def test_a_subject_that_is_not_known_is_said(tmp_path: Path) -> None:
    for video_id in ("0001", "0002"):
        write_video(tmp_path, video_id, "1,0,4\n")
    with pytest.raises(DataError, match=r"people\.csv: does not exist \(option subjects names a file in"):
        import_imigue(tmp_path, subjects="people.csv")
    assert not import_imigue(tmp_path).dropped
    (tmp_path / "people.csv").write_text("video_id,subject_id\n0001 , p7\n2,p8\n")
    data = import_imigue(tmp_path, subjects="people.csv")
    assert {clip.video_id: clip.subject_id for clip in data.all_clips()} == {"0001": "p7", "0002": ""}
    assert [item.what for item in data.dropped] == ["the subject of 1 of 2 videos"]
    assert data.dropped[0].why.endswith("people.csv does not list them, the first is '0002'")
    with pytest.raises(UsageError, match="option ids is 2023, wanted a path"):
        import_imigue(tmp_path, ids=2023)  # type: ignore[arg-type]


def test_wrong_options_and_empty_trees(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no video"):
        import_imigue(tmp_path)
    with pytest.raises(
        UsageError, match="option labels is 'guess', wanted one of: raw, challenge, raw-1based32"
    ):
        import_imigue(tmp_path, labels="guess")
    with pytest.raises(UsageError, match="has no stream 'depth'"):
        open_frames(tmp_path, "depth")
    with pytest.raises(DataError, match=r"0001\.mp4: does not exist"):
        open_frames(tmp_path, "rgb").frames("0001", 0, 1)
