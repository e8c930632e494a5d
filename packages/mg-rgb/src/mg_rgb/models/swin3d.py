"""Video Swin (Liu et al. 2022; paper section 3.1): attention in shifted windows of space and time.

``swin3d_t``, ``swin3d_s`` and ``swin3d_b`` are torchvision's networks; ``swin3d`` builds torchvision's class
at other widths, depths and windows, for training without pretrained weights on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn
from torchvision.models.video import swin_transformer as library

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import VideoBranch, channel_statistics, video_input
from mg_rgb.weights import load_weights
from mg_rgb.weights_records import SWIN3D_B_WEIGHTS, SWIN3D_S_WEIGHTS, SWIN3D_T_WEIGHTS

LIBRARY_MEAN = (0.485, 0.456, 0.406)
LIBRARY_STD = (0.229, 0.224, 0.225)


def _branch(
    backbone: library.SwinTransformer3d,
    num_classes: int,
    input: InputSpec,
    weights: str,
    known: tuple[WeightsSpec, ...],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    feature_dim: int,
    dropout: float,
) -> VideoBranch:
    backbone.head = nn.Identity()
    means, stds = channel_statistics(input, mean, std, LIBRARY_MEAN, LIBRARY_STD)
    branch = VideoBranch(
        backbone,
        width=backbone.num_features,
        num_classes=num_classes,
        input=input,
        mean=means,
        std=stds,
        feature_dim=feature_dim,
        dropout=dropout,
        head_std=0.02,
    )
    if weights:
        load_weights(branch, weights, known=known, head="head", first="patch_embed.proj.weight")
    return branch


def _of_library(
    name: str, build: Callable[..., library.SwinTransformer3d], known: tuple[WeightsSpec, ...]
) -> Callable[..., VideoBranch]:
    def factory(
        num_classes: int,
        *,
        input: InputSpec,
        weights: str = "",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        feature_dim: int = 0,
        dropout: float = 0.0,
        stochastic_depth: float = 0.1,
    ) -> VideoBranch:
        spec = video_input(input, name)
        embed = partial(library.PatchEmbed3d, in_channels=spec.shape[0])
        # torchvision passes its own stochastic depth (0.1) by position, so another one is set afterwards.
        backbone = build(weights=None, patch_embed=embed)
        _set_stochastic_depth(backbone, stochastic_depth)
        return _branch(backbone, num_classes, spec, weights, known, mean, std, feature_dim, dropout)

    factory.__doc__ = f"""Build torchvision's {name.replace("-", "_")}.

    Args:
        weights: ``""``, ``"kinetics400"`` or a path (:func:`mg_rgb.weights.load_weights`).
        mean, std, feature_dim, dropout: see :class:`mg_rgb.models.branch.VideoBranch`.
        stochastic_depth: probability of skipping the last block in training; earlier ones less, linearly.

    Raises:
        DataError: weights that are not there or belong to another network.
    """
    return factory


def _set_stochastic_depth(backbone: library.SwinTransformer3d, last: float) -> None:
    layers = [module for module in backbone.modules() if hasattr(module, "stochastic_depth")]
    for number, layer in enumerate(layers):
        layer.stochastic_depth.p = last * number / max(1, len(layers) - 1)


swin3d_t = _of_library("swin3d-t", library.swin3d_t, SWIN3D_T_WEIGHTS)
swin3d_s = _of_library("swin3d-s", library.swin3d_s, SWIN3D_S_WEIGHTS)
swin3d_b = _of_library("swin3d-b", library.swin3d_b, SWIN3D_B_WEIGHTS)


def swin3d(
    num_classes: int,
    *,
    input: InputSpec,
    patch: Sequence[int] = (2, 4, 4),
    embed_dim: int = 32,
    depths: Sequence[int] = (2, 2, 2),
    heads: Sequence[int] = (2, 4, 8),
    window: Sequence[int] = (4, 4, 4),
    mlp_ratio: float = 3.0,
    stochastic_depth: float = 0.1,
    weights: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    feature_dim: int = 256,
    dropout: float = 0.1,
) -> VideoBranch:
    """Build a narrow Video Swin of torchvision's class.

    Args:
        patch: frames, rows and columns a token covers.
        embed_dim: channels of the first stage; each later stage doubles them.
        depths: blocks a stage. heads: attention heads a stage, divisors of its channels.
        window: tokens a window spans in time, height and width.
        mlp_ratio: hidden channels of a block's MLP over its channels.
        weights: ``""`` or a path to a checkpoint of the same shape.
        stochastic_depth, mean, std, feature_dim, dropout: as for the library's sizes.

    Raises:
        UsageError: options that contradict each other.
    """
    spec = video_input(input, "swin3d")
    if len(patch) != 3 or len(window) != 3:
        raise UsageError(f"model swin3d: patch {list(patch)} and window {list(window)} want 3 numbers each")
    if len(heads) != len(depths) or sum(depths) < 2:
        raise UsageError(
            f"model swin3d: depths {list(depths)} and heads {list(heads)} want one number a stage each, "
            "and two blocks or more in all"
        )
    for stage, count in enumerate(heads):
        if (embed_dim * 2**stage) % count:
            raise UsageError(
                f"model swin3d: stage {stage} has {embed_dim * 2**stage} channels, "
                f"which {count} heads do not divide"
            )
    backbone = library.SwinTransformer3d(
        patch_size=list(patch),
        embed_dim=embed_dim,
        depths=list(depths),
        num_heads=list(heads),
        window_size=list(window),
        mlp_ratio=mlp_ratio,
        stochastic_depth_prob=stochastic_depth,
        patch_embed=partial(library.PatchEmbed3d, in_channels=spec.shape[0]),
    )
    return _branch(backbone, num_classes, spec, weights, (), mean, std, feature_dim, dropout)
