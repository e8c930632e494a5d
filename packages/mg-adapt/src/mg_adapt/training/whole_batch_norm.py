"""BatchNorm over a batch that several CPU processes share; torch's ``SyncBatchNorm`` works on GPUs only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class _Normalise(torch.autograd.Function):
    """x -> ((x - mean) / std * weight + bias, mean, variance) over the rows of all processes.

    The passes over memory are those of torch's own BatchNorm; between them, processes exchange two numbers a
    channel and their count in the forward pass, and two a channel in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Statistics take the type of the running ones, which this call looks at for nothing else.
        like = weight.new_zeros(len(weight))
        own_mean, own_variance = torch.batch_norm_update_stats(x, like, like, 0.0)
        count = own_mean.new_tensor([x.numel() / x.shape[1]])
        own = torch.cat([count, own_mean, own_variance])
        everyone = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(everyone, own)
        gathered = torch.stack(everyone)  # (processes, 1 + 2 C)
        counts, (means, variances) = gathered[:, :1], gathered[:, 1:].chunk(2, dim=1)
        total = counts.sum()
        share = counts / total  # (processes, 1)
        mean = (share * means).sum(dim=0)
        # Of centred values: the difference of two large means of squares would lose digits.
        variance = (share * (variances + (means - mean).square())).sum(dim=0)
        ctx.save_for_backward(x, weight, mean, variance, total)
        ctx.eps = eps
        out = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]
        ctx.mark_non_differentiable(mean, variance, total)
        return out, mean, variance, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, total = ctx.saved_tensors
        # Of weight and bias, this process's part: whoever sums gradients over processes sums these too.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = torch.cat([of_weight, of_bias])
        torch.distributed.all_reduce(sums)
        sum_of_products, sum_of_gradients = sums.chunk(2)  # gradient times normalised x; gradient
        # weight / std * (gradient - mean of gradients - normalised x * mean of products)
        inverse = torch.rsqrt(variance + ctx.eps)
        scale = weight * inverse
        slope = -scale * inverse * sum_of_products / total
        offset = -scale * sum_of_gradients / total - slope * mean
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale, slope, offset = scale.view(shape), slope.view(shape), offset.view(shape)
        of_x = torch.addcmul(offset, x.float(), slope).addcmul_(gradient.float(), scale)
        return of_x.to(x.dtype), of_weight, of_bias, None


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
        whole = torch.promote_types(input.dtype, torch.float32)
        weight: Tensor = self.weight if self.affine else input.new_ones(input.shape[1], dtype=whole)
        bias: Tensor = self.bias if self.affine else input.new_zeros(input.shape[1], dtype=whole)
        apply: Any = _Normalise.apply
        out, mean, variance, total = apply(input, weight, bias, self.eps)
        self._update(mean, variance * total / (total - 1))
        result: Tensor = out
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
