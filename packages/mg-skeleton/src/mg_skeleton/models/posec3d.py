"""PoseC3D: a SlowOnly 3D ResNet over heatmaps of keypoints and limbs (paper 3.1 and 4.2, reference 10).

The stages are pytorchvideo's; its ready-made networks cannot express this one (no pooling of time, three
stages, first pooling without stride). Preset ``full`` is the reference exactly: 2,074,048 parameters at 68
channels, (512, 24, 7, 7) in front of the head for 48 x 56 x 56.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_skeleton.checks import at_least, check_batch, equally_long, people_input
from mg_skeleton.heatmaps import HeatmapRenderer
from mg_skeleton.layers import compute_dtype
from mg_skeleton.plane_convolution import by_planes
from mg_skeleton.weights import load_weights

with warnings.catch_warnings():
    # It asks for a module of torchvision by its old name; nothing of it is used here.
    warnings.simplefilter("ignore")
    from pytorchvideo.models.resnet import ResBlock, create_bottleneck_block, create_res_stage
    from pytorchvideo.models.stem import create_res_basic_stem


def _add_to_second(shortcut: Tensor, branch: Tensor) -> Tensor:
    """Return the sum in the branch's memory: it ends with a normalisation, whose gradient needs no output."""
    return branch.add_(shortcut)


class SlowOnly(nn.Module):
    """Backbone: (N, C, T, H, W) -> (N, 4 * inner[-1], T', H', W').

    Args:
        in_channels: heatmaps per frame. base_channels: of the stem and the first inner width; each stage
            doubles it.
        depths: bottleneck blocks of each stage. inflate: stages whose first convolution spans three frames.
        spatial_strides, temporal_strides: of each stage's first block.
        stem_stride: spatial stride of the stem (1 in the reference).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        base_channels: int = 32,
        depths: Sequence[int] = (4, 6, 3),
        inflate: Sequence[int] = (0, 1, 1),
        spatial_strides: Sequence[int] = (2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 2),
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.stem = create_res_basic_stem(
            in_channels=in_channels,
            out_channels=base_channels,
            conv_kernel_size=(1, 7, 7),
            conv_stride=(1, stem_stride, stem_stride),
            conv_padding=(0, 3, 3),
            pool_kernel_size=(1, 3, 3),
            pool_stride=(1, 1, 1),
            pool_padding=(0, 1, 1),
        )
        stages = []
        channels = base_channels
        for stage, depth in enumerate(depths):
            inner = base_channels * 2**stage
            span = 3 if inflate[stage] else 1
            spatial, temporal = spatial_strides[stage], temporal_strides[stage]
            stages.append(
                create_res_stage(
                    depth=depth,
                    dim_in=channels,
                    dim_inner=inner,
                    dim_out=inner * 4,
                    bottleneck=create_bottleneck_block,
                    conv_a_kernel_size=(span, 1, 1),
                    # The reference strides time in the second convolution, pytorchvideo's networks in the
                    # first: the first convolution's batch statistics then come from twice as many frames.
                    conv_a_stride=(1, 1, 1),
                    conv_a_padding=(span // 2, 0, 0),
                    conv_b_stride=(temporal, spatial, spatial),
                )
            )
            channels = inner * 4
        self.stages = nn.Sequential(*stages)
        self.out_channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.ReLU):
                module.inplace = True  # over a normalisation or a sum, whose values nobody else reads
            elif isinstance(module, ResBlock):
                module.branch_fusion = _add_to_second
        by_planes(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stages(self.stem(x))
        return out


class PoseC3D(nn.Module):
    """Renders heatmaps, runs :class:`SlowOnly`, pools, classifies.

    Args:
        renderer: keypoints -> heatmaps; it also gives the number of channels.
        feature_dim: 0: the pooled channels are the feature f, as in the reference; else f is a linear
            layer of them, which the semantic loss of paper 3.2 needs if its anchors may be negative or K
            is larger than the width.

    Input (N, P, T, V, 3) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        renderer: HeatmapRenderer,
        backbone: SlowOnly,
        *,
        feature_dim: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.renderer = renderer
        self.backbone = backbone
        self.feature: nn.Module = (
            nn.Linear(backbone.out_channels, feature_dim) if feature_dim else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim or backbone.out_channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, people: Tensor) -> ModelOutput:
        check_batch("posec3d", people, (None, None, self.renderer.num_points, 3))
        dtype = compute_dtype(self.classifier.weight)
        maps = self.renderer(people, dtype)  # (N, C, T, H, W), channels last
        x = self.backbone(maps)  # (N, C', T', H', W')
        f = self.feature(x.mean(dim=(2, 3, 4)))  # (N, d)
        return ModelOutput(logits=self.classifier(self.dropout(f)), feature=f)


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
    feature_dim: int = 0,
    dropout: float = 0.5,
    weights: str = "",
) -> PoseC3D:
    """Build the network for an input of kind ``people``, shape (P, T, V, 3).

    ``size`` 0 takes the modality's; ``weights`` names a file with initial weights (``mg models convert``, or
    a checkpoint); the other options are those of :class:`HeatmapRenderer`, :class:`SlowOnly` and
    :class:`PoseC3D`.

    Raises:
        UsageError: the input is of another kind, an option is out of range, or neither joints nor limbs are
            wanted.
        DataError: the weights do not fit.
    """
    points = people_input("posec3d", input)[2]
    if not (with_joints or with_limbs):
        raise UsageError("posec3d: found with_joints and with_limbs both false, want one; set either to true")
    equally_long(
        "posec3d",
        depths=depths,
        inflate=inflate,
        spatial_strides=spatial_strides,
        temporal_strides=temporal_strides,
    )
    at_least("posec3d", 1, depths=depths, spatial_strides=spatial_strides, temporal_strides=temporal_strides)
    at_least("posec3d", 1, stem_stride=stem_stride, base_channels=base_channels)
    renderer = HeatmapRenderer(
        points,
        input.extra["edges"],
        size=size or int(input.extra["size"]),
        eval_size=eval_size,
        sigma=sigma,
        with_joints=with_joints,
        with_limbs=with_limbs,
    )
    backbone = SlowOnly(
        renderer.channels,
        base_channels=base_channels,
        depths=depths,
        inflate=inflate,
        spatial_strides=spatial_strides,
        temporal_strides=temporal_strides,
        stem_stride=stem_stride,
    )
    model = PoseC3D(num_classes, renderer, backbone, feature_dim=feature_dim, dropout=dropout)
    if weights:
        load_weights(model, weights, model_name="posec3d")
    return model
