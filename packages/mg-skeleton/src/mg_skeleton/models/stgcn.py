"""ST-GCN: spatial-temporal graph convolutions over keypoints (Yan et al. 2018, arXiv 1801.07455; the paper's
baseline over 35 keypoints, section 4.4).

Preset ``full`` is the public implementation exactly: with the same weights and adjacency it gives the same
logits. ``mg_skeleton.graph`` makes the adjacency from any layout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput
from mg_skeleton.checks import at_least, check_batch, equally_long, keypoint_input, layout_of
from mg_skeleton.graph import spatial_partition
from mg_skeleton.temporal import pointwise
from mg_skeleton.weights import load_weights

WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)


class GraphConvolution(nn.Module):
    """sum_k W_k x (A_k * M_k): every keypoint gathers from its neighbours, each subset k by weights of its
    own (ST-GCN equation 10); M is the learned importance of each edge (section 3.4).

    Input (N, C_in, T, V), output (N, C_out, T, V).
    """

    def __init__(self, in_channels: int, out_channels: int, num_subsets: int, num_points: int) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.ones(num_subsets, num_points, num_points))
        self.project = nn.Conv2d(in_channels, num_subsets * out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        n, _, t, v = x.shape
        k = len(adjacency)
        x = self.project(x).view(n, k, -1, v)  # (N, K, C T, V)
        x = torch.matmul(x, adjacency * self.importance).sum(dim=1)  # (N, C T, V)
        return torch.relu(self.norm(x.view(n, -1, t, v)))


class STGCNBlock(nn.Module):
    """x -> ReLU(temporal(graph(x)) + shortcut(x)); the temporal convolution spans 9 frames.

    Input (N, C_in, T, V), output (N, C_out, ceil(T / stride), V).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        num_subsets: int,
        num_points: int,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.graph = GraphConvolution(in_channels, out_channels, num_subsets, num_points)
        self.temporal = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, (9, 1), stride=(stride, 1), padding=(4, 0)),
            nn.BatchNorm2d(out_channels),
        )
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.shortcut: nn.Module = nn.Identity()
        if residual and (stride != 1 or in_channels != out_channels):
            self.shortcut = nn.Sequential(
                pointwise(in_channels, out_channels, stride=stride, bias=True), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        y = self.dropout(self.temporal(self.graph(x, adjacency)))
        return torch.relu(y + self.shortcut(x) if self.residual else y)


class STGCN(nn.Module):
    """Normalisation of every channel of every keypoint, blocks, mean over time and keypoints, classes.

    Args:
        num_classes: K. in_channels: C. adjacency: (subsets, V, V), see :mod:`mg_skeleton.graph`.
        widths: output channels of each block. strides: temporal stride of each block.
        feature_dim: 0: the pooled channels are the feature f, as in the paper; else f is a linear layer of
            them, which may be negative like the anchors of the semantic loss.
        dropout: of f, in front of the classifier. block_dropout: inside each block.

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    adjacency: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        adjacency: NDArray[np.float32],
        *,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        feature_dim: int = 0,
        dropout: float = 0.0,
        block_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        equally_long("st-gcn", widths=widths, strides=strides)
        at_least("st-gcn", 1, widths=widths, strides=strides)
        at_least("st-gcn", 0, feature_dim=feature_dim)
        num_subsets, num_points = adjacency.shape[:2]
        self.register_buffer("adjacency", torch.from_numpy(adjacency.astype(np.float32)))
        self.in_channels, self.num_points = in_channels, num_points
        self.normalise = nn.BatchNorm1d(num_points * in_channels)
        self.blocks = nn.ModuleList(
            STGCNBlock(
                channels,
                width,
                stride,
                num_subsets=num_subsets,
                num_points=num_points,
                residual=number > 0,
                dropout=block_dropout,
            )
            for number, (channels, width, stride) in enumerate(
                zip((in_channels, *widths[:-1]), widths, strides)
            )
        )
        self.feature: nn.Module = nn.Linear(widths[-1], feature_dim) if feature_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim or widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("st-gcn", x, (self.in_channels, None, self.num_points))
        n, c, t, v = x.shape
        x = self.normalise(x.permute(0, 3, 1, 2).reshape(n, v * c, t))
        x = x.view(n, v, c, t).permute(0, 2, 3, 1).contiguous()  # (N, C, T, V)
        for block in self.blocks:
            x = block(x, self.adjacency)  # (N, C', T', V)
        f = self.feature(x.mean(dim=(2, 3)))  # (N, d)
        return ModelOutput(logits=self.classifier(self.dropout(f)), feature=f)


def build(
    num_classes: int,
    *,
    input: InputSpec,
    widths: Sequence[int] = WIDTHS,
    strides: Sequence[int] = STRIDES,
    reach: int = 0,
    feature_dim: int = 0,
    dropout: float = 0.0,
    block_dropout: float = 0.0,
    weights: str = "",
) -> STGCN:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V), over its layout's graph.

    Args:
        reach: 0 tells neighbours apart by their true distance from the centre; 1 as the public
            implementations do, see :func:`mg_skeleton.graph.spatial_partition`.
        weights: file with initial weights (``mg models convert``, or a checkpoint). The rest: :class:`STGCN`.

    Raises:
        UsageError: the input is of another kind. PluginError: its layout is unknown.
        DataError: the weights do not fit.
    """
    channels, _, _ = keypoint_input("st-gcn", input)
    at_least("st-gcn", 0, reach=reach)
    model = STGCN(
        num_classes,
        channels,
        spatial_partition(layout_of("st-gcn", input), reach=reach or np.inf),
        widths=widths,
        strides=strides,
        feature_dim=feature_dim,
        dropout=dropout,
        block_dropout=block_dropout,
    )
    if weights:
        load_weights(model, weights, model_name="st-gcn")
    return model
