"""Logit-adjusted loss (Menon et al. 2021)."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from mg_adapt.losses.targets import checked_smoothing, smoothed_entropy
from mg_adapt.losses.weights import log_prior
from mg_data.contract import ModelOutput, UsageError


class LogitAdjustment(nn.Module):
    """Softmax cross-entropy of ``z + tau log pi`` (Menon et al. 2021): mean over the batch.

    The prior pi goes into the loss and not into the model: what the model returns is already adjusted to
    equally frequent classes. A class without a sample counts as one with a single sample (see
    :func:`mg_adapt.losses.weights.log_prior`). ``label_smoothing`` smooths the target towards uniform, and
    the cross-entropy is still that of the adjusted logits.

    Args:
        class_counts: (K,) training samples of each class.
        tau: strength; 1 is consistent for the balanced error, 0 is the cross-entropy.
    """

    soft_targets = True

    def __init__(self, *, class_counts: ArrayLike, tau: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not tau >= 0:
            raise UsageError(f"logit-adjustment: tau must be at least 0, found {tau}")
        self.label_smoothing = checked_smoothing(label_smoothing)
        self.adjustment: Tensor
        self.register_buffer("adjustment", torch.tensor(tau * log_prior(class_counts), dtype=torch.float32))

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (N, K) and targets (N,) int64 or (N, K), in float32."""
        log_probs = functional.log_softmax(output.logits.float() + self.adjustment, dim=1)
        return smoothed_entropy(log_probs, target, self.label_smoothing).mean()
