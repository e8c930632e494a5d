"""BatchNorm over a batch that several CPU processes share; torch's ``SyncBatchNorm`` works on GPUs only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def _summed(values: Tensor) -> Tensor:
    apply: Any = _Sum.apply
    result: Tensor = apply(values)
    return result


class WholeBatchNorm(_BatchNorm):
    """Mean and variance of all processes' rows, gradients included; in evaluation plain BatchNorm.

    ``divided`` says whether the processes have different rows; if not, each has the whole batch already.
    """

    divided = True

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 dimensions, found {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, C, ...) normalised values."""
        if not (self.training and self.divided):
            return super().forward(input)
        others = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        values = input.float()
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums = _summed(torch.cat([values.sum(others), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        # Centred first: the difference of two large sums of squares would lose digits.
        variance = _summed(centred.square().sum(others)) / total
        self._update(mean.detach(), (variance * total / (total - 1)).detach())
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = normalised.to(input.dtype)
        return result

    @torch.no_grad()
    def _update(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), factor)


def over_all_processes(model: nn.Module) -> nn.Module:
    """Return the model with every BatchNorm replaced; parameters, buffers and their names stay."""
    if isinstance(model, _BatchNorm) and not isinstance(model, WholeBatchNorm):
        layer = WholeBatchNorm(
            model.num_features, model.eps, model.momentum, model.affine, model.track_running_stats
        )
        if model.affine:
            layer.weight, layer.bias = model.weight, model.bias
        layer.running_mean, layer.running_var = model.running_mean, model.running_var
        layer.num_batches_tracked = model.num_batches_tracked
        layer.train(model.training)
        return layer
    for name, child in model.named_children():
        replaced = over_all_processes(child)
        if replaced is not child:
            setattr(model, name, replaced)
    return model


def set_divided(model: nn.Module, divided: bool) -> None:
    """Tell every replaced layer whether the next batch is divided."""
    for layer in model.modules():
        if isinstance(layer, WholeBatchNorm):
            layer.divided = divided
