"""Pose estimation around the estimator: an estimator of coloured discs on videos whose truth is known."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, MgError, PluginError, StageResult, UsageError
from mg_data.datasets.videos import find_videos, open_frames
from mg_data.plugins import use_plugins
from mg_data.prepare.crop import crop
from mg_data.prepare.importing import import_data
from mg_data.prepare.parallel import Shard
from mg_data.prepare.pose import pose
from mg_data.store import merge_stores, open_clips, open_streams
from mg_data.video.codec import decode_frame

av = pytest.importorskip("av")
pytest.importorskip("scipy")
QUIET = TerminalConsole(quiet=True)
WIDTH, HEIGHT = 96, 64
RED, GREEN, BLUE = 0, 1, 2

# A person is a red disc (head), a green one (left hand) and a blue one (right hand). The estimator lists
# people from left to right, so their order changes when they pass each other.
PLUGIN = """
import os
import numpy as np
from scipy import ndimage
from mg_data.contract import LayoutSpec, PoseEstimatorSpec, hookimpl

LAYOUT = dict(summary="three discs", names=("head", "left", "right"), edges=((0, 1), (0, 2)), pairs=((1, 2),),
              centre=0, parents=(0, 0, 0))
COUNT = 0


@hookimpl
def mg_register_layouts():
    return [LayoutSpec(name="discs", **LAYOUT), LayoutSpec(name="deep-discs", dims="xyz", **LAYOUT)]


@hookimpl
def mg_register_pose_estimators():
    make = lambda name, layout: PoseEstimatorSpec(
        name=name, summary="Coloured discs.", factory="disc_pose:Discs", layout=layout,
        options={"threshold": 128, "fault": ""})
    return [make("discs", "discs"), make("deep", "deep-discs"), make("homeless", "none-such")]


class Discs:
    def __init__(self, threshold, fault):
        global COUNT
        COUNT += 1
        if os.environ.get("DISC_KILL") == str(COUNT):
            raise KeyboardInterrupt
        if fault == "make":
            raise RuntimeError("no model")
        self.threshold, self.fault = threshold, fault

    def discs(self, frame, colour):
        others = np.delete(frame, colour, axis=2).max(axis=2)
        labels, count = ndimage.label((frame[..., colour] > self.threshold) & (others < self.threshold))
        found = []
        for number in range(1, count + 1):
            y, x = np.nonzero(labels == number)
            found.append((x.mean(), y.mean(), min(1.0, len(x) / 40), np.sqrt(len(x) / np.pi)))
        return sorted(found)

    def people(self, frame):
        heads, *hands = (self.discs(frame, colour) for colour in range(3))
        people = np.zeros((len(heads), 3, 3), np.float32)
        for row, head in enumerate(heads):
            people[row, 0] = head[:3]
            for point, side in enumerate(hands, start=1):
                misfit = [abs(np.hypot(x - head[0], y - head[1]) / head[3] - 3.22) for x, y, *_ in side]
                if misfit and min(misfit) < 0.5:
                    people[row, point] = side[int(np.argmin(misfit))][:3]
        return people

    def estimate(self, frames, fps):
        fault = self.fault
        for number, frame in enumerate(frames):
            people = self.people(frame)
            if fault == "stop" and number == 5:
                return
            if fault == "raise" and number == 5:
                raise ZeroDivisionError("division by zero")
            if fault == "skip" and number == 5:
                continue
            if fault == "twice" and number == 5:
                yield people
            if fault == "flat":
                people = people.reshape(-1, 3)
            if fault == "points":
                people = people[:, :2]
            if fault == "nan":
                people[..., 0] = np.nan
            if fault == "certain":
                people[..., 2] *= 100
            if fault == "outside":
                people[:, 1, 0] += 1000
            yield people
            if fault == "early" and number == 4:
                return
"""


@pytest.fixture(autouse=True)
def _plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Offer the estimator under a name that worker processes can import, too."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "disc_pose.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(folder))
    use_plugins(importlib.import_module("disc_pose"))
    yield
    use_plugins()
    monkeypatch.delitem(importlib.import_module("sys").modules, "disc_pose")


def person(x: float, y: float = 30.0, radius: float = 5.0) -> list[tuple[int, float, float, float]]:
    """Return the discs of one person: (colour, x, y, radius)."""
    hand, aside, below = 0.7 * radius, 1.6 * radius, 2.8 * radius
    return [(RED, x, y, radius), (GREEN, x + aside, y + below, hand), (BLUE, x - aside, y + below, hand)]


Scene = Callable[[int], list[tuple[int, float, float, float]]]


def walk(number: int) -> list[tuple[int, float, float, float]]:
    """One person who walks to the right, two pixels a frame."""
    return person(16 + 2 * number)


def write_video(path: Path, scene: Scene, count: int = 24, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """Draw discs into a lossless video of 25 frames a second."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(count):
            image = np.full((height, width, 3), 20, np.uint8)
            for colour, at_x, at_y, radius in scene(number):
                image[np.hypot(x - at_x, y - at_y) <= radius] = 200 * np.eye(3, dtype=np.uint8)[colour]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def run(out: Path, *videos: Path, **options: Any) -> StageResult:
    return pose(videos=videos, out=out, estimator="discs", console=QUIET, **options)


