"""Heatmaps drawn by torch: keypoints on any device, and limbs for GPUs, which compute every pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from mg_skeleton.heatmaps.rule import pixels


def draw_joints(maps: Tensor, people: Tensor, sigma: float, min_score: float) -> None:
    """Draw keypoints into zeros (B, T, H, W, V), which may be a part of a larger tensor's channels."""
    x, y, score = pixels(people, (maps.shape[2], maps.shape[3]))
    peak, begin = score * (score >= min_score), first_places(maps)
    for person in range(people.shape[1]):
        draw_blobs(maps, begin, x[:, person], y[:, person], peak[:, person], sigma, fresh=person == 0)


def draw_blobs(
    maps: Tensor, begin: Tensor, x: Tensor, y: Tensor, peak: Tensor, sigma: float, *, fresh: bool
) -> None:
    """Raise heatmaps that begin at the places ``begin`` to a Gaussian for each x, y, peak; all (...)."""
    left, across = _gaussian_window(x, maps.shape[3], sigma)  # (..., w) each
    top, down = _gaussian_window(y, maps.shape[2], sigma)
    blobs = (down * peak[..., None])[..., :, None] * across[..., None, :]  # (..., h, w)
    rows = begin[..., None] + top * maps.stride(2)
    raise_to(maps, rows[..., :, None] + left[..., None, :] * maps.stride(3), blobs, fresh=fresh)


def _gaussian_window(centre: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return pixels (..., w) int64 of a window inside the image that holds the patch, and one axis of the
    Gaussian at them: peak 1, 0 outside its patch."""
    width = min(int(6 * sigma) + 2, size)  # no patch has more pixels
    start, stop = _patch(centre, centre, size, sigma)
    start, stop, centre = start[..., None], stop[..., None], centre[..., None]
    places = start.clamp(max=size - width) + torch.arange(width, device=centre.device, dtype=centre.dtype)
    values = torch.exp((places - centre) ** 2 * (-0.5 / sigma**2))
    return places.long(), values.where((places >= start) & (places < stop), values.new_zeros(()))


def _patch(low: Tensor, high: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the pixels [start, stop) from int(low - 3 sigma) to int(high + 3 sigma), cut towards zero."""
    start = torch.trunc(low - 3 * sigma).clamp(0, size)
    stop = (torch.trunc(high + 3 * sigma) + 1).clamp(0, size)
    return start, torch.maximum(start, stop)


def first_places(maps: Tensor) -> Tensor:
    """Return (B, T, C) int64: where the first pixel of each heatmap lies, counted from the first element."""
    batch, time, _, _, channels = maps.shape
    device = maps.device
    return (
        torch.arange(batch, device=device)[:, None, None] * maps.stride(0)
        + torch.arange(time, device=device)[:, None] * maps.stride(1)
        + torch.arange(channels, device=device) * maps.stride(4)
    )


def raise_to(maps: Tensor, places: Tensor, values: Tensor, *, fresh: bool) -> None:
    """Raise maps to the values at places, all of them different. ``fresh``: it is still 0 there."""
    length = maps.untyped_storage().nbytes() // maps.element_size() - maps.storage_offset()
    flat = maps.as_strided((length,), (1,))
    places, values = places.reshape(-1), values.reshape(-1).to(maps.dtype)
    if not fresh:
        values = torch.maximum(values, flat.index_select(0, places))
    flat.scatter_(0, places, values)  # three times as fast as flat[places] = values


def draw_limbs_densely(maps: Tensor, start: Tensor, end: Tensor, weight: Tensor, sigma: float) -> None:
    """Raise all pixels of maps (B, T, H, W, E) to one person's limbs.

    Args:
        start, end: (2, B, T, E) x and y. weight: (B, T, E), 0 for limbs that leave no trace.
    """
    height, width = maps.shape[2:4]
    columns = torch.arange(width, device=maps.device, dtype=start.dtype)[:, None]  # (W, 1)
    rows = torch.arange(height, device=maps.device, dtype=start.dtype)[:, None, None]  # (H, 1, 1)
    for clip in range(0, len(maps), 8):  # a few at a time: each step fills a tensor
        part = slice(clip, clip + 8)
        a, b = start[:, part, :, None, None, :], end[:, part, :, None, None, :]  # (2, b, T, 1, 1, E)
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        left, right = _patch(low[0], high[0], width, sigma)
        top, bottom = _patch(low[1], high[1], height, sigma)
        inside = ((columns >= left) & (columns < right)) & ((rows >= top) & (rows < bottom))
        limb = _limb_values(columns - a[0], rows - a[1], b[0] - a[0], b[1] - a[1], sigma)
        limb = limb * (inside * weight[part, :, None, None, :])
        maps[part] = torch.maximum(maps[part], limb.to(maps.dtype))


def _limb_values(dx: Tensor, dy: Tensor, along_x: Tensor, along_y: Tensor, sigma: float) -> Tensor:
    """Return the Gaussian of the distance to a segment from 0 to (along_x, along_y), at (dx, dy)."""
    squared = (along_x**2 + along_y**2).clamp(min=1)  # shorter ones are blobs
    share = ((dx * along_x + dy * along_y) / squared).clamp(0, 1)  # the nearest point of the segment
    distance = (dx - share * along_x) ** 2 + (dy - share * along_y) ** 2
    return torch.exp(distance * (-0.5 / sigma**2))
