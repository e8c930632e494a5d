"""Publish a file only when it is complete: temporary name, fsync, rename, fsync the folder.

The temporary name says which process writes it. What a killed process left is removed by the next one that
publishes into the folder; whether one of another machine or container lives cannot be known, so its stays.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mg_data.contract.errors import StoreError


def _sync_folder(folder: Path) -> None:
    # Some network file systems refuse fsync on folders; the rename itself is still atomic there.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@functools.cache
def _machine() -> str:
    """Return 8 hex digits for the set of processes that process ids are counted in."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{socket.gethostname()}\n{space}".encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    if sys.platform == "win32":  # there os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files of processes that are no more; once in a process for each folder."""
    pattern = re.compile(rf"\..+\.{_machine()}-(\d+)-[0-9a-f]{{8}}\.tmp")
    with contextlib.suppress(OSError):
        for item in os.scandir(folder):
            found = pattern.fullmatch(item.name)
            if found and not _lives(int(found[1])):
                with contextlib.suppress(OSError):
                    os.unlink(item.path)  # noqa: PTH108


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError of the block into the StoreError that ``target`` cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(target, f"cannot be written: {reason}", "nothing was changed") from error


@contextlib.contextmanager
def publish(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on a clean exit it becomes ``path``, otherwise it is removed.

    Raises:
        StoreError: the folder cannot be made or written, the path is a folder's, or the disk is full.
    """
    target = Path(path)
    if target.is_dir():  # or this would be found out when all work is done
        raise StoreError(target, "cannot be written: it is a folder", "name a file in it")
    writer = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f".{target.name}.{writer}.tmp")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target.parent.absolute())
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def publish_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically (UTF-8)."""
    with publish(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file atomically, indented and with a closing newline."""
    publish_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
