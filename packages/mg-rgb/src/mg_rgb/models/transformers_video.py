"""Video transformers of Hugging Face: VideoMAE (Tong et al. 2022), TimeSformer (Bertasius et al. 2021), ViViT
(Arnab et al. 2021). They need the extra ``mg-rgb[hf]``; the library is imported when a model is built.

A table of positions ties each model to the size of sample that it was built for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch, video_input
from mg_rgb.models.build import BranchOptions, build_branch
from mg_rgb.models.positions import resize_table, square
from mg_rgb.weights_records import (
    TIMESFORMER,
    TIMESFORMER_WEIGHTS,
    VIDEOMAE,
    VIDEOMAE_WEIGHTS,
    VIVIT,
    VIVIT_WEIGHTS,
)

Grid = tuple[int, int, int]
PUBLISHED: Grid = (16, 14, 14)  # of ViViT: 32 frames of 224 pixels in tokens of 2 x 16 x 16
# Published checkpoints keep the names of older versions of the library; each version renames what it reads.
_OLDER_NAMES = {
    "videomae": (
        (r"attention\.attention\.q_bias", "attention.attention.query.bias"),
        (r"attention\.attention\.v_bias", "attention.attention.value.bias"),
    ),
    "timesformer": (),
    "vivit": (
        (r"encoder\.layer\.", "layers."),
        (r"attention\.attention\.(query|key|value)", r"attention.\1"),
        (r"attention\.query", "attention.q_proj"),
        (r"attention\.key", "attention.k_proj"),
        (r"attention\.value", "attention.v_proj"),
        (r"attention\.output\.dense", "attention.o_proj"),
        (r"intermediate\.dense", "mlp.fc1"),
        (r"output\.dense", "mlp.fc2"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Family:
    """A network of the library: the module below ``transformers.models``, and what goes with its checkpoint.

    Args:
        name: of the module and of the network in it. prefix: of its classes.
        mean_of_tokens: the classifier sees the normalised mean of all tokens, not the first token.
        by_frame: a token covers one frame, and frames have a table of positions of their own.
        patch: the library's options for a patch of (frames, side).
    """

    name: str
    prefix: str
    known: tuple[WeightsSpec, ...]
    preprocessing: Mapping[str, Any]
    mean_of_tokens: bool = False
    by_frame: bool = False
    patch: Callable[[int, int], dict[str, Any]]


def _library(family: _Family) -> tuple[Any, Any]:
    """Return the library's configuration and network classes; UsageError without the extra."""
    try:
        from transformers.models import timesformer, videomae, vivit
    except ImportError as error:
        raise UsageError(
            f"model {family.name}: needs the package transformers ({error}): install the extra by "
            "pip install 'mg-rgb[hf]'"
        ) from error
    module = {"videomae": videomae, "timesformer": timesformer, "vivit": vivit}[family.name]
    return getattr(module, f"{family.prefix}Config"), getattr(
        module, f"{family.prefix}ForVideoClassification"
    )


class _Tokens(nn.Module):
    """(N, C, T, H, W) -> (N, width): the library's network, and its choice of tokens for the classifier."""

    def __init__(self, family: _Family, network: Any) -> None:
        super().__init__()
        self.add_module(family.name, getattr(network, family.name))
        self._name = family.name
        self.fc_norm: nn.Module | None = network.fc_norm if family.mean_of_tokens else None

    def forward(self, video: Tensor) -> Tensor:
        tokens = self.get_submodule(self._name)(video.transpose(1, 2))[0]  # (N, P, width)
        pooled: Tensor = tokens[:, 0] if self.fc_norm is None else self.fc_norm(tokens.mean(1))
        return pooled


def _rename(family: str, name: str) -> str:
    for pattern, text in _OLDER_NAMES[family]:
        name = re.sub(pattern, text, name)
    return name


