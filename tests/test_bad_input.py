"""What a user can get wrong before training: each ends in one line that names the file, and loses nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import mg

from mg_data.store import ClipsWriter, check_store

OLD = "what was there before"


def error_line(code: int, *words: object) -> str:
    """Run a command that fails and return its message, which is the only line it says."""
    done = mg(*words, "--quiet", code=code)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("mg: error: ")
    return lines[0]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three videos with its clips store."""
    root = tmp_path_factory.mktemp("good")
    mg("data", "synth", root / "corpus", "--clips", 9, "--subjects", 3, "--videos-per-subject", 1,
       "--size", "96x128")  # fmt: skip
    mg("data", "import", "synthetic", root / "corpus", "-o", root / "clips.h5", "--labels", root / "l.csv")
    return root


@pytest.fixture
def corpus(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(good / "corpus", tmp_path / "corpus")
    return tmp_path / "corpus"


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _drop_column(path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for _ in range(40):
        book.active.append([1.5] * 410)
    book.save(path)


def _claim_gigabytes(path: Path) -> None:
    """A workbook whose zip header claims 3 GB of a sheet that is a few bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"<worksheet/>" * 10)
    data = bytearray(path.read_bytes())
    size = (3 << 30).to_bytes(4, "little")
    data[22:26] = size
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = size
    path.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty light_hand csv": ("_light_hand.csv", lambda path: path.write_bytes(b""), "is empty"),
    "label out of range": ("_label.csv", lambda path: path.write_text("77,0,5\n"), "class 77 is outside"),
    "label that is no number": ("_label.csv", lambda path: path.write_text("a,0,5\n"), "line 1 is 'a,0,5'"),
    "label csv with NUL": ("_label.csv", lambda path: path.write_bytes(b"1,0\0,5\n"), "_label.csv"),
    "label csv not UTF-8": ("_label.csv", lambda path: path.write_bytes(b"\xff\xfe1,0,5\n"), "_label.csv"),
    "clip longer than the keypoints": (
        "_label.csv",
        lambda path: path.write_text("1,0,99999\n"),
        "frames 0..99999, but",
    ),
    "xlsx cut in half": ("_openpose.xlsx", _half, "_openpose.xlsx"),
    "xlsx with a missing column": ("_openpose.xlsx", _drop_column, "has 410 columns, wanted 411"),
    "3 GB claimed in a header": ("_openpose.xlsx", _claim_gigabytes, "_openpose.xlsx"),
    "text named xlsx": ("_openpose.xlsx", lambda path: path.write_text("x"), "_openpose.xlsx"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_of_the_challenge(corpus: Path, tmp_path: Path, what: str) -> None:
    ending, damage, message = DAMAGE[what]
    damage(corpus / "0002" / f"0002{ending}")
    out, labels = tmp_path / "out" / "clips.h5", tmp_path / "out" / "labels.csv"
    out.parent.mkdir()
    labels.write_text(OLD)
    keypoints = "light_hand" if "light_hand" in ending else "openpose"
    words = ("data", "import", "synthetic", corpus, "-o", out, "--labels", labels, "--option")
    line = error_line(5, *words, f"keypoints={keypoints}")
    assert message in line
    assert "0002" in line
    assert labels.read_text() == OLD
    assert [path.name for path in out.parent.iterdir()] == ["labels.csv"]


def test_a_video_cut_in_half_and_one_that_is_missing(corpus: Path, good: Path, tmp_path: Path) -> None:
    crop = ("data", "crop", good / "clips.h5", corpus, "-o", tmp_path / "crops.h5", "--size", 32)
    _half(corpus / "0002" / "0002.mp4")
    assert "0002.mp4" in error_line(5, *crop)
    done = mg(*crop, "--keep-going", "--json")
    assert "0002" in json.dumps(json.loads(done.stdout)["dropped"])
    (tmp_path / "crops.h5").unlink()
    (corpus / "0002" / "0002.mp4").unlink()
    assert "0002.mp4: does not exist" in error_line(5, *crop)
    (corpus / "0002" / "0002.mp4").write_bytes(b"")
    assert "0002.mp4" in error_line(5, *crop)
    assert not list(tmp_path.glob("*crops.h5*"))


def test_keypoints_that_are_all_zero_and_ids_in_any_script(tmp_path: Path) -> None:
    path = tmp_path / "clips.h5"
    names = ["видео_1", "手势 二", "ключ\u0301", "e\u0301", "\u00e9"]
    with ClipsWriter(path, dataset="d", class_names=["жест"], layout="body-25", image_size=(64, 64)) as out:
        for number, name in enumerate(names):
            joints = np.zeros((5, 1, 25, 3), np.float32)
            if number:
                joints += np.random.default_rng(number).uniform(1, 60, joints.shape).astype(np.float32)
            out.add(clip_id=name, subject_id="p", video_id=name, start=0, stop=5, joints=joints)
    check_store(path)
    found = json.loads(mg("data", "check", path, "--json", code=5).stdout)
    (empty,) = [finding for finding in found["findings"] if finding["severity"] == "error"]
    assert empty["items"] == ["видео_1"]
    assert json.loads(mg("data", "stats", path, "--json").stdout)["clips"] == 5


TABLES = {
    "an empty csv": (b"", "is empty"),
    "a csv without the column video": (b"clip_id,start\na,0\n", "lacks the column video"),
    "a label outside the list": (b"video,start,stop,label\nv,0,4,waving\n", "line 2, column label"),
    "an id twice": (b"clip_id,video,start,stop\na,v,0,4\na,v,4,8\n", "line 3, column clip_id"),
    "a span of nothing": (b"video,start,stop\nv,4,4\n", "line 2, column stop"),
    "a way out of the folder": (b"video,start,stop\n../v,0,4\n", "line 2, column video"),
    "bytes that are no text": (b"video,start,stop\n\xff\xfe,0,4\n", "UTF-8"),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_of_clips_that_is_wrong(tmp_path: Path, what: str) -> None:
    data, message = TABLES[what]
    (tmp_path / "clips.csv").write_bytes(data)
    (tmp_path / "classes.txt").write_text("rub eyes\nwave\n")
    words = ("data", "import", "clips", tmp_path / "clips.csv", "-o", tmp_path / "c.h5")
    line = error_line(
        5, *words, "--labels", tmp_path / "l.csv", "--option", f"classes={tmp_path / 'classes.txt'}"
    )
    assert message in line
    assert "clips.csv" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.txt", "clips.csv"]


def test_openpose_json_cut_in_half(tmp_path: Path) -> None:
    person = {"pose_keypoints_2d": [5.0, 6.0, 0.9] * 25, "person_id": [-1]}
    tree = tmp_path / "tree" / "v"
    tree.mkdir(parents=True)
    for number in range(3):
        path = tree / f"v_{number:012d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": [person]}))
    _half(tree / f"v_{1:012d}_keypoints.json")
    words = (
        "data",
        "import",
        "openpose",
        tree.parent,
        "-o",
        tmp_path / "c.h5",
        "--labels",
        tmp_path / "l.csv",
    )
    line = error_line(5, *words)
    assert f"v_{1:012d}_keypoints.json" in line
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of its own; skips where nothing may be mounted."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kilobytes", [8, 100, 200, 400])
def test_a_full_disk(good: Path, tmp_path: Path, kilobytes: int) -> None:
    with disk(tmp_path / "disk", f"{kilobytes}k") as small:
        (small / "clips.h5").write_text(OLD)
        words = ("data", "import", "synthetic", good / "corpus", "-o", small / "clips.h5")
        line = error_line(3, *words, "--labels", small / "labels.csv")
        assert "clips.h5: cannot be written: No space left on device" in line
        crop = ("data", "crop", good / "clips.h5", good / "corpus", "-o", small / "crops.h5")
        line = error_line(3, *crop, "--quality", 100)
        assert "crops.h5: cannot be written: No space left on device" in line
        assert [path.name for path in small.iterdir()] == ["clips.h5"]
        assert (small / "clips.h5").read_text() == OLD


def test_a_folder_that_cannot_be_written(good: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "1m") as fixed:
        subprocess.run(["mount", "-o", "remount,ro", str(fixed)], check=True)
        words = ("data", "import", "synthetic", good / "corpus", "-o", fixed / "clips.h5")
        line = error_line(3, *words, "--labels", fixed / "labels.csv")
    assert "clips.h5: cannot be written: Read-only file system" in line


def test_an_output_takes_no_place_of_an_input_or_of_another_output(good: Path, tmp_path: Path) -> None:
    clips, labels = tmp_path / "clips.h5", tmp_path / "l.csv"
    shutil.copy(good / "clips.h5", clips)
    shutil.copy(good / "l.csv", labels)
    (tmp_path / "link.h5").symlink_to(clips)
    before = clips.read_bytes(), labels.read_bytes()
    words = ("data", "split", clips, labels, "--protocol-json", '{"train": {"subjects": ["s01"]}}', "-o")
    for out, name in ((clips, "CLIPS"), (tmp_path / "link.h5", "CLIPS"), (labels, "LABELS")):
        line = error_line(2, *words, out)
        assert f"--out is {clips if name == 'CLIPS' else labels}, which {name} names to be read" in line
    line = error_line(2, "store", "merge", clips, "-o", tmp_path / "." / "clips.h5")
    assert f"--out is {clips}, which PATHS names to be read" in line
    both = ("data", "import", "synthetic", good / "corpus", "-o", tmp_path / "new", "--labels")
    assert f"--out and --labels are both {tmp_path / 'new'}: wanted two files" in error_line(
        2, *both, tmp_path / "new"
    )
    folder = ("data", "import", "synthetic", good / "corpus", "-o", tmp_path, "--labels", labels)
    assert f"{tmp_path}: cannot be written: it is a folder (name a file in it)" in error_line(3, *folder)
    assert (clips.read_bytes(), labels.read_bytes()) == before
