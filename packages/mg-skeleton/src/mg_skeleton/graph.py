"""Adjacency matrices of a keypoint layout's graph, for graph convolutions. numpy only.

Both are (3, V, V) with A[k, v, w] != 0 where keypoint w gathers from keypoint v in subset k, and each column
is divided by the number of keypoints that w gathers from.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import LayoutSpec

Edge = tuple[int, int]


def bones(layout: LayoutSpec) -> tuple[Edge, ...]:
    """Return (parent, point) of every keypoint but the centre: the edges without those that close loops."""
    return tuple((parent, point) for point, parent in enumerate(layout.parents) if parent != point)


def hop_distances(num_points: int, edges: Iterable[Edge], centre: int) -> NDArray[np.float64]:
    """Return (V,): how many edges lie between each keypoint and the centre, infinite where there is no way.

    >>> hop_distances(4, [(0, 1), (1, 2)], 0)
    array([ 0.,  1.,  2., inf])
    """
    near: list[list[int]] = [[] for _ in range(num_points)]
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    hops = np.full(num_points, np.inf)
    hops[centre] = 0
    front = [centre]
    for point in front:
        for other in near[point]:
            if np.isinf(hops[other]):
                hops[other] = hops[point] + 1
                front.append(other)
    return hops


def spatial_partition(
    layout: LayoutSpec, *, edges: Iterable[Edge] = (), centre: int | None = None, reach: float = np.inf
) -> NDArray[np.float32]:
    """Return the spatial configuration of ST-GCN (Yan et al. 2018, section 3.3): the keypoint itself,
    neighbours at least as far from the centre (centrifugal), neighbours nearer to it (centripetal).

    Distance is counted in edges where the paper takes the mean distance from the centre of gravity.

    Args:
        edges: those of the layout by default. centre: likewise.
        reach: distances above it count as equal. The public implementations know distances up to 1 only,
            so that neighbours beyond the centre's own all fall into the centrifugal subset; ``reach=1``
            gives their matrices.
    """
    size = len(layout.names)
    edges = tuple(edges) or layout.edges
    hops = hop_distances(size, edges, layout.centre if centre is None else centre)
    hops = np.where(hops > reach, np.inf, hops)
    linked = np.eye(size)
    for a, b in edges:
        linked[a, b] = linked[b, a] = 1
    share = linked / linked.sum(axis=0)
    itself = np.eye(size, dtype=bool)
    nearer = hops[:, None] < hops[None, :]  # v is nearer to the centre than w
    return np.stack([share * itself, share * (~itself & ~nearer), share * nearer]).astype(np.float32)


def directed_partition(layout: LayoutSpec, *, edges: Iterable[Edge] = ()) -> NDArray[np.float32]:
    """Return the keypoint itself, its neighbour nearer to the centre, those farther from it, each subset
    normalised alone (2s-AGCN, CTR-GCN, ST-GCN++, where the last two are called inward and outward).

    Of two equally distant keypoints the first of the edge counts as nearer.

    Args:
        edges: those of the layout by default.
    """
    size = len(layout.names)
    edges = tuple(edges) or layout.edges
    hops = hop_distances(size, edges, layout.centre)
    nearer = np.zeros((size, size))
    for a, b in edges:
        first, second = (a, b) if hops[a] <= hops[b] else (b, a)
        nearer[first, second] = 1
    subsets = [matrix / np.maximum(matrix.sum(axis=0), 1) for matrix in (np.eye(size), nearer, nearer.T)]
    return np.stack(subsets).astype(np.float32)
