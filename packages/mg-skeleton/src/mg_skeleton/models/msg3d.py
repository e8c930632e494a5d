"""MS-G3D: neighbourhoods of several sizes kept apart, in space and in windows of space-time.

Liu et al., "Disentangling and Unifying Graph Convolutions for Skeleton-Based Action Recognition", CVPR 2020
(arXiv 2003.14111). Preset ``full`` has its three blocks of 96, 192 and 384 channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_skeleton.checks import at_least, check_batch, keypoint_input, layout_of
from mg_skeleton.hops import adjacency, disentangled
from mg_skeleton.layers import Head, PointNorm, init_convolutions
from mg_skeleton.temporal import MultiScaleTemporal, project


class MultiScaleGraph(nn.Module):
    """Equation 4: ReLU(norm(sum_k (A_k + B_k) x W_k)) for neighbourhoods k = 0, 1, ... hops away.

    Input (N, C_in, T, V), output (N, C_out, T, V). B_k are learned and start near 0.

    Args:
        neighbours: (V, V), of keypoints, or of the keypoints of all frames of a window.
    """

    def __init__(
        self, in_channels: int, out_channels: int, neighbours: NDArray[np.float32], scales: int
    ) -> None:
        super().__init__()
        graphs = torch.from_numpy(disentangled(neighbours, scales))  # (K, V, V)
        self.graphs: Tensor
        self.register_buffer("graphs", graphs, persistent=False)
        self.residual = nn.Parameter(torch.empty_like(graphs).uniform_(-1e-6, 1e-6))
        self.mix = nn.Conv2d(in_channels * scales, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v = x.shape
        graphs = self.graphs + self.residual
        x = x.reshape(n, c * t, v) @ graphs.reshape(-1, v).T  # (N, C T, K V)
        x = x.reshape(n, c, t, -1, v).permute(0, 3, 1, 2, 4).reshape(n, -1, t, v)  # (N, K C, T, V)
        return torch.relu(self.norm(self.mix(x)))


class WindowedGraph(nn.Module):
    """G3D, section 3.3: a graph convolution over the keypoints of ``window`` frames, then their collapse.

    Within a window every frame's keypoint is tied to its neighbours in all frames (equation 5). Input
    (N, C_in, T, V), output (N, C_out, ceil(T / stride), V), no activation behind it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        neighbours: NDArray[np.float32],
        *,
        scales: int,
        window: int,
        stride: int,
        first: bool,
    ) -> None:
        super().__init__()
        self.window, self.stride = window, stride
        # The first block widens here, the others when the window collapses.
        inner = out_channels if first else in_channels
        size = len(neighbours)
        tiled = np.tile(neighbours + np.eye(size, dtype=np.float32), (window, window))
        self.graph = MultiScaleGraph(in_channels, inner, tiled, scales)
        self.collapse = nn.Conv3d(inner, out_channels, (1, window, 1), bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        n, v = x.shape[0], x.shape[3]
        x = nn.functional.pad(x, (0, 0, self.window // 2, self.window // 2))
        frames = (x.shape[2] - self.window) // self.stride + 1
        span = (frames - 1) * self.stride + 1
        windows = [x[:, :, lag : lag + span : self.stride] for lag in range(self.window)]
        x = self.graph(torch.cat(windows, dim=3))  # (N, C, T', window V)
        x = self.collapse(x.reshape(n, -1, frames, self.window, v))[:, :, :, 0]  # (N, C_out, T', V)
        out: Tensor = self.norm(x)
        return out


class ResidualTemporal(nn.Module):
    """Multi-scale temporal convolution plus shortcut, then ReLU unless ``linear``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.scales = MultiScaleTemporal(in_channels, out_channels, stride=stride)
        self.shortcut = project(in_channels, out_channels, stride)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scales(x) + self.shortcut(x)
        return y if self.linear else torch.relu(y)


class MSG3DBlock(nn.Module):
    """Figure 3b: factorised pathway + one G3D pathway for each window, ReLU, temporal convolution.

    Input (N, C_in, T, V), output (N, C_out, ceil(T / stride), V).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        neighbours: NDArray[np.float32],
        *,
        scales: int,
        window_scales: int,
        windows: Sequence[int],
        stride: int,
        first: bool,
    ) -> None:
        super().__init__()
        inner = out_channels if first else in_channels
        self.factorised = nn.Sequential(
            MultiScaleGraph(in_channels, inner, neighbours, scales),
            ResidualTemporal(inner, out_channels, stride),
            ResidualTemporal(out_channels, out_channels, linear=True),
        )
        self.windowed = nn.ModuleList(
            WindowedGraph(
                in_channels,
                out_channels,
                neighbours,
                scales=window_scales,
                window=window,
                stride=stride,
                first=first,
            )
            for window in windows
        )
        self.temporal = ResidualTemporal(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.factorised(x)
        for path in self.windowed:
            y = y + path(x)
        out: Tensor = self.temporal(torch.relu(y))
        return out


class MSG3D(nn.Module):
    """Normalised keypoints, blocks (each twice as wide as the one before), mean, classes.

    Args:
        num_classes: K. in_channels: C. neighbours: (V, V) adjacency of the layout.
        base_channels: of the first block. strides: temporal stride of each block.
        scales: neighbourhoods 0 to ``scales`` - 1 hops away; window_scales: the same within windows.
        windows: frames of each G3D pathway, odd; () for none.
        feature_dim: of the feature f; 0 for the last width. dropout: of f, before the classifier.

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        neighbours: NDArray[np.float32],
        *,
        base_channels: int = 96,
        strides: Sequence[int] = (1, 2, 2),
        scales: int = 13,
        window_scales: int = 6,
        windows: Sequence[int] = (3, 5),
        feature_dim: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.sample_shape = (in_channels, None, len(neighbours))
        self.normalise = PointNorm(in_channels, len(neighbours))
        blocks, channels = [], in_channels
        for place, stride in enumerate(strides):
            width = base_channels * 2**place
            blocks.append(
                MSG3DBlock(
                    channels,
                    width,
                    neighbours,
                    scales=scales,
                    window_scales=window_scales,
                    windows=windows,
                    stride=stride,
                    first=place == 0,
                )
            )
            channels = width
        self.blocks = nn.Sequential(*blocks)
        init_convolutions(self)
        self.head = Head(channels, num_classes, feature_dim, dropout)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("ms-g3d", x, self.sample_shape)
        x = self.blocks(self.normalise(x))  # (N, C_last, T', V)
        out: ModelOutput = self.head(x.mean(dim=(2, 3)))
        return out


def build(
    num_classes: int,
    *,
    input: InputSpec,
    base_channels: int = 96,
    strides: Sequence[int] = (1, 2, 2),
    scales: int = 13,
    window_scales: int = 6,
    windows: Sequence[int] = (3, 5),
    feature_dim: int = 0,
    dropout: float = 0.0,
) -> MSG3D:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V), of a registered layout.

    Raises:
        UsageError: the input is of another kind, or an option is out of range.
    """
    channels = keypoint_input("ms-g3d", input)[0]
    layout = layout_of("ms-g3d", input)
    at_least("ms-g3d", 6, base_channels=base_channels)
    at_least("ms-g3d", 1, strides=strides, scales=scales, window_scales=window_scales)
    if any(window % 2 == 0 or window < 1 for window in windows):
        raise UsageError(
            f"ms-g3d: found windows = {tuple(windows)}, want odd numbers of frames; correct them"
        )
    return MSG3D(
        num_classes,
        channels,
        adjacency(layout),
        base_channels=base_channels,
        strides=strides,
        scales=scales,
        window_scales=window_scales,
        windows=windows,
        feature_dim=feature_dim,
        dropout=dropout,
    )
