"""DG-STGCN: groups of learned graphs in place of a skeleton, temporal branches that also see the whole body.

Duan et al., "DG-STGCN: Dynamic Spatial-Temporal Modeling for Skeleton-based Action Recognition", 2022
(arXiv 2210.05895). Preset ``full`` has its ten blocks and eight groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput
from mg_skeleton.checks import at_least, check_batch, divisible, equally_long, keypoint_input
from mg_skeleton.layers import Head, PointNorm, init_convolutions
from mg_skeleton.temporal import project, temporal_convolution

WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)


class DynamicGroupGraph(nn.Module):
    """DG-GCN, section 3.2: channels fall into G groups; group g, channel c uses the graph
    A_g + alpha_g tanh(phi_u - psi_v) + beta_g softmax_u(phi_u . psi_v).

    A_g starts at random, alpha and beta at 0. Input (N, C_in, T, V), output (N, C_out, T, V).
    """

    def __init__(self, in_channels: int, out_channels: int, num_points: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.graphs = nn.Parameter(torch.randn(groups, num_points, num_points) * 0.02 + 0.04)
        self.alpha = nn.Parameter(torch.zeros(groups))
        self.beta = nn.Parameter(torch.zeros(groups))
        self.enter = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.phi = nn.Conv1d(in_channels, out_channels, 1)
        self.psi = nn.Conv1d(in_channels, out_channels, 1)
        self.leave = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.shortcut = project(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        n, _, t, v = x.shape
        mean = x.mean(dim=2)  # (N, C_in, V)
        phi = self.phi(mean).reshape(n, self.groups, -1, v)  # (N, G, C, V)
        psi = self.psi(mean).reshape(n, self.groups, -1, v)
        of_channel = torch.tanh(phi[..., :, None] - psi[..., None, :])  # (N, G, C, V, V)
        of_group = (phi.transpose(-1, -2) @ psi).softmax(dim=-2)  # (N, G, V, V)
        shared = self.graphs + self.beta[:, None, None] * of_group
        graphs = self.alpha[:, None, None, None] * of_channel + shared[:, :, None]
        y = self.enter(x).reshape(n, self.groups, -1, t, v) @ graphs  # (N, G, C, T, V)
        y = self.norm(self.leave(y.reshape(n, -1, t, v)))
        return torch.relu(y + self.shortcut(x))


class DynamicGroupTemporal(nn.Module):
    """DG-TCN, section 3.3: six temporal branches over the keypoints and over their mean, the "skeleton";
    the skeleton's result is added to each keypoint's by a learned share, at first 0.

    Branches: 3-frame convolutions of dilation 1 to 4, a maximum over three frames, a 1 x 1 convolution.
    Input (N, C, T, V), output (N, C, ceil(T / stride), V), no activation behind it.
    """

    def __init__(self, channels: int, num_points: int, stride: int) -> None:
        super().__init__()
        width = channels // 6
        self.widths = [channels - 5 * width] + [width] * 4
        self.enter = nn.Sequential(
            nn.Conv2d(channels, sum(self.widths), 1, bias=False),
            nn.BatchNorm2d(sum(self.widths)),
            nn.ReLU(inplace=True),
        )
        self.dilated = nn.ModuleList(
            temporal_convolution(part, part, 3, stride=stride, dilation=dilation)
            for part, dilation in zip(self.widths, (1, 2, 3, 4))
        )
        self.maximum = nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
        self.plain = temporal_convolution(channels, width, 1, stride=stride)
        self.share = nn.Parameter(torch.zeros(num_points))  # of the skeleton in each keypoint
        self.leave = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x.mean(dim=3, keepdim=True)], dim=3)  # (N, C, T, V + 1)
        parts = self.enter(x).split(self.widths, dim=1)
        branches = [convolution(part) for convolution, part in zip(self.dilated, parts)]
        y = torch.cat([*branches, self.maximum(parts[-1]), self.plain(x)], dim=1)  # (N, C, T', V + 1)
        out: Tensor = self.leave(y[..., :-1] + y[..., -1:] * self.share)
        return out


class DGBlock(nn.Module):
    """x -> ReLU(temporal(graph(x)) + shortcut(x)); ``shortcut`` None for the first block."""

    def __init__(
        self, in_channels: int, out_channels: int, num_points: int, *, groups: int, stride: int, first: bool
    ) -> None:
        super().__init__()
        self.graph = DynamicGroupGraph(in_channels, out_channels, num_points, groups)
        self.temporal = DynamicGroupTemporal(out_channels, num_points, stride)
        self.shortcut = None if first else project(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.temporal(self.graph(x))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class DGSTGCN(nn.Module):
    """Normalised keypoints, blocks, mean over time and keypoints, classes.

    Args:
        num_classes: K. in_channels: C. num_points: V.
        widths: output channels of each block. strides: temporal stride of each block.
        groups: G, of channels with a graph of their own.
        feature_dim: of the feature f; 0 for the last width. dropout: of f, before the classifier.

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_points: int,
        *,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        groups: int = 8,
        feature_dim: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sample_shape = (in_channels, None, num_points)
        self.normalise = PointNorm(in_channels, num_points)
        blocks, channels = [], in_channels
        for place, (width, stride) in enumerate(zip(widths, strides)):
            blocks.append(
                DGBlock(channels, width, num_points, groups=groups, stride=stride, first=place == 0)
            )
            channels = width
        self.blocks = nn.Sequential(*blocks)
        init_convolutions(self)
        self.head = Head(channels, num_classes, feature_dim, dropout)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("dg-stgcn", x, self.sample_shape)
        x = self.blocks(self.normalise(x))  # (N, C_last, T', V)
        out: ModelOutput = self.head(x.mean(dim=(2, 3)))
        return out


def build(
    num_classes: int,
    *,
    input: InputSpec,
    widths: Sequence[int] = WIDTHS,
    strides: Sequence[int] = STRIDES,
    groups: int = 8,
    feature_dim: int = 0,
    dropout: float = 0.0,
) -> DGSTGCN:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V).

    Raises:
        UsageError: the input is of another kind, or widths, strides and groups do not fit.
    """
    channels, _, points = keypoint_input("dg-stgcn", input)
    equally_long("dg-stgcn", widths=widths, strides=strides)
    at_least("dg-stgcn", 6, widths=widths)
    at_least("dg-stgcn", 1, strides=strides, groups=groups)
    divisible("dg-stgcn", groups, "the option groups", widths=widths)
    return DGSTGCN(
        num_classes,
        channels,
        points,
        widths=widths,
        strides=strides,
        groups=groups,
        feature_dim=feature_dim,
        dropout=dropout,
    )
