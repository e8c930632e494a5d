"""A layout as a picture: points with their names or numbers, edges, sides, centre."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mg_data.contract.specs import LayoutSpec
from mg_data.drawing.figure import figure_places, sides
from mg_data.prepare.extras import require
from mg_data.store import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Darker shades of the colours that frames are drawn with, as the page is white.
_COLOURS = {1: "#0072b2", -1: "#d55e00", 0: "#444444"}
_CENTRE = "#009e73"
# Up to this many points their names stand beside them; beyond, numbers do, with a list.
_MOST_NAMED = 26
_DPI = 120
# Numbers need about this many pixels between points.
_ROOM_PIXELS = 15
# A panel: points closer to one another than this share of the figure, if there are enough of them.
_CLOSE, _LEAST_OF_PANEL = 0.07, 12
_BODY_INCHES, _LEAST_INCHES, _MOST_INCHES = 9.0, 4.0, 17.0
_TITLE_INCHES, _LIST_INCHES, _LINE_INCHES = 0.6, 2.4, 0.17


@dataclass(frozen=True)
class _Panel:
    """A part of the figure on the page.

    points: which ones get a label here. low, high: corners of the part, in the figure's unit. size, at: in
    inches; ``at`` is the corner at the lower left.
    """

    title: str
    points: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size: tuple[float, float]
    at: tuple[float, float] = (0.0, 0.0)


def plot_layout(layout: LayoutSpec, path: Path) -> None:
    """Write a PNG of the layout.

    The person's left side is blue, the right one orange, the middle grey; a green ring marks the centre. Few
    points have their names; many have numbers and a list, and where they lie close together (a face, a hand)
    a panel shows that part enlarged.

    Raises:
        UsageError: matplotlib is not installed.
    """
    require("layouts show --plot", "matplotlib", extra="plot")
    from matplotlib.figure import Figure

    places = figure_places(layout)
    named = len(layout.names) <= _MOST_NAMED
    panels, width, height = _arrange(_panels(places, named))
    lines = [] if named else _index_list(layout)
    per_column = max(1, int(height / _LINE_INCHES) - 1)
    page_width = width + _LIST_INCHES * -(-len(lines) // per_column)
    page_height = height + _TITLE_INCHES
    page = Figure(figsize=(page_width, page_height))
    for panel in panels:
        (left, bottom), (across, up) = panel.at, panel.size
        axes = page.add_axes((left / page_width, bottom / page_height, across / page_width, up / page_height))
        _draw_panel(axes, layout, places, panel, panels[1:] if panel is panels[0] else [], named)
    counts = f"{len(layout.names)} points, {len(layout.edges)} edges, {len(layout.pairs)} pairs"
    key = f"blue: the person's left; orange: right; ring: centre ({layout.names[layout.centre]})"
    page.text(0.1 / page_width, 1 - 0.1 / page_height, f"{layout.name}: {counts}", va="top", fontsize=12)
    page.text(0.1 / page_width, 1 - 0.36 / page_height, key, va="top", fontsize=8.5, color="#444444")
    for number, line in enumerate(lines):
        column, row = divmod(number, per_column)
        x = (width + 0.1 + _LIST_INCHES * column) / page_width
        y = 1 - (_TITLE_INCHES + _LINE_INCHES * row) / page_height
        page.text(x, y, line, va="top", fontsize=7, family="monospace")
    with publish(path) as temporary:
        page.savefig(temporary, format="png", dpi=_DPI)


def _panels(places: NDArray[np.float64], named: bool) -> list[_Panel]:
    """Return the whole figure first, then its crowded parts from left to right."""
    low, high = places.min(axis=0), places.max(axis=0)
    extent = float(max((high - low).max(), 1e-9))
    crowds = [] if named else _crowds(places, extent)
    parts: list[_Panel] = []
    for letter, crowd in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", crowds):
        inside = places[crowd]
        room = 0.1 * float((inside.max(axis=0) - inside.min(axis=0)).max())
        corner, other = inside.min(axis=0) - room, inside.max(axis=0) + room
        gap = float(np.quantile(_nearest(inside), 0.1))
        longest = np.clip((other - corner).max() / gap * _ROOM_PIXELS / _DPI, _LEAST_INCHES, _MOST_INCHES)
        across, up = (other - corner) / (other - corner).max() * longest
        parts.append(_Panel(letter, crowd, corner, other, (float(across), float(up))))
    rest = np.setdiff1d(np.arange(len(places)), np.concatenate([*crowds, np.empty(0, np.int64)]))
    # Names of the outermost points need room beside the figure.
    room = extent * (0.08 if not named else 0.04)
    beside = extent * (0.08 if not named else 0.2)
    margin = np.array([beside, room])
    low, high = low - margin, high + margin
    inches = (high - low) / extent * _BODY_INCHES
    if not crowds and not named:
        gap = float(np.quantile(_nearest(places), 0.25)) if len(places) > 1 else extent
        longest = np.clip(extent / gap * _ROOM_PIXELS / _DPI, _BODY_INCHES, _MOST_INCHES)
        inches = inches * (longest / _BODY_INCHES)
    across, up = np.maximum(inches, 3.0)
    # A figure that is narrower than its page stays in the middle of it.
    spare = (np.array([across, up]) - inches) / 2 / inches * (high - low)
    return [_Panel("", rest, low - spare, high + spare, (float(across), float(up))), *parts]


def _crowds(places: NDArray[np.float64], extent: float) -> list[NDArray[np.int64]]:
    """Return groups of points that hang together by short distances, the leftmost first."""
    close = np.linalg.norm(places[:, None] - places[None], axis=-1) < _CLOSE * extent
    group = np.arange(len(places))
    for _ in range(len(places)):
        lowest = np.where(close, group[None], len(places)).min(axis=1)
        if (lowest == group).all():
            break
        group = lowest
    crowds = [np.flatnonzero(group == number) for number in np.unique(group)]
    crowds = [
        crowd
        for crowd in crowds
        if len(crowd) >= _LEAST_OF_PANEL and float(np.ptp(places[crowd], axis=0).max()) < extent / 2
    ]
    # Where all points lie as far apart as those of the crowds, nothing needs enlarging.
    alone = np.setdiff1d(np.arange(len(places)), np.concatenate([*crowds, np.empty(0, np.int64)]))
    nearest = _nearest(places)
    usual = float(np.median(nearest[alone])) if len(alone) else extent
    crowds = [crowd for crowd in crowds if float(np.median(nearest[crowd])) < usual / 2]
    return sorted(crowds, key=lambda crowd: (float(places[crowd, 0].mean()), int(crowd[0])))


def _arrange(panels: list[_Panel]) -> tuple[list[_Panel], float, float]:
    """Lay the whole figure at the upper left, small parts in rows below it, large ones to the right.

    Returns:
        The panels with their places, and the width and height of all of them, in inches.
    """
    whole, small = panels[0], [panel for panel in panels[1:] if panel.size[1] < _BODY_INCHES * 0.75]
    large = [panel for panel in panels[1:] if panel.size[1] >= _BODY_INCHES * 0.75]
    gap = 0.15
    tops: list[tuple[_Panel, float, float]] = [(whole, 0.0, 0.0)]
    x, y, row, width = 0.0, whole.size[1], 0.0, whole.size[0]
    beside = [sum(panel.size[0] + gap for panel in small[:count]) for count in range(1, len(small) + 1)]
    limit = max([whole.size[0], *(across for across in beside if across < _MOST_INCHES)])
    for panel in small:
        if x > 0 and x + panel.size[0] > limit:
            x, y, row = 0.0, y + row, 0.0
        tops.append((panel, x, y))
        x, row = x + panel.size[0] + gap, max(row, panel.size[1] + gap)
        width = max(width, x)
    height, x, y = y + row, width, 0.0
    for panel in large:
        tops.append((panel, x, y))
        y += panel.size[1] + gap
        width = max(width, x + panel.size[0] + gap)
    height = max(height, y)
    placed = {panel.title: replace(panel, at=(x, height - y - panel.size[1])) for panel, x, y in tops}
    return [placed[panel.title] for panel in panels], width, height


def _draw_panel(
    axes: Axes,
    layout: LayoutSpec,
    places: NDArray[np.float64],
    panel: _Panel,
    parts: list[_Panel],
    named: bool,
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    side = sides(layout)
    axes.set_xlim(panel.low[0], panel.high[0])
    axes.set_ylim(panel.high[1], panel.low[1])
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(bool(panel.title))
        spine.set_color("#bbbbbb")
    crowded = len(panel.points) > 150
    tiny = 0.35 if not panel.title and parts else 1.0
    axes.add_collection(
        LineCollection(
            [places[[a, b]] for a, b in layout.edges],
            colors=[_COLOURS[int(side[a] or side[b])] for a, b in layout.edges],
            linewidths=0.5 if crowded else 1.6 * (tiny + 1) / 2,
            alpha=0.45,
            zorder=1,
        )
    )
    mine = np.zeros(len(places), bool)
    mine[panel.points] = True
    area = np.where(mine, 9.0 if crowded else 24.0, 3.0)
    axes.scatter(
        places[:, 0], places[:, 1], s=area, c=[_COLOURS[int(value)] for value in side], zorder=2, linewidths=0
    )
    centre_x, centre_y = places[layout.centre]
    axes.scatter(
        [centre_x], [centre_y], s=120, facecolors="none", edgecolors=_CENTRE, linewidths=2.0, zorder=3
    )
    for part in parts:
        corner = (float(part.low[0]), float(part.low[1]))
        across, up = part.high - part.low
        axes.add_patch(Rectangle(corner, across, up, fill=False, edgecolor="#999999", linewidth=0.8, ls=":"))
        axes.annotate(part.title, corner, xytext=(2, 2), textcoords="offset points", color="#777777")
    if panel.title:
        axes.annotate(
            panel.title, (0.01, 0.99), xycoords="axes fraction", va="top", fontsize=12, color="#777777"
        )
    halo = [withStroke(linewidth=1.8, foreground="white")]
    for point in panel.points.tolist():
        # Names lead away from the body: to the viewer's right on the person's left side.
        way = int(side[point])
        text = f"{point} {layout.names[point]}" if named else str(point)
        reach = 5 if named else 2
        axes.annotate(
            text,
            places[point],
            xytext=(way * reach, 6 if named and way == 0 else reach / 2),
            textcoords="offset points",
            ha={1: "left", -1: "right", 0: "center"}[way],
            va="bottom",
            fontsize=8 if named else (5 if crowded else 7),
            color="#222222",
            path_effects=halo,
            clip_on=True,
            zorder=4,
        )


def _nearest(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each point the distance to the nearest one that is not in the same place."""
    gap = np.linalg.norm(places[:, None] - places[None], axis=-1)
    gap[gap < 1e-9] = np.inf
    nearest = gap.min(axis=1)
    return np.where(np.isfinite(nearest), nearest, 1.0)


def _index_list(layout: LayoutSpec) -> list[str]:
    """Return one line a point; a run of names that only count up is one line.

    ``33-500 face_mesh_0..467``
    """
    lines: list[str] = []
    start = 0
    names = layout.names
    while start < len(names):
        stem, number = _stem(names[start])
        stop = start + 1
        while stop < len(names) and number >= 0 and _stem(names[stop]) == (stem, number + stop - start):
            stop += 1
        if stop - start > 2:
            lines.append(f"{start}-{stop - 1} {names[start]}..{number + stop - start - 1}")
        else:
            lines.extend(f"{point} {names[point]}" for point in range(start, stop))
        start = stop
    return lines


def _stem(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(\d+)", name)
    return (match[1], int(match[2])) if match else (name, -1)
