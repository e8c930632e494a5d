"""Run checks and say what came of them, in numbers and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mg_data.testing.checks import SEE_FIRST, Check, Outcome


def run_checks(
    checks: Iterable[Check], seen: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Make all checks, one after another; ``seen`` is told of each."""
    outcomes = []
    for check in checks:
        outcome = check.outcome()
        seen(outcome)
        outcomes.append(outcome)
    return outcomes


def count(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many checks ran, passed, failed and were skipped."""
    of = {status: sum(o.status == status for o in outcomes) for status in ("passed", "failed", "skipped")}
    return {"ran": of["passed"] + of["failed"], **of}


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Return why a plugin does not pass, or an empty text if it does."""
    numbers = count(outcomes)
    if not numbers["ran"]:
        return "no check ran: the plugin registers nothing that could be checked"
    bad = [outcome for outcome in outcomes if not outcome.good]
    if not bad:
        return ""
    failed = sum(outcome.status == "failed" for outcome in bad)
    parts = [f"{failed} of {numbers['ran']} checks failed"] if failed else []
    if len(bad) > failed:
        parts.append(f"{len(bad) - failed} API check(s) could not be made")
    return ", ".join(parts)


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a JSON value of all outcomes."""
    return [
        {
            "subject": outcome.check.subject,
            "check": outcome.check.name,
            "fact": outcome.check.fact,
            "level": outcome.check.level,
            "status": outcome.status,
            "message": outcome.message,
            "seconds": round(outcome.seconds, 3),
        }
        for outcome in outcomes
    ]


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each subject with the notes, and a paragraph for each check that did not pass."""
    lines = []
    for subject in dict.fromkeys(outcome.check.subject for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.check.subject == subject]
        numbers = count(own)
        state = "ok  " if all(outcome.good for outcome in own) else "FAIL"
        notes = "; ".join(o.message for o in own if o.status == "passed" and o.message)
        skipped = f", {numbers['skipped']} skipped" if numbers["skipped"] else ""
        text = f"{state} {subject}: {numbers['passed']} of {numbers['ran']} checks{skipped}"
        lines.append(text + (f" ({notes})" if notes else ""))
    for outcome in outcomes:
        if outcome.status in ("failed", "skipped") and outcome.message != SEE_FIRST:
            word = "FAILED" if outcome.status == "failed" else "skipped"
            lines += [
                "",
                f"{word} {outcome.check.subject}: {outcome.check.name}",
                f"  must hold: {outcome.check.fact}",
                f"  found:     {outcome.message}",
            ]
    return "\n".join(lines)
