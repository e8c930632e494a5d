"""Changes to the convolutions and pooling windows of a library backbone, for other inputs than its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inflate_channels(weight: Tensor, channels: int) -> Tensor:
    """Return kernels (out, old, ...) of a first convolution for another number of input channels.

    Each new channel gets the mean of the old kernels over their input channels, times old/new: a grey video
    given once answers like the same video repeated in every old channel. Equal counts change nothing.
    """
    old = weight.shape[1]
    if old == channels:
        return weight
    mean = weight.mean(dim=1, keepdim=True) * (old / channels)
    return mean.repeat_interleave(channels, dim=1)


def replace_first(first: nn.Conv3d, channels: int) -> nn.Conv3d:
    """Return a first convolution for another number of input channels, with the same kernels inflated."""
    if first.in_channels == channels:
        return first
    other = nn.Conv3d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    with torch.no_grad():
        other.weight.copy_(inflate_channels(first.weight, channels))
        if first.bias is not None and other.bias is not None:
            other.bias.copy_(first.bias)
    return other


class SmallMapConv3d(nn.Conv3d):
    """A convolution that leaves bfloat16 on the CPU where its kernel is larger than the map.

    There the bfloat16 backward pass of the CPU library reads and writes memory that is not its own (torch
    2.15; a kernel of three over two frames, of five over two to four, of seven over one or two pixels ...):
    gradients become wrong or NaN by chance, or the process ends. float32 is right. Short clips and small
    frames arrive there after a few strides.
    """

    def forward(self, input: Tensor) -> Tensor:
        small = any(size < kernel for size, kernel in zip(input.shape[2:], self.kernel_size))
        if small and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


def guard_small_maps(network: nn.Module) -> None:
    """Give every convolution whose kernel is over 1 the behaviour of :class:`SmallMapConv3d`.

    Parameters, their names and their values stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and max(module.kernel_size) > 1:
            module.__class__ = SmallMapConv3d


class WindowOrMean(nn.Module):
    """A library's average pooling, or the mean over the whole map where the map is smaller than its window.

    Libraries fix the window to the map of the size they were trained at and refuse a smaller one.
    """

    def __init__(self, window: nn.AvgPool3d) -> None:
        super().__init__()
        size = window.kernel_size
        self.size = (size,) * 3 if isinstance(size, int) else tuple(size)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        if all(have >= want for have, want in zip(x.shape[2:], self.size)):
            pooled: Tensor = self.window(x)
            return pooled
        return x.mean(dim=(2, 3, 4), keepdim=True)


class PointwiseHead(nn.Linear):
    """A linear classifier computed as a convolution over one point, as S3D's is: equal to it bit for bit."""

    def forward(self, input: Tensor) -> Tensor:
        kernels = self.weight[:, :, None, None, None]
        return nn.functional.conv3d(input[:, :, None, None, None], kernels, self.bias).flatten(1)
