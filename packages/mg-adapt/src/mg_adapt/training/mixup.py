"""Mixup (Zhang et al. 2018) for any modality: pairs of samples of a batch, blended, and their losses too.

It blends what the model reads (colours, coordinates, signals), after augmentation and flips, so a mirrored
sample brings its mirrored class. Frames of whole numbers are rounded back to their type. Both targets stay
as they are and the two losses are blended, which every loss allows: ``lam loss(y) + (1 - lam)
loss(y[partner])``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mg_adapt.training.sampler import MIXUP, stream


@dataclass(frozen=True)
class Mix:
    """How a batch is blended: ``lam`` of each sample and ``1 - lam`` of its ``partner`` (N,) int64."""

    lam: float
    partner: Tensor

    def inputs(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the blended samples (N, ...) of a batch, or only some rows of them, of the same type."""
        blended = self.lam * x[rows].float() + (1 - self.lam) * x[self.partner[rows]].float()
        return blended.to(x.dtype) if x.is_floating_point() else blended.round().to(x.dtype)

    def main(self, y: Tensor) -> Tensor:
        """Return the targets that have the larger part in the samples."""
        return y if self.lam >= 0.5 else y[self.partner]


def draw_mix(alpha: float, count: int, *, seed: int, epoch: int, step: int) -> Mix:
    """Draw lam from Beta(alpha, alpha) and a batch's partners: a function of (seed, epoch, step) alone."""
    rng = stream(MIXUP, seed, epoch, step)
    lam = float(rng.beta(alpha, alpha))
    return Mix(lam, torch.from_numpy(rng.permutation(count)))
