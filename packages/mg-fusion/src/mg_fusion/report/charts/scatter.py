"""Points in a plane by class, with one labelled cross a class for its anchor."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from mg_fusion.report.charts.svg import SERIES, figure, line, short, text, turned

_SIDE, _LEFT, _TOP = 560.0, 26.0, 8.0


def place_points(
    points: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both sets in pixels of the chart, on one scale for both axes."""
    everything = np.concatenate([points, others])
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = float((high - low).max()) or 1.0
    room = 14.0
    middle = (low + high) / 2

    def put(values: NDArray[np.float64]) -> NDArray[np.int64]:
        scaled = (values - middle) / span * np.array([1.0, -1.0]) * (_SIDE - 2 * room) + _SIDE / 2
        return np.asarray(np.round(scaled + np.array([_LEFT, _TOP])), dtype=np.int64)

    return put(points), put(others)


def scatter_chart(
    points: NDArray[np.int64],
    classes: NDArray[np.int64],
    anchors: NDArray[np.int64],
    anchored: NDArray[np.int64],
    class_names: Sequence[str],
    coloured: Sequence[int],
    axes: tuple[str, str],
    title: str,
) -> str:
    """Return the chart; every class is a group that the page can bring out.

    Args:
        points: (N, 2) pixels of :func:`place_points`. classes: (N,), -1 unknown.
        anchors: (A, 2) pixels, of the classes ``anchored`` (A,); A may be 0.
        coloured: classes that get a colour of their own, at most 8; the others are grey.
    """
    colours = {index: f"p{place}" for place, index in enumerate(coloured[:SERIES], start=1)}
    parts = [
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" class="frame"/>',
        text(_LEFT + _SIDE / 2, _TOP + _SIDE + 16, axes[0], "middle", "tick"),
        turned(14, _TOP + _SIDE / 2, axes[1], -90, "middle", "tick"),
    ]
    for index in sorted(set(classes.tolist()), key=lambda item: item in colours):
        # One path a class: a stroke of no length with round ends is a dot, at ten letters each.
        path = "".join(f"M{x} {y}h0" for x, y in points[classes == index])
        name = escape(class_names[index]) if index >= 0 else "truth unknown"
        kind = colours.get(index, "p0")
        parts.append(
            f'<g data-class="{index}" class="points {kind}"><path d="{path}"/><title>{name}</title></g>'
        )
    for index, (x, y) in zip(anchored.tolist(), anchors.tolist(), strict=True):
        kind = colours.get(index, "p0")
        parts.append(
            f'<g data-class="{index}" class="anchor {kind}">'
            f"{line(x - 5, y, x + 5, y, 'arm')}{line(x, y - 5, x, y + 5, 'arm')}"
            f"<title>anchor of {escape(class_names[index])}</title>"
            f"{_name(x, y, class_names[index]) if index in colours else ''}</g>"
        )
    return figure(_LEFT + _SIDE + 8, _TOP + _SIDE + 22, title, parts, "scatter")


def _name(x: float, y: float, name: str) -> str:
    """Return the name of an anchor, on the side where there is room for it."""
    right = x > _LEFT + 0.72 * _SIDE
    return text(x - 7 if right else x + 7, y + 3, short(name, 22), "end" if right else "start", "tick")
