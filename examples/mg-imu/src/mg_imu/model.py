"""The model ``imu-cnn``: residual convolutions over time, the mean and the maximum over it, a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError


class Block(nn.Module):
    """Two convolutions over time and a way around them; halves the samples: (N, C, T) -> (N, D, T/2)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(channels, width, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, kernel_size=5, padding=2, bias=False),
            nn.BatchNorm1d(width),
        )
        self.around = nn.Sequential(
            nn.Conv1d(channels, width, kernel_size=1, stride=2, bias=False), nn.BatchNorm1d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convolutions(x) + self.around(x))


class ImuCnn(nn.Module):
    """Maps signals (N, C, T) to logits (N, K) and a feature (N, feature_dim).

    Accelerations and rotations have a stem of their own, as they differ in what they measure.
    """

    def __init__(
        self, input: InputSpec, num_classes: int, widths: Sequence[int], feature_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.sample_shape = tuple(input.shape)
        self.groups = 2 if self.sample_shape[0] % 2 == 0 else 1
        stem_width = widths[0] - widths[0] % self.groups
        self.stem = nn.Sequential(
            nn.Conv1d(
                self.sample_shape[0], stem_width, kernel_size=7, padding=3, groups=self.groups, bias=False
            ),
            nn.BatchNorm1d(stem_width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            *(Block(before, width) for before, width in zip([stem_width, *widths[:-1]], widths, strict=True))
        )
        self.projection = nn.Linear(2 * widths[-1], feature_dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_dim, num_classes)

    def forward(self, x: Tensor) -> ModelOutput:
        if tuple(x.shape[1:]) != self.sample_shape:
            wanted = ", ".join(map(str, self.sample_shape))
            raise ValueError(f"imu-cnn: found a batch of shape {tuple(x.shape)}, wanted (batch, {wanted})")
        h = self.blocks(self.stem(x))  # (N, width, T')
        feature = self.projection(torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1))
        return ModelOutput(logits=self.head(self.dropout(feature)), feature=feature)


def build(
    num_classes: int,
    *,
    input: InputSpec,
    widths: Sequence[int] = (64, 128, 256),
    feature_dim: int = 256,
    dropout: float = 0.4,
) -> ImuCnn:
    """Build the network.

    Args:
        widths: channels of the blocks, each of which halves the samples. feature_dim: d.

    Raises:
        UsageError: an input that is no signal, or widths below 2.
    """
    if input.kind != "signal" or len(input.shape) != 2:
        raise UsageError(
            f"imu-cnn: found an input of kind '{input.kind}' and shape {tuple(input.shape)}, wanted a signal "
            "(C, T): choose the modality imu"
        )
    if not widths or min(widths) < 2 or feature_dim < 1:
        raise UsageError(
            f"imu-cnn: widths {tuple(widths)} and feature_dim {feature_dim}, wanted 2 and 1 or more"
        )
    return ImuCnn(input, num_classes, tuple(widths), feature_dim, dropout)
