"""Information maximisation with self-labels (SHOT, Liang et al. 2020): learning without the source."""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from mg_data.contract import ModelOutput, UsageError


class InformationMaximisation(nn.Module):
    """``H(p) - H(mean p) + beta CE``: answers that are certain one by one and diverse over the batch.

    H(p) is the mean entropy of the answers, H(mean p) the entropy of the batch's mean answer; CE is the
    cross-entropy with the labels that the model gave itself. Only ``beta`` times its last term reads labels.

    Args:
        class_counts: not used; every loss is built with them.
        beta: weight of the self-labels (the authors take 0.3).
    """

    def __init__(self, *, class_counts: ArrayLike, beta: float = 0.3) -> None:
        super().__init__()
        if not beta >= 0:
            raise UsageError(f"information-maximisation: beta must be at least 0, found {beta}")
        self.beta = beta

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (N, K) and self-labels (N,) int64, in float32."""
        log_probs = functional.log_softmax(output.logits.float(), dim=1)
        entropy = -(log_probs.exp() * log_probs).sum(dim=1).mean()
        log_mean = torch.logsumexp(log_probs, dim=0) - math.log(len(log_probs))
        diversity = -(log_mean.exp() * log_mean).sum()
        labels: Tensor = functional.nll_loss(log_probs, target)
        return entropy - diversity + self.beta * labels
