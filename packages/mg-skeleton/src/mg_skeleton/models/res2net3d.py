"""Res2Net3D over heatmaps: PoseC3D's SlowOnly network with Res2Net bottlenecks.

Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", TPAMI 2021 (arXiv 1904.01169), in the shape
of Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022 (arXiv 2104.13586). Splitting a
bottleneck's channels and handing each part's result to the next gives one block several receptive fields.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_skeleton.checks import at_least, check_batch, equally_long, people_input
from mg_skeleton.heatmaps import HeatmapRenderer
from mg_skeleton.layers import Head, compute_dtype, init_convolutions
from mg_skeleton.plane_convolution import by_planes


class FramePool(nn.Module):
    """Mean over 3 x 3 pixels of every ``temporal``-th frame: (N, C, T, H, W) -> (N, C, T', H', W').

    (nn.AvgPool3d refuses images smaller than its window, padding or not.)
    """

    def __init__(self, spatial: int, temporal: int) -> None:
        super().__init__()
        self.spatial, self.temporal = spatial, temporal

    def forward(self, x: Tensor) -> Tensor:
        frames = x[:, :, :: self.temporal].transpose(1, 2)  # (N, T', C, H, W)
        n, t = frames.shape[:2]
        pooled = functional.avg_pool2d(frames.flatten(0, 1), 3, self.spatial, padding=1)
        return pooled.reshape(n, t, *pooled.shape[1:]).transpose(1, 2)


class Res2Bottleneck(nn.Module):
    """(N, C_in, T, H, W) -> (N, 4 inner, T', H', W'): 1 x 1, a cascade of 3 x 3, 1 x 1, shortcut, ReLU.

    Args:
        inner: a quarter of the output's channels. scale: parts s of the cascade, each inner * 26 / 64 wide,
            as in "26w x 4s".
        span: frames of the first convolution. spatial, temporal: strides of the cascade.
        first: first block of its stage: its parts are not handed on, and the last one is a mean (Res2Net's
            choice where strides or channels change).
    """

    def __init__(
        self,
        in_channels: int,
        inner: int,
        *,
        scale: int,
        span: int,
        spatial: int,
        temporal: int,
        first: bool,
    ) -> None:
        super().__init__()
        self.width = max(1, inner * 26 // 64)
        self.first = first
        stride = (temporal, spatial, spatial)
        channels = self.width * scale
        self.enter = nn.Sequential(
            nn.Conv3d(in_channels, channels, (span, 1, 1), padding=(span // 2, 0, 0), bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(inplace=True),
        )
        self.cascade = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(self.width, self.width, (1, 3, 3), stride=stride, padding=(0, 1, 1), bias=False),
                nn.BatchNorm3d(self.width),
                nn.ReLU(inplace=True),
            )
            for _ in range(scale - 1)
        )
        self.pool: nn.Module = nn.Identity()
        if first:
            self.pool = FramePool(spatial, temporal)
        self.leave = nn.Sequential(nn.Conv3d(channels, 4 * inner, 1, bias=False), nn.BatchNorm3d(4 * inner))
        self.shortcut: nn.Module = nn.Identity()
        if first:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, 4 * inner, 1, stride=stride, bias=False), nn.BatchNorm3d(4 * inner)
            )

    def forward(self, x: Tensor) -> Tensor:
        parts = self.enter(x).split(self.width, dim=1)
        results: list[Tensor] = []
        for part, convolution in zip(parts, self.cascade):
            results.append(convolution(part + results[-1] if results and not self.first else part))
        results.append(self.pool(parts[-1]))
        return torch.relu(self.leave(torch.cat(results, dim=1)) + self.shortcut(x))


class Res2Net3D(nn.Module):
    """Renders heatmaps; stem, stages of bottlenecks, mean over time and place, classes.

    Args:
        renderer: keypoints -> heatmaps; it also gives the number of channels.
        base_channels: of the stem and the first inner width; each stage doubles it.
        depths: blocks of each stage. inflate: stages whose first convolutions span three frames.
        spatial_strides, temporal_strides: of each stage's first block. stem_stride: spatial.
        scale: parts of each bottleneck. feature_dim, dropout: see :class:`mg_skeleton.layers.Head`.

    Input (N, P, T, V, 3) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        renderer: HeatmapRenderer,
        *,
        base_channels: int = 32,
        depths: Sequence[int] = (4, 6, 3),
        inflate: Sequence[int] = (0, 1, 1),
        spatial_strides: Sequence[int] = (2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 2),
        stem_stride: int = 1,
        scale: int = 4,
        feature_dim: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.renderer = renderer
        self.stem = nn.Sequential(
            nn.Conv3d(
                renderer.channels,
                base_channels,
                (1, 7, 7),
                stride=(1, stem_stride, stem_stride),
                padding=(0, 3, 3),
                bias=False,
            ),
            nn.BatchNorm3d(base_channels),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), stride=1, padding=(0, 1, 1)),
        )
        blocks: list[nn.Module] = []
        channels = base_channels
        for stage, depth in enumerate(depths):
            inner = base_channels * 2**stage
            for place in range(depth):
                blocks.append(
                    Res2Bottleneck(
                        channels,
                        inner,
                        scale=scale,
                        span=3 if inflate[stage] else 1,
                        spatial=spatial_strides[stage] if place == 0 else 1,
                        temporal=temporal_strides[stage] if place == 0 else 1,
                        first=place == 0,
                    )
                )
                channels = 4 * inner
        self.blocks = nn.Sequential(*blocks)
        init_convolutions(self)
        by_planes(self)
        self.head = Head(channels, num_classes, feature_dim, dropout)

    def forward(self, people: Tensor) -> ModelOutput:
        check_batch("res2net3d", people, (None, None, self.renderer.num_points, 3))
        maps = self.renderer(
            people, compute_dtype(self.head.classifier.weight)
        )  # (N, C, T, H, W), channels last
        x = self.blocks(self.stem(maps))  # (N, C_last, T', H', W')
        out: ModelOutput = self.head(x.mean(dim=(2, 3, 4)))
        return out


