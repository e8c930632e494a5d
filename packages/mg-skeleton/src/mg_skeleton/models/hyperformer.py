"""Hyperformer: attention between keypoints that knows how many hops apart they are and which limb is whose.

Zhou et al., "Hypergraph Transformer for Skeleton-based Action Recognition", 2022 (arXiv 2211.09590).
Preset ``full`` has its ten blocks and nine heads of 24 channels. Its hyperedges are groups of keypoints that
together make a limb; the publication draws them by hand, here they come from the layout's bones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, LayoutSpec, ModelOutput
from mg_skeleton.body_parts import body_parts
from mg_skeleton.checks import at_least, check_batch, divisible, keypoint_input, layout_of
from mg_skeleton.hops import adjacency, hop_distances
from mg_skeleton.layers import Head, PointNorm, init_convolutions
from mg_skeleton.temporal import MultiScaleTemporal, project

STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)


class HypergraphAttention(nn.Module):
    """HyperSA, equation 9, of the keypoints of each frame:
    q_i . k_j (joint to joint) + q_i . r_h(i,j) (hops) + q_i . e_j (joint to hyperedge) + u . e_j (hyperedge).

    e_j is the projected mean of the hyperedge that j belongs to. The result is (B + alpha softmax(...)) v,
    with B, learned for each head, the identity at first and alpha 0. Input (N, C_in, T, V), output
    (N, C, T, V).

    Args:
        hops: (V, V) int64 distances. members: (E, V), the share of each keypoint in the mean of each
            hyperedge; each keypoint belongs to one.
    """

    def __init__(self, in_channels: int, channels: int, heads: int, hops: Tensor, members: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.hops: Tensor
        self.members: Tensor
        self.register_buffer("hops", hops, persistent=False)
        # (V, V): from keypoints to the mean of the hyperedge of each
        self.register_buffer("members", (members > 0).float().T @ members, persistent=False)
        self.norm = nn.LayerNorm(in_channels)
        self.query = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.key_value = nn.Conv2d(in_channels, 2 * channels, 1, bias=False)
        self.hyperedge = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.hop_embedding = nn.Parameter(torch.zeros(int(hops.max()) + 1, channels))  # r
        self.hyperedge_bias = nn.Parameter(torch.zeros(heads, channels // heads))  # u
        self.outer = nn.Parameter(torch.eye(len(hops)).repeat(heads, 1, 1))  # B
        self.alpha = nn.Parameter(torch.zeros(()))
        self.leave = nn.Conv2d(channels, channels, 1, groups=math.gcd(6, channels), bias=False)

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, C, T, V) -> (N, T, heads, V, C / heads)."""
        n, c, t, v = x.shape
        return x.reshape(n, self.heads, c // self.heads, t, v).permute(0, 3, 1, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        e = self._by_head(self.hyperedge(x @ self.members.T))  # (N, T, H, V, c)
        x = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        q = self._by_head(self.query(x)) / math.sqrt(e.shape[-1])
        keys, values = self.key_value(x).chunk(2, dim=1)
        k, v = self._by_head(keys), self._by_head(values)
        r = self.hop_embedding.reshape(-1, self.heads, q.shape[-1])[self.hops]  # (V, V, H, c)
        scores = q @ (k + e).transpose(-1, -2)  # (N, T, H, V, V)
        scores = scores + torch.einsum("nthic,ijhc->nthij", q, r)
        bias = self.hyperedge_bias / math.sqrt(e.shape[-1])
        scores = scores + torch.einsum("hc,nthjc->nthj", bias, e)[..., None, :]
        y = (self.outer + self.alpha * scores.softmax(dim=-1)) @ v  # (N, T, H, V, c)
        out: Tensor = self.leave(y.permute(0, 2, 4, 1, 3).flatten(1, 2))
        return out


class HyperformerBlock(nn.Module):
    """x -> ReLU(temporal(y) + shortcut(x)), y = projection(x) + attention(x).

    Input (N, C_in, T, V), output (N, C, ceil(T / stride), V).
    """

    def __init__(
        self, in_channels: int, channels: int, heads: int, hops: Tensor, members: Tensor, stride: int
    ) -> None:
        super().__init__()
        self.attention = HypergraphAttention(in_channels, channels, heads, hops, members)
        self.projection: nn.Module = nn.Identity()
        if in_channels != channels:
            self.projection = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.temporal = MultiScaleTemporal(channels, channels, kernel=5, dilations=(1, 2), stride=stride)
        self.shortcut = project(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.projection(x) + self.attention(x)
        return torch.relu(self.temporal(y) + self.shortcut(x))


class Hyperformer(nn.Module):
    """Normalised keypoints, blocks of one width, mean over time and keypoints, classes.

    Args:
        num_classes: K. in_channels: C. layout: of the keypoints; its graph gives hops and hyperedges.
        heads, head_channels: the width is their product. strides: temporal stride of each block.
        feature_dim: of the feature f; 0 for the width. dropout: of f, before the classifier.

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        layout: LayoutSpec,
        *,
        heads: int = 9,
        head_channels: int = 24,
        strides: Sequence[int] = STRIDES,
        feature_dim: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        num_points = len(layout.names)
        self.sample_shape = (in_channels, None, num_points)
        hops = torch.from_numpy(hop_distances(adjacency(layout)))
        parts = body_parts(layout)
        members = torch.zeros(len(parts), num_points)
        for edge, part in enumerate(parts):
            members[edge, list(part)] = 1 / len(part)
        self.normalise = PointNorm(in_channels, num_points)
        width = heads * head_channels
        inputs = (in_channels, *[width] * (len(strides) - 1))
        self.blocks = nn.Sequential(
            *(
                HyperformerBlock(channels, width, heads, hops, members, stride)
                for channels, stride in zip(inputs, strides)
            )
        )
        init_convolutions(self)
        self.head = Head(width, num_classes, feature_dim, dropout)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("hyperformer", x, self.sample_shape)
        x = self.blocks(self.normalise(x))  # (N, C, T', V)
        out: ModelOutput = self.head(x.mean(dim=(2, 3)))
        return out


def build(
    num_classes: int,
    *,
    input: InputSpec,
    heads: int = 9,
    head_channels: int = 24,
    strides: Sequence[int] = STRIDES,
    feature_dim: int = 0,
    dropout: float = 0.0,
) -> Hyperformer:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V), of a registered layout.

    Raises:
        UsageError: the input is of another kind, or an option is out of range.
    """
    channels = keypoint_input("hyperformer", input)[0]
    layout = layout_of("hyperformer", input)
    at_least("hyperformer", 1, heads=heads, strides=strides)
    at_least("hyperformer", 4, head_channels=head_channels)
    divisible("hyperformer", 4, "branches of the temporal convolution", head_channels=head_channels)
    return Hyperformer(
        num_classes,
        channels,
        layout,
        heads=heads,
        head_channels=head_channels,
        strides=strides,
        feature_dim=feature_dim,
        dropout=dropout,
    )
