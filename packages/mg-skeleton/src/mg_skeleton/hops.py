"""Matrices of a layout's graph: distances in hops and what graph models make of them. numpy only.

In every matrix rows are keypoints that receive and columns keypoints that send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mg_data.contract import LayoutSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]


def adjacency(layout: LayoutSpec) -> Matrix:
    """Return (V, V), 1 where two keypoints share an edge; symmetric, 0 on the diagonal."""
    size = len(layout.names)
    matrix = np.zeros((size, size), dtype=np.float32)
    for a, b in layout.edges:
        matrix[a, b] = matrix[b, a] = 1
    np.fill_diagonal(matrix, 0)
    return matrix


def hop_distances(neighbours: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return (V, V): edges on the shortest way between two nodes of a graph; V where there is none.

    >>> hop_distances(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])).tolist()
    [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    """
    size = len(neighbours)
    step = (neighbours != 0) | np.eye(size, dtype=bool)
    reached = np.eye(size, dtype=bool)
    distances = np.where(reached, 0, size).astype(np.int64)
    for hops in range(1, size):
        grown = (reached.astype(np.float32) @ step.astype(np.float32)) > 0
        distances[grown & ~reached] = hops
        if (grown == reached).all():
            break
        reached = grown
    return distances


def disentangled(neighbours: NDArray[np.floating], scales: int) -> Matrix:
    """Return (scales, V, V): in matrix k the keypoints exactly k hops away, and the keypoint itself.

    Normalised as D^(-1/2) A D^(-1/2). MS-G3D, equation 3.
    """
    distances = hop_distances(neighbours)
    own = np.eye(len(distances), dtype=bool)
    stack = np.stack([(distances == k) | own for k in range(scales)]).astype(np.float32)
    degree = stack.sum(axis=2)
    graphs: Matrix = (stack / np.sqrt(degree[:, :, None] * degree[:, None, :])).astype(np.float32)
    return graphs
