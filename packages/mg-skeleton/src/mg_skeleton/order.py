"""Orders in which a convolution along the keypoints may meet them, and a layer that needs no order.

A (1 x 3) convolution sees a keypoint between its two neighbours in a list. A layout's own list follows the
anatomical chains; the others are here to show what that is worth.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_data.contract import LayoutSpec

ORDERS = ("layout", "shuffled", "walk", "attend")


def shuffled(num_points: int, seed: int) -> NDArray[np.int64]:
    """Return a permutation (V,) drawn from ``seed``: neighbours in the list have nothing in common."""
    return np.random.default_rng(seed).permutation(num_points)


def walk(layout: LayoutSpec) -> NDArray[np.int64]:
    """Return (2 V - 1,): the way from the centre along every bone, there and back, depth first.

    Each step goes along a bone, so that every neighbour in the list is one in the body; keypoints where
    chains meet come several times.

    >>> from mg_data.keypoints.layouts import find_layout
    >>> walk(find_layout("kinect-20"))[:8].tolist()  # hip centre, spine, shoulders, head and back, an arm
    [3, 2, 1, 0, 1, 4, 5, 6]
    """
    ends: dict[int, list[int]] = {}
    for point, parent in enumerate(layout.parents):
        if point != parent:
            ends.setdefault(parent, []).append(point)
    steps: list[int] = []

    def visit(point: int) -> None:
        steps.append(point)
        for end in ends.get(point, ()):
            visit(end)
            steps.append(point)

    visit(layout.centre)
    return np.array(steps, np.int64)


class KeypointAttention(nn.Module):
    """x + gate * values(x) gathered by softmax over keypoints: each meets all others, whatever the order.

    Weights of keypoint v for u come from the clip's mean over time and from a learned table (V, V). The gate
    starts at 0, so that the network starts as the one without this layer.

    Input and output (N, C, T, V).
    """

    def __init__(self, channels: int, num_points: int, inner: int = 16) -> None:
        super().__init__()
        self.scale = inner**-0.5
        self.query = nn.Linear(channels, inner)
        self.key = nn.Linear(channels, inner)
        self.values = nn.Conv2d(channels, channels, 1, bias=False)
        self.table = nn.Parameter(torch.zeros(num_points, num_points))
        self.gate = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=2).transpose(1, 2)  # (N, V, C)
        likeness = self.query(mean) @ self.key(mean).transpose(1, 2) * self.scale + self.table  # (N, V, V)
        weights = likeness.softmax(dim=2)
        gathered = self.values(x) @ weights.transpose(1, 2)[:, None]  # (N, C, T, V)
        out: Tensor = x + self.gate * gathered
        return out
