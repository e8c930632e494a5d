"""Many independent units of work: over processes, in shards, one bad unit named, a killed run resumed.

A unit is a recording: importing, cropping and pose estimation all walk over recordings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mg_data.contract import Console, DataError, Dropped, StoreError, UsageError
from mg_data.store import Provenance, open_store
from mg_data.worker_pool import worker_pool

if sys.platform == "win32":  # no such locks there
    fcntl = None
else:
    import fcntl

Unit = TypeVar("Unit")
Result = TypeVar("Result")

# Units that a worker holds at most, finished ones included: results are taken in order.
_IN_FLIGHT = 2
# So many recordings that were left out are named one by one.
_SHOWN = 20


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``; a recording belongs to one by the hash of its name."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``, such as ``2/8``; the empty text is the whole.

        Raises:
            UsageError: anything else, or i outside 1..n.
        """
        if not text:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= count:
            raise UsageError(f"--shard is '{text}', wanted i/n with 1 <= i <= n, such as 2/8")
        return cls(index, count)

    def holds(self, name: str) -> bool:
        """Return whether the recording of that name belongs to this part."""
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return key % self.count == self.index - 1

    def facts(self, units: int, of: int) -> dict[str, Any]:
        """Return the entry ``shard`` of a store's configuration, by which ``mg store merge`` checks shards.

        Args:
            units: recordings of this part. of: recordings of all parts.
        """
        return {"shard": {"part": str(self), "units": units, "of": of}} if self.count > 1 else {}

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def fingerprint(value: Any, files: Iterable[Path] = ()) -> str:
    """Return sha256 (hex) of a JSON value and of the size and time of change of files."""
    parts = [json.dumps(value, sort_keys=True, default=str)]
    for path in files:
        try:
            found = path.stat()
            parts.append(f"{path}:{found.st_size}:{found.st_mtime_ns}")
        except OSError:
            parts.append(f"{path}:missing")
    # Names of files need not be UTF-8; what is not stands in a str as surrogates.
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def is_complete(out: Path, wanted: Provenance) -> bool:
    """Return whether ``out`` is the store of an earlier run with the same options, on the same inputs."""
    try:
        store = open_store(out)
    except StoreError:
        return False
    store.close()
    return store.provenance.same_work(Provenance.from_json(wanted.to_json()))


def report_dropped(dropped: Sequence[Dropped], console: Console) -> None:
    """Warn of what was left out, and then of notes; some of each."""
    for lead, items in (
        ("left out ", [item for item in dropped if not item.note]),
        ("", [item for item in dropped if item.note]),
    ):
        for item in items[:_SHOWN]:
            console.warn(f"{lead}{item.what}: {item.why}")
        if len(items) > _SHOWN:
            what = "left out" if lead else "notes on"
            console.warn(f"{what} {len(items) - _SHOWN} more (all are listed with --json)")


