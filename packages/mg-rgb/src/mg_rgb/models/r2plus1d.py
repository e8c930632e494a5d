"""A narrow R(2+1)D (Tran et al. 2018; paper section 3.1) of torchvision's residual blocks.

Widths, depths and strides are free, for training without pretrained weights on a CPU; the library's own
network is in :mod:`mg_rgb.models.video_resnet`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D

from mg_data.contract import InputSpec, UsageError
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import guard_small_maps
from mg_rgb.weights_records import VIDEO_RESNET


class _SpatialStride(Conv2Plus1D):  # type: ignore[misc]
    """The library's (2+1)D convolution with its stride in space alone."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1) -> None:
        super().__init__(in_planes, out_planes, midplanes, stride)
        self[3].stride = (1, 1, 1)

    @staticmethod
    def get_downsample_stride(stride: int) -> tuple[int, int, int]:
        return 1, stride, stride


class _R2Plus1DNet(nn.Module):
    """(N, C, T, H, W) -> (N, width of the last stage), by the library's blocks and names."""

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        layers: Sequence[int],
        stem_kernel: int,
        stem_stride: int,
        temporal_strides: Sequence[int],
    ) -> None:
        super().__init__()
        # The library's ratio between the stem's spatial and temporal halves: 45 of 64 channels.
        middle = max(1, width * 45 // 64)
        self.stem = nn.Sequential(
            nn.Conv3d(
                channels,
                middle,
                kernel_size=(1, stem_kernel, stem_kernel),
                stride=(1, stem_stride, stem_stride),
                padding=(0, stem_kernel // 2, stem_kernel // 2),
                bias=False,
            ),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(
                middle,
                width,
                kernel_size=(3, 1, 1),
                stride=(temporal_strides[0], 1, 1),
                padding=(1, 0, 0),
                bias=False,
            ),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = []
        planes_in = width
        for stage, blocks in enumerate(layers):
            planes, stride = width * 2**stage, 1 if stage == 0 else 2
            builder = _SpatialStride if stage == 0 or temporal_strides[stage] == 1 else Conv2Plus1D
            shortcut = None
            if stage > 0:
                shortcut = nn.Sequential(
                    nn.Conv3d(planes_in, planes, 1, builder.get_downsample_stride(stride), bias=False),
                    nn.BatchNorm3d(planes),
                )
            residual = [BasicBlock(planes_in, planes, builder, stride, shortcut)]
            residual += [BasicBlock(planes, planes, Conv2Plus1D) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*residual))
            planes_in = planes
        self.stages = nn.Sequential(*stages)
        self.width = planes_in
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, video: Tensor) -> Tensor:
        x = self.stem(video)  # (N, width, T / s0, H / stem_stride, W / stem_stride)
        x = self.stages(x)
        pooled: Tensor = x.mean(dim=(2, 3, 4))
        return pooled


def r2plus1d(
    num_classes: int,
    *,
    input: InputSpec,
    width: int = 16,
    layers: Sequence[int] = (1, 1, 1, 1),
    stem_kernel: int = 7,
    stem_stride: int = 2,
    temporal_strides: Sequence[int] = (1, 2, 2, 1),
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build a narrow R(2+1)D of torchvision's residual blocks.

    Args:
        width: channels of the first stage; each later stage doubles them.
        layers: residual blocks a stage (torchvision's 18-layer network: 2, 2, 2, 2).
        stem_kernel: odd spatial kernel of the stem. stem_stride: its spatial stride.
        temporal_strides: one a stage, 1 or 2; the first is that of the stem, stage 1 itself has none.
        options: see :class:`VideoBranch`; ``weights`` is "" or a path to a checkpoint of the same shape.

    Raises:
        UsageError: options that contradict each other.
    """
    spec = video_input(input, "r2plus1d")
    if len(layers) < 1 or min(layers) < 1:
        raise UsageError(f"model r2plus1d: layers is {list(layers)}, wanted one or more positive numbers")
    if len(temporal_strides) != len(layers) or not set(temporal_strides) <= {1, 2}:
        raise UsageError(
            f"model r2plus1d: temporal_strides is {list(temporal_strides)}, "
            f"wanted {len(layers)} numbers (one a stage), each 1 or 2"
        )
    if width < 1 or stem_kernel % 2 == 0 or stem_stride < 1:
        raise UsageError(
            f"model r2plus1d: width {width}, stem_kernel {stem_kernel}, stem_stride {stem_stride}: "
            "wanted a positive width and stride and an odd kernel"
        )
    network = _R2Plus1DNet(
        spec.shape[0],
        width=width,
        layers=layers,
        stem_kernel=stem_kernel,
        stem_stride=stem_stride,
        temporal_strides=temporal_strides,
    )
    guard_small_maps(network)
    backbone = Backbone(
        network=network,
        width=network.width,
        mean=VIDEO_RESNET["mean"],
        std=VIDEO_RESNET["std"],
        classifier="fc",
        first=("stem.0.weight",),
        stages=(("stem",), *((f"stages.{stage}",) for stage in range(len(layers)))),
        blocks=(BasicBlock,),
    )
    return build_branch(backbone, num_classes, spec, **options)
