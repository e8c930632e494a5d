"""Multi-scale temporal convolution, shared by MS-G3D, CTR-GCN and Hyperformer.

Liu et al., CVPR 2020 (arXiv 2003.14111), section 3.4: parallel branches, each a bottleneck, of several
dilations, a maximum and a plain 1 x 1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class SubsampledConv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d` of a (1 x 1) kernel that strides in time: leaves frames out, then convolves.

    The same numbers and parameters. torch (2.15, processors) writes past its memory in the backward pass of
    the strided one in channels-last memory for some sizes, such as 8 channels of 137 keypoints.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C_in, T, V) -> (N, C_out, ceil(T / stride), V)."""
        return functional.conv2d(input[:, :, :: self.stride[0]], self.weight, self.bias)


def pointwise(in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a (1 x 1) convolution with a stride in time."""
    kind = SubsampledConv2d if stride > 1 else nn.Conv2d
    return kind(in_channels, out_channels, 1, stride=(stride, 1), bias=bias)


def temporal_convolution(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """Return a (kernel x 1) convolution: (N, C_in, T, V) -> (N, C_out, ceil(T / stride), V)."""
    if kernel == 1:
        return pointwise(in_channels, out_channels, stride=stride)
    return nn.Conv2d(
        in_channels,
        out_channels,
        (kernel, 1),
        stride=(stride, 1),
        padding=((kernel - 1) * dilation // 2, 0),
        dilation=(dilation, 1),
        bias=False,
    )


def project(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """Return the shortcut of a block: nothing if shapes agree, else a strided 1 x 1 convolution."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        temporal_convolution(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels)
    )


class MultiScaleTemporal(nn.Module):
    """(N, C_in, T, V) -> (N, C_out, ceil(T / stride), V), no activation behind it.

    Args:
        kernel, dilations: of the branches that convolve; a maximum over three frames and a 1 x 1 convolution
            come on top. Their widths add up to ``out_channels``; the first takes what does not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        dilations: Sequence[int] = (1, 2, 3, 4),
        stride: int = 1,
    ) -> None:
        super().__init__()
        width = out_channels // (len(dilations) + 2)
        first = out_channels - width * (len(dilations) + 1)
        self.widths = [first] + [width] * len(dilations)  # of the convolutions, then of the maximum
        # The 1 x 1 convolutions in front of all branches but the last, as one.
        self.enter = nn.Sequential(
            nn.Conv2d(in_channels, sum(self.widths), 1, bias=False),
            nn.BatchNorm2d(sum(self.widths)),
            nn.ReLU(inplace=True),
        )
        self.dilated = nn.ModuleList(
            temporal_convolution(channels, channels, kernel, stride=stride, dilation=dilation)
            for channels, dilation in zip(self.widths, dilations)
        )
        self.maximum = nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
        self.plain = temporal_convolution(in_channels, width, 1, stride=stride)
        self.norm = nn.BatchNorm2d(out_channels)  # of all branches

    def forward(self, x: Tensor) -> Tensor:
        parts = self.enter(x).split(self.widths, dim=1)
        branches = [convolution(part) for convolution, part in zip(self.dilated, parts)]
        branches += [self.maximum(parts[-1]), self.plain(x)]
        out: Tensor = self.norm(torch.cat(branches, dim=1))
        return out
