"""Tables of numbers as text, many at a time: digits are worked out as arrays, not number by number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Rows a chunk, so that the bytes of a long video are never in memory at once.
_ROWS = 512


def format_rows(
    table: NDArray[np.floating],
    *,
    decimals: int = 3,
    before: bytes = b"",
    after: bytes = b"",
    between: bytes = b"",
    opens: bytes = b"",
    closes: bytes = b"\n",
    numbered: bool = False,
) -> Iterator[bytes]:
    """Yield the rows of a table of numbers as text, in chunks.

    A number reads as ``f"{number:.3f}"`` would have it if it was rounded to that many decimals before, but
    that there is no negative zero.

    Args:
        table: (rows, columns), of magnitudes below 10^12.
        before, after: around each number; between: between two of a row. opens, closes: around each row.
        numbered: a row begins with its number, counted from 0, and ``between``.

    >>> b"".join(format_rows(np.array([[1.5, 0.25]]), decimals=2, between=b","))
    b'1.50,0.25\\n'
    """
    for first in range(0, len(table), _ROWS):
        units = np.rint(table[first : first + _ROWS] * 10.0**decimals).astype(np.int64)
        begins = [opens] * len(units)
        if numbered:
            begins = [b"%s%d%s" % (opens, first + row, between) for row in range(len(units))]
        lines = _format(units, decimals, before, after + between)
        yield b"".join(
            begin + line[: len(line) - len(between)] + closes for begin, line in zip(begins, lines)
        )


def _format(units: NDArray[np.int64], decimals: int, before: bytes, after: bytes) -> list[bytes]:
    """Return the rows of numbers given in units of their last decimal, each number with what is around it."""
    rows, columns = units.shape
    rest = np.abs(units)
    largest = int(rest.max(initial=0))
    digits = max(decimals + 1, len(str(largest)))
    point, sign = int(decimals > 0), int(bool((units < 0).any()))
    wide = len(before) + sign + digits + point + len(after)
    cells = np.empty((rows, columns, wide), np.uint8)
    keep = np.ones((rows, columns, wide), bool)
    cells[..., : len(before)] = np.frombuffer(before, np.uint8)
    cells[..., wide - len(after) :] = np.frombuffer(after, np.uint8)
    if sign:
        cells[..., len(before)] = ord("-")
        keep[..., len(before)] = units < 0
    if largest < 1 << 32:
        rest = rest.astype(np.uint32)  # half the time of 64 bits
    for place in range(digits):
        # From the last digit to the first; a leading zero is left out, but for the one before the point.
        column = wide - len(after) - 1 - place - (point if place >= decimals else 0)
        if place > decimals:
            keep[..., column] = rest > 0
        rest, digit = np.divmod(rest, 10)
        cells[..., column] = digit + ord("0")
    if point:
        cells[..., wide - len(after) - 1 - decimals] = ord(".")
    text = cells[keep]
    ends = np.cumsum(keep.reshape(rows, -1).sum(axis=1))
    begins = [0, *ends[:-1].tolist()]
    return [text[begin:end].tobytes() for begin, end in zip(begins, ends.tolist())]
