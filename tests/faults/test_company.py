"""Two processes with one target, folders without locks, clocks that go backwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fault_tools import Bench, Server

QUICK = ("import --resume", "merge")


@pytest.fixture
def shim(server: Server) -> None:
    if not server.has_shim:
        pytest.skip("no compiler for shim.c")


def both(bench: Bench) -> None:
    """Start a command twice: whoever does not finish says that the other is at work."""
    work = bench.fresh(earlier=False)
    processes = [bench.server.start(bench.words(work)) for _ in range(2)]
    ended = [bench.server.wait(process) for process in processes]
    codes = sorted(each.code or 0 for each in ended)
    assert codes in ([0, 0], [0, 2]), [each.err for each in ended]
    for each in ended:
        if each.code:
            assert each.err.splitlines()[-1].startswith("mg: error: "), each.err
            assert "another process" in each.err or "is training it" in each.err, each.err
    bench.check_ended(work)


@pytest.mark.slow
@pytest.mark.parametrize("stage", QUICK)
def test_two_processes_with_one_target(benches: dict[str, Bench], stage: str) -> None:
    both(benches[stage])


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["import", "crop --resume", "train", "predict", "fuse"])
def test_any_two_processes_with_one_target(benches: dict[str, Bench], stage: str) -> None:
    both(benches[stage])


def without_locks_and_time(bench: Bench) -> None:
    """Break a command off half-way and end it: without locks, the clock an hour back at every look.

    The times of what the broken run left are put in the wrong order, too.
    """
    work = bench.fresh(earlier=False)
    odd = {"no_locks": True, "clock": 3600.0}
    at = bench.ended.calls * 2 // 3
    ended = bench.server.run(bench.words(work), mode="kill", at=at, folder=work, **odd)
    assert ended.killed
    left = sorted(
        (path for path in work.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )
    for number, path in enumerate(left):
        os.utime(path, (1e9 - number, 1e9 - number))
    ended = bench.server.good(bench.words(work), **odd)
    if bench.stage.kept == ("a.safetensors.state",):
        assert "resumed after" in ended.err
    bench.check_ended(work)


@pytest.mark.slow
@pytest.mark.usefixtures("shim")
def test_neither_locks_nor_a_clock_are_needed(benches: dict[str, Bench]) -> None:
    without_locks_and_time(benches["import --resume"])


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("shim")
@pytest.mark.parametrize("stage", ["crop --resume", "train", "predict", "fuse"])
def test_no_command_needs_locks_or_a_clock(benches: dict[str, Bench], stage: str) -> None:
    without_locks_and_time(benches[stage])


def test_the_reader_of_a_store_asks_for_no_lock(tmp_path: Path) -> None:
    import fcntl

    from mg_data.store import open_store, write_logits

    path = tmp_path / "a.h5"
    write_logits(path, clip_ids=["a"], values=[[0.0, 1.0]], class_names="xy", model="m", modality="m")
    with path.open("rb+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with open_store(path) as store:
            assert len(store) == 1
