"""Importing in processes, in shards, after a kill, and past damage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.main import run as command
from mg_data.contract import ClipSource, DataError, DatasetImport, RawClip, StoreError, UsageError
from mg_data.labels import join_labels, read_labels, write_labels
from mg_data.plugins import registry
from mg_data.prepare.importing import _clips, import_data
from mg_data.prepare.parallel import Shard, Work
from mg_data.prepare.synth import synth
from mg_data.store import check_store, merge_stores, open_clips

pytest.importorskip("av")
QUIET = TerminalConsole(quiet=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos of four people with twenty clips."""
    root = tmp_path_factory.mktemp("importing") / "corpus"
    synth(out=root, clips=20, subjects=4, videos_per_subject=2, size="96x128", seed=5, console=QUIET)
    return root


def run(corpus: Path, out: Path, **options: Any) -> dict[str, Any]:
    labels = out.with_suffix(".csv")
    result = import_data(name="synthetic", source=corpus, out=out, labels=labels, console=QUIET, **options)
    return dict(result.data)


def test_the_bar_ends_where_it_should_whatever_a_recording_gives() -> None:
    clip = RawClip(clip_id="c", subject_id="s", video_id="v", start=0, stop=1, joints=None)
    units = [
        ClipSource(name=f"{given} of {said}", read=partial(lambda n: ([clip] * n, []), given), clips=said)
        for said, given in ((2, 2), (2, 5), (3, 0), (0, 1))
    ]
    work = Work(lambda unit: unit.read(), lambda unit: unit.name, workers=1)
    data = DatasetImport(
        class_names=("a",),
        vocabulary="v",
        layout="",
        columns=("x", "y", "c"),
        image_size=(1, 1),
        sources=units,
    )
    found = list(_clips(data, units, work))
    assert sum(steps for _, steps in found) == sum(unit.clips for unit in units) == 7
    assert [clip is not None for clip, _ in found].count(True) == 8


def test_a_shard_is_part_i_of_n() -> None:
    names = [f"video {number}" for number in range(200)]
    shards = [Shard.parse(f"{index}/3") for index in (1, 2, 3)]
    owners = [[shard.holds(name) for shard in shards].count(True) for name in names]
    assert set(owners) == {1}
    assert all(40 < sum(map(shard.holds, names)) < 95 for shard in shards)
    assert Shard.parse("") == Shard(1, 1)
    for text in ("0/3", "4/3", "2", "a/b", "-1/2", "1/0"):
        with pytest.raises(UsageError, match="wanted i/n with 1 <= i <= n"):
            Shard.parse(text)


def test_processes_and_shards_give_the_digest_of_one_process(corpus: Path, tmp_path: Path) -> None:
    whole = run(corpus, tmp_path / "whole.h5")
    assert run(corpus, tmp_path / "two.h5", workers=2)["digest"] == whole["digest"]
    shards = []
    for index in range(1, 4):
        run(corpus, tmp_path / f"part{index}.h5", shard=f"{index}/3")
        shards.append(tmp_path / f"part{index}.h5")
    assert sum(len(open_clips(path)) for path in shards) == whole["clips"]
    for order in (shards, shards[::-1]):
        assert merge_stores(order, tmp_path / "merged.h5") == whole["digest"]
    assert check_store(tmp_path / "merged.h5") == whole["digest"]
    merged = open_clips(tmp_path / "merged.h5")
    assert merged.provenance.command == "mg data import"
    assert set(merged.provenance.inputs) == {str(path) for path in shards}
    join_labels([path.with_suffix(".csv") for path in shards], tmp_path / "labels.csv")
    assert read_labels(tmp_path / "labels.csv") == read_labels(tmp_path / "whole.csv")


