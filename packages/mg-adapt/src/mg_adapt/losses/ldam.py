"""Label-distribution-aware margins with deferred re-weighting (Cao et al. 2019)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from mg_adapt.losses.class_balanced import effective_numbers
from mg_adapt.losses.targets import is_soft
from mg_adapt.losses.weights import checked_counts, with_mean_one
from mg_data.contract import ModelOutput, UsageError


def class_margins(class_counts: ArrayLike, max_margin: float) -> NDArray[np.float64]:
    """Return (K,) ``Delta_c = C / N_c^(1/4)`` with C such that the largest is ``max_margin``.

    A class without a sample counts as one with a single sample.

    >>> class_margins([1, 16, 81], 0.6).round(3).tolist()
    [0.6, 0.3, 0.2]
    """
    raw = np.maximum(checked_counts(class_counts), 1.0) ** -0.25
    return np.asarray(raw * (max_margin / raw.max()), np.float64)


class LDAM(nn.Module):
    """Cross-entropy of ``s (z - Delta_y e_y)``: rare classes must win by more (Cao et al. 2019).

    The authors' classifier returns cosines, which s = 30 stretches, with a largest margin of 0.5. The
    models here have plain linear classifiers, so by default s is 1 and the margin stands in units of the
    logits: at an imbalance of 16:1 a largest margin of 5 sets the rarest class 2.5 apart from the most
    frequent one, about the log 16 = 2.8 of logit adjustment. With s > 1 what the model publishes is s times
    too soft for a threshold on probabilities. Smoothed labels would work against the margin: there are none
    here.

    Args:
        class_counts: (K,) training samples of each class.
        max_margin: Delta of the rarest class. scale: s.
        reweight_after: part of the epochs after which samples are weighted by the effective number of their
            class with ``beta`` (deferred re-weighting; the authors take 0.8). 1 = never.
    """

    soft_targets = True

    def __init__(
        self,
        *,
        class_counts: ArrayLike,
        max_margin: float = 5.0,
        scale: float = 1.0,
        reweight_after: float = 1.0,
        beta: float = 0.9999,
    ) -> None:
        super().__init__()
        for name, value in (("max_margin", max_margin), ("scale", scale)):
            if not value > 0:
                raise UsageError(f"ldam: {name} must be positive, found {value}")
        if not 0 <= reweight_after <= 1:
            raise UsageError(f"ldam: reweight_after must lie in [0, 1], found {reweight_after}")
        weights = with_mean_one(1 / effective_numbers(class_counts, beta), checked_counts(class_counts))
        self.scale, self.reweight_after = scale, reweight_after
        self.reweighting = False
        self.margin: Tensor
        self.weight: Tensor
        margins = class_margins(class_counts, max_margin)
        self.register_buffer("margin", torch.tensor(margins, dtype=torch.float32))
        self.register_buffer("weight", torch.tensor(weights, dtype=torch.float32))

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Switch the re-weighting on once its part of the epochs has passed."""
        self.reweighting = epoch >= self.reweight_after * epochs

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (N, K) and targets (N,) int64 or (N, K), in float32."""
        logits = output.logits.float()
        classes = logits.shape[1]
        if is_soft(target):
            # (N, K, K): row c of each sample has the margin of class c.
            shifted = logits[:, None, :] - torch.diag(self.margin)
            losses = -functional.log_softmax(self.scale * shifted, dim=2).diagonal(dim1=1, dim2=2)
            weighted = losses * self.weight if self.reweighting else losses
            return (target.to(losses.dtype) * weighted).sum(dim=1).mean()
        shifted = logits - functional.one_hot(target, classes) * self.margin
        losses = functional.cross_entropy(self.scale * shifted, target, reduction="none")
        return (losses * self.weight[target] if self.reweighting else losses).mean()
