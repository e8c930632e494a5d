"""What a reader of foreign bytes is to the fuzzing kit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_mutations import Change

CLASSES = ("rub eyes", "bite nails", "fold arm")
IDS = ("b-2", "a-1", "手-3", "ü-4")


@dataclass(frozen=True)
class Reader:
    """One reader. It may raise an ``MgError`` and nothing else.

    Args:
        surface: the commands that reach it.
        make: fills a folder with valid files and returns those that are changed, one in each case.
        read: does with the folder what commands do.
        changes: what is done to a file besides the changes of bytes. hdf5: change parts of a store, too.
        whole: the valid files are read without a refusal.
    """

    name: str
    surface: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    changes: tuple[Change, ...] = ()
    hdf5: bool = False
    whole: bool = True


class Silent:
    """A console that says nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    warn = say

    def progress(self, label: str, total: int | None) -> Any:
        """Show no progress."""
        return contextlib.nullcontext(self)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count nothing."""


CONSOLE: Any = Silent()


def attempt(*steps: Callable[[], object]) -> None:
    """Take all steps, refused or not; then raise the first refusal."""
    from mg_data.contract import MgError

    failure: MgError | None = None
    for step in steps:
        try:
            step()
        except MgError as error:
            failure = failure or error
    if failure is not None:
        raise failure