def test_shards_that_do_not_make_a_whole_are_refused(corpus: Path, tmp_path: Path) -> None:
    for index in (1, 2, 3):
        run(corpus, tmp_path / f"{index}.h5", shard=f"{index}/3")
    run(corpus, tmp_path / "other.h5", shard="1/2")
    run(corpus, tmp_path / "light.h5", shard="3/3", options={"keypoints": "light_hand"})
    one, two = tmp_path / "1.h5", tmp_path / "2.h5"
    out = tmp_path / "out.h5"
    with pytest.raises(StoreError, match=r"recordings; not given: 3/3 .*--partial"):
        merge_stores([one, two], out)
    with pytest.raises(StoreError, match="is shard 1/3, and so is"):
        merge_stores([one, two, one], out)
    with pytest.raises(StoreError, match="is a shard of another run"):
        merge_stores([one, tmp_path / "other.h5"], out)
    with pytest.raises(StoreError, match=r"is a shard of another run .* options"):
        merge_stores([one, two, tmp_path / "light.h5"], out)
    assert not out.exists()
    merge_stores([one, two], out, partial=True)
    assert len(open_clips(out)) == len(open_clips(one)) + len(open_clips(two))
    whole = tmp_path / "whole.h5"
    run(corpus, whole)
    with pytest.raises(StoreError, match=r"holds clip '.*', which .*1\.h5 holds too"):
        merge_stores([one, whole], tmp_path / "twice.h5")
    with pytest.raises(DataError, match=r"lists clip '.*', which .* lists too"):
        join_labels([one.with_suffix(".csv"), whole.with_suffix(".csv")], tmp_path / "twice.csv")


def test_labels_of_different_class_lists_are_not_joined(tmp_path: Path) -> None:
    one, other, out = tmp_path / "one.csv", tmp_path / "other.csv", tmp_path / "both.csv"
    write_labels(one, ["a", "b"], [1, -1], ["shrug", "nod"])
    write_labels(other, ["c"], [1], ["nod", "shrug"])
    with pytest.raises(DataError, match=r"other\.csv: class 1 is 'shrug', other files call it 'nod'"):
        join_labels([one, other], out)
    write_labels(other, ["c"], [0], ["nod", "shrug"])
    with pytest.raises(DataError, match=r"other\.csv: 'nod' is class 0, in other files 1"):
        join_labels([one, other], out)
    assert not out.exists()
    write_labels(other, ["c"], [0], ["shrug", "nod"])
    assert join_labels([one, other], out) == 3
    assert read_labels(out) == {"a": 1, "b": -1, "c": 0}


def test_a_shard_without_recordings_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    results = [run(corpus, tmp_path / f"{index}.h5", shard=f"{index}/40") for index in range(1, 41)]
    assert [result["clips"] == 0 for result in results].count(True) >= 32
    paths = sorted(tmp_path.glob("*.h5"))
    assert len(paths) == sum(result["clips"] > 0 for result in results)
    assert merge_stores(paths, tmp_path / "all.h5") == run(corpus, tmp_path / "whole.h5")["digest"]


def test_damage_stops_the_import_by_name_or_is_left_out(corpus: Path, tmp_path: Path) -> None:
    broken = tmp_path / "corpus"
    shutil.copytree(corpus, broken)
    victim = sorted(broken.glob("0*"))[3]
    workbook = victim / f"{victim.name}_openpose.xlsx"
    workbook.write_bytes(workbook.read_bytes()[:2000])
    lost = len((victim / f"{victim.name}_label.csv").read_text().splitlines())
    for workers in (1, 2):
        with pytest.raises(DataError, match=f"{victim.name}_openpose.xlsx: is no readable xlsx file"):
            run(broken, tmp_path / "out.h5", workers=workers)
        assert not list(tmp_path.glob("*out*"))
        result = run(broken, tmp_path / f"{workers}.h5", workers=workers, keep_going=True)
        assert result["clips"] == 20 - lost
        assert [item["what"] for item in result["dropped"]] == [victim.name]


