"""Reliability diagram: accuracy by confidence, with how many clips there are of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mg_fusion.report.charts.svg import figure, line, rect, text, turned


def reliability_chart(table: Mapping[str, Sequence[float]], title: str, series: int) -> str:
    """Return the diagram of :func:`mg_fusion.calibration.reliability`; the diagonal is perfect."""
    side, left, top, foot = 240.0, 50.0, 26.0, 44.0

    def at(value: float) -> float:
        return left + value * side

    def up(value: float) -> float:
        return top + (1 - value) * side

    below = top + side + 8
    parts = [text(left, 15, title, kind="heading")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(at(0), up(tick), at(1), up(tick)))
        parts.append(text(left - 5, up(tick) + 3.5, f"{100 * tick:.0f}", "end", "tick"))
        parts.append(text(at(tick), below + foot + 13, f"{100 * tick:.0f}", "middle", "tick"))
    total = sum(table["count"]) or 1
    most = max(table["count"]) or 1
    for low, high, count, accuracy, confidence in zip(
        table["lower"], table["upper"], table["count"], table["accuracy"], table["confidence"], strict=True
    ):
        if not count:
            continue
        tip = (
            f"confidence {100 * low:.0f} to {100 * high:.0f} %, mean {100 * confidence:.1f} %: "
            f"accuracy {100 * accuracy:.1f} % of {count:.0f} clips"
        )
        x, width = at(low) + 1, (high - low) * side - 2
        parts.append(rect(x, up(accuracy), width, max(accuracy * side, 1), f"s{series}", tip))
        height = max(foot * count / most, 1)
        parts.append(
            rect(
                x,
                below + foot - height,
                width,
                height,
                "dim",
                f"{count:.0f} clips, {100 * count / total:.1f} %",
            )
        )
    parts.append(line(at(0), up(0), at(1), up(1), "diagonal"))
    parts.append(turned(14, top + side / 2, "accuracy (%)", -90, "middle", "tick"))
    parts.append(text(left - 5, below + foot - 2, "clips", "end", "tick"))
    parts.append(text(at(0.5), below + foot + 28, "confidence (%)", "middle", "tick"))
    return figure(left + side + 14, below + foot + 34, title, parts)
