"""``mg data crop`` on a small synthetic corpus and on real depth maps: what is cut, and what can go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, StoreError, UsageError
from mg_data.prepare import crop as crop_stage
from mg_data.prepare import crop_plan
from mg_data.prepare import crop_video as crop_worker
from mg_data.prepare.crop import crop
from mg_data.prepare.importing import import_data
from mg_data.prepare.parallel import Shard
from mg_data.prepare.synth import synth
from mg_data.store import ClipsWriter, open_clips, open_streams
from mg_data.store.merge import merge_stores
from mg_data.video.codec import decode_frame, decode_physical, encode_frame
from mg_data.video.crop import crop_frame, frame_choice, frame_extremes, visible_points
from mg_data.video.decode import decode_frames

av = pytest.importorskip("av")
pytest.importorskip("cv2")
QUIET = TerminalConsole(quiet=True)


def make_corpus(root: Path, clips: int, videos: int, size: str = "96x128") -> Path:
    """Write root/corpus, root/clips.h5 and root/labels.csv."""
    synth(
        out=root / "corpus",
        clips=clips,
        subjects=videos,
        videos_per_subject=1,
        size=size,
        seed=2,
        console=QUIET,
    )
    import_data(
        name="synthetic",
        source=root / "corpus",
        out=root / "clips.h5",
        labels=root / "labels.csv",
        console=QUIET,
    )
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus/, clips.h5 and labels.csv: 10 clips of 3 videos."""
    return make_corpus(tmp_path_factory.mktemp("crop"), 10, 3)


def arguments(work: Path, **options: Any) -> dict[str, Any]:
    return {"clips": work / "clips.h5", "root": work / "corpus", "size": 32, "console": QUIET, **options}


def video_file(work: Path, video_id: str) -> Path:
    [path] = (work / "corpus").glob(f"**/{video_id}.mp4")
    return path


def copy_of(work: Path, folder: Path) -> Path:
    shutil.copytree(work, folder / "work")
    return folder / "work"


