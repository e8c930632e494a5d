"""Steps run when what they read has changed, and only then; a failure loses nothing that was finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mg_adapt.files import file_stamp, is_unchanged
from mg_adapt.run.execute import Runner
from mg_data.cli.console import TerminalConsole
from mg_data.contract import StoreError, UsageError
from mg_data.store import write_logits

PLUGIN = """
import time
from pathlib import Path
from mg_data.contract import DataError, Param, StageResult, StageSpec, hookimpl

@hookimpl
def mg_register_stages():
    factory = "joiner_plugin:join"
    return [StageSpec(name="join", path=("join",), summary="Join texts.", factory=factory, params=(
        Param(name="parts", help="texts", type="path", role="input", multiple=True),
        Param(name="out", help="text", type="path", role="output"),
        Param(name="end", help="last word", default=""),
        Param(name="speed", help="of no consequence", default="", in_key=False),
    ))]

def join(*, console, parts, out, end, speed):
    if end == "broken":
        raise DataError("the glue is dry")
    if speed == "slow":
        (out.parent / "begun").touch()
        while not (out.parent / "go on").exists():
            time.sleep(0.05)
    with (out.parent / "calls").open("a") as calls:
        calls.write(out.name + " ")
    out.write_text("".join(part.read_text() for part in parts) + end)
    return StageResult(data={"length": len(out.read_text())})
"""
DRIVER = """
import json, sys
from pathlib import Path
from mg_adapt.run.execute import Runner, only_run
from mg_adapt.run.plan import Step
from mg_data.cli.console import TerminalConsole
from mg_data.contract import MgError

folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
def step(name, parts, **more):
    return Step(name=name, stage="join", params={"parts": [str(folder / part) for part in parts],
                "out": str(folder / name), **more, **options.get(name, {})})

if __name__ == "__main__":
    steps = [step("c", ["a", "b"]), step("a", ["raw1"], end="!"), step("b", ["raw2"], end="?")]
    try:
        with only_run(folder):
            runner = Runner(folder, TerminalConsole(quiet=True), jobs=2)
            runner.run(steps)
    except MgError as error:
        print("error:", error)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    info = tmp_path / "site" / "joiner-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: joiner\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mg.plugins]\njoiner = joiner_plugin\n")
    (tmp_path / "site" / "joiner_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    run = tmp_path / "run"
    run.mkdir()
    (run / "raw1").write_text("one")
    (run / "raw2").write_text("two")
    return run


def call(folder: Path, **options: dict[str, str]) -> tuple[str, list[str]]:
    """Run the steps; return what was printed and which steps did work."""
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, folder.parent / "driver.py", folder, json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(folder.parent / "site")},
    )
    return done.stdout.strip(), sorted(calls.read_text().split()) if calls.exists() else []


def test_no_steps_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--jobs is 0, wanted at least 1"):
        Runner(tmp_path, TerminalConsole(quiet=True), jobs=0)


def test_steps_run_in_the_order_of_their_files_and_once(folder: Path) -> None:
    assert call(folder)[1] == ["a", "b", "c"]
    assert (folder / "c").read_text() == "one!two?"
    assert call(folder)[1] == []


def test_a_change_runs_what_depends_on_it(folder: Path) -> None:
    call(folder)
    (folder / "raw2").write_text("zwei")
    assert call(folder)[1] == ["b", "c"]
    assert call(folder, a={"end": "."})[1] == ["a", "c"]
    # An option outside the key changes nothing; an output that was tampered with is made again.
    assert call(folder, a={"end": ".", "speed": "fast"})[1] == []
    (folder / "b").write_text("tampered")
    assert call(folder, a={"end": "."})[1] == ["b"]


def test_a_failure_keeps_what_was_finished(folder: Path) -> None:
    text, ran = call(folder, c={"end": "broken"})
    assert "the glue is dry" in text
    assert ran == ["a", "b"]
    assert call(folder)[1] == ["c"]


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_of_the_run_alone_records_what_is_at_work(folder: Path, times: int) -> None:
    process = subprocess.Popen(
        [sys.executable, folder.parent / "driver.py", folder, json.dumps({"b": {"speed": "slow"}})],
        env={**os.environ, "PYTHONPATH": str(folder.parent / "site")},
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background hand "ignore" down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not ((folder / "begun").exists() and (folder / "steps" / "a.json").exists()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    if times == 1:
        (folder / "go on").touch()
    else:
        process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in told
    assert call(folder)[1] == (["c"] if times == 1 else ["b", "c"])


def test_a_copied_run_folder_answers_for_its_own_files(folder: Path) -> None:
    call(folder)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    assert call(copy)[1] == []
    (copy / "b").write_text("tampered")
    assert call(copy)[1] == ["b"]
    shutil.rmtree(folder)
    (copy / "c").unlink()
    assert call(copy)[1] == ["c"]


def test_a_store_that_was_written_to_is_not_believed_its_own_digest(tmp_path: Path) -> None:
    import h5py

    store = tmp_path / "scores.h5"
    digest = write_logits(
        store, clip_ids=["a"], values=[[0.0, 1.0]], class_names=["x", "y"], model="m", modality="joint"
    )
    stamp = file_stamp(store)
    assert is_unchanged(store, digest, stamp)
    os.utime(store, ns=(0, 0))
    assert is_unchanged(store, digest, stamp)
    with h5py.File(store, "r+") as file:
        file["logits/values"][...] = 2.0
    with pytest.raises(StoreError, match="changed after it was written"):
        is_unchanged(store, digest, stamp)


def test_what_is_at_work_is_recorded_when_another_step_cannot_start(folder: Path) -> None:
    driver = folder.parent / "driver.py"
    text = driver.read_text()
    driver.write_text(text.replace('step("b", ', 'step("d", ["none"]), step("b", '))
    printed, ran = call(folder)
    assert "none: does not exist, but step 'd' reads it" in printed
    assert ran == ["a"]
    driver.write_text(text)
    assert call(folder)[1] == ["b", "c"]


def test_steps_that_are_forced_leave_the_records_of_others(folder: Path) -> None:
    call(folder)
    driver = folder.parent / "driver.py"
    text = driver.read_text().replace("jobs=2)", "jobs=2, force=True)")
    look = "runner.run(steps[2:]); runner.look(steps[::-1]); print(*sorted(runner.results))"
    driver.write_text(text.replace("runner.run(steps)", look))
    assert call(folder) == ("a b c", ["b"])


def test_one_run_at_a_time_in_a_folder(folder: Path) -> None:
    import fcntl

    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        text, ran = call(folder)
    assert "another 'mg run' is at work in this folder" in text
    assert ran == []


def test_a_run_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    from mg_adapt.run.execute import only_run

    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"file/run: cannot be written: Not a directory"),
        only_run(tmp_path / "file" / "run"),
    ):
        pass


def test_a_run_does_not_fail_over_the_line_that_says_how_long_it_took(tmp_path: Path) -> None:
    from mg_adapt.run.command import _remember

    (tmp_path / "history.jsonl").mkdir()
    told: list[str] = []

    class Told:
        def warn(self, text: str) -> None:
            told.append(text)

    class Done:
        results: tuple[str, ...] = ()
        skipped = 0

    _remember(tmp_path, 1.0, Done(), Told())  # type: ignore[arg-type]
    assert told == [f"{tmp_path / 'history.jsonl'}: cannot be written: Is a directory"]
