"""What a check is: one fact about one record of a plugin, and what became of it.

A check is a function of a bench (the record and what it takes to try it) whose docstring states the fact. It
returns nothing, or a note on how it was checked, and raises :class:`CheckFailed` with a text for the author
of the plugin.
"""

from __future__ import annotations

import time
import traceback
import unittest
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from mg_data.contract import MgError

Level = Literal["api", "quality"]
Status = Literal["passed", "failed", "skipped", "inapplicable"]
LEVELS: tuple[Level, ...] = ("api", "quality")


class CheckFailed(AssertionError):
    """The plugin does not keep the contract; the message says where, found against wanted, what to do."""


class CheckSkipped(Exception):
    """The check could not be made. At the level ``api`` that counts as a failure."""


class DoesNotApply(Exception):
    """The record has nothing that the check is about; it is not counted."""


# Why checks are skipped whose bench could not be made.
SEE_FIRST = "could not be made, see the first check of this record"


def require(condition: object, message: str) -> None:
    """Raise CheckFailed unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One fact to check.

    Args:
        subject: what it is about, such as ``model st-gcn``.
        name: short name, such as ``batch-of-one-equals-row``.
        fact: what must hold, one sentence.
        body: raises if it does not; may return a note.
    """

    subject: str
    name: str
    fact: str
    level: Level
    body: Callable[[], str | None]

    @property
    def id(self) -> str:
        """``model st-gcn: batch-of-one-equals-row``; what ``expected_failed_checks`` goes by."""
        return f"{self.subject}: {self.name}"

    def __call__(self) -> None:
        """Make the check in a test.

        Raises:
            CheckFailed: it did not pass, or an api check could not be made.
            unittest.SkipTest: it does not apply, or a quality check could not be made.
        """
        outcome = self.outcome()
        if not outcome.good:
            raise CheckFailed(f"{self.subject}: {outcome.message}")
        if outcome.status != "passed":
            raise unittest.SkipTest(outcome.message)

    def outcome(self) -> Outcome:
        """Make the check and return what became of it; nothing is raised."""
        began = time.perf_counter()
        status: Status = "passed"
        try:
            message = self.body() or ""
        except CheckFailed as error:
            status, message = "failed", str(error)
        except CheckSkipped as error:
            status, message = "skipped", str(error)
        except DoesNotApply as error:
            status, message = "inapplicable", str(error)
        except MgError as error:
            status, message = "failed", f"{type(error).__name__}: {error}"
        except Exception as error:  # whatever a stranger's code raises
            status, message = "failed", f"raised {type(error).__name__}: {error} ({_place(error)})"
        return Outcome(check=self, status=status, message=message, seconds=time.perf_counter() - began)


def _place(error: Exception) -> str:
    """Return the file and line where an error came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"at {Path(last.filename).name}:{last.lineno}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a check. ``message`` is the cause of a failure, or a note."""

    check: Check
    status: Status
    message: str
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the plugin may be published with it: an api check that was skipped is not good."""
        if self.status == "skipped":
            return self.check.level != "api"
        return self.status != "failed"


B = TypeVar("B")
CheckFunction = Callable[[B], "str | None"]


class Bench(Generic[B]):
    """Makes what the checks of one subject share when the first of them asks, and keeps it.

    If making fails, the first check tells why and the others are skipped.
    """

    def __init__(self, make: Callable[[], B]) -> None:
        self._make = make
        self._made: B | None = None
        self._failed = False

    def __call__(self) -> B:
        if self._failed:
            raise CheckSkipped(SEE_FIRST)
        if self._made is None:
            try:
                self._made = self._make()
            except Exception:
                self._failed = True
                raise
        return self._made

    def drop(self) -> None:
        """Forget what was made: a large model need not stay until the last check of all."""
        self._made = None


def bind(
    subject: str,
    make: Callable[[], B],
    api: Iterable[CheckFunction[B]],
    quality: Iterable[CheckFunction[B]] = (),
) -> list[Check]:
    """Return the checks of one subject.

    Args:
        subject: what they are about. make: makes the bench they share.
        api, quality: functions ``check_SOMETHING(bench)``; name and docstring become name and fact.
    """
    bench = Bench(make)
    functions: list[tuple[CheckFunction[B], Level]] = [
        *((function, "api") for function in api),
        *((function, "quality") for function in quality),
    ]
    return [
        named_check(subject, function, level, _body(function, bench, last=number == len(functions) - 1))
        for number, (function, level) in enumerate(functions)
    ]


def named_check(
    subject: str, function: Callable[..., Any], level: Level, body: Callable[[], str | None]
) -> Check:
    """Return a check that is called and described as its function is."""
    fact = (function.__doc__ or "").strip().splitlines()[0].rstrip(".")
    name = function.__name__.removeprefix("check_").replace("_", "-")
    return Check(subject=subject, name=name, fact=fact, level=level, body=body)


def _body(function: CheckFunction[B], bench: Bench[B], *, last: bool) -> Callable[[], str | None]:
    def body() -> str | None:
        try:
            return function(bench())
        finally:
            if last:
                bench.drop()

    return body
