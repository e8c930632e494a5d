"""Beginning and end that the graph models share: normalised input, feature and classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mg_data.contract import ModelOutput


class PointNorm(nn.Module):
    """Batch normalisation of each channel of each keypoint: (N, C, T, V) -> the same."""

    def __init__(self, channels: int, num_points: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels * num_points)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v = x.shape
        x = self.norm(x.permute(0, 1, 3, 2).reshape(n, c * v, t))
        return x.reshape(n, c, v, t).permute(0, 1, 3, 2)


class Head(nn.Module):
    """Pooled channels (N, C) -> ``ModelOutput(logits (N, K), feature (N, d))``.

    Args:
        feature_dim: d; 0: the pooled channels are the feature f, as published. Else f is a linear layer of
            them, which the semantic loss of paper 3.2 needs where its anchors may be negative or K > C.
    """

    def __init__(self, channels: int, num_classes: int, feature_dim: int, dropout: float) -> None:
        super().__init__()
        self.feature: nn.Module = nn.Linear(channels, feature_dim) if feature_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_dim or channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, pooled: Tensor) -> ModelOutput:
        f = self.feature(pooled)
        return ModelOutput(logits=self.classifier(self.dropout(f)), feature=f)


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return the type in which a layer with that weight will read its input, autocast included."""
    if torch.is_autocast_enabled(weight.device.type):
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def init_convolutions(model: nn.Module) -> None:
    """Draw the weights of all convolutions by He's rule (fan out), as the graph models' publications do."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
