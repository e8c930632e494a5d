"""Decoupled spatial-temporal CNN over keypoint coordinates (paper 3.1, "Skeleton Joint Branch").

Each block convolves independently along the keypoints, (1 x 3), and along time, (5 x 1). A (1 x 3) kernel
sees a keypoint and its two neighbours in the layout's list, so the layout's order is part of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_skeleton.checks import at_least, check_batch, equally_long, keypoint_input, layout_of
from mg_skeleton.order import ORDERS, KeypointAttention, shuffled, walk
from mg_skeleton.temporal import pointwise


class DecoupledBlock(nn.Module):
    """x -> ReLU(temporal(ReLU(spatial(x))) + shortcut(x)); the stride is in time.

    Input (N, C_in, T, V), output (N, C_out, ceil(T / stride), V).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, (1, 3), padding=(0, 1), bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.temporal = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, (5, 1), stride=(stride, 1), padding=(2, 0), bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                pointwise(in_channels, out_channels, stride=stride),
                nn.BatchNorm2d(out_channels),
            )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.temporal(self.spatial(x)))
        out: Tensor = (y + self.shortcut(x)).relu_()
        return out


class DecoupledSTCNN(nn.Module):
    """Normalisation of every channel of every keypoint, residual blocks, mean over time and keypoints,
    feature, classes.

    Args:
        num_classes: K. in_channels: C. num_points: V.
        widths: output channels of each block. strides: temporal stride of each block.
        feature_dim: d of the feature f in front of the classifier; 0 for the last width. The semantic loss
            of paper 3.2 wants K <= d, and f may be negative like its anchors, so f comes from a linear layer.
        dropout: of f, in front of the classifier. block_dropout: inside each block.
        point_embedding: add a learned vector to each keypoint after the first block's input layer, so that
            a keypoint is known by more than its neighbours.
        order: (L,) keypoints as the blocks meet them, repeats allowed; None as they come.
        attend: let each keypoint gather from all others in front of the blocks
            (:class:`~mg_skeleton.order.KeypointAttention`).

    Input (N, C, T, V) float; output ``ModelOutput(logits (N, K), feature (N, d))``.
    """

    order: Tensor | None

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_points: int,
        *,
        widths: Sequence[int] = (64, 64, 128, 128, 256),
        strides: Sequence[int] = (1, 1, 2, 1, 2),
        feature_dim: int = 0,
        dropout: float = 0.3,
        block_dropout: float = 0.0,
        point_embedding: bool = True,
        order: NDArray[np.int64] | None = None,
        attend: bool = False,
    ) -> None:
        super().__init__()
        equally_long("decoupled-stcnn", widths=widths, strides=strides)
        at_least("decoupled-stcnn", 1, widths=widths, strides=strides)
        at_least("decoupled-stcnn", 0, feature_dim=feature_dim)
        self.sample_shape = (in_channels, None, num_points)
        self.normalise = nn.BatchNorm1d(in_channels * num_points)
        self.stem = nn.Conv2d(in_channels, widths[0], 1)
        self.embedding = nn.Parameter(torch.zeros(1, widths[0], 1, num_points)) if point_embedding else None
        if self.embedding is not None:
            nn.init.trunc_normal_(self.embedding, std=0.02)
        self.attention = KeypointAttention(widths[0], num_points) if attend else None
        # In the weights: a checkpoint meets its keypoints in its own order wherever it is read.
        self.register_buffer("order", None if order is None else torch.from_numpy(order))
        inputs = (widths[0], *widths[:-1])
        self.blocks = nn.Sequential(
            *(
                DecoupledBlock(channels, width, stride, block_dropout)
                for channels, width, stride in zip(inputs, widths, strides)
            )
        )
        feature_dim = feature_dim or widths[-1]
        self.feature = nn.Linear(widths[-1], feature_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim, num_classes)

    def forward(self, x: Tensor) -> ModelOutput:
        check_batch("decoupled-stcnn", x, self.sample_shape)
        n, c, t, v = x.shape
        x = self.normalise(x.permute(0, 1, 3, 2).reshape(n, c * v, t))
        # Channels last: a fifth faster on processors with bfloat16, and no slower elsewhere.
        x = x.reshape(n, c, v, t).permute(0, 1, 3, 2).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)  # (N, C_0, T, V)
        if self.embedding is not None:
            x = x + self.embedding
        if self.attention is not None:
            x = self.attention(x)
        if self.order is not None:
            x = x.index_select(3, self.order)  # (N, C_0, T, L)
        x = x.contiguous(memory_format=torch.channels_last)  # a copy if it was ordered anew
        x = self.blocks(x)  # (N, C_last, T', V)
        f = self.feature(x.mean(dim=(2, 3)))  # (N, d)
        return ModelOutput(logits=self.classifier(self.dropout(f)), feature=f)


def build(
    num_classes: int,
    *,
    input: InputSpec,
    widths: Sequence[int] = (64, 64, 128, 128, 256),
    strides: Sequence[int] = (1, 1, 2, 1, 2),
    feature_dim: int = 0,
    dropout: float = 0.3,
    block_dropout: float = 0.0,
    point_embedding: bool = True,
    order: str = "layout",
    order_seed: int = 0,
) -> DecoupledSTCNN:
    """Build the network for an input of kind ``keypoints``, shape (C, T, V).

    Args:
        order: how the blocks meet the keypoints: ``layout``, as they come; ``shuffled`` by ``order_seed``;
            ``walk``, depth first along the bones and back; ``attend``, as they come, with attention over all
            of them in front. The rest: :class:`DecoupledSTCNN`.

    Raises:
        UsageError: the input is of another kind, or has no layout to walk along, or the order is unknown.
    """
    channels, _, points = keypoint_input("decoupled-stcnn", input)
    if order not in ORDERS:
        raise UsageError(
            f"decoupled-stcnn: found the order {order!r}, want one of {', '.join(ORDERS)}; correct the "
            "option order"
        )
    keypoints = None
    if order == "shuffled":
        keypoints = shuffled(points, order_seed)
    elif order == "walk":
        keypoints = walk(layout_of("decoupled-stcnn", input))
    return DecoupledSTCNN(
        num_classes,
        channels,
        points,
        widths=widths,
        strides=strides,
        feature_dim=feature_dim,
        dropout=dropout,
        block_dropout=block_dropout,
        point_embedding=point_embedding,
        order=keypoints,
        attend=order == "attend",
    )
