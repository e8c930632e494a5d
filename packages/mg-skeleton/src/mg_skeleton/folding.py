"""Batch normalisation folded into the convolutions before it, for evaluation: fewer passes over memory."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_Norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Network = TypeVar("Network", bound=nn.Module)


def fold_batchnorm(model: Network) -> Network:
    """Return a copy in evaluation mode in which each convolution has taken over the normalisation after it.

    In every part of the model a convolution and the normalisation that was registered right after it make a
    pair, which holds for pytorchvideo's stages and for :class:`torch.nn.Sequential`. The copy's outputs
    differ from the model's by rounding; it cannot be trained.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        children = list(module.named_children())
        for (name, convolution), (norm_name, norm) in itertools.pairwise(children):
            if not (isinstance(convolution, _Convolution) and isinstance(norm, _Norm)):
                continue
            if convolution.out_channels == norm.num_features:
                # In float64: the rounding of the product is then that of the convolution alone.
                fused = fuse_conv_bn_eval(convolution.double(), norm.double())
                setattr(module, name, fused.to(_dtype(model)))
                setattr(module, norm_name, nn.Identity())
    for parameter in folded.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return folded


def _dtype(model: nn.Module) -> torch.dtype:
    return next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
