"""torchvision's 18-layer video ResNets (Tran et al. 2018; paper section 3.1): R3D, MC3 and R(2+1)D.

At the library's width the network is the library's own; at another one its blocks are put together the same
way, with the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import nn
from torchvision.models.video import resnet as library

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import guard_small_maps, replace_first
from mg_rgb.weights_records import MC3_18_WEIGHTS, R2PLUS1D_18_WEIGHTS, R3D_18_WEIGHTS, VIDEO_RESNET

WIDTH = 64  # the library's
STAGES = (("stem",), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
_Conv = type[library.Conv3DSimple] | type[library.Conv3DNoTemporal] | type[library.Conv2Plus1D]


class _OtherWidth(library.VideoResNet):  # type: ignore[misc]
    """The library's network with another number of channels: its forward pass, stages and names."""

    def __init__(
        self, makers: Sequence[_Conv], layers: Sequence[int], stem: nn.Sequential, width: int
    ) -> None:
        nn.Module.__init__(self)
        self.inplanes = width
        self.stem = stem
        self.layer1 = self._make_layer(library.BasicBlock, makers[0], width, layers[0])
        self.layer2 = self._make_layer(library.BasicBlock, makers[1], 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(library.BasicBlock, makers[2], 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(library.BasicBlock, makers[3], 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc = nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _narrow(stem: nn.Sequential, width: int) -> nn.Sequential:
    """Return the library's stem with its channels scaled by ``width / 64``."""
    layers: list[nn.Module] = []
    for layer in stem:
        if isinstance(layer, nn.Conv3d):
            first = not layers
            layer = nn.Conv3d(
                layer.in_channels if first else max(1, layer.in_channels * width // WIDTH),
                max(1, layer.out_channels * width // WIDTH),
                layer.kernel_size,  # type: ignore[arg-type]
                stride=layer.stride,  # type: ignore[arg-type]
                padding=layer.padding,  # type: ignore[arg-type]
                bias=False,
            )
        elif isinstance(layer, nn.BatchNorm3d):
            layer = nn.BatchNorm3d(max(1, layer.num_features * width // WIDTH))
        layers.append(layer)
    return nn.Sequential(*layers)


def _branch(
    name: str,
    makers: Sequence[_Conv],
    stem: type[nn.Sequential],
    known: Sequence[WeightsSpec],
    num_classes: int,
    input: InputSpec,
    width: int,
    layers: Sequence[int],
    options: BranchOptions,
) -> VideoBranch:
    spec = video_input(input, name)
    if len(layers) != 4 or min(layers) < 1 or width < 1:
        raise UsageError(
            f"model {name}: layers {list(layers)} and width {width}: wanted four positive numbers of blocks "
            "and a positive width"
        )
    if width == WIDTH:
        network = library.VideoResNet(library.BasicBlock, list(makers), list(layers), stem)
        network.fc = nn.Identity()
    else:
        network = _OtherWidth(makers, layers, _narrow(stem(), width), width)
    network.stem[0] = replace_first(network.stem[0], spec.shape[0])
    guard_small_maps(network)
    backbone = Backbone(
        network=network,
        width=8 * width,
        mean=VIDEO_RESNET["mean"],
        std=VIDEO_RESNET["std"],
        classifier="fc",
        first=("stem.0.weight",),
        stages=STAGES,
        blocks=(library.BasicBlock,),
    )
    return build_branch(backbone, num_classes, spec, known, **options)


def r2plus1d_18(
    num_classes: int,
    *,
    input: InputSpec,
    width: int = WIDTH,
    layers: Sequence[int] = (2, 2, 2, 2),
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build R(2+1)D-18: spatial then temporal convolutions (31.3 million parameters, feature d = 512).

    Args:
        width: channels of the first stage; each later stage doubles them.
        layers: residual blocks of the four stages.
        options: see :class:`VideoBranch`.

    Raises:
        UsageError: options that contradict each other. DataError: weights that are not there or belong to
            another network.
    """
    makers = [library.Conv2Plus1D] * 4
    stem, known = library.R2Plus1dStem, R2PLUS1D_18_WEIGHTS
    return _branch("r2plus1d-18", makers, stem, known, num_classes, input, width, layers, options)


def r3d_18(
    num_classes: int,
    *,
    input: InputSpec,
    width: int = WIDTH,
    layers: Sequence[int] = (2, 2, 2, 2),
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build R3D-18: convolutions over space and time (33.2 million parameters); see :func:`r2plus1d_18`."""
    makers = [library.Conv3DSimple] * 4
    stem, known = library.BasicStem, R3D_18_WEIGHTS
    return _branch("r3d-18", makers, stem, known, num_classes, input, width, layers, options)


def mc3_18(
    num_classes: int,
    *,
    input: InputSpec,
    width: int = WIDTH,
    layers: Sequence[int] = (2, 2, 2, 2),
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build MC3-18: time only in the first stage (11.5 million parameters); see :func:`r2plus1d_18`."""
    makers: list[_Conv] = [library.Conv3DSimple, *[library.Conv3DNoTemporal] * 3]
    stem, known = library.BasicStem, MC3_18_WEIGHTS
    return _branch("mc3-18", makers, stem, known, num_classes, input, width, layers, options)