def test_the_first_recording_may_be_the_damaged_one(corpus: Path, tmp_path: Path) -> None:
    import numpy as np

    video = next(iter(sorted(corpus.glob("0*/*.mp4"))))
    for name in ("videos", "openpose", "ntu"):
        (tmp_path / name).mkdir()
    for folder in ("videos", "openpose"):
        (tmp_path / folder / "a.mp4").write_bytes(b"")
        shutil.copy(video, tmp_path / folder / "b.mp4")
    people = [{"pose_keypoints_2d": [10.0 + n % 2 for n in range(75)]}]
    for take in "ab":
        (tmp_path / "openpose" / take).mkdir()
        path = tmp_path / "openpose" / take / f"{take}_0_keypoints.json"
        path.write_text(json.dumps({"people": people}))
    (tmp_path / "ntu" / "a.npy").write_bytes(b"")
    np.save(tmp_path / "ntu" / "b.npy", np.ones((5, 25, 3)))
    table = tmp_path / "t.csv"
    table.write_text("video,start,stop\na.mp4,0,1\nb.mp4,0,1\n")
    for name, source, options in (
        ("videos", tmp_path / "videos", {}),
        ("openpose", tmp_path / "openpose", {"keypoints": "body"}),
        ("clips", table, {"root": str(tmp_path / "videos")}),
        ("ntu", tmp_path / "ntu", {}),
    ):
        out = tmp_path / f"{name}.h5"
        wanted: dict[str, Any] = {"name": name, "source": source, "out": out, "options": options}
        with pytest.raises(DataError, match=r"a\.(mp4|npy): (cannot be decoded|is no npy)"):
            import_data(**wanted, console=QUIET)
        result = import_data(**wanted, keep_going=True, console=QUIET)
        assert (result.data["clips"], len(result.data["dropped"])) == (1, 1)
        size = {"ntu": (1920, 1080), "openpose": (128, 96)}.get(name, (0, 0))  # kept with keypoints alone
        assert open_clips(out).image_size == size
    tree = tmp_path / "tree"
    shutil.copytree(corpus, tree)
    next(iter(sorted(tree.glob("0*/*.mp4")))).write_bytes(b"")
    assert run(tree, tmp_path / "whole.h5")["clips"] == 20  # keypoints need no video
    assert open_clips(tmp_path / "whole.h5").image_size == (128, 96)


