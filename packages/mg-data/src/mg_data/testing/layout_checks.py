"""Checks of a keypoint layout: one body, mirrored onto itself."""

from __future__ import annotations

import numpy as np

from mg_data.contract import LayoutSpec
from mg_data.keypoints.layouts import check_layout, find_layout, flip_permutation
from mg_data.testing.checks import require


def check_graph_is_connected(layout: LayoutSpec) -> None:
    """Every keypoint can be reached from the centre along edges."""
    near: dict[int, set[int]] = {point: set() for point in range(len(layout.names))}
    for a, b in layout.edges:
        require({a, b} <= set(near) and a != b, f"edge ({a}, {b}) does not join two of {len(near)} keypoints")
        near[a].add(b)
        near[b].add(a)
    reached, front = {layout.centre}, [layout.centre]
    while front:
        new = near[front.pop()] - reached
        reached |= new
        front += new
    lost = [name for point, name in enumerate(layout.names) if point not in reached]
    require(not lost, f"{len(lost)} keypoints hang on nothing: {', '.join(lost[:5])}")


def check_flip_is_an_involution(layout: LayoutSpec) -> None:
    """Swapping the left/right pairs twice gives every keypoint its place back."""
    order = flip_permutation(layout)
    wrong = np.flatnonzero(order[order] != np.arange(len(order)))
    require(not len(wrong), f"the flip of {[layout.names[point] for point in wrong[:3]]} cannot be undone")
    points = [point for pair in layout.pairs for point in pair]
    require(len(set(points)) == len(points), "a keypoint stands in two left/right pairs")


def check_flip_maps_edges_to_edges(layout: LayoutSpec) -> None:
    """The mirrored body has the bones of the body."""
    order = [int(point) for point in flip_permutation(layout)]
    edges = {frozenset(edge) for edge in layout.edges}
    for a, b in layout.edges:
        require(
            frozenset((order[a], order[b])) in edges,
            f"edge {layout.names[a]}-{layout.names[b]} is mirrored to "
            f"{layout.names[order[a]]}-{layout.names[order[b]]}, which is no edge",
        )


def check_sides_are_named(layout: LayoutSpec) -> None:
    """A pair swaps a left with a right, as far as the names tell the sides."""
    for a, b in layout.pairs:
        first, second = layout.names[a].lower(), layout.names[b].lower()
        for side, other in (("left", "right"), ("right", "left")):
            require(
                side not in first or other in second,
                f"'{layout.names[a]}' swaps with '{layout.names[b]}'",
            )


def check_record_is_consistent(layout: LayoutSpec) -> None:
    """Names, parents, columns and figure fit one another."""
    require(len(set(layout.names)) == len(layout.names), "a keypoint's name stands twice")
    check_layout(layout)
    if layout.source:
        columns, wide = layout.columns, len(find_layout(layout.source).names)
        require(
            len(columns) == len(layout.names) and max(columns) < wide,
            f"columns must name {len(layout.names)} of the {wide} keypoints of '{layout.source}'",
        )


API = (
    check_graph_is_connected,
    check_flip_is_an_involution,
    check_flip_maps_edges_to_edges,
    check_sides_are_named,
    check_record_is_consistent,
)
