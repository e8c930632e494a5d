"""Errors that reach a user as one line, and the exit codes they end the command with.

A message says what happened, where, what was found against what was wanted, and what to do.
"""

from __future__ import annotations

import os
from typing import Any


class MgError(Exception):
    """Base of every error that is shown without a traceback (unless ``--debug`` is given).

    ``result`` may hold the StageResult of work that was done all the same, such as the report of a check that
    found errors: the command prints it before the message.
    """

    exit_code = 1
    result: Any = None


class UsageError(MgError):
    """Wrong use of a command, an option or a recipe (exit code 2)."""

    exit_code = 2


class StoreError(MgError):
    """A store that cannot be read, written or joined (exit code 3).

    Args:
        path: the file concerned.
        reason: what is wrong with it, found against wanted.
        fix: what the reader of the message can do, or an empty string.
    """

    exit_code = 3

    def __init__(self, path: str | os.PathLike[str], reason: str, fix: str = "") -> None:
        self.path = os.fspath(path)
        self.reason = reason
        self.fix = fix
        super().__init__(f"{self.path}: {reason}" + (f" ({fix})" if fix else ""))

    def __reduce__(self) -> tuple[type[StoreError], tuple[str, str, str]]:
        return type(self), (self.path, self.reason, self.fix)


class PluginError(MgError):
    """A plugin that is missing, broken or in conflict with another one (exit code 4)."""

    exit_code = 4


class DataError(MgError):
    """Raw data or labels that cannot be used as they are (exit code 5)."""

    exit_code = 5


class TaintError(DataError):
    """Parameters would be fitted on clips that a model was trained on (exit code 5)."""
