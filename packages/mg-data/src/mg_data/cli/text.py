"""Plain text for terminals."""

from __future__ import annotations


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as aligned columns, the first row being the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


# Longer messages show what a file holds, not what is wrong with it.
_LONGEST = 2000


def printable(text: str) -> str:
    """Return a text in which only line breaks and tabs control the terminal; all else is escaped.

    >>> printable("clip '\x1b[2J'")
    "clip '\\\\x1b[2J'"
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text
    )


def one_line(text: str) -> str:
    """Return a message as one line of at most 2000 characters, whatever ids and names stand in it."""
    line = printable(text).replace("\n", "\\n").replace("\t", "\\t")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."
