"""SkateFormer-like: attention within four kinds of partition of keypoints and frames.

Do and Kim, "SkateFormer: Skeletal-Temporal Transformer for Human Action Recognition", ECCV 2024 (arXiv
2403.09508). Preset ``full`` has its stages, widths and heads. It is "like", because:

- the publication orders the joints of one camera's skeleton by hand so that all parts have one size. Here
  the keypoints are put in order of the body parts that the layout's bones give and cut into runs of
  ``part_size``; what is missing from the last run is filled with empty places that nothing attends to;
- frames are numbered 0 ... T - 1 in the embedding, not by their place in the uncut video;
- scores are divided by the root of a head's channels (the publication's code: of the number of heads).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, LayoutSpec, ModelOutput, UsageError
from mg_skeleton.body_parts import body_parts
from mg_skeleton.checks import (
    at_least,
    check_batch,
    divisible,
    equally_long,
    keypoint_input,
    layout_of,
)
from mg_skeleton.layers import Head

# Which keypoints and which frames share a partition (section 3.2): those of one part, or the one at the same
# place in every part; frames in a row, or frames spread over the clip.
Points = Literal["near", "far"]
Moments = Literal["near", "far"]
KINDS: tuple[tuple[Points, Moments], ...] = (
    ("near", "near"),
    ("far", "near"),
    ("near", "far"),
    ("far", "far"),
)


class PartitionAttention(nn.Module):
    """Skate-MSA for one kind of partition: q, k, v (N, 3 C, T, V) -> (N, C, T, V).

    Scores get a learned bias of the difference in time, and for far keypoints of the two parts as well.

    Args:
        frames: in a partition. parts, part_size: V = parts * part_size.
        real: (V,) bool, False for places without a keypoint.
    """

    def __init__(
        self,
        heads: int,
        kind: tuple[Points, Moments],
        *,
        frames: int,
        parts: int,
        part_size: int,
        real: Tensor,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.frames, self.parts, self.part_size = heads, frames, parts, part_size
        self.points, self.moments = kind
        moments = torch.arange(frames)
        self.lags: Tensor
        self.register_buffer("lags", moments[:, None] - moments[None, :] + frames - 1, persistent=False)
        size = parts if self.points == "far" else 1
        self.bias = nn.Parameter(torch.empty(2 * frames - 1, size, size, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        shown = real.reshape(parts, part_size)
        shown = shown.T if self.points == "far" else shown  # (groups, keypoints of a group)
        hidden = torch.zeros(shown.shape).masked_fill(~shown, -1e4).repeat(1, frames)
        self.hidden: Tensor
        self.register_buffer("hidden", hidden[:, None, None, :], persistent=False)  # (groups, 1, 1, keys)
        self.dropout = nn.Dropout(dropout)

    def _split(self, x: Tensor) -> Tensor:
        """(N, C', T, V) -> (N, time groups, point groups, frames, points, C')."""
        n, c, t, _ = x.shape
        if self.moments == "near":
            x = x.reshape(n, c, t // self.frames, self.frames, self.parts, self.part_size)
        else:
            x = x.reshape(n, c, self.frames, t // self.frames, self.parts, self.part_size).transpose(2, 3)
        return x.permute((0, 2, 4, 3, 5, 1) if self.points == "near" else (0, 2, 5, 3, 4, 1))

    def _join(self, x: Tensor) -> Tensor:
        """Undo :meth:`_split`."""
        n, groups, c = x.shape[0], x.shape[1], x.shape[-1]
        x = x.permute((0, 5, 1, 3, 2, 4) if self.points == "near" else (0, 5, 1, 3, 4, 2))
        x = x if self.moments == "near" else x.transpose(2, 3)
        return x.reshape(n, c, groups * self.frames, self.parts * self.part_size)

    def forward(self, qkv: Tensor) -> Tensor:
        x = self._split(qkv)
        shape = x.shape[:-1]  # (N, time groups, point groups, frames, points)
        area = shape[3] * shape[4]
        x = x.reshape(*shape[:3], area, 3, self.heads, -1).permute(4, 0, 1, 2, 5, 3, 6)
        q, k, v = x.unbind(0)  # (N, time groups, point groups, heads, area, c)
        bias = self.bias[self.lags].permute(4, 0, 2, 1, 3)  # (heads, frames, points or 1, frames, ...)
        bias = bias.expand(-1, -1, shape[4], -1, shape[4]).reshape(self.heads, area, area)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2) + (bias + self.hidden)
        y = self.dropout(scores.softmax(dim=-1)) @ v
        return self._join(y.transpose(3, 4).reshape(*shape, -1))


class SkateBlock(nn.Module):
    """x + mix(graph convolution, temporal convolution, four attentions), then x + MLP(x).

    A quarter of the channels goes to each convolution, an eighth to each attention. (N, C, T, V) -> the same.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        kernel: int,
        frames: int,
        parts: int,
        part_size: int,
        real: Tensor,
        mlp_ratio: int,
        attention_dropout: float,
        path_dropout: float,
    ) -> None:
        super().__init__()
        quarter, points = channels // 4, parts * part_size
        self.quarter = quarter
        self.norm = nn.LayerNorm(channels)
        self.enter = nn.Linear(channels, 2 * channels)
        self.graphs = nn.Parameter(torch.empty(heads // 4, points, points))  # one for each group of channels
        nn.init.trunc_normal_(self.graphs, std=0.02)
        self.real: Tensor
        self.register_buffer("real", real.float(), persistent=False)
        self.temporal = nn.Conv2d(
            quarter, quarter, (kernel, 1), padding=(kernel // 2, 0), groups=heads // 4, bias=False
        )
        self.attentions = nn.ModuleList(
            PartitionAttention(
                heads // 8,
                kind,
                frames=frames,
                parts=parts,
                part_size=part_size,
                real=real,
                dropout=attention_dropout,
            )
            for kind in KINDS
        )
        self.leave = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, mlp_ratio * channels),
            nn.GELU(),
            nn.Linear(mlp_ratio * channels, channels),
        )
        self.path_dropout = path_dropout

    def _path(self, y: Tensor) -> Tensor:
        """Drop the whole branch for a share of the clips while training."""
        if not self.training or self.path_dropout == 0:
            return y
        kept = torch.rand(len(y), *[1] * (y.ndim - 1), device=y.device) >= self.path_dropout
        return y * kept / (1 - self.path_dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, _, t, v = x.shape
        x = x.movedim(1, -1)  # (N, T, V, C)
        y = self.enter(self.norm(x)).movedim(-1, 1)  # (N, 2 C, T, V)
        spatial, temporal, attended = y.split([self.quarter, self.quarter, 6 * self.quarter], dim=1)
        spatial = spatial.reshape(n, len(self.graphs), -1, v) @ (self.graphs * self.real).transpose(-1, -2)
        parts = [spatial.reshape(n, self.quarter, t, v), self.temporal(temporal)]
        parts += [attention(qkv) for attention, qkv in zip(self.attentions, attended.chunk(4, dim=1))]
        x = x + self._path(self.leave(torch.cat(parts, dim=1).movedim(1, -1)))
        x = x + self._path(self.mlp(x))
        return x.movedim(-1, 1)


class SkateFormer(nn.Module):
    """Stem, embedding of joint and moment, stages with half the frames each, mean, classes.

    Args:
        num_classes: K. in_channels: C. frames: T. layout: of the keypoints.
        widths, depths: channels and blocks of each stage. heads: of a block; an eighth to each attention.
        kernel: frames of the temporal convolutions. window: frames of a partition.
        part_size: keypoints in a part. mlp_ratio: width of an MLP in widths of its block.
        feature_dim: of the feature f; 0 for the last width. dropout: of f, before the classifier.
        attention_dropout: of attention weights. path_dropout: of a branch of the last block, growing
            linearly from 0 at the first.

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        frames: int,
        layout: LayoutSpec,
        *,
        widths: Sequence[int] = (96, 192, 192, 192),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: int = 32,
        kernel: int = 7,
        window: int = 8,
        part_size: int = 4,
        mlp_ratio: int = 4,
        feature_dim: int = 0,
        dropout: float = 0.0,
        attention_dropout: float = 0.5,
        path_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_points = len(layout.names)
        self.sample_shape = (in_channels, frames, self.num_points)
        order = [point for part in body_parts(layout) for point in part]
        parts = -(-self.num_points // part_size)
        self.places = parts * part_size
        self.order: Tensor
        self.register_buffer("order", torch.tensor(order), persistent=False)
        real = torch.arange(self.places) < self.num_points
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 2 * in_channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * in_channels, 3 * in_channels, 1),
            nn.GELU(),
            nn.Conv2d(3 * in_channels, widths[0], 1),
        )
        self.joint_embedding = nn.Parameter(torch.empty(widths[0], 1, self.places))
        nn.init.trunc_normal_(self.joint_embedding, std=0.02)
        self.moments: Tensor
        self.register_buffer("moments", _sinusoids(widths[0], frames)[:, :, None], persistent=False)
        path = torch.linspace(0, path_dropout, sum(depths)).tolist()
        layers: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            if stage:
                halve = nn.Conv2d(
                    channels, width, (kernel, 1), stride=(2, 1), padding=(kernel // 2, 0), bias=False
                )
                layers += [halve, nn.BatchNorm2d(width)]
            layers += [
                SkateBlock(
                    width,
                    heads,
                    kernel=kernel,
                    frames=window,
                    parts=parts,
                    part_size=part_size,
                    real=real,
                    mlp_ratio=mlp_ratio,
                    attention_dropout=attention_dropout,
                    path_dropout=path[sum(depths[:stage]) + block],
                )
                for block in range(depth)
            ]
            channels = width
        self.stages = nn.Sequential(*layers)
        self.head = Head(channels, num_classes, feature_dim, dropout)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("skateformer", x, self.sample_shape)
        x = nn.functional.pad(x[..., self.order], (0, self.places - self.num_points))  # (N, C, T, V')
        x = self.stem(x) + self.joint_embedding * self.moments  # (N, C_0, T, V')
        x = self.stages(x)  # (N, C_last, T', V')
        out: ModelOutput = self.head(x[..., : self.num_points].mean(dim=(2, 3)))
        return out


def _sinusoids(channels: int, frames: int) -> Tensor:
    """Return (C, T): sines and cosines of the frame number at C / 2 wave lengths."""
    rates = torch.exp(torch.arange(0, channels, 2) * (-math.log(10_000) / channels))
    angles = rates[:, None] * torch.arange(frames)
    return torch.stack([angles.sin(), angles.cos()], dim=1).reshape(-1, frames)[:channels]


def build(
    num_classes: int,
    *,
    input: InputSpec,
    widths: Sequence[int] = (96, 192, 192, 192),
    depths: Sequence[int] = (2, 2, 2, 2),
    heads: int = 32,
    kernel: int = 7,
    window: int = 8,
    part_size: int = 4,
    mlp_ratio: int = 4,
    feature_dim: int = 0,
    dropout: float = 0.0,
    attention_dropout: float = 0.5,
    path_dropout: float = 0.2,
) -> SkateFormer:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V), of a registered layout.

    Raises:
        UsageError: the input is of another kind, an option is out of range, or T cannot be halved between
            stages and cut into windows.
    """
    channels, frames, _ = keypoint_input("skateformer", input)
    layout = layout_of("skateformer", input)
    equally_long("skateformer", widths=widths, depths=depths)
    at_least("skateformer", 1, depths=depths, widths=widths, window=window, part_size=part_size)
    at_least("skateformer", 1, mlp_ratio=mlp_ratio)
    at_least("skateformer", 8, heads=heads)
    divisible("skateformer", 8, "an eighth to each attention", heads=heads)
    divisible("skateformer", heads, "the option heads", widths=widths)
    if kernel % 2 == 0 or kernel < 1:
        raise UsageError(f"skateformer: found kernel = {kernel}, want an odd number of frames; correct it")
    unit = window * 2 ** (len(widths) - 1)
    if frames % unit:
        raise UsageError(
            f"skateformer: found {frames} frames, want a multiple of {unit} ({len(widths)} stages, the last "
            f"cut into windows of {window}); set the modality's option frames or the option window"
        )
    return SkateFormer(
        num_classes,
        channels,
        frames,
        layout,
        widths=widths,
        depths=depths,
        heads=heads,
        kernel=kernel,
        window=window,
        part_size=part_size,
        mlp_ratio=mlp_ratio,
        feature_dim=feature_dim,
        dropout=dropout,
        attention_dropout=attention_dropout,
        path_dropout=path_dropout,
    )
