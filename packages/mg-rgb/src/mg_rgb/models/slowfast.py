"""SlowFast of pytorchvideo (Feichtenhofer et al. 2019): a wide pathway sees every fourth frame, a thin one
sees all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import torch
from pytorchvideo.models.net import Net
from pytorchvideo.models.resnet import ResBlock, ResStage
from pytorchvideo.models.slowfast import create_slowfast
from torch import Tensor, nn

from mg_data.contract import InputSpec, UsageError
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import WindowOrMean, guard_small_maps
from mg_rgb.models.resnet3d import LIBRARY_LAYERS, library_depth, strip_classifier
from mg_rgb.weights_records import PYTORCHVIDEO, SLOWFAST_R50_WEIGHTS

ALPHA = 4  # frames of the fast pathway to one of the slow
BETA = 8  # channels of the slow pathway to one of the fast


class _Point(WindowOrMean):
    """The mean of all windows of the library's pooling: a longer clip than the library's has other numbers of
    them in each pathway, which could not be put together. The head takes this mean afterwards anyway.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(dim=(2, 3, 4), keepdim=True)


class _TwoPathways(nn.Module):
    """(N, C, T, H, W) -> (N, channels): one clip, given to both pathways of the library's network."""

    def __init__(self, network: Net) -> None:
        super().__init__()
        self.blocks = network.blocks

    def forward(self, video: Tensor) -> Tensor:
        frames = video.shape[2]
        # The library's own choice: T / alpha frames from the first to the last.
        chosen = torch.linspace(0, frames - 1, -(-frames // ALPHA), device=video.device).long()
        x: list[Tensor] | Tensor = [video.index_select(2, chosen), video]
        for block in self.blocks:
            x = block(x)
        assert isinstance(x, Tensor)
        return x


def _build(
    num_classes: int,
    *,
    input: InputSpec,
    width: int,
    layers: Sequence[int],
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build SlowFast-R50 (33.6 million parameters, feature d = 2304).

    Args:
        width: channels of the slow stem, a multiple of 8; the fast pathway has an eighth.
        layers: residual blocks of the four stages; fewer than the library's are its first ones.
        options: see :class:`VideoBranch`.

    Raises:
        UsageError: options that contradict each other. DataError: weights that are not there or belong to
            another network.
    """
    spec = video_input(input, "slowfast-r50")
    if width < BETA or width % BETA:
        raise UsageError(f"model slowfast-r50: width is {width}, wanted a multiple of {BETA}")
    library = create_slowfast(
        input_channels=(spec.shape[0],) * 2,
        model_depth=library_depth("slowfast-r50", layers, LIBRARY_LAYERS),
        stem_dim_outs=(width, width // BETA),
        slowfast_fusion_conv_kernel_size=(7, 1, 1),
    )
    for stage, count in zip(library.blocks[1:5], layers):
        for pathway in stage.multipathway_blocks:
            assert isinstance(pathway, ResStage)
            pathway.res_blocks = pathway.res_blocks[:count]
    pools = library.blocks[-2].pool
    for place, pool in enumerate(pools):
        pools[place] = _Point(pool)
    channels = strip_classifier(library)
    network = _TwoPathways(library)
    guard_small_maps(network)
    backbone = Backbone(
        network=network,
        width=channels,
        mean=PYTORCHVIDEO["mean"],
        std=PYTORCHVIDEO["std"],
        classifier=f"blocks.{len(library.blocks) - 1}.proj",
        first=tuple(f"blocks.0.multipathway_blocks.{pathway}.conv.weight" for pathway in (0, 1)),
        stages=tuple((f"blocks.{place}",) for place in range(5)),
        blocks=(ResBlock,),
    )
    return build_branch(backbone, num_classes, spec, SLOWFAST_R50_WEIGHTS, **options)


slowfast_r50 = partial(_build, width=64, layers=LIBRARY_LAYERS[50])
