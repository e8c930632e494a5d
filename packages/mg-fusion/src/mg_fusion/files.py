"""Digests of small files that are no stores, and which files a command may write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from mg_data.contract import UsageError


def file_digest(path: Path) -> str:
    """Return ``sha256:...`` over the bytes of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def check_outputs(command: str, inputs: Iterable[Path | None], outputs: Mapping[str, Path | None]) -> None:
    """Refuse to write over a file that is read, or one file twice.

    Args:
        command: how messages call it. inputs: files read. outputs: option -> file written; None: not given.

    Raises:
        UsageError: naming the option and the file.
    """
    taken = {Path(path).resolve(): "is read" for path in inputs if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        place = Path(path).resolve()
        if place in taken:
            raise UsageError(f"{command}: {option} {path} {taken[place]} too; name another file")
        taken[place] = f"is written by {option}"
