"""One process that reads changed files, case after case; ``fuzz_run.py`` starts it, again after each crash.

Case ``index`` of seed ``seed`` is always the same file. The process may take 1 GiB beyond what it has when
the valid file has been read; what takes longer than the limit, or kills the process, is found by its parent.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import re
import resource
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from fuzz_hdf5 import change_hdf5
from fuzz_mutations import BYTES, flip
from fuzz_reader import Reader
from fuzz_readers import READERS

MEMORY = 1 << 30
#: seconds that one case may take on a busy machine
LIMIT = 20.0
_LONGEST_MESSAGE = 2000
# HDF5 asks for what a damaged header claims and is refused by the system, or by the end of the file.
_NO_MEMORY = re.compile(r"Unable to allocate \d|bad alloc|not enough memory", re.IGNORECASE)


class Forbidden(BaseException):
    """What reading must never do; no reader can take it for damage."""


def _guard(allowed: Path) -> None:
    """Raise Forbidden when something is run, connected to, or written outside the folder."""
    inside = (str(allowed.resolve()), "/dev/null", "/proc/self", "/dev/shm")
    running = (
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.forkpty",
        "subprocess.Popen",
        "socket.connect",
    )
    moving = (
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "os.symlink",
        "os.link",
        "os.truncate",
        "os.chmod",
    )

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in running:
            raise Forbidden(f"{event} {arguments!r:.200}")
        if event in moving:
            paths = [item for item in arguments if isinstance(item, str | bytes | os.PathLike)]
        elif (
            event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            paths = [arguments[0]] if not isinstance(arguments[0], int) else []
        else:
            return
        for item in paths:
            name = os.path.realpath(os.fsdecode(item))
            if not name.startswith(inside) and "__pycache__" not in name:
                raise Forbidden(f"{event} {name}")

    sys.addaudithook(hook)


def change(reader: Reader, content: bytes, rng: random.Random, folder: Path) -> tuple[bytes, bool]:
    """Return a changed file, and whether it must be refused."""
    must = False
    for number in range(rng.choice((1, 1, 1, 1, 2, 3))):
        try:
            if reader.hdf5 and number == 0 and rng.random() < 0.7:
                content, must = change_hdf5(content, rng, folder)
            elif reader.changes and rng.random() < 0.8:
                content = rng.choice(reader.changes)(content, rng)
            elif not must:
                content = rng.choice(BYTES)(content, rng)
        except Exception:  # an earlier change has left what this one cannot read
            content = flip(content, rng)
    return content, must


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _is_out_of_memory(error: BaseException) -> bool:
    # FFmpeg compares what a file claims with a limit of its own first, and says the same then.
    return isinstance(error, MemoryError) and not type(error).__module__.startswith("av.")


def judge(reader: Reader, folder: Path, must_refuse: bool) -> tuple[str, str, str]:
    """Read once; return (outcome, what is wrong, its traceback). Outcomes: read, refused, found."""
    from mg_data.cli.main import one_line
    from mg_data.contract import MgError

    try:
        reader.read(folder)
    except MgError as error:
        text = one_line(str(error))
        if any(_is_out_of_memory(cause) for cause in _causes(error)) or _NO_MEMORY.search(text):
            return "found", f"memory: {text}"[:300], traceback.format_exc()
        if len(text.splitlines()) != 1 or not text.isprintable() or len(text) > _LONGEST_MESSAGE:
            return "found", f"message of {len(text)} characters: {text[:200]!r}", traceback.format_exc()
        return "refused", text, ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        places = [
            f"{Path(frame.filename).name}:{frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
            if "/packages/" in frame.filename
        ]
        return (
            "found",
            f"{type(error).__name__} in {places[-1] if places else '?'}: {str(error)[:200]}",
            traceback.format_exc(),
        )
    return ("found", "a link out of the file was followed", "") if must_refuse else ("read", "", "")


def _address_space() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmSize"):
            return int(line.split()[1]) << 10
    return 0


class Cases:
    """The cases of one reader in a folder: ``valid`` holds the valid files, ``work`` the changed ones."""

    def __init__(self, reader: Reader, folder: Path, seed: str) -> None:
        self.reader, self.folder, self.seed = reader, folder, seed
        self.valid, self.work, self.spare = (folder / name for name in ("valid", "work", "spare"))
        for place in (self.valid, self.work, self.spare):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        self.files = [path.relative_to(self.valid) for path in reader.make(self.valid)]
        self.contents = [(self.valid / name).read_bytes() for name in self.files]
        shutil.rmtree(self.work)
        shutil.copytree(self.valid, self.work)

    def make(self, index: int) -> tuple[int, bytes, bool]:
        """Return (which file, its content, whether it must be refused) of a case."""
        rng = random.Random(f"{self.seed}:{self.reader.name}:{index}")
        which = rng.randrange(len(self.files))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content, must = change(self.reader, self.contents[which], rng, self.spare)
        return which, content, must

    def put(self, which: int, content: bytes) -> None:
        """Write a file of the case."""
        path = self.work / self.files[which]
        path.unlink()  # HDF5 knows files by their number on the disk, and takes one that is open again
        path.write_bytes(content)


def limit_memory() -> None:
    """Let this process take no more than :data:`MEMORY` bytes beyond what it has."""
    most = _address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def settle(cases: Cases) -> None:
    """See that the valid files are read, then let this process do nothing else than read cases."""
    outcome, why, trace = judge(cases.reader, cases.work, False)
    taken = outcome == "read" or (outcome == "refused" and not cases.reader.whole)
    assert taken, f"the valid file: {why}\n{trace}"
    (cases.folder / "found").mkdir(exist_ok=True)
    os.fsync = lambda handle: None  # files of a case need not outlive the machine
    _guard(cases.folder)
    limit_memory()
    warnings.simplefilter("error", RuntimeWarning)


class Findings:
    """What was found, by kind: the first input of each is kept."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases
        self._kinds: dict[str, dict[str, Any]] = {}

    def keep(self, index: int, which: int, content: bytes, why: str, trace: str, mark: str = "") -> None:
        """Count a finding; ``mark`` stands in the name of its file."""
        key = why.split(": ")[0]
        if key not in self._kinds:
            name = (
                f"{self._cases.reader.name}-{self._cases.seed}-{mark}{index}-{self._cases.files[which].name}"
            )
            path = self._cases.folder / "found" / name
            path.write_bytes(content)
            facts = {"why": why, "index": index, "file": str(path), "trace": trace, "times": 0}
            self._kinds[key] = facts
        self._kinds[key]["times"] += 1

    def listed(self) -> list[dict[str, Any]]:
        """Return all of them."""
        return list(self._kinds.values())


