"""A disk that refuses from some call or byte on, and what must hold afterwards."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field

from fault_tools import Bench, Ended

# mg's exit codes for what the user can mend; 3 is a store (any file) that cannot be read or written.
DOCUMENTED = (2, 3, 5)


@dataclass
class Refusals:
    """Faults of one stage. passed: the command did without what was refused. broken: what did not hold."""

    stage: str
    faults: int = 0
    passed: int = 0
    broken: list[str] = field(default_factory=list)


def check_message(ended: Ended, reason: str) -> None:
    """Raise AssertionError unless the command ended by one clear line and a documented code."""
    errors = [line for line in ended.err.splitlines() if "warning: " not in line]
    assert "Traceback" not in ended.err, ended.err
    assert "internal error" not in ended.err, ended.err
    assert ended.code in DOCUMENTED, f"code {ended.code}: {ended.err}"
    assert len(errors) == 1, ended.err
    assert errors[0].startswith("mg: error: "), ended.err
    assert reason in errors[0], ended.err


def refuse(bench: Bench, tally: Refusals, mode: str, at: int, error: int, earlier: bool) -> None:
    """Run a command on a disk that refuses, look at what it left, and run it again on a sound one."""
    work = bench.fresh(earlier)
    words = [*bench.words(work), "--quiet"]
    try:
        ended = bench.server.run(words, mode=mode, at=at, error=error, folder=work)
        tally.faults += 1
        if ended.code == 0:
            tally.passed += 1
        else:
            check_message(ended, os.strerror(error))
        bench.check_broken(work, earlier)
        if error == errno.ENOSPC and ended.code:  # removing works on a full disk
            left = {path.name for path in work.iterdir()} - {*bench.stage.outputs, *bench.stage.kept}
            assert not left, f"left over: {sorted(left)}"
        bench.finish(work)
    except Exception as failure:
        fault = f"{mode} {at} {errno.errorcode[error]}"
        tally.broken.append(f"{bench.stage.name}: {fault}, {earlier=}: {type(failure).__name__}: {failure}")
        shutil.rmtree(work, ignore_errors=True)
