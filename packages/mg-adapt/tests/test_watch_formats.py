"""Timelines as files say what they were made of, to programs that know nothing of us."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mg_adapt.watch.matching import Annotation, evaluate
from mg_adapt.watch.overlay import check_overlay, spans_of, write_overlay
from mg_adapt.watch.segments import Segment
from mg_adapt.watch.timeline import Timeline, write_timelines
from mg_adapt.watch.truth import read_truth
from mg_adapt.watch.videos import OneVideo, Video
from mg_data.contract import DataError, UsageError
from mg_data.drawing.sheet import Tile, write_video
from mg_data.store import ClipsStore, ClipsWriter, open_clips

CLASSES = ("touch face", 'say "no" & <b>\x07', "sit straight")
LINE = Timeline(
    video_id="day 1/a",
    fps=25.0,
    start=0,
    stop=100,
    segments=(Segment(0, 20, 1, 0.91234), Segment(20, 33, 0, 0.6), Segment(50, 99, 2, 0.75)),
)
SILENT = Timeline(video_id="b", fps=12.5, start=0, stop=25, segments=())
TIMES = [(0.0, 0.8), (0.8, 1.32), (2.0, 3.96)]


def test_json_holds_frames_seconds_classes_and_facts(tmp_path: Path) -> None:
    (path,) = write_timelines(tmp_path / "t.json", [LINE, SILENT], CLASSES, {"window": 1.5})
    value = json.loads(path.read_text())
    assert (value["format"], value["version"], value["window"]) == ("mg-timeline", 1, 1.5)
    assert value["class_names"] == list(CLASSES)
    first, second = value["videos"]
    assert [(item["start"], item["stop"]) for item in first["segments"]] == TIMES
    assert [(item["start_frame"], item["stop_frame"]) for item in first["segments"]] == [
        (0, 20),
        (20, 33),
        (50, 99),
    ]
    assert first["segments"][0]["class_name"] == CLASSES[1]
    assert first["segments"][0]["confidence"] == 0.9123
    assert (second["segments"], second["seconds"]) == ([], 2.0)


def test_the_csv_is_an_annotation_that_scores_its_timeline_with_one(tmp_path: Path) -> None:
    names = [name.replace("\x07", "") for name in CLASSES]
    (path,) = write_timelines(tmp_path / "t.csv", [LINE, SILENT], names, {})
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["start_seconds"] for row in rows] == ["0.000", "0.800", "2.000", ""]
    assert rows[-1]["video_id"] == "b"
    truth = read_truth(path, names)
    assert truth.annotations["b"] == []
    assert truth.annotations["day 1/a"][0] == Annotation(0, 20, 1)
    assert evaluate({"day 1/a": LINE.segments}, truth.annotations, 1.0)["f1"] == 1.0


def test_elan_reads_the_times_in_milliseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    video = tmp_path / "my film.mp4"
    line = Timeline(**{**LINE.__dict__, "media": video})
    (path,) = write_timelines(tmp_path / "t.eaf", [line], CLASSES, {})
    root = ElementTree.parse(path).getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert root.attrib["DATE"] == "1970-01-01T00:00:00+00:00"
    header = root.find("HEADER")
    assert header is not None
    assert header.attrib["TIME_UNITS"] == "milliseconds"
    media = header.find("MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.attrib["MEDIA_URL"].endswith("my%20film.mp4")
    slots = {
        slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"])
        for slot in root.iterfind("TIME_ORDER/TIME_SLOT")
    }
    tiers = {tier.attrib["TIER_ID"]: tier for tier in root.iterfind("TIER")}
    assert list(tiers) == ["micro-gesture", "confidence"]
    found = [
        (
            slots[item.attrib["TIME_SLOT_REF1"]] / 1000,
            slots[item.attrib["TIME_SLOT_REF2"]] / 1000,
            item.findtext("ANNOTATION_VALUE"),
        )
        for item in tiers["micro-gesture"].iterfind("ANNOTATION/ALIGNABLE_ANNOTATION")
    ]
    names = ['say "no" & <b> ', "touch face", "sit straight"]  # the control character is a space
    assert found == [(*times, name) for times, name in zip(TIMES, names)]
    sure = [item.text for item in tiers["confidence"].iter("ANNOTATION_VALUE")]
    assert sure == ["0.91", "0.60", "0.75"]
    ids = [item.attrib["ANNOTATION_ID"] for item in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(ids)) == len(ids) == 6
    types = {item.attrib["LINGUISTIC_TYPE_ID"] for item in root.iterfind("LINGUISTIC_TYPE")}
    assert {tier.attrib["LINGUISTIC_TYPE_REF"] for tier in tiers.values()} == types


def read_grid(path: Path) -> list[tuple[str, list[tuple[float, float, str]]]]:
    """Read a TextGrid's interval tiers: name, and (start, stop, text) of each interval."""
    text = path.read_text(encoding="utf-8")
    tiers = []
    for part in re.split(r"item \[\d+\]:\n", text)[1:]:
        name = re.search(r'name = "(.*)"', part)
        assert name is not None
        intervals = re.findall(
            r'intervals \[\d+\]:\n\s+xmin = (\S+)\n\s+xmax = (\S+)\n\s+text = "(.*)"', part
        )
        size = re.search(r"intervals: size = (\d+)", part)
        assert size is not None
        assert int(size[1]) == len(intervals)
        tiers.append((name[1], [(float(a), float(b), c.replace('""', '"')) for a, b, c in intervals]))
    return tiers


