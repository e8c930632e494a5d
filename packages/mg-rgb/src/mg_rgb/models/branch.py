"""What every video model of this package shares: checked input, normalisation, feature, classifier.

A backbone is a module that maps (N, C, T, H, W) float32 to (N, width); it comes from a library or is
assembled from a library's blocks in the files beside this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_rgb.models.partial import frozen_modules, recompute_blocks


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without its classifier, and what its library's checkpoints and users' options call its parts.

    Args:
        network: (N, C, T, H, W) float32 -> (N, width); its tensors have the names of the library.
        mean, std: the library's statistics of colours in 0..1.
        classifier: the library's name of the classifier, such as ``fc``.
        first: names of the kernels that see the input's channels.
        stages: names of modules, from the input on, that are frozen together.
        blocks: classes of the modules whose activations can be recomputed.
        head: how the classifier is computed. head_std: deviation of its initial weights.
        size: (T, H, W) that the network was built for, or None if it takes any.
        rename: the network's name of a tensor that a checkpoint calls otherwise.
        resize: ``(name, tensor, shape, sample) -> tensor`` fits tables of positions to another size of
            sample; ``sample`` is (T, H, W) of the checkpoint's, or None if it does not tell.
    """

    network: nn.Module
    width: int
    mean: Sequence[float]
    std: Sequence[float]
    classifier: str
    first: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    blocks: tuple[type[nn.Module], ...]
    head: type[nn.Linear] = nn.Linear
    head_std: float = 0.01
    size: tuple[int, int, int] | None = None
    rename: Callable[[str], str] | None = None
    resize: Callable[[str, Tensor, tuple[int, ...], tuple[int, ...] | None], Tensor] | None = None


class VideoBranch(nn.Module):
    """A backbone with the branch's own preprocessing and head (paper section 3.1, vision branch).

    ``forward`` maps (N, C, T, H, W), uint8 in 0..255 or float32 (colour in 0..1), to
    ``ModelOutput(logits (N, K), feature (N, d))``. uint8 is divided by 255; then (x - mean) / std by channel.

    Args:
        backbone: the network and the names of its parts.
        num_classes: K.
        input: what a sample looks like; its first axis is C.
        mean, std: C numbers each, on the scale of the float input; None takes the modality's (``mean`` and
            ``std`` of ``input.extra``), else the library's.
        feature_dim: 0 makes the pooled output of the backbone the feature (d = width). A positive number adds
            a linear projection to that many channels before the classifier. The semantic loss (equation 1)
            needs K <= d, and its anchors have negative parts that a pooled ReLU output cannot reach: narrow
            networks and the R(2+1)D family want a projection there.
        dropout: probability applied to the feature before the classifier; the returned feature has none.
        channels_last: keep weights and activations as channels_last_3d (same results up to rounding; 1.2 to
            1.5 times faster in training on the CPUs measured).
        checkpointing: recompute the activations of each block in the backward pass (same gradients; less
            memory, about a third more time).
        freeze: first n stages of the backbone that stay as they are, -1 for all of it. What is frozen also
            stays in evaluation mode: no dropout, and BatchNorm keeps its statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        input: InputSpec,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        feature_dim: int = 0,
        dropout: float = 0.0,
        channels_last: bool = False,
        checkpointing: bool = False,
        freeze: int = 0,
    ) -> None:
        super().__init__()
        channels = input.shape[0]
        means, stds = channel_statistics(input, mean, std, backbone.mean, backbone.std)
        if len(means) != channels or len(stds) != channels:
            raise UsageError(
                f"video model: mean has {len(means)} and std {len(stds)} numbers, the input has {channels} "
                "channels: give one of each for every channel"
            )
        if not all(0 < value < math.inf for value in stds):
            raise UsageError(f"video model: std is {stds}, wanted numbers above 0")
        if num_classes < 1:
            raise UsageError(f"video model: num_classes is {num_classes}, wanted at least 1")
        self.backbone = backbone.network
        self.channels = channels
        self.size = backbone.size
        self.channels_last = channels_last
        self.feature_dim = feature_dim or backbone.width
        self.projection: nn.Module = nn.Linear(backbone.width, feature_dim) if feature_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = (nn.Linear if feature_dim else backbone.head)(self.feature_dim, num_classes)
        nn.init.normal_(self.head.weight, 0, backbone.head_std)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.tensor(means, dtype=torch.float32).view(1, -1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(stds, dtype=torch.float32).view(1, -1, 1, 1, 1))
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last_3d)
        self._frozen = frozen_modules(self.backbone, backbone.stages, freeze)
        if checkpointing:
            recompute_blocks(self.backbone, backbone.blocks)

    def train(self, mode: bool = True) -> VideoBranch:
        """Switch to training; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

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
        if self.size is not None and tuple(video.shape[2:]) != self.size:
            raise ValueError(
                f"video batch has shape {tuple(video.shape)}, the model was built for {self.size[0]} frames "
                f"of {self.size[1]} x {self.size[2]} pixels: its table of positions fits no other"
            )
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