def shorten(path: Path, frames: int) -> None:
    """Write the first frames of a video in its place."""
    images = list(decode_frames(path, range(frames)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_crops_are_the_boxes_of_the_decoded_frames(work: Path, tmp_path: Path) -> None:
    result = crop(**arguments(work, out=tmp_path / "c.h5", extremes="all", quality=95))
    clips, crops = open_clips(work / "clips.h5"), open_streams(tmp_path / "c.h5")
    assert (crops.stream, crops.encoding, crops.channels, crops.scale) == ("rgb", "jpeg", 3, 1.0)
    assert sorted(crops.clip_ids) == sorted(clips.clip_ids)
    assert result.data["frames"] == int((clips.stop - clips.start).sum()) == int(crops.num_frames.sum())
    for row, clip_id in enumerate(clips.clip_ids[:3]):
        [here] = crops.rows([clip_id])
        joints = clips.joints(row)
        seen = joints[joints[..., 2] > 0.1]
        x0, y0, x1, y1 = crops.boxes(here)[0]
        extent = np.ptp(seen[:, :2].astype(np.float64), axis=0).max()
        assert x1 - x0 == y1 - y0 == np.ceil(1.4 * extent)
        assert abs((x0 + x1) / 2 - (seen[:, 0].min() + seen[:, 0].max()) / 2) <= 1
        assert abs((y0 + y1) / 2 - (seen[:, 1].min() + seen[:, 1].max()) / 2) <= 1
        path = video_file(work, clips.video_ids[row])
        frame = next(decode_frames(path, [int(clips.start[row]) + 2]))
        encoded = encode_frame(crop_frame(frame, crops.boxes(here)[2], 32), "jpeg", quality=95)
        stored = decode_frame(crops.frame_bytes(here, [2])[0], "jpeg").astype(int)
        # Up to the rounding of FFmpeg's conversion to RGB and what JPEG makes of that.
        assert np.abs(stored - decode_frame(encoded, "jpeg")).mean() < 3


def test_a_source_that_names_its_files_gives_the_same_crops(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Files:
        def __init__(self, named: bool) -> None:
            if named:
                self.video_path = lambda video_id: video_file(work, video_id)

        def frames(self, video_id: str, start: int, stop: int) -> Any:
            return decode_frames(video_file(work, video_id), range(start, stop))

    stores = []
    for named in (True, False):

        def opened(opener: str, root: Path, stream: str, named: bool = named) -> Files:
            return Files(named)

        opened.cache_clear = lambda: None  # type: ignore[attr-defined]
        monkeypatch.setattr(crop_worker, "open_source", opened)
        monkeypatch.setattr(crop_stage, "open_source", opened)
        monkeypatch.setattr(crop_plan, "open_source", opened)
        crop(**arguments(work, out=tmp_path / f"{named}.h5", max_frames=3, quality=100))
        stores.append(open_streams(tmp_path / f"{named}.h5"))
    for row in range(10):
        np.testing.assert_array_equal(stores[0].boxes(row), stores[1].boxes(row))
        for one, other in zip(stores[0].frame_bytes(row), stores[1].frame_bytes(row), strict=True):
            difference = decode_frame(one, "jpeg").astype(int) - decode_frame(other, "jpeg")
            assert np.abs(difference).mean() < 2.5


def test_workers_subsampling_and_whole_frames(work: Path, tmp_path: Path) -> None:
    one = crop(**arguments(work, out=tmp_path / "one.h5", max_frames=4))
    two = crop(**arguments(work, out=tmp_path / "two.h5", max_frames=4, workers=2))
    assert one.data["digest"] == two.data["digest"]
    assert set(open_streams(tmp_path / "one.h5").num_frames.tolist()) == {4}
    crop(**arguments(work, out=tmp_path / "full.h5", full_frame=True))
    full, few = open_streams(tmp_path / "full.h5"), open_streams(tmp_path / "one.h5")
    assert full.boxes(0)[0].tolist() == [0, -16, 128, 112]
    # The kept frames are the middles of four equal parts of the clip.
    kept = frame_choice(int(full.num_frames[0]), 4)
    assert kept.tolist() == [int((index + 0.5) * full.num_frames[0] / 4) for index in range(4)]
    assert few.clip_ids[0] == full.clip_ids[0]


def test_clips_without_keypoints_keep_the_whole_frame(work: Path, tmp_path: Path) -> None:
    for box in ("clip", "frame"):
        result = crop(
            **arguments(work, out=tmp_path / "c.h5", size=16, max_frames=1, min_confidence=1.0, box=box)
        )
        assert len(result.data["without_keypoints"]) == 10
        assert open_streams(tmp_path / "c.h5").boxes(0)[0].tolist() == [0, -16, 128, 112]


def test_keypoints_of_an_image_of_unknown_size_are_pixels_of_the_frames(work: Path, tmp_path: Path) -> None:
    import h5py

    known = crop(**arguments(work, out=tmp_path / "known.h5"))
    clips = shutil.copy(work / "clips.h5", tmp_path / "clips.h5")
    with h5py.File(clips, "a") as file:
        assert tuple(file["joints/values"].attrs["image_size"]) == (128, 96)
        file["joints/values"].attrs["image_size"] = (0, 0)
    unknown = crop(**arguments(work, clips=clips, out=tmp_path / "unknown.h5"))
    assert unknown.data["digest"] == known.data["digest"]


def test_a_box_a_frame_holds_the_frames_person_and_keeps_the_aspect(work: Path, tmp_path: Path) -> None:
    crop(**arguments(work, out=tmp_path / "c.h5", box="frame", shape="48x64", extremes="all", margin=0.0))
    clips, crops = open_clips(work / "clips.h5"), open_streams(tmp_path / "c.h5")
    moved = 0.0
    for row, clip_id in enumerate(clips.clip_ids):
        [here] = crops.rows([clip_id])
        boxes = crops.boxes(here)
        assert len(boxes) == clips.stop[row] - clips.start[row]
        np.testing.assert_allclose(
            (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1]), 48 / 64, rtol=1e-4
        )
        own = frame_extremes(visible_points(clips.joints(row), clips.columns))
        seen = np.isfinite(own[:, 0])
        assert (boxes[seen, :2] <= own[seen, :2] + 1e-3).all()
        assert (boxes[seen, 2:] >= own[seen, 2:] - 1e-3).all()
        moved = max(moved, float(np.abs(np.diff(boxes, axis=0)).max()))
        assert decode_frame(crops.frame_bytes(here, [0])[0], "jpeg").shape == (64, 48, 3)
    assert moved > 0
    # Kept frames have the boxes of those very frames.
    crop(
        **arguments(
            work, out=tmp_path / "f.h5", box="frame", shape="48x64", extremes="all", margin=0.0, max_frames=3
        )
    )
    few = open_streams(tmp_path / "f.h5")
    kept = frame_choice(int(crops.num_frames[0]), 3)
    np.testing.assert_array_equal(few.boxes(0), crops.boxes(0)[kept])


def test_flow_and_taylor_are_made_of_the_crops(work: Path, tmp_path: Path) -> None:
    for stream, form in (("flow", ("png8", 2, 0.125, -16.0)), ("taylor", ("jpeg", 3, 1.0, 0.0))):
        every, few = tmp_path / f"{stream}.h5", tmp_path / f"{stream}-4.h5"
        crop(**arguments(work, out=every, stream=stream))
        crop(**arguments(work, out=few, stream=stream, max_frames=4))
        whole, part = open_streams(every), open_streams(few)
        assert (whole.stream, whole.encoding, whole.channels, whole.scale, whole.offset) == (stream, *form)
        clips = open_clips(work / "clips.h5")
        for row in range(len(clips)):
            [here] = whole.rows([clips.clip_ids[row]])
            assert whole.num_frames[here] == clips.stop[row] - clips.start[row]
            kept = frame_choice(int(whole.num_frames[here]), 4)
            # A kept frame's motion is that from its neighbour, not from the frame kept before it.
            for one, other in zip(whole.frame_bytes(here, kept), part.frame_bytes(here), strict=True):
                np.testing.assert_array_equal(one, other)
        fields = [
            decode_physical(data, whole.encoding, whole.scale, whole.offset, whole.channels)
            for data in whole.frame_bytes(0)
        ]
        assert fields[0].shape == (32, 32, form[1])
        if stream == "flow":
            assert not fields[0].any()
            assert max(float(np.abs(field).max()) for field in fields) >= 0.25


def test_shards_are_whole_videos_and_join_to_the_whole(work: Path, tmp_path: Path) -> None:
    whole = crop(**arguments(work, out=tmp_path / "whole.h5", max_frames=2))
    video_of = dict(
        zip(*(open_clips(work / "clips.h5").__getattribute__(n) for n in ("clip_ids", "video_ids")))
    )
    written, empty = [], 0
    for index in (1, 2, 3):
        out = tmp_path / f"{index}.h5"
        result = crop(**arguments(work, out=out, max_frames=2, shard=f"{index}/3"))
        if result.data["clips"] == 0:
            empty += 1
            assert not out.exists()
            continue
        written.append(out)
        store = open_streams(out)
        shard = Shard(index, 3)
        assert set(store.clip_ids) == {clip for clip, video in video_of.items() if shard.holds(video)}
        assert store.provenance.config["shard"]["part"] == f"{index}/3"
    assert merge_stores(written, tmp_path / "merged.h5", partial=empty > 0) == whole.data["digest"]
    assert "shard" not in open_streams(tmp_path / "whole.h5").provenance.config


def test_a_killed_run_goes_on_where_it_was(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = arguments(work, out=tmp_path / "c.h5", max_frames=3, resume=True)
    whole = crop(**arguments(work, out=tmp_path / "whole.h5", max_frames=3))
    calls: list[str] = []

    def killed(job: Any) -> Any:
        calls.append(job.video_id)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return crop_worker.crop_video(job)

    monkeypatch.setattr(crop_stage, "crop_video", killed)
    with pytest.raises(KeyboardInterrupt):
        crop(**options)
    assert not (tmp_path / "c.h5").exists()
    assert len(list((tmp_path / "c.h5.parts").iterdir())) == 2
    result = crop(**options)
    assert calls[2:] == [calls[2]] * 2  # only the third video was worked on again
    assert result.data["resumed"] == 2
    assert result.data["digest"] == whole.data["digest"]
    assert not (tmp_path / "c.h5.parts").exists()
    # Complete: nothing is decoded; another option, and it is made anew.
    assert crop(**options).data == {"complete": True}
    assert len(calls) == 4
    crop(**{**options, "quality": 80})
    assert len(calls) == 7


def test_a_video_that_is_missing_ends_the_run_or_is_left_out_by_name(work: Path, tmp_path: Path) -> None:
    tree = copy_of(work, tmp_path)
    clips = open_clips(tree / "clips.h5")
    missing = str(clips.video_ids[0])
    video_file(tree, missing).unlink()
    lost = set(clips.clip_ids[clips.video_ids == missing])
    for workers in (1, 2):
        options = arguments(tree, out=tmp_path / "c.h5", max_frames=2, workers=workers)
        with pytest.raises(DataError, match=rf"clip '{missing}_\d+': .*{missing}\.mp4: does not exist"):
            crop(**options)
        assert not (tmp_path / "c.h5").exists()
        result = crop(**options, keep_going=True)
        assert {item["what"] for item in result.data["dropped"]} == lost
        assert set(open_streams(tmp_path / "c.h5").clip_ids) == set(clips.clip_ids) - lost
        (tmp_path / "c.h5").unlink()
    for video_id in set(clips.video_ids) - {missing}:
        video_file(tree, video_id).write_text("no video")
    with pytest.raises(DataError, match="not one clip could be cropped, the first reason: clip"):
        crop(**arguments(tree, out=tmp_path / "c.h5", keep_going=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]


def test_a_clip_without_keypoints_of_all_its_frames_gets_no_box_a_frame(work: Path, tmp_path: Path) -> None:
    with open_clips(work / "clips.h5") as store:
        writer = ClipsWriter(
            tmp_path / "few.h5",
            dataset=store.dataset,
            class_names=store.class_names,
            layout=store.layout,
            image_size=store.image_size,
        )
        with writer:
            for row, clip_id in enumerate(store.clip_ids):
                writer.add(
                    clip_id=clip_id,
                    subject_id="",
                    video_id=store.video_ids[row],
                    start=store.start[row],
                    stop=store.stop[row],
                    joints=store.joints(row)[: 3 if row == 0 else None],
                )
        first, length = str(store.clip_ids[0]), int(store.stop[0] - store.start[0])
        options = arguments(work, clips=tmp_path / "few.h5", out=tmp_path / "c.h5", max_frames=2)
        why = rf"clip '{first}' has keypoints of 3 frames and a span of {length}: no box for each frame"
        with pytest.raises(DataError, match=why):
            crop(**options, box="frame")
        result = crop(**options, box="frame", keep_going=True)
        assert [item["what"] for item in result.data["dropped"]] == [first]
        assert set(open_streams(tmp_path / "c.h5").clip_ids) == set(store.clip_ids) - {first}
        assert crop(**options).data["clips"] == len(store)


def test_a_clip_longer_than_its_video_is_named_with_what_there_is(work: Path, tmp_path: Path) -> None:
    tree = copy_of(work, tmp_path)
    clips = open_clips(tree / "clips.h5")
    rows = np.flatnonzero(clips.video_ids == clips.video_ids[0])
    rows = rows[np.argsort(clips.start[rows])]
    last, first = int(rows[-1]), int(rows[0])
    count = int(clips.stop[last]) - 3
    shorten(video_file(tree, str(clips.video_ids[0])), count)
    options = arguments(tree, out=tmp_path / "c.h5")
    wanted = (
        rf"clip '{clips.clip_ids[last]}': frames {clips.start[last]}\.\.{clips.stop[last] - 1} of video "
        rf"'{clips.video_ids[0]}' are wanted, but it ends sooner: .*has {count} frames"
    )
    with pytest.raises(DataError, match=wanted):
        crop(**options)
    result = crop(**options, keep_going=True)
    assert [item["what"] for item in result.data["dropped"]] == [clips.clip_ids[last]]
    assert clips.clip_ids[first] in open_streams(tmp_path / "c.h5").clip_ids


def test_crop_says_what_is_wrong_and_writes_nothing(work: Path, tmp_path: Path) -> None:
    options = arguments(work, out=tmp_path / "c.h5")
    for change, message in (
        ({"stream": "depth"}, r"data set 'synthetic' has no stream 'depth' \(it has: rgb; derived"),
        ({"size": 2}, "--size is 2, wanted 8 to 4096"),
        ({"shape": "0x20"}, "--shape is '0x20', wanted square or WIDTHxHEIGHT"),
        ({"box": "person"}, "--box is 'person', wanted one of: clip, frame"),
        ({"padding": "grey"}, "--padding is 'grey'"),
        ({"smooth": -1.0}, r"--smooth is -1.0, wanted 0.0 to 1000.0"),
        ({"shard": "3/2"}, "--shard is '3/2'"),
        ({"workers": 0}, "--workers is 0"),
    ):
        with pytest.raises(UsageError, match=message):
            crop(**{**options, **change})
    with pytest.raises(DataError, match=r"0001\.mp4: does not exist"):
        crop(**{**options, "root": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_nothing_is_decoded(work: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"c\.h5: cannot be written: Not a directory"):
        crop(**arguments(work, out=tmp_path / "file" / "c.h5"))
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(StoreError, match=r"c\.h5: cannot be written: Permission denied"):
            crop(**arguments(work, out=tmp_path / "closed" / "c.h5"))


_FULL_DISK = """
import resource, signal, sys
from mg_data.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
main()
"""


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_full_disk_is_one_line_and_leaves_nothing(work: Path, tmp_path: Path, resume: list[str]) -> None:
    words = [
        "data",
        "crop",
        work / "clips.h5",
        work / "corpus",
        "-o",
        tmp_path / "c.h5",
        "--size",
        "64",
        *resume,
    ]
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".h5"]
    assert left == []
    assert not (tmp_path / "c.h5").exists()


# Not ru_maxrss, which counts what the process had in memory that started this one.
_PEAK = """
from mg_data.cli.main import main
try:
    main()
finally:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_times_the_clips_need_no_more_memory(tmp_path: Path) -> None:
    peak = {}
    for videos in (5, 50):
        root = make_corpus(tmp_path / str(videos), 8 * videos, videos, "64x96")
        words = ["data", "crop", root / "clips.h5", root / "corpus", "-o", root / "c.h5", "--size", "96"]
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, *map(str, words)], capture_output=True, text=True, check=True
        )
        peak[videos] = int(done.stdout.split()[-1])
    assert peak[50] <= 1.2 * peak[5], peak


@pytest.mark.data
def test_real_depth_crops_hold_the_person(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "utd"
    for folder in ("Skeleton", "Depth"):
        (source / folder).mkdir(parents=True)
        for name in ("a1_s1_t1", "a27_s8_t2"):
            file = f"{name}_{folder.lower()}.mat"
            (source / folder / file).symlink_to((shared_data / "utd_mhad" / folder / file).resolve())
    clips, labels = tmp_path / "clips.h5", tmp_path / "labels.csv"
    import_data(name="utd-mhad", source=source, out=clips, labels=labels, console=QUIET)
    common: dict[str, Any] = {"clips": clips, "root": source, "size": 64, "console": QUIET}
    with pytest.raises(UsageError, match="data set 'utd-mhad' has no colour stream to derive 'flow' from"):
        crop(out=tmp_path / "f.h5", stream="flow", **common)
    for box in ("clip", "frame"):
        crop(out=tmp_path / "d.h5", stream="depth", box=box, **common)
        store = open_streams(tmp_path / "d.h5")
        assert (store.encoding, store.channels) == ("png16", 1)
        assert store.scale == pytest.approx(0.001)
        for row in range(2):
            frames = [decode_frame(data, "png16") for data in store.frame_bytes(row)]
            for frame in frames:
                person = frame > 0
                assert person.mean() > 0.05
                assert person[16:48, 16:48].sum() > 0.5 * person.sum()
                assert 1500 < np.median(frame[person]) < 4500
                # No distance between person and nothing was made up by resizing.
                assert frame[person].min() > 1000


@pytest.mark.data
def test_late_frames_of_real_videos_are_those_of_a_forward_pass(shared_data: Path) -> None:
    for path in sorted((shared_data / "intel_asl").glob("*.mkv"))[:3]:
        every = list(decode_frames(path, range(60)))
        late = list(decode_frames(path, range(52, 60)))
        for one, other in zip(every[52:], late, strict=True):
            np.testing.assert_array_equal(one, other)
