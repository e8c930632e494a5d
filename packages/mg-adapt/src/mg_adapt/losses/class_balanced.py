"""Class-balanced loss by the effective number of samples (Cui et al. 2019)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mg_adapt.losses.focal import focal_loss
from mg_adapt.losses.targets import checked_smoothing
from mg_adapt.losses.weights import checked_counts, with_mean_one
from mg_data.contract import ModelOutput, UsageError


def effective_numbers(class_counts: ArrayLike, beta: float) -> NDArray[np.float64]:
    """Return (K,) ``E_n = (1 - beta^n) / (1 - beta)``: between 1 (beta 0) and n (beta to 1).

    A class without a sample counts as one with a single sample (E = 1, the largest weight): it meets no
    target, and 1 / E_0 would be infinite.

    >>> effective_numbers([1, 2, 100, 0], 0.5).round(3).tolist()
    [1.0, 1.5, 2.0, 1.0]
    """
    if not 0 <= beta < 1:
        raise UsageError(f"beta of the effective number must lie in [0, 1), found {beta}")
    counts = np.maximum(checked_counts(class_counts), 1.0)
    if beta == 0:
        return np.ones_like(counts)
    # expm1: for beta next to 1 the plain formula loses half of its digits.
    return np.asarray(-np.expm1(counts * np.log(beta)) / (1 - beta), np.float64)


class ClassBalanced(nn.Module):
    """Cross-entropy, or focal loss for gamma > 0, weighted by ``1 / E_{N_c}`` (Cui et al. 2019).

    The paper scales the weights to a sum of K over the classes; here, as for all losses of this package,
    their mean over the training samples is 1 (the ratios are the same). Labels may be smoothed as in
    :class:`mg_adapt.losses.Focal`.

    Args:
        class_counts: (K,) training samples of each class.
        beta: in [0, 1): 0 weighs all classes alike, 1 would be inverse frequency. (N - 1) / N for a data set
            of N clips is the paper's choice; its experiments take 0.9 to 0.9999.
        gamma: focusing exponent, 0 = cross-entropy.
    """

    soft_targets = True

    def __init__(
        self,
        *,
        class_counts: ArrayLike,
        beta: float = 0.999,
        gamma: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise UsageError(f"class-balanced loss: gamma must be at least 0, found {gamma}")
        self.gamma = gamma
        self.label_smoothing = checked_smoothing(label_smoothing)
        weights = with_mean_one(1 / effective_numbers(class_counts, beta), checked_counts(class_counts))
        self.weight: Tensor
        self.register_buffer("weight", torch.tensor(weights, dtype=torch.float32))

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (N, K) and targets (N,) int64 or (N, K), in float32."""
        return focal_loss(output.logits, target, self.weight, self.gamma, self.label_smoothing)