@dataclass(frozen=True)
class Parts(Generic[Result]):
    """Finished units of a run that may be killed, kept beside its output until that is complete.

    Args:
        folder: where they lie; :meth:`remove` deletes it.
        save: writes a result to a path, all or nothing. load: reads it back.
    """

    folder: Path
    save: Callable[[Result, Path], object]
    load: Callable[[Path], Result]

    @classmethod
    def beside(
        cls, out: Path, save: Callable[[Result, Path], object], load: Callable[[Path], Result]
    ) -> Parts[Result]:
        """Return the parts of the run that writes ``out``: folder ``<out>.parts``."""
        return cls(out.with_name(f"{out.name}.parts"), save, load)

    def path(self, key: str) -> Path:
        """Return the file of the unit whose fingerprint is ``key``."""
        return self.folder / f"{key[:32]}.h5"

    def find(self, key: str) -> Result | None:
        """Return the kept result, or None if there is none (or it is damaged)."""
        try:
            return self.load(self.path(key)) if self.path(key).is_file() else None
        except StoreError:
            return None

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder for this process while the block runs; an empty one is removed then.

        Raises:
            UsageError: another process has it. Where there are no locks the user is trusted.
        """
        path = self.folder / "lock"
        handle = _lock(path)
        try:
            yield
        finally:
            if handle is not None:
                with contextlib.suppress(OSError):
                    path.unlink()
                    self.folder.rmdir()
                os.close(handle)

    def remove_if_free(self) -> None:
        """Delete the folder that a run left that was killed at its very end."""
        if self.folder.is_dir():
            with contextlib.suppress(UsageError), self.held():
                self.remove()


def _lock(path: Path) -> int | None:
    """Return a handle that holds the lock of a file, or None where there are no locks.

    The lock is the process's own, so it goes however the process ends, whatever its workers do.
    """
    if fcntl is None:
        return None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None  # the first part that cannot be written says why
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            out = path.parent.with_suffix("")
            raise UsageError(
                f"{out}: another process makes it with --resume: wait, or stop that one"
            ) from None
        except OSError:
            os.close(handle)
            return None
        # The one who had it before may have removed the file, and a third one made it anew.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)


@dataclass
class Work(Generic[Unit, Result]):
    """Runs a function over units and yields results in the units' order.

    Args:
        function: picklable if ``workers`` > 1; raises DataError for a unit that cannot be used.
        name_of: how messages call a unit.
        workers: processes; 1 stays in this one.
        keep_going: a DataError is added to ``dropped`` instead of ending the run.
        parts, key_of: keep and find finished units (``--resume``).
    """

    function: Callable[[Unit], Result]
    name_of: Callable[[Unit], str]
    workers: int = 1
    keep_going: bool = False
    parts: Parts[Result] | None = None
    key_of: Callable[[Unit], str] = lambda unit: ""
    dropped: list[Dropped] = field(default_factory=list)
    resumed: int = 0

    def __call__(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, Result]]:
        """Yield (unit, result); units that failed are left out under ``keep_going``.

        Units are taken from the iterable as they are needed: at most two for each worker are in memory.

        Raises:
            DataError: the first unit that cannot be used, by name (unless ``keep_going``).
        """
        if self.workers < 1:
            raise UsageError(f"--workers is {self.workers}, wanted at least 1")
        if self.workers == 1:
            for unit in units:
                yield from self._settle(unit, None)
            return
        with worker_pool(self.workers) as pool:
            waiting: deque[tuple[Unit, Future[Result] | None]] = deque()
            for unit in units:
                kept = self.parts is not None and self.parts.path(self.key_of(unit)).is_file()
                waiting.append((unit, None if kept else pool.submit(self.function, unit)))
                if len(waiting) >= _IN_FLIGHT * self.workers:
                    yield from self._settle(*waiting.popleft())
            while waiting:
                yield from self._settle(*waiting.popleft())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the parts, if there are any, for this process; they are removed if the block ends well."""
        if self.parts is None:
            yield
            return
        with self.parts.held():
            yield
            self.parts.remove()

    def _settle(self, unit: Unit, future: Future[Result] | None) -> Iterator[tuple[Unit, Result]]:
        """Yield the unit with its result, or note why there is none."""
        try:
            result = self._result(unit, future)
        except BrokenProcessPool as error:
            raise DataError(
                f"a worker process died, at the latest at '{self.name_of(unit)}': out of memory? "
                "use fewer --workers, or --workers 1 to see the error itself"
            ) from error
        except DataError as error:
            if not self.keep_going:
                raise
            self.dropped.append(Dropped(what=self.name_of(unit), why=str(error)))
        else:
            yield unit, result

    def _result(self, unit: Unit, future: Future[Result] | None) -> Result:
        """Return the result that was kept, the future's, or compute it here."""
        if self.parts is None:
            return self.function(unit) if future is None else future.result()
        key = self.key_of(unit)
        found = self.parts.find(key) if future is None else None
        if found is not None:
            self.resumed += 1
            return found
        result = self.function(unit) if future is None else future.result()
        self.parts.save(result, self.parts.path(key))
        return result
