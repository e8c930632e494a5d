"""CutMix (Yun et al. 2019) for video: a box of each sample comes from another sample of the batch.

The box is the same in all frames, so that it adds no motion of its own, and the two losses are blended by
the areas. It takes the place of mixup (:mod:`mg_adapt.training.mixup`) where a blend of two people is a
picture of neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mg_adapt.training.mixup import Mix
from mg_adapt.training.sampler import CUTMIX, stream
from mg_data.contract import UsageError


@dataclass(frozen=True)
class Cut(Mix):
    """How boxes are exchanged; ``lam`` is the share of the area that stays each sample's own.

    Args:
        box: top, bottom, left, right in pixels, half-open.
    """

    box: tuple[int, int, int, int]

    def inputs(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the samples (N, ..., H, W), or only some rows of them, with their partners' boxes."""
        top, bottom, left, right = self.box
        mixed = x[rows].clone()
        mixed[..., top:bottom, left:right] = x[self.partner[rows]][..., top:bottom, left:right]
        return mixed


def draw_cut(alpha: float, shape: Sequence[int], *, seed: int, epoch: int, step: int) -> Cut:
    """Draw a box and a batch's partners: a function of (seed, epoch, step) alone.

    The box has the shape of the picture and, before it is clipped at the border, 1 - lam of its area, with
    lam from Beta(alpha, alpha); its centre is anywhere. What it covers after clipping decides the blend of
    losses.

    Args:
        shape: of the batch, (N, C, T, H, W) or any other of at least four axes.

    Raises:
        UsageError: the samples are no pictures.
    """
    if len(shape) < 4:
        raise UsageError(
            f"recipe.cutmix: samples have shape {tuple(shape[1:])}, wanted pictures (..., H, W): take "
            "recipe.mixup"
        )
    rng = stream(CUTMIX, seed, epoch, step)
    height, width = int(shape[-2]), int(shape[-1])
    side = (1 - float(rng.beta(alpha, alpha))) ** 0.5
    limits = []
    for length in (height, width):
        centre, half = rng.uniform(0, length), side * length / 2
        limits += [max(0, round(centre - half)), min(length, round(centre + half))]
    top, bottom, left, right = limits
    lam = 1 - (bottom - top) * (right - left) / (height * width)
    partner = torch.from_numpy(rng.permutation(int(shape[0])))
    return Cut(lam, partner, (top, bottom, left, right))