def test_praat_gets_tiers_that_cover_the_time_without_a_gap(tmp_path: Path) -> None:
    (path,) = write_timelines(tmp_path / "t.textgrid", [LINE], CLASSES, {})
    assert path.read_text().startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0')
    (name, intervals), (other, sure) = read_grid(path)
    assert (name, other) == ("micro-gesture", "confidence")
    assert intervals[0][0] == 0.0
    assert intervals[-1][1] == 4.0
    assert all(left[1] == right[0] for left, right in pairwise(intervals))
    assert [(a, b) for a, b, text in intervals if text] == TIMES
    assert intervals[0][2] == 'say "no" & <b> '
    assert [text for _, _, text in sure if text] == ["0.91", "0.60", "0.75"]
    (path,) = write_timelines(tmp_path / "s.TextGrid", [SILENT], CLASSES, {})
    assert [tier[1] for tier in read_grid(path)] == [[(0.0, 2.0, "")]] * 2


def test_of_several_videos_each_has_its_own_annotation_file(tmp_path: Path) -> None:
    written = write_timelines(tmp_path / "t.eaf", [LINE, SILENT], CLASSES, {})
    assert [path.name for path in written] == ["t-day_1_a.eaf", "t-b.eaf"]
    twins = [LINE, Timeline(**{**LINE.__dict__, "video_id": "day 1:a"})]
    with pytest.raises(
        UsageError, match=r"two videos would be written to t-day_1_a\.eaf; choose one by --only"
    ):
        write_timelines(tmp_path / "t.eaf", twins, CLASSES, {})
    with pytest.raises(UsageError, match=r"ends in none of \.json, \.csv, \.eaf, \.TextGrid"):
        write_timelines(tmp_path / "t.xls", [LINE], CLASSES, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,start,stop\n", "lacks the column class_name"),
        (
            "video_id,start,stop,class_name\na,0,9,touch fase\n",
            "line 2: .*'touch fase', did you mean 'touch face'",
        ),
        ("video_id,start,stop,class_name\na,0.5,9,touch face\n", "'0.5' and '9', wanted whole frame numbers"),
        ("video_id,start,stop,class_name\na,9,9,touch face\n", "frames 9 to 9 are no span"),
        ("video_id,start,stop,class_name\n,0,9,touch face\n", "line 2: names no video"),
    ],
)
def test_annotations_that_cannot_be_used_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_truth(path, CLASSES)


