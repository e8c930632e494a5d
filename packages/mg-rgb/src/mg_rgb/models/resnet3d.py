"""3D ResNets of pytorchvideo: Slow (Feichtenhofer et al. 2019), I3D (Carreira et al. 2017), R(2+1)D-50 and
channel-separated networks (Tran et al. 2018, 2019).

One builder serves all: they differ in the library's function and in its arguments, which are those of the
published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Unpack

from pytorchvideo.models.csn import create_csn
from pytorchvideo.models.head import ResNetBasicHead
from pytorchvideo.models.net import Net
from pytorchvideo.models.r2plus1d import create_r2plus1d
from pytorchvideo.models.resnet import ResBlock, create_resnet
from torch import Tensor, nn

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import WindowOrMean, guard_small_maps
from mg_rgb.weights_records import (
    CSN_R101_WEIGHTS,
    I3D_R50_WEIGHTS,
    PYTORCHVIDEO,
    R2PLUS1D_R50_WEIGHTS,
    SLOW_R50_WEIGHTS,
)

LIBRARY_LAYERS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class HalveFrames(nn.MaxPool3d):
    """The library's pooling of two frames into one, where there are two."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if input.shape[2] > 1 else input


@dataclass(frozen=True, kw_only=True)
class _Family:
    """A network of the library: its function, and the arguments of its published checkpoint."""

    name: str
    create: Callable[..., Net]
    known: tuple[WeightsSpec, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)


_SLOW = _Family(
    name="slow-r50",
    create=create_resnet,
    known=SLOW_R50_WEIGHTS,
    arguments={"stem_conv_kernel_size": (1, 7, 7), "head_pool_kernel_size": (8, 7, 7)},
)
_I3D = _Family(
    name="i3d-r50",
    create=create_resnet,
    known=I3D_R50_WEIGHTS,
    arguments={
        "stem_conv_kernel_size": (5, 7, 7),
        "stage1_pool": HalveFrames,
        "stage_conv_a_kernel_size": (
            (3, 1, 1),
            [(3, 1, 1), (1, 1, 1)],
            [(3, 1, 1), (1, 1, 1)],
            [(1, 1, 1), (3, 1, 1)],
        ),
    },
)
_R2PLUS1D = _Family(name="r2plus1d-r50", create=create_r2plus1d, known=R2PLUS1D_R50_WEIGHTS)
_CSN = _Family(
    name="csn-r101",
    create=create_csn,
    known=CSN_R101_WEIGHTS,
    arguments={"stem_pool": nn.MaxPool3d, "head_pool_kernel_size": (4, 7, 7)},
)


def library_depth(model: str, layers: Sequence[int], known: Mapping[int, Sequence[int]]) -> int:
    """Return the smallest depth of the library whose stages have at least so many blocks.

    Raises:
        UsageError: there is none, or ``layers`` are not one positive number a stage.
    """
    for depth, blocks in sorted(known.items()):
        if len(layers) == len(blocks) and all(1 <= want <= have for want, have in zip(layers, blocks)):
            return depth
    largest = known[max(known)]
    raise UsageError(
        f"model {model}: layers are {list(layers)}, wanted {len(largest)} numbers of 1 or more, at most "
        f"{list(largest)}"
    )


def strip_classifier(network: Net) -> int:
    """Take dropout, classifier and activation off the library's head; return the channels that are left.

    What stays pools the map to (N, channels), by the library's window where the map is that large.
    """
    head: ResNetBasicHead = network.blocks[-1]
    channels = int(head.proj.in_features)
    head.dropout, head.proj, head.activation = None, nn.Identity(), None
    if isinstance(head.pool, nn.AvgPool3d):
        head.pool = WindowOrMean(head.pool)
    return channels


def _build(
    family: _Family,
    num_classes: int,
    *,
    input: InputSpec,
    width: int,
    layers: Sequence[int],
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build a 3D ResNet of pytorchvideo.

    Args:
        width: channels of the stem; the four stages give 4, 8, 16 and 32 times as many.
        layers: residual blocks of the four stages; fewer than the library's are its first ones.
        options: see :class:`VideoBranch`.

    Raises:
        UsageError: options that contradict each other. DataError: weights that are not there or belong to
            another network.
    """
    spec = video_input(input, family.name)
    if width < 1:
        raise UsageError(f"model {family.name}: width is {width}, wanted at least 1")
    network = family.create(
        input_channel=spec.shape[0],
        model_depth=library_depth(family.name, layers, LIBRARY_LAYERS),
        stem_dim_out=width,
        **family.arguments,
    )
    places = [place for place, block in enumerate(network.blocks) if hasattr(block, "res_blocks")]
    for place, count in zip(places, layers):
        network.blocks[place].res_blocks = network.blocks[place].res_blocks[:count]
    channels = strip_classifier(network)
    guard_small_maps(network)
    backbone = Backbone(
        network=network,
        width=channels,
        mean=PYTORCHVIDEO["mean"],
        std=PYTORCHVIDEO["std"],
        classifier=f"blocks.{len(network.blocks) - 1}.proj",
        first=("blocks.0.conv.weight",),
        stages=(("blocks.0",), *((f"blocks.{place}",) for place in places)),
        blocks=(ResBlock,),
    )
    return build_branch(backbone, num_classes, spec, family.known, **options)


slow_r50 = partial(_build, _SLOW, width=64, layers=LIBRARY_LAYERS[50])
i3d_r50 = partial(_build, _I3D, width=64, layers=LIBRARY_LAYERS[50])
r2plus1d_r50 = partial(_build, _R2PLUS1D, width=64, layers=LIBRARY_LAYERS[50])
csn_r101 = partial(_build, _CSN, width=64, layers=LIBRARY_LAYERS[101])
