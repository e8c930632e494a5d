"""Layouts at work: the flip as a permutation, and columns of one layout taken from another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mg_data.contract.errors import DataError, PluginError
from mg_data.contract.specs import LayoutSpec
from mg_data.keypoints.records import LAYOUTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "LAYOUTS",
    "check_layout",
    "columns_from",
    "find_layout",
    "flip_permutation",
    "limb_matrix",
    "made_of",
    "select",
]


def _known() -> Mapping[str, LayoutSpec]:
    """Every registered layout; those of this package alone while the registry cannot be asked."""
    try:
        from mg_data.plugins import registry
    except ImportError:
        return {layout.name: layout for layout in LAYOUTS}
    return registry().layouts


def find_layout(name: str) -> LayoutSpec:
    """Return the layout of that name, a plugin's included.

    Raises:
        PluginError: there is none; the message lists those there are.
    """
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    known = _known()
    if name in known:
        return known[name]
    raise PluginError(
        f"layout {name!r} is not registered; found {', '.join(sorted(known))}; "
        "name one of these or install the plugin that brings it"
    )


def check_layout(layout: LayoutSpec) -> None:
    """Assert what every layout must hold.

    The graph is connected; the flip is an involution that maps edges to edges and parents to parents and
    leaves the centre where it is; each bone is an edge; columns are distinct and not negative; a figure, if
    there is one, has a finite place for each keypoint.

    Raises:
        DataError: naming the layout and the first rule it breaks.
    """
    size, name = len(layout.names), layout.name

    def refuse(rule: str) -> DataError:
        return DataError(f"layout {name!r}: {rule}; correct its record")

    if len(set(layout.names)) != size:
        raise refuse("two keypoints share a name")
    if any(not 0 <= end < size for edge in (*layout.edges, *layout.pairs) for end in edge):
        raise refuse(f"an edge or a pair lies outside its {size} keypoints")
    sides = [end for pair in layout.pairs for end in pair]
    if len(set(sides)) != len(sides):
        raise refuse("a keypoint is in two left/right pairs, so the flip is no involution")
    edges = {frozenset(edge) for edge in layout.edges}
    flip = [int(point) for point in flip_permutation(layout)]
    for a, b in layout.edges:
        if frozenset((flip[a], flip[b])) not in edges:
            raise refuse(f"the flip maps edge {layout.names[a]}-{layout.names[b]} to no edge")
    if len(layout.parents) != size or layout.parents[layout.centre] != layout.centre:
        raise refuse("parents must be one for each keypoint, and the centre's its own")
    if flip[layout.centre] != layout.centre:
        raise refuse("the flip moves the centre")
    for point, parent in enumerate(layout.parents):
        if point != layout.centre and frozenset((point, parent)) not in edges:
            raise refuse(f"the bone {layout.names[parent]}-{layout.names[point]} is no edge")
        if layout.parents[flip[point]] != flip[parent]:
            raise refuse(f"the parent of {layout.names[flip[point]]} is not the mirrored parent")
        seen = {point}
        while layout.parents[point] not in seen:
            point = layout.parents[point]
            seen.add(point)
        if point != layout.centre:
            raise refuse(f"no way from {layout.names[point]} to the centre: the graph is not connected")
    if layout.columns and (len(set(layout.columns)) != size or min(layout.columns) < 0):
        raise refuse(f"columns must be {size} distinct ones of its source")
    if layout.figure and (
        len(layout.figure) != size
        or not all(len(place) == 2 and all(map(math.isfinite, place)) for place in layout.figure)
    ):
        raise refuse(f"figure must be x, y of each of its {size} keypoints, finite")


def flip_permutation(layout: LayoutSpec) -> NDArray[np.int64]:
    """Return the (V,) permutation that swaps left and right: ``flipped = joints[..., permutation, :]``."""
    order = np.arange(len(layout.names), dtype=np.int64)
    for a, b in layout.pairs:
        order[a], order[b] = b, a
    return order


def made_of(layout: LayoutSpec, source: str) -> bool:
    """Return whether ``layout`` is a selection of the layout called ``source``, or that layout itself."""
    current = layout
    while current.name != source:
        if not current.source:
            return False
        current = find_layout(current.source)
    return True


def columns_from(layout: LayoutSpec, source: str) -> NDArray[np.int64]:
    """Return the (V,) columns of the layout called ``source`` that make ``layout``, over several steps if
    needed.

    Raises:
        DataError: ``layout`` is not made of ``source``.
    """
    columns = np.arange(len(layout.names), dtype=np.int64)
    current = layout
    while current.name != source:
        if not current.source:
            raise DataError(
                f"keypoints of layout {source!r} cannot become {layout.name!r}: found no way back from "
                f"{current.name!r}; choose a layout whose source is {source!r}"
            )
        columns = np.asarray(current.columns, dtype=np.int64)[columns]
        current = find_layout(current.source)
    return columns


def select(joints: NDArray[Any], layout: LayoutSpec, source: str | None = None) -> NDArray[Any]:
    """Take the columns of ``layout`` out of keypoints of its source.

    Args:
        joints: (..., V_source, 3).
        layout: the wanted layout.
        source: name of the layout of ``joints``; by default ``layout.source`` (itself if it is native).

    Returns:
        (..., V, 3), a copy.

    Raises:
        DataError: the layouts do not fit, or ``joints`` has another number of keypoints than ``source``.
    """
    source = (layout.source or layout.name) if source is None else source
    wanted = len(find_layout(source).names)
    if joints.ndim < 2 or joints.shape[-2] != wanted:
        raise DataError(
            f"keypoints of shape {joints.shape} are not {source!r}: want {wanted} keypoints on the last "
            "axis but one; check the layout of the store"
        )
    return np.ascontiguousarray(joints[..., columns_from(layout, source), :])


def limb_matrix(layout: LayoutSpec) -> NDArray[np.float32]:
    """Return (V, V) A with A[v, u] = 1 where the bone that ends in u lies between the centre and v.

    Positions relative to the centre are ``A @ limbs``: it turns limb vectors back into keypoints.
    """
    size = len(layout.names)
    matrix = np.zeros((size, size), dtype=np.float32)
    for point in range(size):
        at = point
        while layout.parents[at] != at:
            matrix[point, at] = 1.0
            at = layout.parents[at]
    return matrix