def build(
    num_classes: int,
    *,
    input: InputSpec,
    size: int = 0,
    eval_size: int = 0,
    sigma: float = 0.6,
    with_joints: bool = True,
    with_limbs: bool = False,
    base_channels: int = 32,
    depths: Sequence[int] = (4, 6, 3),
    inflate: Sequence[int] = (0, 1, 1),
    spatial_strides: Sequence[int] = (2, 2, 2),
    temporal_strides: Sequence[int] = (1, 1, 2),
    stem_stride: int = 1,
    scale: int = 4,
    feature_dim: int = 0,
    dropout: float = 0.5,
) -> Res2Net3D:
    """Build the network for an input of kind ``people``, shape (P, T, V, 3).

    ``size`` 0 takes the modality's; the other options are those of :class:`HeatmapRenderer` and
    :class:`Res2Net3D`.

    Raises:
        UsageError: the input is of another kind, an option is out of range, or neither joints nor limbs are
            wanted.
    """
    points = people_input("res2net3d", input)[2]
    if not (with_joints or with_limbs):
        raise UsageError(
            "res2net3d: found with_joints and with_limbs both false, want one; set either to true"
        )
    equally_long(
        "res2net3d",
        depths=depths,
        inflate=inflate,
        spatial_strides=spatial_strides,
        temporal_strides=temporal_strides,
    )
    at_least("res2net3d", 1, depths=depths, spatial_strides=spatial_strides)
    at_least("res2net3d", 1, temporal_strides=temporal_strides, stem_stride=stem_stride)
    at_least("res2net3d", 3, base_channels=base_channels)
    at_least("res2net3d", 2, scale=scale)
    renderer = HeatmapRenderer(
        points,
        input.extra["edges"],
        size=size or int(input.extra["size"]),
        eval_size=eval_size,
        sigma=sigma,
        with_joints=with_joints,
        with_limbs=with_limbs,
    )
    return Res2Net3D(
        num_classes,
        renderer,
        base_channels=base_channels,
        depths=depths,
        inflate=inflate,
        spatial_strides=spatial_strides,
        temporal_strides=temporal_strides,
        stem_stride=stem_stride,
        scale=scale,
        feature_dim=feature_dim,
        dropout=dropout,
    )
