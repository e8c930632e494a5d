"""Digests of files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mg_data.store import stored_digest


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
