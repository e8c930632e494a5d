"""Changes to the convolutions of a library backbone: input channels, and a guard for very short clips."""

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


class ShortClipConv3d(nn.Conv3d):
    """A convolution that leaves bfloat16 on the CPU when exactly two frames are left.

    The bfloat16 backward pass of the CPU library reads memory it never wrote when a temporal kernel of three
    with padding one and stride one meets two frames (seen with torch 2.15): gradients become NaN by chance.
    16 frames through three temporal strides arrive there. float32 is right.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type == "cpu" and input.shape[2] == 2 and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


def guard_short_clips(network: nn.Module) -> None:
    """Give every convolution with a temporal kernel over 1 the behaviour of :class:`ShortClipConv3d`.

    Parameters, their names and their values stay as they are.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv3d and child.kernel_size[0] > 1:
                guarded = ShortClipConv3d(
                    child.in_channels,
                    child.out_channels,
                    kernel_size=child.kernel_size,  # type: ignore[arg-type]
                    stride=child.stride,  # type: ignore[arg-type]
                    padding=child.padding,  # type: ignore[arg-type]
                    bias=child.bias is not None,
                    device="meta",
                )
                guarded.weight = child.weight
                guarded.bias = child.bias
                setattr(parent, name, guarded)
