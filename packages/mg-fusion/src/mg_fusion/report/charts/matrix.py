"""Confusion matrix: a grid of shares of the true class, whose cells list their clips when clicked."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mg_fusion.report.charts.svg import figure, number, rect, short, text, turned


def confusion_grid(
    confusion: Sequence[Sequence[int]],
    class_names: Sequence[str],
    places: Sequence[int],
    title: str,
    column: str,
) -> str:
    """Return a grid whose rows are the truth, columns the answer, and shade the share of the row.

    Args:
        confusion: counts. class_names: of its rows and columns. places: class index of each.
        column: of the table of clips that holds the answer, for the list that a click opens.
    """
    classes = len(confusion)
    cell = max(17.0, min(34.0, 680.0 / classes))
    longest = max(len(short(name, 22)) for name in class_names)
    label = 14.0 + 6.2 * longest
    top = 12.0 + 4.6 * longest
    size = classes * cell
    parts = [
        rect(label, top, size, size, "frame"),
        text(label - 6, top - 6, "truth", "end", "tick"),
    ]
    for row, counts in enumerate(confusion):
        total = sum(counts)
        y = top + row * cell
        parts.append(text(label - 6, y + cell / 2 + 3.5, short(class_names[row], 22), "end"))
        x = label + row * cell + cell / 2
        parts.append(turned(x + 3, top - 6, short(class_names[row], 22), -50, "start"))
        for other, count in enumerate(counts):
            if not count:
                continue
            share = count / total if total else 0.0
            name = f"{class_names[row]} answered as {class_names[other]}"
            tip = f"{name}: {count} of {total}, {100 * share:.1f} %"
            x = label + other * cell
            where = f"truth:{places[row]} {column}:{places[other]}"
            parts.append(
                f'<g class="cell" tabindex="0" role="button" data-where="{escape(where)}" '
                f'data-title="{escape(name)}">'
                f'<rect x="{number(x)}" y="{number(y)}" width="{number(cell - 0.8)}" '
                f'height="{number(cell - 0.8)}" class="{"s1" if row == other else "s2"}" '
                f'fill-opacity="{0.1 + 0.9 * share:.2f}"/>'
                f"<title>{escape(tip)}</title>"
            )
            if share >= 0.005:
                kind = "value strong" if share > 0.55 else "value"
                parts.append(text(x + cell / 2 - 0.4, y + cell / 2 + 3, f"{100 * share:.0f}", "middle", kind))
            parts.append("</g>")
    room = 4.0 + 3.6 * longest
    return figure(label + size + room, top + size + 6, title, parts, "wide matrix")
