"""The parts that all charts are made of: frames, texts, ticks, legends.

Series have the classes ``s1`` ... ``s8`` (fill) and ``l1`` ... ``l8`` (stroke): colours that colour-blind
readers can tell apart, in the order of use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

SERIES = 8


def number(value: float) -> str:
    """Return a coordinate with at most one decimal.

    >>> number(12.04), number(3.0)
    ('12', '3')
    """
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, content: str, anchor: str = "start", kind: str = "label") -> str:
    """Return a text; ``anchor`` is start, middle or end."""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{number(x)}" y="{number(y)}"{place} class="{kind}">{escape(content)}</text>'


def turned(x: float, y: float, content: str, angle: float, anchor: str = "end", kind: str = "label") -> str:
    """Return a text turned about its own place."""
    turn = f'transform="rotate({angle:g} {number(x)} {number(y)})"'
    return (
        f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}" {turn} class="{kind}">'
        f"{escape(content)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    """Return a line."""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line {ends} class="{kind}"/>'


def rect(
    x: float, y: float, width: float, height: float, kind: str, tip: str = "", opacity: float | None = None
) -> str:
    """Return a rectangle; ``tip`` is shown when it is pointed at."""
    shade = "" if opacity is None else f' fill-opacity="{opacity:.2f}"'
    head = (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" '
        f'class="{kind}"{shade}'
    )
    return f"{head}><title>{escape(tip)}</title></rect>" if tip else f"{head}/>"


def figure(width: float, height: float, title: str, parts: Sequence[str], kind: str = "") -> str:
    """Return a chart of this size in pixels, which becomes smaller where the page is narrow.

    Args:
        kind: ``wide`` for a chart that is scrolled and not made smaller.
    """
    name = escape(title)
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg {size} role="img" aria-label="{name}" class="chart {kind}">{"".join(parts)}</svg>'


def legend(names: Sequence[str]) -> str:
    """Return the HTML legend of series."""
    items = "".join(
        f'<span><svg width="12" height="12"><rect width="12" height="12" rx="2" class="s{index}"/></svg>'
        f"{escape(name)}</span>"
        for index, name in enumerate(names[:SERIES], start=1)
    )
    return f'<p class="legend">{items}</p>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return some round numbers within a range.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / about * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def short(name: str, longest: int) -> str:
    """Return a name cut to a length, the cut shown."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
