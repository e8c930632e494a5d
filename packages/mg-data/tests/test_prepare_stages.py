"""The stages of ``mg data`` one after another, on a small synthetic corpus."""

from __future__ import annotations

import csv
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.contract import DataError, PluginError, UsageError
from mg_data.labels import read_labels
from mg_data.plugins import resolve
from mg_data.prepare.crop import crop
from mg_data.prepare.importing import import_data
from mg_data.prepare.records import COMMANDS, STAGES
from mg_data.prepare.stats import imbalance_ratio, stats
from mg_data.prepare.synth import synth
from mg_data.store import read_clips, read_streams
from mg_data.video.codec import decode_frame, encode_frame
from mg_data.video.crop import crop_frame, frame_choice
from mg_data.video.decode import decode_frames

pytest.importorskip("cv2")
pytest.importorskip("av")
QUIET = TerminalConsole(quiet=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus/, clips.h5 and labels.csv: 10 clips of 3 subjects."""
    root = tmp_path_factory.mktemp("stages")
    synth(
        out=root / "corpus", clips=10, subjects=3, videos_per_subject=1, size="96x128", seed=2, console=QUIET
    )
    import_data(
        name="synthetic",
        source=root / "corpus",
        out=root / "clips.h5",
        labels=root / "labels.csv",
        console=QUIET,
    )
    return root


@pytest.mark.parametrize("spec", [*STAGES, *COMMANDS], ids=lambda spec: spec.path[-1])
def test_a_record_and_its_function_name_the_same_parameters(spec: Any) -> None:
    parameters = inspect.signature(resolve(spec.factory)).parameters
    assert [param.name for param in spec.params if param.name not in parameters] == []
    assert set(parameters) == {param.name for param in spec.params} | {"console"}
    for param in spec.params:
        default = parameters[param.name].default
        assert param.required == (default is inspect.Parameter.empty)
        assert param.required or param.default == default


def test_import_keeps_labels_beside_the_store(work: Path) -> None:
    clips = read_clips(work / "clips.h5")
    labels = read_labels(work / "labels.csv")
    assert set(labels) == set(clips.clip_ids.tolist())
    assert clips.dataset == "synthetic"
    assert clips.layout == "openpose-137"
    assert clips.image_size == (128, 96)
    for row, clip_id in enumerate(clips.clip_ids):
        video_id, number = str(clip_id).split("_")
        lines = list(csv.reader((work / "corpus" / video_id / f"{video_id}_label.csv").open()))
        raw, first, last = (int(value) for value in lines[int(number)])
        assert labels[str(clip_id)] == (31 if raw == 99 else raw - 1)
        assert (clips.start[row], clips.stop[row]) == (first, last + 1)
        assert len(clips.joints(row)) == last + 1 - first


def test_a_failed_import_leaves_nothing_and_keeps_what_was_there(work: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "clips.h5", tmp_path / "labels.csv"
    labels.write_text("old")
    wrong: dict[str, Any] = {"source": work / "corpus", "out": out, "labels": labels, "console": QUIET}
    with pytest.raises(PluginError, match="did you mean 'synthetic'"):
        import_data(name="sinthetic", **wrong)
    with pytest.raises(UsageError, match=r"has no option 'label' \(did you mean 'labels'\?\)"):
        import_data(name="synthetic", options={"label": "raw"}, **wrong)
    with pytest.raises(DataError, match="outside the convention labels=challenge"):
        import_data(name="synthetic", options={"labels": "challenge"}, **wrong)
    with pytest.raises(DataError, match="does not exist"):
        import_data(name="synthetic", **{**wrong, "source": tmp_path / "none"})
    (tmp_path / "broken" / "0001").mkdir(parents=True)
    (tmp_path / "broken" / "0001" / "0001_label.csv").write_text("1,0,5\n")
    broken = {**wrong, "source": tmp_path / "broken"}
    with pytest.raises(DataError, match=r"0001_openpose\.xlsx: does not exist"):
        import_data(name="synthetic", **broken)
    with pytest.raises(
        DataError, match="not one clip of 'synthetic' could be imported, the first reason: 0001"
    ):
        import_data(name="synthetic", keep_going=True, **broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "labels.csv"]
    assert labels.read_text() == "old"


def test_crops_are_the_boxes_of_the_decoded_frames(work: Path, tmp_path: Path) -> None:
    result = crop(
        clips=work / "clips.h5",
        root=work / "corpus",
        out=tmp_path / "c.h5",
        size=32,
        quality=95,
        console=QUIET,
    )
    clips, crops = read_clips(work / "clips.h5"), read_streams(tmp_path / "c.h5")
    assert (crops.stream, crops.encoding, crops.channels, crops.scale) == ("rgb", "jpeg", 3, 1.0)
    assert sorted(crops.clip_ids) == sorted(clips.clip_ids)
    assert result.data["frames"] == int((clips.stop - clips.start).sum()) == int(crops.num_frames.sum())
    for row, clip_id in enumerate(clips.clip_ids[:3]):
        [here] = crops.rows([clip_id])
        joints = clips.joints(row)
        seen = joints[joints[..., 2] > 0.1]
        x0, y0, x1, y1 = crops.boxes(here)[0]
        extent = np.ptp(seen[:, :2], axis=0).max()
        assert x1 - x0 == y1 - y0 == np.ceil(1.4 * extent)
        assert abs((x0 + x1) / 2 - (seen[:, 0].min() + seen[:, 0].max()) / 2) <= 1
        assert abs((y0 + y1) / 2 - (seen[:, 1].min() + seen[:, 1].max()) / 2) <= 1
        path = work / "corpus" / clips.video_ids[row] / f"{clips.video_ids[row]}.mp4"
        frame = next(decode_frames(path, [int(clips.start[row]) + 2]))
        expected = encode_frame(crop_frame(frame, crops.boxes(here)[2], 32), "jpeg", quality=95)
        assert crops.frame_bytes(here, [2])[0].tobytes() == expected


def test_workers_subsampling_and_whole_frames(work: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "clips": work / "clips.h5",
        "root": work / "corpus",
        "size": 24,
        "console": QUIET,
    }
    one = crop(out=tmp_path / "one.h5", max_frames=4, **common)
    two = crop(out=tmp_path / "two.h5", max_frames=4, workers=2, **common)
    assert one.data["digest"] == two.data["digest"]
    assert set(read_streams(tmp_path / "one.h5").num_frames.tolist()) == {4}
    crop(out=tmp_path / "full.h5", full_frame=True, **common)
    full, few = read_streams(tmp_path / "full.h5"), read_streams(tmp_path / "one.h5")
    assert full.boxes(0)[0].tolist() == [0, -16, 128, 112]
    # The kept frames are the middles of four equal parts of the clip.
    kept = frame_choice(int(full.num_frames[0]), 4)
    assert kept.tolist() == [int((index + 0.5) * full.num_frames[0] / 4) for index in range(4)]
    assert few.clip_ids[0] == full.clip_ids[0]


def test_clips_without_keypoints_keep_the_whole_frame(work: Path, tmp_path: Path) -> None:
    result = crop(
        clips=work / "clips.h5",
        root=work / "corpus",
        out=tmp_path / "c.h5",
        size=16,
        max_frames=1,
        min_confidence=1.0,
        console=QUIET,
    )
    assert len(result.data["without_keypoints"]) == 10
    assert read_streams(tmp_path / "c.h5").boxes(0)[0].tolist() == [0, -16, 128, 112]


def test_crop_says_what_is_wrong_and_writes_nothing(work: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"clips": work / "clips.h5", "out": tmp_path / "c.h5", "console": QUIET}
    with pytest.raises(UsageError, match=r"data set 'synthetic' has no stream 'depth' \(it has: rgb\)"):
        crop(root=work / "corpus", stream="depth", **common)
    with pytest.raises(UsageError, match="--size is 2, wanted 8 to 4096"):
        crop(root=work / "corpus", size=2, **common)
    with pytest.raises(DataError, match=r"0001\.mp4: does not exist"):
        crop(root=tmp_path, **common)
    assert list(tmp_path.iterdir()) == []


def test_stats_count_and_draw(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = stats(
        clips=work / "clips.h5", labels=work / "labels.csv", plot=tmp_path / "tail.png", console=QUIET
    )
    truth = list(read_labels(work / "labels.csv").values())
    assert result.data["clips_by_class"]["all"] == np.bincount(truth, minlength=32).tolist()
    assert sum(result.data["clips_by_subject"].values()) == 10
    assert result.data["imbalance_ratio"]["all"] == imbalance_ratio(np.bincount(truth))
    assert (tmp_path / "tail.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="give --labels or --split"):
        stats(clips=work / "clips.h5", plot=tmp_path / "x.png", console=QUIET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "97x128"}, "--size is '97x128', wanted HEIGHTxWIDTH"),
        ({"size": "big"}, "--size is 'big'"),
        ({"clips": 0}, "--clips is 0, wanted 1 to"),
        ({"classes": 33}, "--classes is 33, wanted 1 to 32"),
    ],
)
def test_synth_refuses_values_out_of_range(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        synth(out=tmp_path / "c", console=QUIET, **options)
    assert list(tmp_path.iterdir()) == []


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
    crop(clips=clips, root=source, out=tmp_path / "d.h5", stream="depth", size=64, console=QUIET)
    store = read_streams(tmp_path / "d.h5")
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