def run(
    reader: Reader, folder: Path, *, seconds: float, seed: str, first: int, count: int | None
) -> dict[str, Any]:
    """Read case after case; return how many, and what was found."""
    cases = Cases(reader, folder, seed)
    settle(cases)
    tally = {"read": 0, "refused": 0, "found": 0}
    findings = Findings(cases)
    began, index, before = time.monotonic(), first, None
    slowest = (0.0, -1)
    while (count is None and time.monotonic() - began < seconds) or (
        count is not None and index < first + count
    ):
        which, content, must = cases.make(index)
        if before is not None and before != which:
            cases.put(before, cases.contents[before])
        cases.put(which, content)
        before = which
        # What the worker dies of is found by this file.
        (folder / "now.json").write_text(
            json.dumps({"index": index, "file": str(cases.files[which]), "tally": tally})
        )
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        started = time.monotonic()
        outcome, why, trace = judge(reader, cases.work, must)
        faulthandler.cancel_dump_traceback_later()
        took = time.monotonic() - started
        slowest = max(slowest, (took, index))
        tally[outcome] += 1
        if outcome == "found":
            findings.keep(index, which, content, why, trace)
        index += 1
    return {
        "cases": index - first, "next": index, **tally, "seconds": round(time.monotonic() - began, 1),
        "slowest": [round(slowest[0], 2), slowest[1]], "findings": findings.listed(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reader", choices=list(READERS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    given = parser.parse_args()
    faulthandler.enable()
    given.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(given.folder)
    with contextlib.suppress(ValueError):
        sys.set_int_max_str_digits(4300)
    result = run(
        READERS[given.reader], given.folder.resolve(), seconds=given.seconds, seed=given.seed,
        first=given.first, count=given.count,
    )  # fmt: skip
    (given.folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
