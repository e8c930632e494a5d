"""The heatmaps of :mod:`mg_skeleton.heatmaps` as plain tensor formulas, for exported graphs.

Every pixel of every heatmap is computed and nothing is written in place, which any runtime can express; it
costs several times as much as drawing the few pixels near the body. Results agree to the last digits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mg_skeleton.heatmaps import HeatmapRenderer


class DenseRenderer(nn.Module):
    """Draws as ``renderer`` does in evaluation: (B, P, T, V, 3) -> (B, channels, T, H, W)."""

    def __init__(self, renderer: HeatmapRenderer) -> None:
        super().__init__()
        self.num_points, self.channels = renderer.num_points, renderer.channels
        self.size, self.sigma, self.min_score = renderer.eval_size, renderer.sigma, renderer.min_score
        self.with_joints, self.with_limbs = renderer.with_joints, renderer.with_limbs
        self.first = [edge[0] for edge in renderer.edges]
        self.second = [edge[1] for edge in renderer.edges]

    def forward(self, people: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        # A keypoint that is not finite leaves no trace, and its numbers must not reach a sum.
        people = torch.where(people.isfinite().all(dim=-1, keepdim=True), people, 0)
        x, y = people[..., 0] * self.size, people[..., 1] * self.size  # (B, P, T, V) pixels
        score = people[..., 2]
        maps = []
        if self.with_joints:
            maps.append(self._blobs(x, y, score * (score >= self.min_score)))
        if self.with_limbs:
            maps.append(self._limbs(x, y, score))
        out = torch.cat(maps, dim=3).amax(dim=1)  # (B, T, channels, H, W), the maximum over persons
        return out.transpose(1, 2).to(dtype or people.dtype)

    def _patch(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return which pixels (..., size) of an axis lie in the patch of [low, high], and all pixels."""
        pixels = torch.arange(self.size, device=low.device, dtype=low.dtype)
        start = torch.trunc(low - 3 * self.sigma)[..., None]
        last = torch.trunc(high + 3 * self.sigma)[..., None]
        return (pixels >= start) & (pixels <= last), pixels

    def _axis(self, centre: Tensor) -> Tensor:
        """Return one axis of a Gaussian, (..., size), 0 outside its patch."""
        inside, pixels = self._patch(centre, centre)
        return torch.exp((pixels - centre[..., None]) ** 2 * (-0.5 / self.sigma**2)) * inside

    def _blobs(self, x: Tensor, y: Tensor, peak: Tensor) -> Tensor:
        """Return (B, P, T, C, H, W): a Gaussian for each of x, y, peak (B, P, T, C)."""
        return (self._axis(y) * peak[..., None])[..., :, None] * self._axis(x)[..., None, :]

    def _limbs(self, x: Tensor, y: Tensor, score: Tensor) -> Tensor:
        """Return (B, P, T, E, H, W): a Gaussian of the distance to each edge."""
        x0, y0, x1, y1 = x[..., self.first], y[..., self.first], x[..., self.second], y[..., self.second]
        lower = torch.minimum(score[..., self.first], score[..., self.second])
        seen = lower >= self.min_score
        squared = (x1 - x0) ** 2 + (y1 - y0) ** 2
        short = squared < 1
        across, pixels = self._patch(torch.minimum(x0, x1), torch.maximum(x0, x1))
        down, _ = self._patch(torch.minimum(y0, y1), torch.maximum(y0, y1))
        along_x, along_y = (x1 - x0)[..., None, None], (y1 - y0)[..., None, None]
        dx, dy = pixels - x0[..., None, None], pixels[:, None] - y0[..., None, None]
        share = (dx * along_x + dy * along_y) / squared.clamp(min=1)[..., None, None]
        share = share.clamp(0, 1)  # the nearest point of the edge
        distance = (dx - share * along_x) ** 2 + (dy - share * along_y) ** 2
        inside = down[..., :, None] & across[..., None, :]
        weight = (lower * (seen & ~short))[..., None, None]
        limbs = torch.exp(distance * (-0.5 / self.sigma**2)) * inside * weight
        blobs = self._blobs(x0, y0, score[..., self.first] * (seen & short))
        return torch.maximum(limbs, blobs)


def densely_drawn(model: nn.Module) -> nn.Module:
    """Replace every renderer of heatmaps within ``model``, in place; return the model."""
    for name, child in model.named_children():
        if isinstance(child, HeatmapRenderer):
            setattr(model, name, DenseRenderer(child))
        else:
            densely_drawn(child)
    return model
