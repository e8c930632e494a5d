"""What all ways of drawing share: keypoints in pixels, and the numbers of the rule."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Keypoints below this score leave no trace, as in mmaction2; pyskl, from which it stems, takes 1e-3.
MIN_SCORE = 1e-4
# Pixels farther from a limb than this many sigma are left at 0: they would get less than 1e-6.
REACH = 5.26
_FAR = 1e5

Edges = Sequence[Sequence[int]]


def pixels(people: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y in pixels and the score, each (B, P, T, V), float32 at least; score 0 where not finite.

    Args:
        people: (B, P, T, V, 3), x and y in shares of the image, score. size: (H, W).
    """
    people = people.to(torch.promote_types(people.dtype, torch.float32))
    x, y = people[..., 0] * size[1], people[..., 1] * size[0]
    score = torch.where(people.isfinite().all(dim=-1), people[..., 2], 0)
    # Far outside nothing is seen; numbers that float32 counts in pixels keep the arithmetic finite.
    x, y = (torch.nan_to_num(place).clamp(-_FAR, _FAR) for place in (x, y))
    return x, y, score
