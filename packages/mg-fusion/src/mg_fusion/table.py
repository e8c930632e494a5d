"""Results as a table: rows by name, shares as percentages, one optional remark a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

# Field of metrics.json -> heading; shares are shown as percentages.
COLUMNS: tuple[tuple[str, str], ...] = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("ece", "ECE"))


def percent(value: Any) -> str:
    """Return a share as a percentage with two decimals, an em dash for None.

    >>> percent(0.6813)
    '68.13'
    """
    return "—" if value is None else f"{100 * float(value):.2f}"


def are_numbers(row: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Return whether all these fields are there and numbers: parameters written by hand may hold anything."""
    return all(isinstance(row.get(name), int | float) for name in fields)


def render_cells(
    header: Sequence[str], rows: Sequence[Sequence[str]], style: Literal["text", "markdown"] = "text"
) -> str:
    """Return aligned columns: the first one and remarks ("note") to the left, numbers to the right."""
    table = [list(header), *(list(row) for row in rows)]
    left = {0, *(index for index, name in enumerate(header) if name == "note")}
    if style == "markdown":
        table = [[cell.replace("|", "\\|") for cell in row] for row in table]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [
        [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        for row in table
    ]
    if style == "markdown":
        rule = [
            "-" * width if column in left else "-" * (width - 1) + ":" for column, width in enumerate(widths)
        ]
        return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])
    rule = ["-" * width for width in widths]
    return "\n".join("  ".join(line).rstrip() for line in [lines[0], rule, *lines[1:]])


def results_table(
    scores: Mapping[str, Mapping[str, Any]],
    notes: Mapping[str, str] | None = None,
    style: Literal["text", "markdown"] = "text",
) -> str:
    """Render rows of metrics: accuracy, macro-F1 and ECE in per cent, number of clips, remarks.

    Args:
        scores: row name -> metrics as in ``metrics.json``; a missing or null field is shown as a dash.
        notes: row name -> remark, such as "FAILING: floor 90 %" or "vote weight 0"; the column is left out if
            no row has one. A row's own ``note`` field counts too.
        style: ``text`` for terminals, ``markdown`` for files.
    """
    remarks = {name: (notes or {}).get(name) or str(row.get("note") or "") for name, row in scores.items()}
    header = ["result", *(title for _, title in COLUMNS), "clips"]
    rows = [
        [name, *(percent(row.get(field)) for field, _ in COLUMNS), str(row.get("n", "—"))]
        for name, row in scores.items()
    ]
    if any(remarks.values()):
        header.append("note")
        rows = [[*row, remarks[name]] for row, name in zip(rows, scores, strict=True)]
    return render_cells(header, rows, style)
