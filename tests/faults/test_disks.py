"""Disks that fill up, fail or are read-only: one clear line, nothing lost, and all is well on a sound one."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_tools import STAGES, Bench, Server
from refusals import Refusals, check_message, refuse

QUICK = ("fuse", "merge")


@pytest.fixture
def shim(server: Server) -> None:
    if not server.has_shim:
        pytest.skip("no compiler for shim.c")


def sweep(bench: Bench, rounds: int) -> None:
    """Let calls fail from a random one on, and writes after a random number of bytes."""
    seed = random.randrange(2**31)
    rng, tally = random.Random(seed), Refusals(bench.stage.name)
    for _ in range(rounds):
        for error in (errno.ENOSPC, errno.EIO, errno.EROFS):
            refuse(bench, tally, "calls", rng.randint(1, bench.ended.calls), error, rng.random() < 0.5)
        refuse(bench, tally, "bytes", rng.randint(0, bench.ended.bytes), errno.ENOSPC, rng.random() < 0.5)
    assert not tally.broken, "\n".join([f"seed {seed}", *tally.broken])


@pytest.mark.slow
@pytest.mark.usefixtures("shim")
def test_a_disk_that_refuses(benches: dict[str, Bench]) -> None:
    sweep(benches["fuse"], 1)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("shim")
@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("import", "crop", "report")])
def test_any_command_on_a_disk_that_refuses(benches: dict[str, Bench], stage: str) -> None:
    sweep(benches[stage], 1)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("shim")
@pytest.mark.parametrize("stage", ["import", "train", "fuse"])
def test_a_disk_that_cannot_be_read(benches: dict[str, Bench], stage: str) -> None:
    bench = benches[stage]
    for at in (0, 2_000, 20_000):
        work = bench.fresh(earlier=True)
        words = [*bench.words(work), "--quiet"]
        ended = bench.server.run(words, mode="reads", at=at, error=errno.EIO, folder=bench.base)
        if ended.code:
            check_message(ended, os.strerror(errno.EIO))
        bench.check_broken(work, earlier=True)
        bench.finish(work)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 KB; skips where nothing may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def on_a_small_disk(bench: Bench, disk: Path) -> None:
    """Run on a full disk, on a read-only one, and on one with room."""
    words = bench.words(disk)
    check_message(bench.server.run([*words, "--quiet"]), os.strerror(errno.ENOSPC))
    bench.check_broken(disk, earlier=False)
    remount(disk, "ro")
    check_message(bench.server.run([*words, "--quiet"]), os.strerror(errno.EROFS))
    remount(disk, "rw,size=8m")
    bench.server.good(words)
    bench.check_ended(disk)


@pytest.mark.slow
@pytest.mark.parametrize("stage", QUICK)
def test_a_full_disk_a_read_only_one_and_one_with_room(
    benches: dict[str, Bench], disk: Path, stage: str
) -> None:
    on_a_small_disk(benches[stage], disk)


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("stage", [name for name in STAGES if name not in (*QUICK, "report")])
def test_any_command_on_a_small_disk(benches: dict[str, Bench], disk: Path, stage: str) -> None:
    on_a_small_disk(benches[stage], disk)


@pytest.mark.slow
def test_talk_that_finds_no_room_is_lost_and_the_work_is_not(benches: dict[str, Bench]) -> None:
    bench = benches["merge"]
    work = bench.fresh(earlier=False)
    bench.server.good(bench.words(work), stderr="/dev/full")
    bench.check_ended(work)


@pytest.mark.slow
def test_a_result_that_finds_no_room_is_an_error_and_the_files_are_whole(benches: dict[str, Bench]) -> None:
    bench = benches["merge"]
    work = bench.fresh(earlier=False)
    ended = bench.server.run(bench.words(work), stdout="/dev/full")
    assert ended.code == 3
    assert ended.err == (
        "mg: error: standard output: cannot be written: No space left on device "
        "(the command's files are complete)\n"
    )
    bench.check_ended(work)
