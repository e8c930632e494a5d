"""The long tail: how often each class was trained on, above how well it is recognised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mg_fusion.report.charts.svg import figure, line, rect, short, text, turned

_BANDS = {"head": "s1", "medium": "s5", "tail": "s4", "empty": "dim"}


@dataclass(frozen=True)
class TailClass:
    """A class: its ``count`` of training clips, ``band``, and F1 before and after pseudo-labels (or None)."""

    name: str
    count: int
    band: str
    before: float | None
    after: float | None


def tail_chart(classes: Sequence[TailClass], title: str, counted: str) -> str:
    """Return two panels over the classes, most frequent first: clips on a log scale, and F1.

    Args:
        counted: what the clips are, for the axis.
    """
    step = max(22.0, min(40.0, 660.0 / len(classes)))
    top, tall, gap, low = 10.0, 130.0, 16.0, 120.0
    longest = max(len(short(item.name, 22)) for item in classes)
    # The first names lean out to the left of the axis.
    left = max(56.0, 4.2 * longest)
    foot = 12.0 + 4.9 * longest
    width = left + step * len(classes) + 14
    second = top + tall + gap
    powers = max(1, math.ceil(math.log10(max(2, *(item.count for item in classes)))))
    parts = []

    def height(count: int) -> float:
        # Half a decade below 1, so that one clip is a bar that can be seen.
        return tall * (math.log10(count) + 0.5) / (powers + 0.5) if count else 0.0

    for power in range(powers + 1):
        y = top + tall - height(10**power)
        parts += [line(left, y, width - 14, y), text(left - 5, y + 3.5, f"{10**power:,}", "end", "tick")]
    for share in (0.0, 0.5, 1.0):
        y = second + low * (1 - share)
        parts += [line(left, y, width - 14, y), text(left - 5, y + 3.5, f"{100 * share:.0f}", "end", "tick")]
    for place, item in enumerate(classes):
        x = left + place * step
        tall_bar = height(item.count)
        tip = f"{item.name}: {item.count} {counted}, {item.band}"
        parts.append(rect(x + 2, top + tall - tall_bar, step - 4, tall_bar, _BANDS[item.band], tip))
        middle = x + step / 2
        for value, kind, when in ((item.before, "hollow", "before"), (item.after, "s2", "after")):
            if value is None:
                continue
            y = second + low * (1 - value)
            parts.append(
                f'<g><circle cx="{middle:.1f}" cy="{y:.1f}" r="4" class="{kind}"/>'
                f"<title>{_tip(item.name, when, value)}</title></g>"
            )
        parts.append(turned(middle + 3, second + low + 12, short(item.name, 22), -50, "end"))
    parts.append(turned(12, top + tall / 2, counted, -90, "middle", "tick"))
    parts.append(turned(12, second + low / 2, "F1 (%)", -90, "middle", "tick"))
    return figure(width, second + low + foot, title, parts, "wide")


def _tip(name: str, when: str, value: float) -> str:
    return escape(f"{name}, {when}: F1 {100 * value:.2f} %")


def band_legend(bands: Sequence[str], marks: Sequence[str]) -> str:
    """Return the legend of bands and of the dots."""
    box = '<svg width="12" height="12"><rect width="12" height="12" rx="2" class="{}"/></svg>'
    dot = '<svg width="12" height="12"><circle cx="6" cy="6" r="4" class="{}"/></svg>'
    items = [f"<span>{box.format(_BANDS[band])}{band}</span>" for band in bands]
    kinds = {"F1 before": "hollow", "F1 after": "s2", "F1": "s2"}
    items += [f"<span>{dot.format(kinds[mark])}{mark}</span>" for mark in marks]
    return f'<p class="legend">{"".join(items)}</p>'
