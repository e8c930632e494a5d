"""Multiscale vision transformers of torchvision (Fan et al. 2021; Li et al. 2022): attention over a map that
shrinks from stage to stage while its channels grow.

The library's two sizes differ in rules, not only in numbers; ``_settings`` writes both down, for any width
and depth. Attention needs a table of positions, so a model takes only the size of sample it was built for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Unpack

from torch import Tensor, nn
from torchvision.models.video import mvit as library

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.convolution import guard_small_maps, replace_first
from mg_rgb.models.positions import resize_table, square
from mg_rgb.weights_records import MVIT, MVIT_V1_B_WEIGHTS, MVIT_V2_S_WEIGHTS

PATCH_STRIDE = (2, 4, 4)  # frames, rows and columns between two patches, the library's


def _settings(version: int, width: int, depths: Sequence[int]) -> list[library.MSBlockConfig]:
    """Return the blocks' settings: heads and channels double from stage to stage, the map halves.

    Version 1 widens in the last block of a stage and pools queries only where the map halves; version 2
    widens in the first block of the next stage and pools queries everywhere.
    """
    settings: list[library.MSBlockConfig] = []
    for stage, depth in enumerate(depths):
        for block in range(depth):
            halves = stage > 0 and block == 0
            last = block == depth - 1 and stage < len(depths) - 1
            channels = width * 2**stage
            grown = version == 1 and last
            narrow = version == 2 and halves
            pools_queries = version == 2 or halves
            settings.append(
                library.MSBlockConfig(
                    num_heads=2**stage,
                    input_channels=channels // 2 if narrow else channels,
                    output_channels=2 * channels if grown else channels,
                    kernel_q=[3, 3, 3] if pools_queries else [],
                    kernel_kv=[3, 3, 3],
                    stride_q=[1, 2, 2] if halves else [1, 1, 1] if version == 2 else [],
                    # Keys and values always end at the map of the last stage.
                    stride_kv=[1, *[2 ** (len(depths) - 1 - stage)] * 2],
                )
            )
    return settings


def _still_what_has_no_effect(last: library.MultiscaleAttention) -> None:
    """Take the gradient from parts of the last block that act on the queries of patches.

    The classifier reads the class token alone, so they never get one; distributed training would wait for it.
    """
    parts = (last.rel_pos_h, last.rel_pos_w, last.rel_pos_t, last.pool_q)
    for part in parts:
        if part is not None:
            part.requires_grad_(False)


def _resize(name: str, table: Tensor, shape: tuple[int, ...], sample: tuple[int, ...] | None) -> Tensor:
    part = name.rpartition(".")[2]
    if part in ("rel_pos_h", "rel_pos_w", "rel_pos_t", "temporal_pos"):
        return resize_table(table, table.shape[:1], shape[:1])
    if part == "spatial_pos":
        return resize_table(table, square(len(table)), square(shape[0]))
    return table


def _build(
    name: str,
    version: int,
    known: tuple[WeightsSpec, ...],
    num_classes: int,
    *,
    input: InputSpec,
    width: int = 96,
    depths: Sequence[int] = (1, 2, 11, 2),
    stochastic_depth: float = 0.2,
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build a multiscale vision transformer of torchvision's class.

    Args:
        width: channels of the first stage and of every attention head; each later stage doubles them.
        depths: blocks a stage, one to four stages.
        stochastic_depth: probability of skipping the last block in training; earlier ones less, linearly.
        options: see :class:`VideoBranch`. Weights of another size of sample get their tables of positions
            interpolated.

    Raises:
        UsageError: options that contradict each other, or a size of sample that patches do not cover.
            DataError: weights that are not there or belong to another network.
    """
    spec = video_input(input, name)
    channels, frames, rows, columns = spec.shape
    if frames % PATCH_STRIDE[0] or rows % PATCH_STRIDE[1] or columns % PATCH_STRIDE[2]:
        raise UsageError(
            f"model {name}: samples of {frames} frames of {rows} x {columns} pixels, wanted an even number "
            "of frames and sides that 4 divides: set the modality's frames and size"
        )
    if not 1 <= len(depths) <= 4 or min(depths) < 1 or sum(depths) < 2 or width < 1:
        raise UsageError(
            f"model {name}: width {width}, depths {list(depths)}: wanted a positive width, one to four "
            "stages of one block or more, and two blocks or more in all"
        )
    smallest = PATCH_STRIDE[1] * 2 ** (len(depths) - 1)
    if version == 2 and min(rows, columns) < smallest:  # its relative positions want a point of the last map
        raise UsageError(
            f"model {name}: samples of {rows} x {columns} pixels are too small for {len(depths)} stages, "
            f"wanted {smallest} or more: set the modality's size"
        )
    network = library.MViT(
        spatial_size=(rows, columns),
        temporal_size=frames,
        block_setting=_settings(version, width, depths),
        residual_pool=version == 2,
        residual_with_cls_embed=False,
        rel_pos_embed=version == 2,
        proj_after_attn=version == 2,
        stochastic_depth_prob=stochastic_depth,
    )
    network.head = nn.Identity()
    network.conv_proj = replace_first(network.conv_proj, channels)
    guard_small_maps(network)
    _still_what_has_no_effect(network.blocks[-1].attn)
    starts = [sum(depths[:stage]) for stage in range(len(depths) + 1)]
    blocks = [tuple(f"blocks.{block}" for block in range(*ends)) for ends in pairwise(starts)]
    backbone = Backbone(
        network=network,
        width=width * 2 ** (len(depths) - 1),
        mean=MVIT["mean"],
        std=MVIT["std"],
        classifier="head.1",
        first=("conv_proj.weight",),
        stages=(("conv_proj", "pos_encoding"), *blocks[:-1], (*blocks[-1], "norm")),
        blocks=(library.MultiscaleBlock,),
        head_std=0.02,
        size=(frames, rows, columns),
        resize=_resize,
    )
    return build_branch(backbone, num_classes, spec, known, **options)


mvit_v1_b = partial(_build, "mvit-v1-b", 1, MVIT_V1_B_WEIGHTS)
mvit_v2_s = partial(_build, "mvit-v2-s", 2, MVIT_V2_S_WEIGHTS)
