"""Publish a file only when it is complete: temporary name, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
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


@contextlib.contextmanager
def publish(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path; on a clean exit it becomes ``path``, otherwise it is removed.

    Raises:
        StoreError: the folder cannot be made or written, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(target, f"cannot be written: {reason}", "nothing was changed") from error
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
