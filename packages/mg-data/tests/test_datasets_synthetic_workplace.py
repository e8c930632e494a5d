"""No run leaves a hidden folder for good: interrupted, terminated, killed, or two at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mg_data.contract import DataError, StoreError
from mg_data.datasets.synthetic.workplace import spread, workplace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks and signals of POSIX")
SYNTH = [sys.executable, "-m", "mg_data", "data", "synth"]
# Large enough to be still at work when the signal comes.
SLOW = ["--scale", "1.0", "--keypoints", "openpose", "--no-video"]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*SYNTH, str(folder / "corpus"), *SLOW, "--workers", str(workers)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Tests that run in the background of a script inherit an ignored interrupt.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(folder.glob(".corpus.*.tmp/new/*")):
        assert process.poll() is None
        time.sleep(0.05)
    return process


def orphans(folder: Path) -> list[str]:
    """Return files that still appear in a left folder: somebody writes on."""
    before = {str(path) for path in folder.rglob("*")}
    time.sleep(1.5)
    return sorted({str(path) for path in folder.rglob("*")} - before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path: Path, number: int, workers: int) -> None:
    process = start(tmp_path, workers)
    process.send_signal(number)
    assert process.wait(20) != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_next_run_removes_what_a_killed_one_left_and_nobody_writes_on(tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    process.kill()
    process.wait(20)
    assert len(hidden(tmp_path)) == 1
    time.sleep(0.5)
    assert orphans(tmp_path) == []
    with workplace(tmp_path / "other") as folder:
        (folder / "file").write_text("x")
    assert len(hidden(tmp_path)) == 1  # another target's leftovers are not its own
    with workplace(tmp_path / "corpus") as folder:
        (folder / "file").write_text("x")
    assert hidden(tmp_path) == []
    assert (tmp_path / "corpus" / "file").read_text() == "x"


def test_two_runs_of_one_target_leave_each_other_alone(tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    with workplace(out) as first:
        (first / "who").write_text("first")
        with workplace(out) as second:
            (second / "who").write_text("second")
            assert first.is_dir()
        assert (out / "who").read_text() == "second"
        assert (first / "who").exists()
    assert (out / "who").read_text() == "first"
    assert hidden(tmp_path) == []


def test_strangers_folders_of_a_similar_name_stay(tmp_path: Path) -> None:
    for name in (".corpus.01234567.tmp", ".corpus.mine.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("years of work")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".corpus.89abcdef.tmp").mkdir()
    os.utime(tmp_path / ".corpus.89abcdef.tmp", (0, 0))  # killed before it had a lock
    with workplace(tmp_path / "corpus"):
        pass
    assert sorted(hidden(tmp_path)) == [".corpus.01234567.tmp", ".corpus.mine.tmp"]


def test_a_failed_run_leaves_the_old_corpus(tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    with workplace(out) as folder:
        (folder / "old").write_text("kept")
    with pytest.raises(RuntimeError), workplace(out) as folder:
        (folder / "new").write_text("lost")
        raise RuntimeError
    assert (out / "old").exists()
    assert hidden(tmp_path) == []


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="corpus: cannot be written: No space left on device"),
        workplace(tmp_path / "corpus"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"), workplace(tmp_path / "file" / "corpus"):
        pass


def test_the_old_corpus_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "corpus"
    with workplace(out) as folder:
        (folder / "old").write_text("kept")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match=r"Input/output error \(nothing was changed\)"), workplace(out):
        pass
    assert (out / "old").read_text() == "kept"
    assert hidden(tmp_path) == []


@pytest.mark.slow
def test_a_worker_that_dies_is_one_line() -> None:
    with pytest.raises(DataError, match="died: out of memory"):
        list(spread(os._exit, [(3,), (3,)], 2))