def _resize(
    family: _Family,
    patch: Sequence[int],
    grid: Grid,
    name: str,
    table: Tensor,
    shape: tuple[int, ...],
    sample: tuple[int, ...] | None,
) -> Tensor:
    """Fit ``position_embeddings`` (1, 1 + P, C) and ``time_embeddings`` (1, T, C) to ``shape``.

    Args:
        grid: tokens in time, rows and columns of the model. sample: (T, H, W) of the checkpoint's, or None.
    """
    if name.endswith("time_embeddings"):
        return resize_table(table[0], table.shape[1:2], shape[1:2])[None]
    if not name.endswith("position_embeddings") or table.ndim != 3:
        return table
    count = table.shape[1] - 1
    if family.by_frame:
        resized = resize_table(table[0, 1:], square(count), grid[1:])
    else:
        trained = (sample[0] // patch[0], sample[1] // patch[1], sample[2] // patch[1]) if sample else None
        resized = resize_table(table[0, 1:], grid_of(count, grid, trained), grid)
    return torch.cat([table[:, :1], resized[None]], dim=1)


def grid_of(count: int, grid: Grid, trained: Grid | None) -> Grid:
    """Return tokens in time, rows and columns of a checkpoint's table of ``count``.

    A number has many factors: it is the grid the checkpoint was trained on if it tells, else the model's own,
    the published one, or the only one with as many rows or as many frames as the model. (0, 0, 0): none, or
    both, which makes the table one of another shape.

    >>> grid_of(3136, (8, 14, 14), None), grid_of(256, (4, 12, 12), None), grid_of(256, (16, 8, 8), None)
    ((16, 14, 14), (4, 8, 8), (0, 0, 0))
    """
    for known in (trained, grid, PUBLISHED):
        if known is not None and math.prod(known) == count:
            return known
    frames, rows, columns = grid
    found = []
    if count % (rows * columns) == 0:
        found.append((count // (rows * columns), rows, columns))
    side = square(max(1, count // frames))
    if count % frames == 0 and side[0] == side[1]:
        found.append((frames, *side))
    return found[0] if len(found) == 1 else (0, 0, 0)


def _build(
    family: _Family,
    num_classes: int,
    *,
    input: InputSpec,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    patch: Sequence[int] = (2, 16),
    **options: Unpack[BranchOptions],
) -> VideoBranch:
    """Build a video transformer of Hugging Face's library (the published ones: base size, 86 to 121 million).

    Args:
        width: channels of a token, a multiple of ``heads``; the MLP has four times as many.
        depth: layers. heads: attention heads.
        patch: frames and pixels (of a square side) that a token covers; one frame for TimeSformer.
        options: see :class:`VideoBranch`. Weights of another size of sample get their tables of positions
            interpolated.

    Raises:
        UsageError: without the extra ``hf``, or for options that contradict each other. DataError: weights
            that are not there or belong to another network.
    """
    spec = video_input(input, family.name)
    channels, frames, rows, columns = spec.shape
    if len(patch) != 2 or min(patch) < 1 or width % heads or depth < 1:
        raise UsageError(
            f"model {family.name}: patch {list(patch)}, width {width}, heads {heads}, depth {depth}: wanted "
            "two positive numbers, a width that the heads divide, and a layer or more"
        )
    if family.by_frame and patch[0] != 1:
        raise UsageError(
            f"model {family.name}: patch {list(patch)}: tokens cover one frame each, wanted [1, {patch[1]}]"
        )
    if frames % patch[0] or rows % patch[1] or rows != columns:
        raise UsageError(
            f"model {family.name}: samples of {frames} frames of {rows} x {columns} pixels, wanted squares, "
            f"in multiples of {patch[0]} frames and {patch[1]} pixels: set the modality's frames and size"
        )
    configuration, network_class = _library(family)
    network = network_class(
        configuration(
            image_size=rows,
            num_frames=frames,
            num_channels=channels,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            num_labels=num_classes,
            **family.patch(*patch),
        )
    )
    own = getattr(network, family.name)
    layers = own.layers if hasattr(own, "layers") else own.encoder.layer
    place = f"{family.name}.layers" if hasattr(own, "layers") else f"{family.name}.encoder.layer"
    grid = (frames // patch[0], rows // patch[1], columns // patch[1])
    backbone = Backbone(
        network=_Tokens(family, network),
        width=width,
        mean=family.preprocessing["mean"],
        std=family.preprocessing["std"],
        classifier="classifier",
        first=(f"{family.name}.embeddings.patch_embeddings.projection.weight",),
        stages=(
            (f"{family.name}.embeddings",),
            *((f"{place}.{layer}",) for layer in range(depth - 1)),
            (f"{place}.{depth - 1}", "fc_norm" if family.mean_of_tokens else f"{family.name}.layernorm"),
        ),
        blocks=(type(layers[0]),),
        head_std=0.02,
        size=(frames, rows, columns),
        rename=partial(_rename, family.name),
        resize=partial(_resize, family, patch, grid),
    )
    return build_branch(backbone, num_classes, spec, family.known, **options)


_VIDEOMAE = _Family(
    name="videomae",
    prefix="VideoMAE",
    known=VIDEOMAE_WEIGHTS,
    preprocessing=VIDEOMAE,
    mean_of_tokens=True,
    patch=lambda frames, side: {"tubelet_size": frames, "patch_size": side},
)
_TIMESFORMER = _Family(
    name="timesformer",
    prefix="Timesformer",
    known=TIMESFORMER_WEIGHTS,
    preprocessing=TIMESFORMER,
    by_frame=True,
    patch=lambda frames, side: {"patch_size": side},
)
_VIVIT = _Family(
    name="vivit",
    prefix="Vivit",
    known=VIVIT_WEIGHTS,
    preprocessing=VIVIT,
    patch=lambda frames, side: {"tubelet_size": [frames, side, side]},
)
videomae = partial(_build, _VIDEOMAE)
timesformer = partial(_build, _TIMESFORMER, patch=(1, 16))
vivit = partial(_build, _VIVIT)
