"""What sections of docs/results.md share: reading a record, and writing a mean with its spread."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.machine import kinds
from benchmarks.record_run import RESULTS

NOT_RUN = "not run"


def record(name: str, part: str = "") -> dict[str, Any] | None:
    """Return ``results/NAME.json``, else that of the first kind of processor; None if it has not been run.

    Args:
        part: a key that the record must have.
    """
    for folder in (RESULTS, *(RESULTS / kind for kind in kinds())):
        path = folder / f"{name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if not part or part in found:
                return found
    return None


def records(pattern: str) -> list[dict[str, Any]]:
    """Return the records whose name without ``.json`` matches a pattern, in the order of their names."""
    paths = sorted(RESULTS.glob(f"{pattern}.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def spread(shares: Iterable[float]) -> str:
    """Return the mean of shares in percent, with the standard deviation where there are several.

    >>> spread([0.5, 0.7]), spread([0.5]), spread([])
    ('60.00 ± 14.14', '50.00', 'not run')
    """
    values = [100 * share for share in shares]
    if not values:
        return NOT_RUN
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"


def cell(row: dict[str, Any] | None, key: str, form: str) -> str:
    """Return one value of a part of a record, or "not run" where the part or the value is missing."""
    return NOT_RUN if row is None or row.get(key) is None else format(row[key], form)
