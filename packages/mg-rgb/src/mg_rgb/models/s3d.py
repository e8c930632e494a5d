"""S3D of torchvision (Xie et al. 2018): Inception blocks whose convolutions are split into space and time.

At the library's width the network is the library's own; at another one its blocks are put together the same
way, with the same names.
"""

from __future__ import annotations

from functools import partial
from typing import Unpack

from torch import Tensor, nn
from torchvision.models.video import s3d as library_s3d
from torchvision.models.video.s3d import SepInceptionBlock3D, TemporalSeparableConv
from torchvision.ops.misc import Conv3dNormActivation

from mg_data.contract import InputSpec, UsageError
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import PointwiseHead, WindowOrMean, guard_small_maps, replace_first
from mg_rgb.weights_records import S3D, S3D_WEIGHTS

WIDTH = 64  # channels of the library's first convolution
# Channels of the four branches of each block, as the library's class takes them; None halves the map.
_INCEPTION = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
_WINDOWS = (((3, 3, 3), (1, 1, 1)), ((2, 2, 2), (0, 0, 0)))  # of the two halvings: window, padding


class _OtherWidth(nn.Module):
    """(N, C, T, H, W) -> (N, 16 width), by the library's blocks and names."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, channels * width // WIDTH)

        norm = partial(nn.BatchNorm3d, eps=0.001, momentum=0.001)
        features: list[nn.Module] = [
            TemporalSeparableConv(3, scaled(64), 7, 2, 3, norm),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            Conv3dNormActivation(scaled(64), scaled(64), kernel_size=1, stride=1, norm_layer=norm),
            TemporalSeparableConv(scaled(64), scaled(192), 3, 1, 1, norm),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ]
        windows = iter(_WINDOWS)
        channels = scaled(192)
        for branches in _INCEPTION:
            if branches is None:
                window, padding = next(windows)
                # The library's second halving has no padding, which a map of one frame or pixel needs.
                features.append(nn.MaxPool3d(window, (2, 2, 2), padding, ceil_mode=padding == (0, 0, 0)))
                continue
            own = [scaled(number) for number in branches]
            features.append(SepInceptionBlock3D(channels, *own, norm))
            channels = own[0] + own[2] + own[4] + own[5]
        self.features = nn.Sequential(*features)
        self.width = channels

    def forward(self, video: Tensor) -> Tensor:
        pooled: Tensor = self.features(video).mean(dim=(2, 3, 4))
        return pooled


def s3d(
    num_classes: int, *, input: InputSpec, width: int = WIDTH, **options: Unpack[BranchOptions]
) -> VideoBranch:
    """Build S3D (7.9 million parameters, feature d = 1024).

    The library's own width wants 5 frames and 17 pixels or more; others take any size.

    Args:
        width: channels of the first convolution; the rest grows with it.
        options: see :class:`VideoBranch`.

    Raises:
        UsageError: a width below 4, or a sample too small. DataError: weights that are not there or belong
            to another network.
    """
    spec = video_input(input, "s3d")
    if width < 4:
        raise UsageError(f"model s3d: width is {width}, wanted at least 4")
    if width == WIDTH and (spec.shape[1] < 5 or min(spec.shape[2:]) < 17):
        raise UsageError(
            f"model s3d: samples of {spec.shape[1]} frames of {spec.shape[2]} x {spec.shape[3]} pixels are "
            "too small for the library's width, wanted at least 5 frames of 17 x 17"
        )
    if width == WIDTH:
        network = library_s3d(weights=None)
        network.classifier = nn.Identity()
        network.avgpool = WindowOrMean(network.avgpool)
        channels = 1024
    else:
        network = _OtherWidth(width)
        channels = network.width
    network.features[0][0][0] = replace_first(network.features[0][0][0], spec.shape[0])
    guard_small_maps(network)
    backbone = Backbone(
        network=network,
        width=channels,
        mean=S3D["mean"],
        std=S3D["std"],
        classifier="classifier.1",
        first=("features.0.0.0.weight",),
        stages=(
            ("features.0", "features.1"),
            ("features.2", "features.3", "features.4"),
            tuple(f"features.{place}" for place in range(5, 8)),
            tuple(f"features.{place}" for place in range(8, 14)),
            ("features.14", "features.15"),
        ),
        blocks=(SepInceptionBlock3D, TemporalSeparableConv),
        head=PointwiseHead,
    )
    return build_branch(backbone, num_classes, spec, S3D_WEIGHTS, **options)
