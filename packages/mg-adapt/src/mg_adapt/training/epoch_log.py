"""The JSON-lines log of a training: one row an epoch, always whole, and no reason to end a training."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mg_data.contract import Console, StoreError
from mg_data.store import publish_text


class EpochLog:
    """Writes ``path``; does nothing if ``active`` is False (in all but the first of several processes)."""

    def __init__(self, path: Path, console: Console, active: bool = True) -> None:
        self.path, self.console, self.active = path, console, active
        self._behind = False

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of the epochs done, over what a killed training left."""
        if self.active:
            publish_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; a disk that refuses it is told once, and :meth:`finish` tries again."""
        if not self.active or self._behind:
            return
        size = -1
        try:
            size = self.path.stat().st_size
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
        except OSError as error:
            self._behind = True
            if size >= 0:  # without the part of the row that found room
                with contextlib.suppress(OSError):
                    os.truncate(self.path, size)
            reason = error.strerror or str(error)
            self.console.warn(f"{self.path}: training goes on without its log: {reason}")

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write again what could not be written."""
        if self._behind:
            try:
                self.begin(rows)
            except StoreError as error:
                self.console.warn(f"the log is not complete: {error}")
