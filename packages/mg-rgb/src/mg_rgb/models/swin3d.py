"""Video Swin (Liu et al. 2022; paper section 3.1): attention in shifted windows of space and time.

All sizes are torchvision's class; ``swin3d_t``, ``swin3d_s`` and ``swin3d_b`` have the library's options.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

from torch import nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video import swin_transformer as library

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.weights_records import SWIN3D, SWIN3D_B_WEIGHTS, SWIN3D_S_WEIGHTS, SWIN3D_T_WEIGHTS


def _build(
    name: str,
    known: tuple[WeightsSpec, ...],
    num_classes: int,
    *,
    input: InputSpec,
    patch: Sequence[int] = (2, 4, 4),
    embed_dim: int = 96,
    depths: Sequence[int] = (2, 2, 6, 2),
    heads: Sequence[int] = (3, 6, 12, 24),
    window: Sequence[int] = (8, 7, 7),
    mlp_ratio: float = 4.0,
    stochastic_depth: float = 0.1,
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build a Video Swin of torchvision's class.

    Args:
        patch: frames, rows and columns a token covers.
        embed_dim: channels of the first stage; each later stage doubles them.
        depths: blocks a stage. heads: attention heads a stage, divisors of its channels.
        window: tokens a window spans in time, height and width.
        mlp_ratio: hidden channels of a block's MLP over its channels.
        stochastic_depth: probability of skipping the last block in training; earlier ones less, linearly.
        options: see :class:`VideoBranch`.

    Raises:
        UsageError: options that contradict each other. DataError: weights that are not there or belong to
            another network.
    """
    spec = video_input(input, name)
    if len(patch) != 3 or len(window) != 3:
        raise UsageError(f"model {name}: patch {list(patch)} and window {list(window)} want 3 numbers each")
    if len(heads) != len(depths) or sum(depths) < 2:
        raise UsageError(
            f"model {name}: depths {list(depths)} and heads {list(heads)} want one number a stage each, "
            "and two blocks or more in all"
        )
    for stage, count in enumerate(heads):
        if (embed_dim * 2**stage) % count:
            raise UsageError(
                f"model {name}: stage {stage} has {embed_dim * 2**stage} channels, "
                f"which {count} heads do not divide"
            )
    network = library.SwinTransformer3d(
        patch_size=list(patch),
        embed_dim=embed_dim,
        depths=list(depths),
        num_heads=list(heads),
        window_size=list(window),
        mlp_ratio=mlp_ratio,
        stochastic_depth_prob=stochastic_depth,
        patch_embed=partial(library.PatchEmbed3d, in_channels=spec.shape[0]),
    )
    network.head = nn.Identity()
    # Stages and the merging of patches that follows each take turns in the library's list of features.
    merged = [(f"features.{2 * stage}", f"features.{2 * stage + 1}") for stage in range(len(depths) - 1)]
    backbone = Backbone(
        network=network,
        width=network.num_features,
        mean=SWIN3D["mean"],
        std=SWIN3D["std"],
        classifier="head",
        first=("patch_embed.proj.weight",),
        stages=(("patch_embed",), *merged, (f"features.{2 * len(depths) - 2}", "norm")),
        blocks=(SwinTransformerBlock,),
        head_std=0.02,
    )
    return build_branch(backbone, num_classes, spec, known, **options)


swin3d_t = partial(_build, "swin3d-t", SWIN3D_T_WEIGHTS)
swin3d_s = partial(_build, "swin3d-s", SWIN3D_S_WEIGHTS, depths=(2, 2, 18, 2))
swin3d_b = partial(
    _build, "swin3d-b", SWIN3D_B_WEIGHTS, embed_dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)
)
swin3d = partial(
    _build, "swin3d", (), embed_dim=32, depths=(2, 2, 2), heads=(2, 4, 8), window=(4, 4, 4), mlp_ratio=3.0
)
