"""Digests of files and folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mg_data.store import check_store, stored_digest


def file_digest(path: Path) -> str:
    """Return the digest of a file or folder: a store's content digest, else sha256 of bytes or of a listing.

    A folder of raw recordings is known by the names, sizes and modification times of its files: reading
    hundreds of gigabytes to skip a step would defeat the purpose.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for item in sorted(path.rglob("*")):
            if item.is_file():
                state = item.stat()
                digest.update(f"{item.relative_to(path)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
        return f"listing:{digest.hexdigest()}"
    if path.suffix == ".h5":
        return stored_digest(path)
    with path.open("rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"


def file_stamp(path: Path) -> list[int]:
    """Return size and time of the last change, in nanoseconds."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def is_unchanged(path: Path, digest: str, stamp: Sequence[int] | None) -> bool:
    """Return whether a path holds what had this digest.

    A store states its digest itself; one that has been touched since it was written is read whole.

    Args:
        stamp: its :func:`file_stamp` when the digest was taken, None if that is not known.

    Raises:
        StoreError: a store that cannot be read.
    """
    if not path.exists():
        return False
    if path.suffix == ".h5" and stamp is not None and file_stamp(path) != list(stamp):
        return check_store(path) == digest
    return file_digest(path) == digest
