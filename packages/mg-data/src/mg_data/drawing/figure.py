"""Where the points of a layout lie in a drawing: its own figure, or one worked out from its graph.

Pure functions, numpy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mg_data.contract.specs import LayoutSpec
from mg_data.keypoints.layouts import flip_permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HIGH = ("head", "nose", "eye", "face", "neck", "top")
_ROUNDS = 150


def sides(layout: LayoutSpec) -> NDArray[np.int8]:
    """Return (V,) the side of each keypoint: 1 the person's left, -1 the right, 0 the middle.

    The names tell; where they do not, the figure (the person's left is on the viewer's right); without both
    the first of a pair counts as left.
    """
    side = np.zeros(len(layout.names), np.int8)
    for first, second in layout.pairs:
        left = [("left" in layout.names[point].lower()) for point in (first, second)]
        if left[0] == left[1] and layout.figure:
            left[0] = layout.figure[first][0] > layout.figure[second][0]
        elif left[0] == left[1]:
            left[0] = True
        side[first], side[second] = (1, -1) if left[0] else (-1, 1)
    return side


def figure_places(layout: LayoutSpec) -> NDArray[np.float64]:
    """Return (V, 2) the places of the keypoints: x to the viewer's right, y downwards, any unit."""
    if layout.figure:
        return np.asarray(layout.figure, np.float64)
    return figure_from_graph(layout)


def graph_distances(layout: LayoutSpec) -> NDArray[np.float64]:
    """Return (V, V) the number of edges on the shortest way between two keypoints."""
    size = len(layout.names)
    near = np.zeros((size, size), bool)
    for a, b in layout.edges:
        near[a, b] = near[b, a] = True
    distance = np.full((size, size), np.inf)
    reached = np.eye(size, dtype=bool)
    front, steps = reached, 0
    while front.any():
        distance[front] = steps
        front = (front.astype(np.float32) @ near > 0) & ~reached
        reached |= front
        steps += 1
    distance[np.isinf(distance)] = steps  # parts that hang together by nothing are kept apart
    return distance


def figure_from_graph(layout: LayoutSpec) -> NDArray[np.float64]:
    """Place the keypoints so that distances on paper follow distances in the graph.

    Stress majorisation with weights 1 / d^2, begun at the principal axes of the squared distances. The flip
    is a symmetry of the graph: an axis that it turns around becomes x, one that it keeps becomes y. Each
    step keeps the figure mirrored, and the person's left on the viewer's right. A layout without pairs has
    no sides, and both axes are free.

    Returns:
        (V, 2); the same for the same layout on every machine, to rounding.
    """
    size = len(layout.names)
    if size < 2:
        return np.zeros((size, 2))
    distance = graph_distances(layout)
    flip = flip_permutation(layout)
    side = sides(layout)
    swap = np.eye(size)[flip]
    centred = np.eye(size) - 1 / size
    inner = -centred @ np.square(distance) @ centred / 2
    odd, even = (np.eye(size) - swap) / 2, (np.eye(size) + swap) / 2
    if layout.pairs:
        across = side * np.abs(_axis(odd @ inner @ odd))
        places = np.stack([across, _axis(even @ inner @ even)], axis=1)
    else:
        values, vectors = np.linalg.eigh(inner)
        places = vectors[:, -1:-3:-1] * np.sqrt(np.maximum(values[-1:-3:-1], 1e-6))
    # Points that the axes do not tell apart must not start in one place; the nudge is mirrored like the rest.
    nudge = np.sin(np.arange(size)[:, None] * [[12.9898, 78.233]]) * 0.05
    places = _mirrored(places + nudge, flip) if layout.pairs else places + nudge
    weight = np.divide(1.0, np.square(distance), out=np.zeros_like(distance), where=distance > 0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian)
    for _ in range(_ROUNDS):
        gap = np.linalg.norm(places[:, None] - places[None], axis=-1)
        ratio = np.divide(-weight * distance, gap, out=np.zeros_like(gap), where=gap > 1e-9)
        np.fill_diagonal(ratio, 0.0)
        np.fill_diagonal(ratio, -ratio.sum(axis=1))
        places = inverse @ (ratio @ places)
        if layout.pairs:
            places = _mirrored(places, flip)
            places[:, 0] = side * np.maximum(places[:, 0] * side, 0.05)
    return _upright(places, layout)


def _axis(inner: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh((inner + inner.T) / 2)
    return np.asarray(vectors[:, -1] * np.sqrt(max(values[-1], 1e-6)))


def _mirrored(places: NDArray[np.float64], flip: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray((places + places[flip] * [-1.0, 1.0]) / 2)


def _upright(places: NDArray[np.float64], layout: LayoutSpec) -> NDArray[np.float64]:
    """Turn the figure so that heads are up, or the first keypoint if none is named so."""
    high = [point for point, name in enumerate(layout.names) if any(word in name.lower() for word in _HIGH)]
    top = places[high or [0], 1].mean()
    if top > places[:, 1].mean():
        places = places * [1.0, -1.0]
    if not layout.pairs and places[-1, 0] < places[0, 0]:
        places = places * [-1.0, 1.0]
    return places
