"""R(2+1)D (Tran et al. 2018; paper section 3.1): spatial then temporal convolutions in residual blocks.

``r2plus1d_18`` is torchvision's network; ``r2plus1d`` assembles torchvision's blocks at other widths, depths
and strides, for training without pretrained weights on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.video import r2plus1d_18 as library_r2plus1d_18
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D

from mg_data.contract import InputSpec, UsageError
from mg_rgb.models.branch import VideoBranch, channel_statistics, video_input
from mg_rgb.models.convolution import guard_short_clips
from mg_rgb.weights import load_weights
from mg_rgb.weights_records import R2PLUS1D_18_WEIGHTS

LIBRARY_MEAN = (0.43216, 0.394666, 0.37645)
LIBRARY_STD = (0.22803, 0.22145, 0.216989)


def r2plus1d_18(
    num_classes: int,
    *,
    input: InputSpec,
    weights: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    feature_dim: int = 0,
    dropout: float = 0.0,
    channels_last: bool = False,
) -> VideoBranch:
    """Build torchvision's R(2+1)D-18 (31.5 million parameters at K = 400, feature d = 512).

    Args:
        weights: ``""``, ``"kinetics400"`` or a path (:func:`mg_rgb.weights.load_weights`).
        mean, std, feature_dim, dropout, channels_last: see :class:`VideoBranch`.

    Raises:
        DataError: weights that are not there or belong to another network.
    """
    spec = video_input(input, "r2plus1d-18")
    backbone = library_r2plus1d_18(weights=None)
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    if spec.shape[0] != 3:
        first = nn.Conv3d(spec.shape[0], 45, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        backbone.stem[0] = first
    guard_short_clips(backbone)
    means, stds = channel_statistics(spec, mean, std, LIBRARY_MEAN, LIBRARY_STD)
    branch = VideoBranch(
        backbone,
        width=width,
        num_classes=num_classes,
        input=spec,
        mean=means,
        std=stds,
        feature_dim=feature_dim,
        dropout=dropout,
        channels_last=channels_last,
    )
    if weights:
        load_weights(branch, weights, known=R2PLUS1D_18_WEIGHTS, head="fc", first="stem.0.weight")
    return branch


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
    weights: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    feature_dim: int = 256,
    dropout: float = 0.3,
    channels_last: bool = True,
) -> VideoBranch:
    """Build a narrow R(2+1)D of torchvision's residual blocks.

    Args:
        width: channels of the first stage; each later stage doubles them.
        layers: residual blocks a stage (torchvision's 18-layer network: 2, 2, 2, 2).
        stem_kernel: odd spatial kernel of the stem. stem_stride: its spatial stride.
        temporal_strides: one a stage, 1 or 2; the first is that of the stem, stage 1 itself has none.
        weights: ``""`` or a path to a checkpoint of the same shape.
        mean, std, feature_dim, dropout, channels_last: see :class:`VideoBranch`.

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
    guard_short_clips(network)
    means, stds = channel_statistics(spec, mean, std, LIBRARY_MEAN, LIBRARY_STD)
    branch = VideoBranch(
        network,
        width=network.width,
        num_classes=num_classes,
        input=spec,
        mean=means,
        std=stds,
        feature_dim=feature_dim,
        dropout=dropout,
        channels_last=channels_last,
    )
    if weights:
        load_weights(branch, weights, known=(), head="fc", first="stem.0.weight")
    return branch
