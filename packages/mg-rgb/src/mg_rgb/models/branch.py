"""What every video model of this package shares: checked input, normalisation, feature, classifier.

A backbone is a module that maps (N, C, T, H, W) float32 to (N, width); it comes from a library or is
assembled from a library's blocks in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError


class VideoBranch(nn.Module):
    """A backbone with the branch's own preprocessing and head (paper section 3.1, vision branch).

    ``forward`` maps (N, C, T, H, W), uint8 in 0..255 or float32 (colour in 0..1), to
    ``ModelOutput(logits (N, K), feature (N, d))``. uint8 is divided by 255; then (x - mean) / std by channel.

    Args:
        backbone: (N, C, T, H, W) -> (N, width).
        width: channels the backbone returns.
        num_classes: K.
        input: what a sample looks like; its first axis is C.
        mean, std: C numbers each, on the scale of the float input.
        feature_dim: 0 makes the pooled output of the backbone the feature (d = width). A positive number adds
            a linear projection to that many channels before the classifier. The semantic loss (equation 1)
            needs K <= d, and its anchors have negative parts that a pooled ReLU output cannot reach: narrow
            networks and the R(2+1)D family want a projection there.
        dropout: probability applied to the feature before the classifier; the returned feature has none.
        head_std: standard deviation of the classifier's initial weights, as in the backbone's library.
        channels_last: keep weights and activations as channels_last_3d (same results up to rounding; 1.2 to
            1.5 times faster in training on the CPUs measured).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        width: int,
        num_classes: int,
        input: InputSpec,
        mean: Sequence[float],
        std: Sequence[float],
        feature_dim: int = 0,
        dropout: float = 0.0,
        head_std: float = 0.01,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        channels = input.shape[0]
        if len(mean) != channels or len(std) != channels:
            raise UsageError(
                f"video model: mean has {len(mean)} and std {len(std)} numbers, the input has {channels} "
                "channels: give one of each for every channel"
            )
        if num_classes < 1:
            raise UsageError(f"video model: num_classes is {num_classes}, wanted at least 1")
        self.backbone = backbone
        self.channels = channels
        self.channels_last = channels_last
        self.feature_dim = feature_dim or width
        self.projection: nn.Module = nn.Linear(width, feature_dim) if feature_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.feature_dim, num_classes)
        nn.init.normal_(self.head.weight, 0, head_std)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1, 1))
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last_3d)

    def check(self, video: Tensor) -> None:
        """Raise ValueError that says which axis or type of the batch is wrong."""
        if video.ndim != 5:
            raise ValueError(f"video batch has shape {tuple(video.shape)}, wanted 5 axes (N, C, T, H, W)")
        if video.shape[1] != self.channels:
            raise ValueError(
                f"video batch has {video.shape[1]} channels (axis 1 of {tuple(video.shape)}), "
                f"the model was built for {self.channels}"
            )
        for axis, name in ((2, "frames"), (3, "rows"), (4, "columns")):
            if video.shape[axis] < 1:
                raise ValueError(f"video batch has no {name} (axis {axis} of {tuple(video.shape)})")
        if video.dtype != torch.uint8 and not video.is_floating_point():
            raise ValueError(f"video batch has type {video.dtype}, wanted uint8 or float32")

    def normalise(self, video: Tensor) -> Tensor:
        """Return the batch as float, scaled and standardised by channel."""
        scaled = video.to(self.mean.dtype) / 255 if video.dtype == torch.uint8 else video.to(self.mean.dtype)
        return (scaled - self.mean) / self.std

    def forward(self, video: Tensor) -> ModelOutput:
        self.check(video)
        x = self.normalise(video)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last_3d)
        feature = self.projection(self.backbone(x))  # (N, d)
        return ModelOutput(logits=self.head(self.dropout(feature)), feature=feature)


def video_input(input: InputSpec, model: str) -> InputSpec:
    """Return ``input`` if it describes video (C, T, H, W), else raise UsageError."""
    if input.kind != "video" or len(input.shape) != 4:
        raise UsageError(
            f"model {model}: the modality gives {input.kind} of shape {tuple(input.shape)}, "
            "wanted video (C, T, H, W): choose a frame modality such as rgb or depth"
        )
    return input


def channel_statistics(
    input: InputSpec,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    library_mean: Sequence[float],
    library_std: Sequence[float],
) -> tuple[list[float], list[float]]:
    """Choose mean and std by channel: given ones, else the modality's, else the library's.

    The modality's are ``input.extra["mean"]`` and ``["std"]``. Where the channel count is not the library's,
    each channel takes the average of the library's numbers.
    """
    channels = input.shape[0]

    def choose(given: Sequence[float] | None, key: str, library: Sequence[float]) -> list[float]:
        if given is not None:
            return [float(v) for v in given]
        if key in input.extra:
            return [float(v) for v in input.extra[key]]
        if channels == len(library):
            return [float(v) for v in library]
        return [sum(library) / len(library)] * channels

    return choose(mean, "mean", library_mean), choose(std, "std", library_std)
