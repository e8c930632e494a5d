"""Plain text for terminals."""

from __future__ import annotations


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as aligned columns, the first row being the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )
