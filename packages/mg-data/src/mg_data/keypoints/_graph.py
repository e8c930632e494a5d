"""Builds layout records from bones. Plain Python, no numpy: it runs whenever plugins are listed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from mg_data.contract.specs import LayoutSpec

Edge = tuple[int, int]


def chain(*points: int) -> tuple[Edge, ...]:
    """Return the edges of a chain.

    >>> chain(1, 2, 3)
    ((1, 2), (2, 3))
    """
    return tuple(itertools.pairwise(points))


def shift(edges: Sequence[Edge], by: int) -> tuple[Edge, ...]:
    """Return edges with ``by`` added to both ends."""
    return tuple((a + by, b + by) for a, b in edges)


def parents_of(num_points: int, bones: Sequence[Edge], centre: int) -> tuple[int, ...]:
    """Orient a tree of bones away from its centre.

    Args:
        num_points: V. bones: V - 1 index pairs that make a tree. centre: its root.

    Returns:
        For each point the point before it on the way from the centre; the centre itself for the centre.

    Raises:
        ValueError: the bones are not a tree over all points.
    """
    near: list[list[int]] = [[] for _ in range(num_points)]
    for a, b in bones:
        near[a].append(b)
        near[b].append(a)
    parents = [-1] * num_points
    parents[centre] = centre
    front = [centre]
    for point in front:
        for other in near[point]:
            if parents[other] < 0:
                parents[other] = point
                front.append(other)
    if len(bones) != num_points - 1 or len(front) != num_points:
        raise ValueError(
            f"bones make no tree: {len(bones)} bones reach {len(front)} of {num_points} points from point "
            f"{centre}; want {num_points - 1} bones that reach all"
        )
    return tuple(parents)


def layout(
    name: str,
    summary: str,
    *,
    names: Sequence[str],
    bones: Sequence[Edge],
    closing: Sequence[Edge] = (),
    pairs: Sequence[Edge],
    centre: int,
    source: str = "",
    columns: Sequence[int] = (),
    dims: Literal["xy", "xyz"] = "xy",
    figure: Sequence[tuple[float, float]] = (),
) -> LayoutSpec:
    """Make a layout whose bones are a tree (limb vectors follow it) and whose edges may close loops.

    A tree has one path from the centre to each point. A mirrored tree therefore has mirrored parents, which
    makes the flip of limb vectors exact; parents found by search in a graph with loops would not be.
    """
    return LayoutSpec(
        name=name,
        summary=summary,
        names=tuple(names),
        edges=(*bones, *closing),
        pairs=tuple(pairs),
        centre=centre,
        parents=parents_of(len(names), bones, centre),
        source=source,
        columns=tuple(columns),
        dims=dims,
        figure=tuple(figure),
    )


def picked(
    name: str,
    summary: str,
    *,
    source: LayoutSpec,
    columns: Sequence[int],
    bones: Sequence[Edge],
    closing: Sequence[Edge] = (),
    centre: int,
) -> LayoutSpec:
    """Make a layout of another one's columns; ``bones``, ``closing``, ``centre`` count in the source.

    Names, left/right pairs and figure are the source's own.
    """
    at = {column: row for row, column in enumerate(columns)}
    return layout(
        name,
        summary,
        names=[source.names[column] for column in columns],
        bones=[(at[a], at[b]) for a, b in bones],
        closing=[(at[a], at[b]) for a, b in closing],
        pairs=[(at[a], at[b]) for a, b in source.pairs if a in at and b in at],
        centre=at[centre],
        source=source.name,
        columns=columns,
        dims=source.dims,
        figure=[source.figure[column] for column in columns] if source.figure else (),
    )
