"""What a killed process leaves behind: temporary files and workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mg_data.store import publish, publish_text

PUBLISH = """
import sys, time
from pathlib import Path
from mg_data.store import publish
with publish(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""
POOL = """
import os, sys, time
from mg_data.worker_pool import worker_pool
if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
"""

HALF_A_RESULT = """
import os, signal, sys, time
from pathlib import Path
from mg_data.worker_pool import worker_pool

def send_half(marker, then):
    from multiprocessing.connection import Connection

    whole = Connection._send

    def half(self, data, **more):
        if len(data) < 1_000_000:
            return whole(self, data, **more)
        whole(self, data[: len(data) // 2], **more)
        marker.touch()
        if then == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    Connection._send = half
    return bytes(1_000_000)

if __name__ == "__main__":
    marker, workers, then = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with worker_pool(workers) as pool:
        future = pool.submit(send_half, marker, then)
        others = [pool.submit(abs, -1) for _ in range(workers)]
        if then == "killed":
            future.result()
        while not marker.exists():
            time.sleep(0.01)
        raise ValueError("of the owner")
"""


def start(script: str, *words: object) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def publish_elsewhere(path: Path) -> None:
    """Publish in a process of its own: a folder is looked through once in each."""
    words = [
        sys.executable,
        "-c",
        "import sys; from mg_data.store import publish_text as p; p(sys.argv[1], '')",
    ]
    subprocess.run([*words, str(path)], check=True)


def test_the_temporary_file_of_a_killed_process_goes_and_that_of_a_live_one_stays(tmp_path: Path) -> None:
    process, name = start(PUBLISH, tmp_path / "a.json")
    publish_elsewhere(tmp_path / "b.json")
    assert Path(name).read_text() == "half"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Path(name).exists()
    publish_elsewhere(tmp_path / "c.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "c.json"]


def test_the_temporary_file_of_another_machine_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mg_data.store import atomic

    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "another")
        atomic._machine.cache_clear()
        with publish(tmp_path / "a.json") as temporary:
            other = temporary.name.replace(f"-{os.getpid()}-", "-4194304-")  # no process has that id
            temporary.write_text("")
    atomic._machine.cache_clear()
    (tmp_path / other).write_text("")
    publish_text(tmp_path / "b.json", "")
    assert (tmp_path / other).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_workers_end_with_a_killed_owner() -> None:
    process, worker = start(POOL)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(int(worker), 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1]:
            return
        time.sleep(0.05)
    pytest.fail(f"worker {worker} outlives its owner")


def run_half_a_result(folder: Path, workers: int, then: str) -> str:
    """Return what the owner wrote to stderr, whose last line is the error it ended with."""
    script = folder / "owner.py"
    script.write_text(HALF_A_RESULT)
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "marker"), str(workers), then],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (folder / "marker").exists()
    assert "leaked" not in done.stderr
    return done.stderr.rstrip()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_ends_amid_its_result_is_not_waited_for(tmp_path: Path, workers: int) -> None:
    assert run_half_a_result(tmp_path, workers, "waits").endswith("ValueError: of the owner")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_killed_amid_its_result_breaks_the_pool(tmp_path: Path, workers: int) -> None:
    last = run_half_a_result(tmp_path, workers, "killed").splitlines()[-1]
    assert last.startswith("concurrent.futures.process.BrokenProcessPool")
