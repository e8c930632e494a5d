"""3D convolutions whose kernels span frames or pixels but not both, computed on processors as 2D ones.

The heatmap networks have no others. In channels-last memory a clip (N, C, T, H, W) is the pictures (N T, C,
H, W) and the columns (N, C, T, H W) without a copy. torch computes 3D convolutions of small batches by slow
code if it has one thread; the 2D ones are twice as fast there, and equal up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlaneConv3d(nn.Conv3d):
    """:class:`torch.nn.Conv3d`, also in its parameters; kernels (1, k, l) and (k, 1, 1) are the fast ones.

    Where the kernel is larger than the map, it leaves bfloat16 on processors: there the backward pass of the
    library below torch (2.15) writes into memory that is not its own, and gradients become wrong or NaN.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(input)
        half = input.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if half and any(size < kernel for size, kernel in zip(input.shape[2:], self.kernel_size)):
            with torch.autocast("cpu", enabled=False):
                bias = None if self.bias is None else self.bias.float()
                return self._convolve(input.float(), self.weight.float(), bias).to(input.dtype)
        return self._convolve(input, self.weight, self.bias)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        n, c, t, h, w = x.shape
        sizes: Any = zip(self.kernel_size, self.stride, self.padding, self.dilation)
        in_time, *in_place = sizes
        convolve: Any = functional.conv2d
        y: Tensor
        if in_time[0] == 1 and in_time[2] == 0:
            pictures = x[:, :, :: in_time[1]].transpose(1, 2)  # (N, T', C, H, W)
            _, *how = zip(*in_place)
            y = convolve(pictures.reshape(-1, c, h, w), weight.squeeze(2), bias, *how, self.groups)
            y = y.view(n, -1, *y.shape[1:])
            return y.transpose(1, 2)
        if all(settings == (1, 1, 0, 1) for settings in in_place):
            _, stride, padding, dilation = in_time
            columns, kernels = x.reshape(n, c, t, h * w), weight.flatten(3)
            y = convolve(columns, kernels, bias, (stride, 1), (padding, 0), (dilation, 1), self.groups)
            return y.view(*y.shape[:3], h, w)
        y = self._conv_forward(x, weight, bias)
        return y


def by_planes(network: nn.Module) -> None:
    """Give every 3D convolution of a network the behaviour of :class:`PlaneConv3d`.

    Its parameters, their names and their values stay as they are; their memory becomes channels-last.
    """
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = PlaneConv3d
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
