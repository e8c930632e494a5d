"""Heatmaps of keypoints and limbs, rendered in batches on the device of the keypoints (PoseC3D; paper 4.2).

They are never stored and never made by the loader: a clip of 68 x 48 x 56 x 56 values is 41 MB, its
keypoints 40 kB. The patch rule, the peak and the treatment of short limbs are those of the reference, so
that its results are met to the last digits of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Keypoints below this score leave no trace, as in the reference.
MIN_SCORE = 1e-3


def _patch(low: Tensor, high: Tensor, size: int, sigma: float) -> Tensor:
    """Return (..., size) 0/1: pixels from int(low - 3 sigma) to int(high + 3 sigma), cut towards zero."""
    pixels = torch.arange(size, device=low.device, dtype=low.dtype)
    start = torch.trunc(low - 3 * sigma).clamp(min=0)
    stop = torch.trunc(high + 3 * sigma) + 1
    return ((pixels >= start[..., None]) & (pixels < stop[..., None])).to(low.dtype)


def _gaussian(centre: Tensor, size: int, sigma: float) -> Tensor:
    """Return (..., size): one axis of a Gaussian with peak 1, cut to its patch."""
    pixels = torch.arange(size, device=centre.device, dtype=centre.dtype)
    return torch.exp(-((pixels - centre[..., None]) ** 2) / (2 * sigma**2)) * _patch(
        centre, centre, size, sigma
    )


def render_joints(people: Tensor, size: tuple[int, int], sigma: float = 0.6) -> Tensor:
    """Render one heatmap for each keypoint.

    A Gaussian is the product of two of one axis each, so nothing larger than the result is made.

    Args:
        people: (B, P, T, V, 3), x and y in shares of the image, score.
        size: (H, W) pixels. sigma: in pixels.

    Returns:
        (B, V, T, H, W) of the dtype of ``people``: peak = score, the maximum over persons.
    """
    height, width = size
    score = people[..., 2] * (people[..., 2] >= MIN_SCORE)
    across = _gaussian(people[..., 0] * width, width, sigma)  # (B, P, T, V, W)
    down = _gaussian(people[..., 1] * height, height, sigma) * score[..., None]  # (B, P, T, V, H)
    maps: Tensor | None = None
    for person in range(people.shape[1]):
        blob = down[:, person, ..., :, None] * across[:, person, ..., None, :]  # (B, T, V, H, W)
        maps = blob if maps is None else torch.maximum(maps, blob)
    assert maps is not None
    return maps.transpose(1, 2)


def render_limbs(
    people: Tensor, edges: Sequence[Sequence[int]], size: tuple[int, int], sigma: float = 0.6
) -> Tensor:
    """Render one heatmap for each edge: a Gaussian of the distance to the segment, times the lower score.

    A limb shorter than one pixel is the blob of its first keypoint.

    Args:
        people: (B, P, T, V, 3), as for :func:`render_joints`. edges: E index pairs.

    Returns:
        (B, E, T, H, W) of the dtype of ``people``, the maximum over persons.
    """
    height, width = size
    scale = people.new_tensor([width, height])
    rows = torch.arange(height, device=people.device, dtype=people.dtype)[:, None]
    columns = torch.arange(width, device=people.device, dtype=people.dtype)[None, :]
    first = [edge[0] for edge in edges]
    second = [edge[1] for edge in edges]
    maps: Tensor | None = None
    for person in people.unbind(1):  # (B, T, V, 3)
        start, end = person[:, :, first, :2] * scale, person[:, :, second, :2] * scale
        score_start, score_end = person[:, :, first, 2], person[:, :, second, 2]
        score = torch.minimum(score_start, score_end)
        along = end - start
        squared = (along**2).sum(-1)
        short = squared < 1
        # Distance to the segment: the nearest point is start + share * along, 0 <= share <= 1.
        dx = columns - start[..., 0, None, None]  # (B, T, E, 1, W)
        dy = rows - start[..., 1, None, None]  # (B, T, E, H, 1)
        ax, ay = along[..., 0, None, None], along[..., 1, None, None]
        share = ((dx * ax + dy * ay) / squared.clamp(min=1)[..., None, None]).clamp(0, 1)
        distance = (dx - share * ax) ** 2 + (dy - share * ay) ** 2
        low, high = torch.minimum(start, end), torch.maximum(start, end)
        across = _patch(low[..., 0], high[..., 0], width, sigma)
        down = _patch(low[..., 1], high[..., 1], height, sigma)
        weight = score * (score >= MIN_SCORE) * ~short
        limb = torch.exp(distance * (-0.5 / sigma**2)) * (
            (down * weight[..., None])[..., :, None] * across[..., None, :]
        )
        if bool(short.any()):
            weight = score_start * (score >= MIN_SCORE) * short
            across = _gaussian(start[..., 0], width, sigma)
            down = _gaussian(start[..., 1], height, sigma)
            limb = limb + (down * weight[..., None])[..., :, None] * across[..., None, :]
        maps = limb if maps is None else torch.maximum(maps, limb)
    assert maps is not None
    return maps.transpose(1, 2)


class HeatmapRenderer(nn.Module):
    """Keypoints (B, P, T, V, 3) -> heatmaps (B, channels, T, H, W), joints first, then limbs; no
    parameters.

    Args:
        num_points: V. edges: the layout's edges, used ``with_limbs``.
        size: side in pixels while training. eval_size: side in evaluation mode, 0 for the same. The
            reference trains on random crops of 56 pixels and tests on the whole box at 64, which shows
            persons at the same scale.
        sigma: of the Gaussian, in pixels.
    """

    def __init__(
        self,
        num_points: int,
        edges: Sequence[Sequence[int]],
        *,
        size: int = 56,
        eval_size: int = 0,
        sigma: float = 0.6,
        with_joints: bool = True,
        with_limbs: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.eval_size, self.sigma = size, eval_size or size, sigma
        self.edges = tuple((int(a), int(b)) for a, b in edges)
        self.with_joints, self.with_limbs = with_joints, with_limbs
        self.channels = num_points * with_joints + len(self.edges) * with_limbs

    @torch.no_grad()
    def forward(self, people: Tensor) -> Tensor:
        side = self.size if self.training else self.eval_size
        maps = []
        if self.with_joints:
            maps.append(render_joints(people, (side, side), self.sigma))
        if self.with_limbs:
            maps.append(render_limbs(people, self.edges, (side, side), self.sigma))
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)
