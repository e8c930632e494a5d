"""A metric over temperature and one model's weight, settings as good as the best outlined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mg_fusion.report.charts.svg import figure, number, rect, text, turned

# Steps of the colour scale: classes q0 (worst) ... q11 (best) of the style sheet.
LEVELS = 12


def landscape_chart(
    values: NDArray[np.float64],
    temperatures: Sequence[float],
    weights: Sequence[float],
    flat: NDArray[np.bool_],
    chosen: tuple[float, float],
    title: str,
    bounds: tuple[float, float],
    unit: str,
) -> str:
    """Return a heat map.

    Args:
        values: (W, T), NaN where no vote is possible. weights: (W,) ascending. temperatures: (T,) ascending.
        flat: (W, T) settings as good as the best. chosen: weight and temperature that were taken.
        bounds: values of the lowest and the highest colour, one scale for all charts. unit: of the values.
    """
    left, top, wide, tall = 44.0, 24.0, 270.0, 168.0
    rows, columns = values.shape
    cell_x, cell_y = wide / columns, tall / rows
    low, span = bounds[0], (bounds[1] - bounds[0]) or 1.0

    def shown(value: float) -> str:
        return f"{100 * value:.2f} %" if unit == "%" else f"{value:.3f}"

    parts = [text(left, 14, title, kind="heading")]
    for row in range(rows):
        y = top + (rows - 1 - row) * cell_y
        begin = 0
        # Neighbours of one value are one rectangle: flat parts cost next to nothing.
        for column in range(1, columns + 1):
            same = column < columns and (
                values[row, column] == values[row, begin]
                or (np.isnan(values[row, column]) and np.isnan(values[row, begin]))
            )
            if same:
                continue
            value = float(values[row, begin])
            if not np.isnan(value):
                level = int(np.clip((value - low) / span * LEVELS, 0, LEVELS - 1))
                to = f" to {temperatures[column - 1]:g}" if column - 1 > begin else ""
                tip = f"tau {temperatures[begin]:g}{to}, weight {weights[row]:.3g}: {shown(value)}"
                x = left + begin * cell_x
                parts.append(rect(x, y, (column - begin) * cell_x + 0.3, cell_y + 0.3, f"q{level}", tip))
            begin = column
    parts.append(_outline(flat, left, top, cell_x, cell_y))
    x = left + (np.interp(chosen[1], temperatures, np.arange(columns)) + 0.5) * cell_x
    y = top + (rows - 0.5 - np.interp(chosen[0], weights, np.arange(rows))) * cell_y
    parts.append(f'<circle cx="{number(float(x))}" cy="{number(float(y))}" r="4.5" class="chosen"/>')
    for place in range(columns):
        tau = temperatures[place]
        if columns < 6 or tau in (0.25, 1.0, 2.5, 5.0, 7.5):
            middle = left + (place + 0.5) * cell_x
            parts.append(text(middle, top + tall + 13, f"{tau:g}", "middle", "tick"))
    for share in (0.0, 0.5, 1.0):
        y = top + (rows - 0.5 - share * (rows - 1)) * cell_y
        parts.append(text(left - 5, float(y) + 3.5, f"{share:g}", "end", "tick"))
    parts.append(text(left + wide / 2, top + tall + 28, "temperature tau", "middle", "tick"))
    parts.append(turned(12, top + tall / 2, "weight", -90, "middle", "tick"))
    return figure(left + wide + 12, top + tall + 34, title, parts)


def _outline(flat: NDArray[np.bool_], left: float, top: float, cell_x: float, cell_y: float) -> str:
    """Return the border between settings that are in the flat region and settings that are not."""
    rows = len(flat)
    framed = np.pad(flat, 1)
    steps = []
    for row, column in np.argwhere(flat):
        x, y = left + column * cell_x, top + (rows - 1 - row) * cell_y
        if not framed[row + 2, column + 1]:
            steps.append(f"M{number(x)} {number(y)}h{cell_x:.2f}")
        if not framed[row, column + 1]:
            steps.append(f"M{number(x)} {number(y + cell_y)}h{cell_x:.2f}")
        if not framed[row + 1, column]:
            steps.append(f"M{number(x)} {number(y)}v{cell_y:.2f}")
        if not framed[row + 1, column + 2]:
            steps.append(f"M{number(x + cell_x)} {number(y)}v{cell_y:.2f}")
    path = "".join(steps)
    return f'<path d="{path}" class="halo"/><path d="{path}" class="outline"/>' if path else ""


def colour_scale(bounds: tuple[float, float], unit: str) -> str:
    """Return the legend of the colours, from the worst to the best value."""
    cells = "".join(
        f'<rect x="{18 * level}" width="18" height="12" class="q{level}"/>' for level in range(LEVELS)
    )
    low, high = (f"{100 * value:.1f} %" if unit == "%" else f"{value:.3f} nats" for value in bounds)
    # The worst settings share the first colour.
    sign = "≤" if bounds[0] <= bounds[1] else "≥"
    return (
        f'<p class="legend"><span>{sign} {low}</span><svg width="{18 * LEVELS}" height="12">{cells}</svg> '
        f"<span>{high}</span></p>"
    )
