"""Where a corpus is written until it is complete, and the processes that write it.

A hidden folder beside the target holds the unfinished corpus and a locked file. Whoever ends the run by an
interrupt or SIGTERM leaves nothing; what a killed run leaves has a lock that nobody holds, and the next run
of the same target removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType
from typing import TypeVar

from mg_data.contract import DataError, StoreError
from mg_data.worker_pool import worker_pool

if sys.platform == "win32":  # no flock there: leftovers stay
    fcntl = None
else:
    import fcntl

T = TypeVar("T")
_LOCK = "run.lock"
_YOUNG_SECONDS = 60.0


def _try_lock(path: Path) -> int | None:
    """Return an open handle that holds the file's lock, or None if somebody else holds it."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove_leftovers(out: Path) -> None:
    """Remove folders of runs for ``out`` that were killed; those of live runs stay."""
    pattern = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.tmp")
    for folder in out.parent.glob(".*.tmp"):
        if not pattern.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        if not (folder / _LOCK).is_file():
            # Killed before it had a lock, or about to make it: an old empty folder is removed.
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _YOUNG_SECONDS:
                    folder.rmdir()
            continue
        handle = _try_lock(folder / _LOCK)
        if handle is None:
            continue
        # The owner writes into the file once it has the lock; before that its folder is not to be touched.
        if os.fstat(handle).st_size or time.time() - os.fstat(handle).st_mtime > _YOUNG_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _lock(folder: Path) -> int:
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    if fcntl is not None:
        # A file system without locks is no reason to stop: its leftovers will stay, that is all.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as an interrupt does, so that folders are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextlib.contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """Yield an empty folder; on a clean exit it becomes ``out``, replacing what was there.

    Raises:
        StoreError: the folder cannot be made or written, or the disk is full; ``out`` is as it was.
    """
    out = out.resolve()  # a relative name could be "." and have no sibling
    home = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    handle = -1
    with _terminable():
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(out)
            home.mkdir()
            handle = _lock(home)
            (home / "new").mkdir()
            yield home / "new"
            _publish(home, out)
        except OSError as error:
            raise StoreError(
                out, f"cannot be written: {error.strerror or error}", "nothing was changed"
            ) from error
        finally:
            shutil.rmtree(home, ignore_errors=True)
            if handle >= 0:
                os.close(handle)


def _publish(home: Path, out: Path) -> None:
    """Put the new folder in the place of the old one, which goes to ``home`` and with it."""
    for attempt in range(20):
        old = home / f"old{attempt}"
        with contextlib.suppress(FileNotFoundError):
            out.replace(old)
        try:
            (home / "new").replace(out)
            return
        except OSError as error:
            # Another run of the same target was faster between the two lines: its corpus is replaced next.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == 19:
                if old.exists() and not out.exists():
                    old.replace(out)
                raise


def spread(function: Callable[..., T], arguments: Sequence[tuple[object, ...]], workers: int) -> Iterator[T]:
    """Call a function for each tuple of arguments, in processes, and yield the results in order.

    When the caller stops or dies, the workers end at once.

    Raises:
        DataError: a worker died.
    """
    if workers <= 1:
        for each in arguments:
            yield function(*each)
        return
    try:
        with worker_pool(workers) as pool:
            yield from pool.map(function, *zip(*arguments))
    except BrokenProcessPool as error:
        raise DataError(
            "a process that writes videos died: out of memory? use fewer --workers, or --workers 1"
        ) from error