def truth(scene: Scene, count: int) -> NDArray[np.float64]:
    """Return (T, 3, 2): the centres of a scene's first three discs."""
    return np.array([[disc[1:3] for disc in scene(number)[:3]] for number in range(count)])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five videos in folders, each of another speed."""
    for number in range(5):
        write_video(
            tmp_path / "videos" / f"day{number % 2}" / f"v{number}.mkv",
            lambda frame, step=number: person(20 + 0.5 * step * frame),
            12 + number,
        )
    return tmp_path / "videos"


def test_a_video_becomes_one_clip_with_the_keypoints_of_all_its_frames(tmp_path: Path) -> None:
    video = write_video(tmp_path / "walk.mkv", walk)
    result = run(tmp_path / "clips.h5", video)
    clips = open_clips(tmp_path / "clips.h5")
    assert clips.clip_ids.tolist() == clips.video_ids.tolist() == ["walk"]
    assert clips.subject_ids.tolist() == [""]
    assert (clips.start[0], clips.stop[0]) == (0, 24)
    assert (clips.layout, clips.columns) == ("discs", ("x", "y", "confidence"))
    assert (clips.image_size, clips.dataset) == ((WIDTH, HEIGHT), "videos")
    assert (clips.class_names, clips.vocabulary) == (("unlabelled",), "unlabelled")
    joints = clips.joints(0)
    assert joints.shape == (24, 1, 3, 3)
    np.testing.assert_allclose(joints[:, 0, :, :2], truth(walk, 24), atol=0.5)
    assert joints[..., 2].min() > 0.5
    config = clips.provenance.config
    assert (config["estimator"], config["plugin"], config["fps"]) == ("discs", "disc_pose 0", 25.0)
    assert config["options"] == {"threshold": 128, "fault": ""}
    assert result.data["found"] == {"walk": 1.0}
    assert result.data["digest"] == clips.digest


def test_people_keep_their_places_although_they_pass_each_other(tmp_path: Path) -> None:
    def two(number: int) -> list[tuple[int, float, float, float]]:
        return person(70 - 2 * number, 16, 4) + person(16 + 2 * number, 40, 6)

    video = write_video(tmp_path / "two.mkv", two)
    run(tmp_path / "clips.h5", video, persons=2)
    joints = open_clips(tmp_path / "clips.h5").joints(0)
    assert joints.shape == (24, 2, 3, 3)
    number = np.arange(24)
    np.testing.assert_allclose(joints[:, 0, 0, 0], 16 + 2 * number, atol=0.5)
    np.testing.assert_allclose(joints[:, 1, 0, 0], 70 - 2 * number, atol=0.5)
    run(tmp_path / "one.h5", video)
    np.testing.assert_array_equal(open_clips(tmp_path / "one.h5").joints(0), joints[:, :1])


def test_a_person_who_was_hidden_is_the_same_one_afterwards(tmp_path: Path) -> None:
    def hidden(number: int) -> list[tuple[int, float, float, float]]:
        other = person(80, 20, 3)
        return other if 8 <= number < 14 else other + person(16 + number, 36, 6)

    video = write_video(tmp_path / "v.mkv", hidden)
    result = run(tmp_path / "clips.h5", video)
    joints = open_clips(tmp_path / "clips.h5").joints(0)[:, 0]
    gone = (np.arange(24) >= 8) & (np.arange(24) < 14)
    assert not joints[gone].any()
    np.testing.assert_allclose(joints[~gone, 0, 0], 16 + np.flatnonzero(~gone), atol=0.5)
    assert result.data["found"] == {"v": 0.75}


def test_frames_between_estimates_lie_on_straight_lines(tmp_path: Path) -> None:
    video = write_video(tmp_path / "walk.mkv", lambda number: person(16 + number), 24)
    run(tmp_path / "all.h5", video)
    every = open_clips(tmp_path / "all.h5").joints(0)
    for stride in (4, 5, 40):
        run(tmp_path / "some.h5", video, stride=stride)
        some = open_clips(tmp_path / "some.h5").joints(0)
        assert some.shape == every.shape
        estimated = np.arange(0, 24, stride)
        np.testing.assert_array_equal(some[estimated], every[estimated])
        last = estimated[-1]
        np.testing.assert_allclose(some[: last + 1, ..., :2], every[: last + 1, ..., :2], atol=1e-4)
        np.testing.assert_array_equal(some[last + 1 :], np.repeat(some[last : last + 1], 23 - last, axis=0))


def test_no_point_is_invented_between_a_frame_that_shows_it_and_one_that_does_not(tmp_path: Path) -> None:
    video = write_video(
        tmp_path / "v.mkv", lambda number: person(40)[: 3 if number < 6 else 2], 13
    )  # the right hand is gone from frame 6 on
    run(tmp_path / "clips.h5", video, stride=4)
    joints = open_clips(tmp_path / "clips.h5").joints(0)[:, 0]
    assert joints[:, :2, 2].all()
    assert joints[:5, 2, 2].all()
    assert not joints[5:, 2].any()


def test_smoothing_takes_out_jitter_and_stays_in_the_image(tmp_path: Path) -> None:
    shake = np.random.default_rng(0).normal(0, 1.5, 40)
    video = write_video(tmp_path / "v.mkv", lambda number: person(40 + shake[number]), 40)
    error = {}
    for method in ("none", "gaussian", "one-euro"):
        run(tmp_path / "clips.h5", video, smooth=method)
        joints = open_clips(tmp_path / "clips.h5").joints(0)[:, 0]
        error[method] = float(np.abs(joints[:, 0, 0] - 40).mean())
        assert (joints[..., :2] >= 0).all()
        assert (joints[..., :2] <= (WIDTH, HEIGHT)).all()
    assert error["gaussian"] < 0.7 * error["none"]
    assert error["one-euro"] < 0.7 * error["none"]


def test_points_outside_the_image_and_uncertain_ones_are_missing(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", walk)
    result = run(tmp_path / "clips.h5", video, options={"fault": "outside"})
    joints = open_clips(tmp_path / "clips.h5").joints(0)[:, 0]
    assert not joints[:, 1].any()
    assert joints[:, [0, 2], 2].all()
    assert result.data["removed_points"] == 24
    run(tmp_path / "clips.h5", video, min_confidence=0.99)
    joints = open_clips(tmp_path / "clips.h5").joints(0)[:, 0]
    assert joints[:, 0, 2].all()
    assert not joints[:, 1:].any()


def test_keypoints_of_videos_of_one_shape_are_brought_to_one_size(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.mkv", walk)
    large = write_video(
        tmp_path / "b.mkv",
        lambda number: [(colour, 2 * x, 2 * y, 2 * r) for colour, x, y, r in walk(number)],
        size=(2 * WIDTH, 2 * HEIGHT),
    )
    run(tmp_path / "clips.h5", small, large)
    clips = open_clips(tmp_path / "clips.h5")
    assert clips.image_size == (WIDTH, HEIGHT)
    np.testing.assert_allclose(clips.joints(1)[..., :2], clips.joints(0)[..., :2], atol=0.5)
    upright = write_video(tmp_path / "c.mkv", walk, size=(HEIGHT, WIDTH))
    with pytest.raises(
        DataError, match=r"c\.mkv: is 64x96, which cannot be scaled to 96x64 of .*a\.mkv: write one store"
    ):
        run(tmp_path / "none.h5", small, large, upright)
    result = run(tmp_path / "clips.h5", small, large, upright, keep_going=True)
    assert [item["what"] for item in result.data["dropped"]] == ["c"]
    assert not (tmp_path / "none.h5").exists()


def test_names_are_paths_below_the_folder_that_was_given(corpus: Path, tmp_path: Path) -> None:
    assert list(find_videos([corpus])) == ["day0/v0", "day0/v2", "day0/v4", "day1/v1", "day1/v3"]
    assert list(find_videos([corpus / "day1", corpus / "day0" / "v2.mkv"])) == ["v1", "v3", "v2"]
    (corpus / "day0" / "._v0.mkv").write_bytes(b"what another system leaves behind")
    (corpus / "notes.txt").write_text("no video")
    assert len(find_videos([corpus])) == 5
    write_video(corpus / "day0" / "vidéo 音.mkv", walk)
    run(tmp_path / "clips.h5", corpus / "day0" / "vidéo 音.mkv")
    assert open_clips(tmp_path / "clips.h5").clip_ids.tolist() == ["vidéo 音"]
    write_video(corpus / "day1" / "v2.mkv", walk)
    with pytest.raises(DataError, match=r"day1/v2\.mkv: would be clip 'v2', and so would .*day0/v2\.mkv"):
        find_videos([corpus / "day0", corpus / "day1"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no video \(looked for \.avi"):
        find_videos([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"nowhere: does not exist"):
        find_videos([tmp_path / "nowhere"])
    strange = tmp_path / "strange" / "caf\udce9.mkv"
    strange.parent.mkdir()
    strange.write_bytes(b"")
    with pytest.raises(DataError, match=r"its name is no UTF-8 text \(rename it\)"):
        find_videos([strange.parent])


@pytest.mark.slow
def test_processes_and_shards_give_the_same_store(corpus: Path, tmp_path: Path) -> None:
    digest = run(tmp_path / "one.h5", corpus).data["digest"]
    assert run(tmp_path / "two.h5", corpus, workers=2).data["digest"] == digest
    shards = []
    for part in ("1/3", "2/3", "3/3"):
        out = tmp_path / f"{part[0]}.h5"
        result = run(out, corpus, shard=part)
        held = [name for name in find_videos([corpus]) if Shard.parse(part).holds(name)]
        assert result.data["videos"] == len(held)
        if held:
            assert open_clips(out).clip_ids.tolist() == held
            shards.append(out)
    assert merge_stores(shards, tmp_path / "merged.h5") == digest


def test_a_killed_run_goes_on_where_it_was(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = run(tmp_path / "whole.h5", corpus).data["digest"]
    out, parts = tmp_path / "clips.h5", tmp_path / "clips.h5.parts"
    module = importlib.import_module("disc_pose")
    monkeypatch.setattr(module, "COUNT", 0)
    monkeypatch.setenv("DISC_KILL", "3")
    with pytest.raises(KeyboardInterrupt):
        run(out, corpus, resume=True)
    assert not out.exists()
    assert len(list(parts.iterdir())) == 2
    monkeypatch.delenv("DISC_KILL")
    next(parts.iterdir()).write_bytes(b"half a file")
    monkeypatch.setattr(module, "COUNT", 0)
    result = run(out, corpus, resume=True)
    assert (result.data["resumed"], result.data["digest"]) == (1, digest)
    assert module.COUNT == 4
    assert not parts.exists()
    assert run(out, corpus, resume=True).data == {"complete": True}
    assert run(out, corpus, resume=True, stride=2).data["digest"] != digest


def test_a_video_that_cannot_be_used_ends_the_run_by_name(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips.h5"
    write_video(corpus / "empty-room.mkv", lambda number: [])
    with pytest.raises(DataError, match=r"empty-room\.mkv: 'discs' found nobody in its 24 frames"):
        run(out, corpus)
    assert not out.exists()
    (corpus / "day0" / "garbage.mp4").write_bytes(bytes(range(256)) * 64)
    with pytest.raises(DataError, match=r"garbage\.mp4: cannot be decoded"):
        run(out, corpus)
    result = run(out, corpus, keep_going=True)
    assert [item["what"] for item in result.data["dropped"]] == ["day0/garbage", "empty-room"]
    assert len(open_clips(out)) == 5
    with pytest.raises(DataError, match=r"not one of 1 video\(s\) could be used, the first reason: .*nobody"):
        run(tmp_path / "none.h5", corpus / "empty-room.mkv", keep_going=True)
    with pytest.raises(DataError, match=r"garbage\.mp4: cannot be decoded"):
        run(tmp_path / "none.h5", corpus / "day0" / "garbage.mp4", keep_going=True)


def test_a_video_cut_off_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "v.mkv", walk)
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    result = run(tmp_path / "clips.h5", video)
    frames = result.data["frames"]
    assert 5 < frames < 18
    assert result.data["cut_off"] == {"v": [frames, 24]}
    assert f"'v' may be cut off: {frames} frames decode of about 24 that it states" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("make", r"failed before the first frame of .*v\.mkv: RuntimeError: no model"),
        ("raise", r"failed at frame 5 of .*v\.mkv: ZeroDivisionError: division by zero"),
        ("stop", r"gave 5 results for 6 frames of .*v\.mkv, wanted one for each"),
        ("early", r"gave 5 results and asked for no more frames of .*v\.mkv, wanted one for each"),
        ("skip", r"gave 23 results for 24 frames of .*v\.mkv, wanted one for each"),
        ("twice", r"gave 7 results for 6 frames of .*v\.mkv, wanted one for each"),
        ("flat", r"gave an array of shape \(3, 3\) for frame 0 of .*wanted \(P, 3, 3\), as its layout is"),
        ("points", r"gave an array of shape \(1, 2, 3\) for frame 0"),
        ("nan", r"gave NaN or infinity for frame 0 of .*v\.mkv \(a point that was not found is 0, 0, 0\)"),
        ("certain", r"gave confidences of .* to 100 for frame 0 of .*v\.mkv, wanted 0 to 1"),
    ],
)
def test_an_estimator_that_breaks_the_contract_is_named(tmp_path: Path, fault: str, message: str) -> None:
    video = write_video(tmp_path / "v.mkv", walk)
    with pytest.raises(PluginError, match=r"pose estimator 'discs' of disc_pose 0: " + message):
        run(tmp_path / "clips.h5", video, options={"fault": fault}, keep_going=True)
    assert not (tmp_path / "clips.h5").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"estimator": "disc"}, PluginError, r"no pose estimator named 'disc' \(did you mean 'discs'\?"),
        ({"estimator": "homeless"}, PluginError, r"no layout named 'none-such'"),
        ({"estimator": "deep"}, PluginError, r"layout 'deep-discs' is three-dimensional"),
        ({"options": {"treshold": 1}}, UsageError, r"has no option 'treshold' \(did you mean 'threshold'\?"),
        ({"persons": 0}, UsageError, r"--persons is 0, wanted 1 to 100"),
        ({"stride": 0}, UsageError, r"--stride is 0, wanted 1 to 1000"),
        ({"min_confidence": 1.5}, UsageError, r"--min-confidence is 1.5, wanted 0 to 1"),
        ({"smooth": "median"}, UsageError, r"--smooth is 'median', wanted one of: none, one-euro, gaussian"),
        ({"workers": 0}, UsageError, r"--workers is 0, wanted at least 1"),
        ({"shard": "3/2"}, UsageError, r"--shard is '3/2', wanted i/n"),
    ],
)
def test_wrong_use_is_one_clear_line(
    tmp_path: Path, options: dict[str, Any], error: type[MgError], message: str
) -> None:
    video = write_video(tmp_path / "v.mkv", walk, 3)
    with pytest.raises(error, match=message):
        pose(
            **{"videos": [video], "out": tmp_path / "clips.h5", "estimator": "discs", **options},
            console=QUIET,
        )


def test_the_videos_of_a_store_are_found_again_by_their_names(corpus: Path, tmp_path: Path) -> None:
    run(tmp_path / "clips.h5", corpus)
    crop(clips=tmp_path / "clips.h5", root=corpus, out=tmp_path / "crops.h5", size=48, console=QUIET)
    crops = open_streams(tmp_path / "crops.h5")
    assert crops.clip_ids.tolist() == list(find_videos([corpus]))
    image = decode_frame(crops.frame_bytes(0, [0])[0], "jpeg")
    # The person with head and both hands is in the crop.
    assert image.reshape(-1, 3).max(axis=0).min() > 150
    source = open_frames(corpus, "rgb")
    assert sum(1 for _ in source.frames("day1/v3", 2, 15)) == 13
    with pytest.raises(DataError, match=r"wanted one video file 'day1/v9\.\*' below it, found none"):
        source.frames("day1/v9", 0, 1)
    (corpus / "day1" / "v3.mp4").write_bytes(b"another")
    with pytest.raises(DataError, match=r"'day1/v3\.\*' below it, found v3\.mkv, v3\.mp4"):
        source.frames("day1/v3", 0, 1)
    with pytest.raises(DataError, match=r"video '\.\./v1' holds '\.\.'"):
        source.frames("../v1", 0, 1)
    with pytest.raises(UsageError, match=r"videos has no stream 'depth'"):
        open_frames(corpus, "depth")
    (corpus / "day1" / "v3.mp4").unlink()
    import_data(
        name="videos",
        source=corpus,
        out=tmp_path / "index.h5",
        labels=tmp_path / "labels.csv",
        console=QUIET,
    )
    index = open_clips(tmp_path / "index.h5")
    posed = open_clips(tmp_path / "clips.h5")
    assert index.clip_ids.tolist() == posed.clip_ids.tolist()
    assert index.stop.tolist() == posed.stop.tolist() == [12, 14, 16, 13, 15]
    assert (index.layout, index.class_names) == ("", posed.class_names)
