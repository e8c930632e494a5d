"""X3D of pytorchvideo (Feichtenhofer 2020): a small network grown along one axis after another."""

from __future__ import annotations

from functools import partial
from typing import Unpack

from pytorchvideo.models.resnet import ResBlock
from pytorchvideo.models.x3d import create_x3d

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import WindowOrMean, guard_small_maps
from mg_rgb.models.resnet3d import strip_classifier
from mg_rgb.weights_records import PYTORCHVIDEO, X3D_M_WEIGHTS, X3D_S_WEIGHTS

STRIDE = 32  # of the map's rows and columns, through stem and stages


def _build(
    name: str,
    known: tuple[WeightsSpec, ...],
    num_classes: int,
    *,
    input: InputSpec,
    width_factor: float = 2.0,
    depth_factor: float = 2.2,
    head_channels: int = 2048,
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build an X3D; S and M are one network (3.0 million parameters) for two sizes of sample.

    Args:
        width_factor: channels over those of the smallest network (12 in its stem).
        depth_factor: blocks over those of the smallest network (1, 2, 5, 3).
        head_channels: channels after the last projection, the feature d.
        options: see :class:`VideoBranch`.

    Raises:
        UsageError: options that contradict each other. DataError: weights that are not there or belong to
            another network.
    """
    spec = video_input(input, name)
    if width_factor <= 0 or depth_factor <= 0 or head_channels < 1:
        raise UsageError(
            f"model {name}: width_factor {width_factor:g}, depth_factor {depth_factor:g}, head_channels "
            f"{head_channels}: wanted positive numbers"
        )
    network = create_x3d(
        input_channel=spec.shape[0],
        input_clip_length=spec.shape[1],
        # The library pools over a square map; one smaller than a point becomes a point.
        input_crop_size=max(STRIDE, *spec.shape[2:]),
        width_factor=width_factor,
        depth_factor=depth_factor,
        head_dim_out=head_channels,
    )
    head = network.blocks[-1]
    head.pool.pool = WindowOrMean(head.pool.pool)
    channels = strip_classifier(network)
    guard_small_maps(network)
    last = len(network.blocks) - 1
    backbone = Backbone(
        network=network,
        width=channels,
        mean=PYTORCHVIDEO["mean"],
        std=PYTORCHVIDEO["std"],
        classifier=f"blocks.{last}.proj",
        first=("blocks.0.conv.conv_t.weight",),
        stages=(
            *((f"blocks.{place}",) for place in range(last - 1)),
            (f"blocks.{last - 1}", f"blocks.{last}"),
        ),
        blocks=(ResBlock,),
    )
    return build_branch(backbone, num_classes, spec, known, **options)


x3d_s = partial(_build, "x3d-s", X3D_S_WEIGHTS)
x3d_m = partial(_build, "x3d-m", X3D_M_WEIGHTS)
