"""Lines over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mg_fusion.report.charts.svg import figure, line, number, text, ticks, turned

# Strokes differ in dashes too: colour is never the only sign.
_DASHES = ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 3"', ' stroke-dasharray="8 3 2 3"')


@dataclass(frozen=True)
class Line:
    """One line of a chart: ``points`` are (x, y) pairs; ``series`` 1 ... 8 is its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    series: int = 1


def line_chart(lines: Sequence[Line], title: str, *, unit: str, share: bool = False) -> str:
    """Return a chart of lines over epochs.

    Args:
        unit: of the y axis, written beside it. share: y in [0, 1], shown in per cent.
    """
    width, height, left, right, top, bottom = 255.0, 176.0, 46.0, 10.0, 24.0, 34.0
    points = [point for item in lines for point in item.points]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = (0.0, 1.0) if share else (min(0.0, *(y for _, y in points)), max(y for _, y in points))
    x_span, y_span = (x_high - x_low) or 1.0, (y_high - y_low) or 1.0

    def across(x: float) -> float:
        return left + (x - x_low) / x_span * (width - left - right)

    def up(y: float) -> float:
        return height - bottom - (y - y_low) / y_span * (height - top - bottom)

    parts = [text(left, 15, title, kind="heading")]
    for tick in ticks(y_low, y_low + y_span, 4):
        parts.append(line(left, up(tick), width - right, up(tick)))
        parts.append(
            text(left - 5, up(tick) + 3.5, f"{100 * tick:.0f}" if share else f"{tick:g}", "end", "tick")
        )
    parts += [
        text(across(tick), height - bottom + 14, f"{tick:g}", "middle", "tick")
        for tick in ticks(x_low, x_high, 5)
        if tick == int(tick)
    ]
    parts.append(text((left + width - right) / 2, height - 4, "epoch", "middle", "tick"))
    parts.append(turned(12, (top + height - bottom) / 2, unit, -90, "middle", "tick"))
    for place, item in enumerate(lines):
        places = [(across(x), up(y)) for x, y in item.points]
        if len(places) == 1:
            x, y = places[0]
            parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="3" class="s{item.series}"/>')
            continue
        path = " ".join(f"{number(x)},{number(y)}" for x, y in places)
        dash = _DASHES[place % len(_DASHES)]
        parts.append(f'<polyline points="{path}" class="line l{item.series}"{dash}/>')
    return figure(width, height, title, parts)