def test_an_import_killed_half_way_resumes_to_the_same_digest(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    words = [sys.executable, "-m", "mg_data", "data", "import", "synthetic", str(corpus), "-o", str(out)]
    words += ["--labels", str(out.with_suffix(".csv")), "--resume"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "out.h5.parts"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(parts.glob("[0-9a-f]*.h5"))) >= 3:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    assert not out.exists()
    kept = len(list(parts.glob("[0-9a-f]*.h5")))
    result = run(corpus, out, resume=True)
    assert result["resumed"] == kept >= 3
    assert not parts.exists()
    assert result["digest"] == run(corpus, tmp_path / "whole.h5")["digest"]
    assert run(corpus, out, resume=True) == {"complete": True}


def test_a_changed_list_of_classes_or_clips_is_read_again(tmp_path: Path) -> None:
    table, classes, out = tmp_path / "clips.csv", tmp_path / "classes.txt", tmp_path / "out.h5"
    people = [{"pose_keypoints_2d": [10.0 + n % 2 for n in range(75)]}]
    for frame in range(3):
        (tmp_path / f"take_{frame}_keypoints.json").write_text(json.dumps({"people": people}))
    table.write_text(f"video,start,stop,label\n{tmp_path.name},0,2,nod\n")
    classes.write_text("nod\nshrug\n")
    options = {"clips": str(table), "classes": str(classes), "keypoints": "body", "image_size": "64x64"}

    def again(name: str, source: Path, options: dict[str, Any]) -> list[int]:
        labels = tmp_path / "labels.csv"
        import_data(
            name=name, source=source, out=out, labels=labels, options=options, resume=True, console=QUIET
        )
        return list(read_labels(labels).values())

    for name, source, chosen in (
        ("openpose", tmp_path, options),
        ("clips", table, {"classes": str(classes)}),
    ):
        classes.write_text("nod\nshrug\n")
        table.write_text(f"video,start,stop,label\n{tmp_path.name},0,2,nod\n")
        assert again(name, source, chosen) == [0]
        classes.write_text("shrug\nnod\n")
        assert again(name, source, chosen) == [1]
        table.write_text(f"video,start,stop,label\n{tmp_path.name},0,2,shrug\n")
        assert again(name, source, chosen) == [0]


def test_a_changed_file_is_read_again(corpus: Path, tmp_path: Path) -> None:
    tree, out = tmp_path / "corpus", tmp_path / "out.h5"
    shutil.copytree(corpus, tree)
    first = run(tree, out, resume=True)
    label_file = next(iter(sorted(tree.glob("0*/*_label.csv"))))
    lines = label_file.read_text().splitlines()
    label_file.write_text("\n".join(lines[1:]) + "\n")
    assert run(tree, out, resume=True)["clips"] == first["clips"] - 1
    subjects = tree / "subjects.csv"
    subjects.write_text(subjects.read_text().replace(",s01", ",anna"))
    run(tree, out, resume=True)
    assert "anna" in open_clips(out).subject_ids
    provenance = open_clips(out).provenance
    assert json.loads(json.dumps(dict(provenance.config)))["options"]["labels"] == "raw"


def test_a_collection_is_a_data_set_of_its_own(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "a.h5")
    run(corpus, tmp_path / "b.h5", collection="second term")
    assert open_clips(tmp_path / "b.h5").dataset == "synthetic:second term"
    assert registry().dataset_of("synthetic:second term").name == "synthetic"
    with pytest.raises(StoreError, match=r"differs from .* in the data set: synthetic:second term against"):
        merge_stores([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")
    with pytest.raises(UsageError, match="without ':' and control"):
        run(corpus, tmp_path / "d.h5", collection="a:b")


def test_folders_may_have_names_that_are_no_utf8(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / os.fsdecode(b"L\xe4rm")
    try:
        shutil.copytree(corpus, folder / "corpus")
    except OSError as error:  # file systems that take UTF-8 alone
        pytest.skip(str(error))
    whole = run(corpus, tmp_path / "whole.h5")
    assert run(folder / "corpus", folder / "one.h5", resume=True)["digest"] == whole["digest"]
    assert run(folder / "corpus", folder / "one.h5", resume=True)["complete"]
    assert merge_stores([folder / "one.h5"], folder / "merged.h5") == whole["digest"]
    assert list(open_clips(folder / "merged.h5").provenance.inputs) == [str(folder / "one.h5")]
    assert command(["store", "info", str(folder / "merged.h5"), "--json"]) == 0
    said = capsys.readouterr().out
    assert said.encode()
    assert json.loads(said)["path"] == str(folder / "merged.h5")
    with pytest.raises(UsageError, match="wanted a name in UTF-8 without ':'"):
        run(corpus, tmp_path / "d.h5", collection=os.fsdecode(b"L\xe4rm"))


def test_whole_videos_keep_their_frame_rates_and_need_no_labels(corpus: Path, tmp_path: Path) -> None:
    def whole(out: Path, **options: Any) -> Any:
        words = {"name": "synthetic", "source": corpus, "options": {"whole": True, "keypoints": "light_hand"}}
        import_data(out=out, console=QUIET, **{**words, **options})
        return open_clips(out).provenance.config["fps"]

    videos = sorted(path.name for path in corpus.glob("0*"))
    rates = dict.fromkeys(videos, 25.0)
    assert whole(tmp_path / "whole.h5") == rates
    assert list(tmp_path.iterdir()) == [tmp_path / "whole.h5"]
    for index in (1, 2):
        whole(tmp_path / f"{index}.h5", shard=f"{index}/2", resume=True)
    merge_stores([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "merged.h5")
    assert open_clips(tmp_path / "merged.h5").provenance.config["fps"] == rates
    other = {"name": "videos", "options": {}}
    assert set(whole(tmp_path / "videos.h5", **other).values()) == {25.0}
    with pytest.raises(UsageError, match=r"clip '0\d+_0' has a label: give --labels, a csv to write"):
        whole(tmp_path / "clips.h5", options={"keypoints": "light_hand"})
    assert not (tmp_path / "clips.h5").exists()


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_four_times_the_clips_need_no_more_memory(tmp_path: Path) -> None:
    """Peak memory of the whole process; ru_maxrss would count what this one had when it started it.

    Chunks of columns are held until they are full: from 480 clips on they are (6 videos need 79 MB, 60 124,
    240 140 and 600 144).
    """
    peaks = {}
    for videos in (60, 240):
        corpus = tmp_path / f"{videos}"
        options: dict[str, Any] = {"subjects": videos, "videos_per_subject": 1, "video": False}
        synth(out=corpus, clips=videos * 8, size="64x64", console=QUIET, **options)
        code = (
            "from mg_data.cli.main import main\n"
            "try: main()\n"
            "finally: print(next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')))"
        )
        words = ["data", "import", "synthetic", str(corpus), "-o", str(tmp_path / "clips.h5")]
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--labels", str(tmp_path / "labels.csv")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"{videos * 8} clips" in done.stdout
        peaks[videos] = int(done.stdout.split()[-1])
    assert peaks[240] <= 1.2 * peaks[60], peaks
