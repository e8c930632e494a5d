"""Horizontal bars as rows of HTML, so that names stay legible whatever the width of the page.

The bars are tiny SVGs with widths in per cent: no style attribute, and nothing to scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class BarRow:
    """One row: ``values`` in [0, top], one a series (None: no bar), and a remark behind the bars.

    ``where`` makes the name a button that lists the clips for which it holds, see the script of the page.
    """

    name: str
    values: Sequence[float | None]
    note: str
    where: str = ""


def _name(name: str, where: str) -> str:
    """Return the name of a row, as a button if it lists clips."""
    text = escape(name)
    if not where:
        return text
    return (
        f'<button type="button" class="link" data-where="{escape(where)}" data-title="{text}">{text}</button>'
    )


def _bar(value: float | None, series: int, top: float, tip: str) -> str:
    # A bar of no length would still be seen; its row keeps its place.
    length = 0.0 if not value else max(0.0, min(value / top, 1.0))
    inner = ""
    if length:
        head = f'<rect width="{100 * length:.2f}%" height="9" rx="2" class="s{series}">'
        inner = f"{head}<title>{escape(tip)}</title></rect>"
    return f'<svg class="bar" width="100%" height="10">{inner}</svg>'


def round_top(value: float) -> float:
    """Return a round number at or above a value, for the end of an axis of four steps.

    >>> round_top(0.438), round_top(0.07)
    (0.6, 0.08)
    """
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    step = next(step for step in (1, 2, 4, 6, 8, 10) if step * power >= value * 0.9999)
    return round(step * power, 12)


def bar_rows(
    rows: Sequence[BarRow | str], names: Sequence[str], *, top: float = 1.0, unit: str, share: bool = True
) -> str:
    """Return rows of bars; a text between them is a heading.

    Args:
        names: of the series, for what is shown when a bar is pointed at.
        top: value of the longest bar. unit: of the axis below. share: values are shown in per cent.
    """
    scale, digits = (100.0, ".2f") if share else (1.0, ".4g")
    parts = []
    for row in rows:
        if isinstance(row, str):
            parts.append(f'<div class="band">{escape(row)}</div>')
            continue
        bars = "".join(
            _bar(value, series, top, f"{row.name}, {names[series - 1]}: {scale * (value or 0.0):{digits}}")
            for series, value in enumerate(row.values, start=1)
        )
        parts.append(
            f'<div class="name">{_name(row.name, row.where)}</div><div class="body">{bars}</div>'
            f'<div class="note">{escape(row.note)}</div>'
        )
    marks = "".join(
        f'<text x="{100 * place:g}%" y="11" class="tick{" quarter" if place in (0.25, 0.75) else ""}" '
        f'text-anchor="{"start" if not place else "end" if place == 1 else "middle"}">'
        f"{scale * place * top:.3g}</text>"
        for place in (0, 0.25, 0.5, 0.75, 1)
    )
    axis = (
        f'<div class="name axis">{escape(unit)}</div>'
        f'<div class="axis"><svg width="100%" height="14">{marks}</svg></div><div class="note"></div>'
    )
    return f'<div class="bars">{"".join(parts)}{axis}</div>'


@dataclass(frozen=True)
class DotRow:
    """One row: a share before and after (either may be None), and a remark."""

    name: str
    before: float | None
    after: float | None
    note: str
    where: str = ""


def dot_rows(rows: Sequence[DotRow], mean: float, low: float) -> str:
    """Return rows of dots joined by a line, hollow before and filled after, over shares from ``low`` to 1.

    Args:
        mean: marked by a line through all rows.
    """
    span = 1.0 - low

    def place(value: float) -> str:
        # Half a dot of room at either end.
        return f"{2 + 96 * (value - low) / span:.2f}%"

    parts = []
    for row in rows:
        marks = [f'<line x1="{place(mean)}" x2="{place(mean)}" y1="0" y2="18" class="diagonal"/>']
        if row.before is not None and row.after is not None:
            ends = f'x1="{place(row.before)}" x2="{place(row.after)}"'
            marks.append(f'<line {ends} y1="9" y2="9" class="line l1"/>')
        for value, kind, when in ((row.before, "hollow", "before"), (row.after, "s1", "after")):
            if value is not None:
                tip = escape(f"{row.name}, {when}: {100 * value:.2f} %")
                marks.append(
                    f'<circle cx="{place(value)}" cy="9" r="5" class="{kind}"><title>{tip}</title></circle>'
                )
        dots = f'<svg class="dots" width="100%" height="18">{"".join(marks)}</svg>'
        parts.append(
            f'<div class="name">{_name(row.name, row.where)}</div><div class="body">{dots}</div>'
            f'<div class="note">{escape(row.note)}</div>'
        )
    shown = [low + span * step / 4 for step in range(5)]
    texts = "".join(
        f'<text x="{place(value)}" y="11" class="tick{" quarter" if step % 2 else ""}" '
        f'text-anchor="middle">{100 * value:.0f}</text>'
        for step, value in enumerate(shown)
    )
    axis = (
        '<div class="name axis">accuracy (%)</div>'
        f'<div class="axis"><svg width="100%" height="14">{texts}</svg></div><div class="note"></div>'
    )
    return f'<div class="bars">{"".join(parts)}{axis}</div>'
