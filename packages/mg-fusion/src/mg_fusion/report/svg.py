"""Small charts as inline SVG. Colours are CSS variables of the page, so light and dark both work.

Every text that comes from data goes through :func:`html.escape`; numbers are formatted here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Series colours of the page, in the order of use.
SERIES = ("var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)")


@dataclass(frozen=True)
class Line:
    """One line of a chart: ``points`` are (x, y) pairs."""

    name: str
    points: Sequence[tuple[float, float]]


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "label") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def legend(names: Sequence[str]) -> str:
    """Return the HTML legend of up to four series."""
    items = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(names, SERIES)
    )
    return f'<p class="legend">{items}</p>'


def _ticks(low: float, high: float) -> list[float]:
    """Return some three to six round numbers within the range."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 5)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def line_chart(lines: Sequence[Line], title: str, *, percent: bool = False) -> str:
    """Return a chart of lines over one x axis; y in per cent where ``percent``."""
    width, height, left, right, top, bottom = 330.0, 190.0, 42.0, 12.0, 26.0, 26.0
    points = [point for line in lines for point in line.points]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = (0.0, 1.0) if percent else (min(0.0, *(y for _, y in points)), max(y for _, y in points))
    x_span, y_span = (x_high - x_low) or 1.0, (y_high - y_low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / x_span * (width - left - right),
            height - bottom - (y - y_low) / y_span * (height - top - bottom),
        )

    parts = [_text(left, 14, title, kind="heading")]
    for tick in _ticks(y_low, y_low + y_span):
        y = place(x_low, tick)[1]
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(
            _text(left - 5, y + 3.5, f"{100 * tick:.0f} %" if percent else f"{tick:g}", "end", "tick")
        )
    parts.append(_text(left, height - 8, f"epoch {x_low:g}", kind="tick"))
    parts.append(_text(width - right, height - 8, f"{x_high:g}", "end", "tick"))
    for line, colour in zip(lines, SERIES):
        places = [place(x, y) for x, y in line.points]
        if len(places) == 1:
            parts.append(f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" fill="{colour}"/>')
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _svg(width, height, title, parts)


def bar_rows(
    rows: Sequence[tuple[str, Sequence[float | None], str]],
    names: Sequence[str],
    title: str,
    *,
    top: float = 1.0,
) -> str:
    """Return horizontal bars: for each row a label, one value in [0, top] a series, and a remark."""
    bar, gap, label, remark, width = 9.0, 7.0, 190.0, 110.0, 760.0
    step = len(names) * (bar + 1) + gap
    height = step * len(rows) + 12
    scale = (width - label - remark) / top
    parts = [
        f'<line x1="{label + share * top * scale:.1f}" x2="{label + share * top * scale:.1f}" y1="2" '
        f'y2="{height - 8:.1f}" class="grid"/>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    for index, (name, values, note) in enumerate(rows):
        y = 6 + index * step
        middle = y + len(names) * (bar + 1) / 2 + 3.5
        short = name if len(name) <= 30 else name[:29] + "…"
        parts.append(_text(label - 6, middle, short, "end"))
        for series, value in enumerate(values):
            if not value:  # a bar of no length would still be seen
                continue
            length = max(0.0, min(value, top)) * scale
            tip = escape(f"{name}, {names[series]}: {value:.4g}")
            parts.append(
                f'<rect x="{label}" y="{y + series * (bar + 1):.1f}" width="{max(length, 1):.1f}" '
                f'height="{bar}" rx="2" fill="{SERIES[series]}"><title>{tip}</title></rect>'
            )
        parts.append(_text(width - remark + 6, middle, note, kind="tick"))
    return _svg(width, height, title, parts)


def confusion_grid(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> str:
    """Return a K x K grid; rows are the truth, shade is the share of the row."""
    classes = len(confusion)
    cell = max(9.0, min(30.0, 620.0 / classes))
    label, top = 150.0, 4.0
    size = classes * cell
    parts = [
        f'<rect x="{label}" y="{top}" width="{size:.1f}" height="{size:.1f}" class="frame"/>',
    ]
    for row, counts in enumerate(confusion):
        total = sum(counts)
        y = top + row * cell
        name = class_names[row] if len(class_names[row]) <= 24 else class_names[row][:23] + "…"
        kind = "label" if cell > 12 else "small"
        parts.append(_text(label - 6, y + cell / 2 + 3.5, name, "end", kind))
        for column, count in enumerate(counts):
            if not count:
                continue
            share = count / total if total else 0.0
            colour = SERIES[0] if row == column else SERIES[1]
            x = label + column * cell
            tip = f"{class_names[row]} answered as {class_names[column]}: {count} of {total}"
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell - 0.6:.1f}" height="{cell - 0.6:.1f}" '
                f'fill="{colour}" fill-opacity="{0.12 + 0.88 * share:.2f}">'
                f"<title>{escape(tip)}</title></rect>"
            )
            if cell >= 18:
                kind = "cell strong" if share > 0.5 else "cell"
                parts.append(_text(x + cell / 2, y + cell / 2 + 3.5, str(count), "middle", kind))
    return _svg(label + size + 8, top + size + 8, title, parts)


def reliability_chart(table: dict[str, list[float]], title: str, colour: int) -> str:
    """Return a reliability diagram: accuracy by confidence, the diagonal is perfect."""
    side, left, top = 240.0, 40.0, 26.0

    def at(value: float) -> float:
        return left + value * side

    def up(value: float) -> float:
        return top + (1 - value) * side

    parts = [_text(left, 14, title, kind="heading")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line x1="{at(0)}" x2="{at(1)}" y1="{up(tick)}" y2="{up(tick)}" class="grid"/>')
        parts.append(_text(left - 5, up(tick) + 3.5, f"{100 * tick:.0f} %", "end", "tick"))
        parts.append(_text(at(tick), top + side + 14, f"{100 * tick:.0f}", "middle", "tick"))
    total = sum(table["count"]) or 1
    for low, high, count, accuracy in zip(
        table["lower"], table["upper"], table["count"], table["accuracy"], strict=True
    ):
        if not count:
            continue
        span = f"confidence {100 * low:.0f}-{100 * high:.0f} %"
        tip = f"{span}: accuracy {100 * accuracy:.1f} % of {count:.0f} clips"
        opacity = 0.35 + 0.65 * min(1.0, 4 * count / total)
        parts.append(
            f'<rect x="{at(low) + 1:.1f}" y="{up(accuracy):.1f}" width="{(high - low) * side - 2:.1f}" '
            f'height="{max(accuracy * side, 1):.1f}" fill="{SERIES[colour]}" fill-opacity="{opacity:.2f}">'
            f"<title>{escape(tip)}</title></rect>"
        )
    parts.append(f'<line x1="{at(0)}" y1="{up(0)}" x2="{at(1)}" y2="{up(1)}" class="diagonal"/>')
    parts.append(_text(at(0.5), top + side + 28, "confidence (%)", "middle", "tick"))
    return _svg(left + side + 14, top + side + 36, title, parts)