def test_annotated_background_is_nothing_to_find(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("class_name,video_id,start,stop\ntouch face,a,0,9\nsit straight,a,9,20\n")
    assert read_truth(path, CLASSES, {2}).annotations == {"a": [Annotation(0, 9, 0)]}


def one_person(path: Path, frames: int, size: tuple[int, int]) -> ClipsStore:
    """Write a whole video of somebody standing still."""
    joints = np.random.default_rng(0).uniform(0.2, 0.8, (1, 1, 17, 3)).repeat(frames, axis=0)
    joints[..., :2] *= max(size)
    with ClipsWriter(path, dataset="d", class_names=("x",), layout="coco-17", image_size=size) as writer:
        writer.add(clip_id="a", subject_id="", video_id="a", start=0, stop=frames, joints=joints)
    return open_clips(path)


class Steps:
    count = 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.count += steps


def test_the_overlay_has_every_frame_and_a_caption_for_every_segment(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    pytest.importorskip("cv2")
    store = one_person(tmp_path / "clips.h5", 20, (64, 48))
    video = Video("a", 0, 0, 20, 10.0)
    line = Timeline(video_id="a", fps=10.0, start=0, stop=20, segments=(Segment(5, 12, 0, 0.8),))
    assert spans_of(line, CLASSES) == [(5, ""), (7, "touch face 0.80"), (8, "")]
    whole = Timeline(video_id="a", fps=10.0, start=0, stop=20, segments=(Segment(0, 20, 0, 0.8),))
    assert spans_of(whole, CLASSES) == [(20, "touch face 0.80")]
    canvas, steps = tmp_path / "canvas.mp4", Steps()
    arguments = (store, [video], [line], CLASSES)
    assert write_overlay(canvas, *arguments, source=None, size=160, progress=steps) == (160, 154)
    with av.open(str(canvas)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == steps.count == 20
    captions = [frame[:30].mean() for frame in frames]
    assert min(captions[5:12]) > max(captions[:5] + captions[12:]) + 1  # more is written there
    assert abs(frames[8][40:] - frames[15][40:]).mean() > 0  # the time in the corner
    film = tmp_path / "film.mp4"  # 14 pixels and a caption of 34
    write_video(film, [("", [Tile(np.full((14, 64, 3), 200, np.uint8))] * 20)], 10.0)
    source, over = OneVideo(film), tmp_path / "over.mp4"
    write_overlay(over, *arguments, source=source, size=160, progress=steps)
    with av.open(str(over)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.median(first[-20:]) > 150  # the film is bright where the canvas is dark
    assert np.median(frames[0][-20:]) < 60
    longer = one_person(tmp_path / "longer.h5", 25, (64, 48))
    videos = [Video("a", 0, 0, 25, 10.0)]
    lines = [Timeline(video_id="a", fps=10.0, start=0, stop=25, segments=())]
    with pytest.raises(DataError, match="20 frames"):
        write_overlay(over, longer, videos, lines, CLASSES, source=source, size=64, progress=Steps())


def test_an_overlay_that_cannot_be_drawn_is_refused_at_once(tmp_path: Path) -> None:
    pytest.importorskip("av")
    pytest.importorskip("cv2")
    store = one_person(tmp_path / "clips.h5", 8, (0, 0))
    one, other = Video("a", 0, 0, 8, 10.0), Video("b", 0, 0, 8, 25.0)
    with pytest.raises(UsageError, match="does not say how large its images are: give --video"):
        check_overlay(tmp_path / "x.mp4", store, [one], None)
    with pytest.raises(UsageError, match=r"wanted a file that ends in \.mp4"):
        check_overlay(tmp_path / "x.avi", store, [one], None)
    with pytest.raises(UsageError, match="10 to 25 frames a second; choose one by --only"):
        check_overlay(tmp_path / "x.mp4", store, [one, other], None)
