"""The last section of docs/results.md: every record that no other section shows, number by number."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.page_parts import record
from benchmarks.record_run import RESULTS

# Not measured: they say what was run.
ABOUT = (
    "kind",
    "command",
    "commit",
    "machine",
    "torch",
    "python",
    "seed",
    "inputs",
    "wanted",
    "settings",
    "recipe",
)


def _numbers(part: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str, Any]]:
    """Return (its path, its own name, value) of every number; lists, as of rounds, are left out."""
    for name, value in part.items():
        if not before and name in ABOUT:
            continue
        if isinstance(value, dict):
            yield from _numbers(value, f"{before}{name}: ")
        elif isinstance(value, int | float | str):
            yield f"{before}{name}", name, value


def _text(value: float | str) -> str:
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def section(shown: tuple[str, ...]) -> list[str]:
    """Return the section's lines, none if there is nothing left to show.

    Args:
        shown: patterns of the records, without ``.json``, that other sections show.
    """
    names = [path.stem for path in sorted(RESULTS.glob("*.json"))]
    left = [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in shown)]
    lines = ["", "## Further measurements", ""] if left else []
    for number, name in enumerate(left):
        found = record(name) or {}
        machine = f", {found['machine']}" if found.get("machine") else ""
        wanted = found.get("wanted")
        goals = wanted if isinstance(wanted, dict) else {}
        lines += [*([""] if number else []), f"### {name}", ""]
        lines += [f"Commit {found['commit']}, `{found['command']}`{machine}.", ""]
        if isinstance(wanted, str):
            lines += [f"Wanted: {wanted}.", ""]
        lines += ["| what | measured | wanted |", "|---|---|---|"]
        for path, own, value in _numbers(found):
            goal = goals.get(path, goals.get(own, ""))
            lines.append(f"| {path} | {_text(value)} | {goal} |")
    return lines
