"""CTR-GCN: a graph of its own for every channel, refined from one the channels share.

Chen et al., "Channel-wise Topology Refinement Graph Convolution for Skeleton-Based Action Recognition",
ICCV 2021 (arXiv 2107.12213). Preset ``full`` has its ten blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_data.contract import InputSpec, ModelOutput
from mg_skeleton.checks import at_least, check_batch, equally_long, keypoint_input, layout_of
from mg_skeleton.graph import directed_partition
from mg_skeleton.layers import Head, PointNorm, init_convolutions
from mg_skeleton.temporal import MultiScaleTemporal, project
from mg_skeleton.weights import load_weights

WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)


class RefinedGraphConvolution(nn.Module):
    """Equations 3 to 6 for three shared graphs A_s at once, summed, then ReLU(norm(sum) + shortcut(x)).

    Graph of channel c: R_c = A_s + alpha xi_c(tanh(phi(x)_u - psi(x)_v)), with x a mean over time. It
    starts as A_s (alpha = 0). Input (N, C_in, T, V), output (N, C_out, T, V).

    Args:
        graphs: (3, V, V), where A_s start, receivers first; they are learned.
        reduction: C_in / channels of phi and psi.
    """

    def __init__(self, in_channels: int, out_channels: int, graphs: Tensor, reduction: int = 8) -> None:
        super().__init__()
        subsets = len(graphs)
        relation = 8 if in_channels <= 16 else max(1, in_channels // reduction)
        self.graphs = nn.Parameter(graphs.clone())
        self.alpha = nn.Parameter(torch.zeros(()))
        self.phi = nn.Conv1d(in_channels, subsets * relation, 1)
        self.psi = nn.Conv1d(in_channels, subsets * relation, 1)
        self.xi = nn.Conv2d(subsets * relation, subsets * out_channels, 1, groups=subsets, bias=False)
        self.xi_bias = nn.Parameter(torch.zeros(subsets * out_channels))
        self.values = nn.Conv2d(in_channels, subsets * out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.shortcut = project(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        n, _, t, v = x.shape
        subsets = len(self.graphs)
        mean = x.mean(dim=2)  # (N, C_in, V)
        relation = torch.tanh(self.phi(mean)[..., :, None] - self.psi(mean)[..., None, :])  # (N, S R, V, V)
        # alpha xi(relation), without a pass over the largest tensor
        weight, bias = self.alpha * self.xi.weight, self.alpha * self.xi_bias
        refined = functional.conv2d(relation, weight, bias, groups=subsets)
        refined = refined.reshape(n, subsets, -1, v, v) + self.graphs[None, :, None]  # (N, S, C, V, V)
        values = self.values(x).reshape(n, subsets, -1, t, v)  # (N, S, C, T, V)
        y = (values @ refined.transpose(-1, -2)).sum(dim=1)  # (N, C, T, V)
        return torch.relu(self.norm(y) + self.shortcut(x))


class CTRGCNBlock(nn.Module):
    """x -> ReLU(temporal(graph(x)) + shortcut(x)); ``shortcut`` None for the first block.

    Input (N, C_in, T, V), output (N, C_out, ceil(T / stride), V).
    """

    def __init__(
        self, in_channels: int, out_channels: int, graphs: Tensor, *, stride: int, first: bool
    ) -> None:
        super().__init__()
        self.graph = RefinedGraphConvolution(in_channels, out_channels, graphs)
        self.temporal = MultiScaleTemporal(
            out_channels, out_channels, kernel=5, dilations=(1, 2), stride=stride
        )
        self.shortcut = None if first else project(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.temporal(self.graph(x))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class CTRGCN(nn.Module):
    """Normalised keypoints, blocks, mean over time and keypoints, classes.

    Args:
        num_classes: K. in_channels: C. graphs: (3, V, V): itself, inwards, outwards.
        widths: output channels of each block. strides: temporal stride of each block.
        feature_dim: of the feature f; 0 for the last width. dropout: of f, before the classifier.

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        graphs: Tensor,
        *,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        feature_dim: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sample_shape = (in_channels, None, graphs.shape[-1])
        self.normalise = PointNorm(in_channels, graphs.shape[-1])
        blocks, channels = [], in_channels
        for place, (width, stride) in enumerate(zip(widths, strides)):
            blocks.append(CTRGCNBlock(channels, width, graphs, stride=stride, first=place == 0))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        init_convolutions(self)
        for block in blocks:  # each graph convolution starts as its shortcut
            nn.init.constant_(block.graph.norm.weight, 1e-6)
        self.head = Head(channels, num_classes, feature_dim, dropout)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("ctr-gcn", x, self.sample_shape)
        x = self.blocks(self.normalise(x))  # (N, C_last, T', V)
        out: ModelOutput = self.head(x.mean(dim=(2, 3)))
        return out


def build(
    num_classes: int,
    *,
    input: InputSpec,
    widths: Sequence[int] = WIDTHS,
    strides: Sequence[int] = STRIDES,
    feature_dim: int = 0,
    dropout: float = 0.0,
    weights: str = "",
) -> CTRGCN:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V), of a registered layout.

    Args:
        weights: file with initial weights (``mg models convert``, or a checkpoint). The rest:
            :class:`CTRGCN`.

    Raises:
        UsageError: the input is of another kind, or widths and strides do not fit.
        DataError: the weights do not fit.
    """
    channels = keypoint_input("ctr-gcn", input)[0]
    layout = layout_of("ctr-gcn", input)
    equally_long("ctr-gcn", widths=widths, strides=strides)
    at_least("ctr-gcn", 4, widths=widths)
    at_least("ctr-gcn", 1, strides=strides)
    model = CTRGCN(
        num_classes,
        channels,
        torch.from_numpy(directed_partition(layout)).transpose(1, 2),
        widths=widths,
        strides=strides,
        feature_dim=feature_dim,
        dropout=dropout,
    )
    if weights:
        load_weights(model, weights, model_name="ctr-gcn")
    return model
