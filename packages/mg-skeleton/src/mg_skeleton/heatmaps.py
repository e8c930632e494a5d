"""Heatmaps of keypoints and limbs, rendered in batches on the device of the keypoints (PoseC3D; paper 4.2).

They are never stored and never made by the loader: a clip of 68 x 48 x 56 x 56 values is 41 MB, its
keypoints 40 kB. The patch rule, the peak and the treatment of short limbs are those of the reference
(mmaction2's ``GeneratePoseTarget``), so that its results are met to the last digits of float32. Two
conventions differ: keypoints and limbs together are 2 blocks of channels here, where the reference draws the
limbs over the first keypoints; and channels come before time.

A heatmap is almost all zeros. On a processor only the pixels of the patches are computed and written, into
zeroed memory in which channels lie last (what the convolutions want); limbs, whose patches differ in size,
are cut into slices of one size. A GPU renders limbs densely: for a list of slices it would have to
wait until its length is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Keypoints below this score leave no trace, as in mmaction2; pyskl, from which it stems, takes 1e-3.
MIN_SCORE = 1e-4
# Pixels farther from a limb than this many sigma are left at 0: they would get less than 1e-6.
_REACH = 5.26
_FAR = 1e5

Edges = Sequence[Sequence[int]]


def render_joints(
    people: Tensor,
    size: tuple[int, int],
    sigma: float = 0.6,
    *,
    min_score: float = MIN_SCORE,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Render one heatmap for each keypoint: a Gaussian whose peak is the score, the maximum over persons.

    Args:
        people: (B, P, T, V, 3), x and y in shares of the image, score. It is left as it is; coordinates are
            taken in float32 at least, as bfloat16 knows no place between pixels 32 and 32.25.
        size: (H, W) pixels. sigma: in pixels. min_score: keypoints below it leave no trace.
        dtype: of the result; that of ``people`` by default.

    Returns:
        (B, V, T, H, W), dense in memory with channels last.
    """
    maps = _canvas(people, people.shape[3], size, dtype)
    _draw_joints(maps, people, sigma, min_score)
    return maps.permute(0, 4, 1, 2, 3)


def render_limbs(
    people: Tensor,
    edges: Edges,
    size: tuple[int, int],
    sigma: float = 0.6,
    *,
    min_score: float = MIN_SCORE,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Render one heatmap for each edge: a Gaussian of the distance to the segment, times the lower score.

    A limb shorter than one pixel is the blob of its first keypoint.

    Args:
        people, size, sigma, min_score, dtype: as for :func:`render_joints`. edges: E index pairs.

    Returns:
        (B, E, T, H, W), dense in memory with channels last, the maximum over persons.
    """
    maps = _canvas(people, len(edges), size, dtype)
    _draw_limbs(maps, people, edges, sigma, min_score)
    return maps.permute(0, 4, 1, 2, 3)


def heatmap_array(
    people: NDArray[np.floating],
    size: tuple[int, int] = (56, 56),
    *,
    edges: Edges = (),
    sigma: float = 0.6,
    min_score: float = MIN_SCORE,
) -> NDArray[np.float32]:
    """Render one clip for a plot: keypoints, or limbs if ``edges`` are given.

    Args:
        people: (P, T, V, 3), x and y in shares of the image, score. The rest as for :func:`render_limbs`.

    Returns:
        (T, V or E, H, W) float32.

    >>> heatmap_array(np.array([[[[0.5, 0.25, 0.8]]]])).shape
    (1, 1, 56, 56)
    """
    batch = torch.from_numpy(np.array(people, dtype=np.float32))[None]
    if edges:
        maps = render_limbs(batch, edges, size, sigma, min_score=min_score)
    else:
        maps = render_joints(batch, size, sigma, min_score=min_score)
    array: NDArray[np.float32] = maps[0].transpose(0, 1).contiguous().numpy()
    return array


class HeatmapRenderer(nn.Module):
    """Keypoints (B, P, T, V, 3) -> heatmaps (B, channels, T, H, W), joints first, then limbs; no
    parameters.

    Args:
        num_points: V. edges: the layout's edges, used ``with_limbs``.
        size: side in pixels while training. eval_size: side in evaluation mode, 0 for the same. The
            reference trains on random crops of 56 pixels and tests on the whole box at 64, which shows
            persons at the same scale.
        sigma: of the Gaussian, in pixels. min_score: keypoints below it leave no trace.
    """

    def __init__(
        self,
        num_points: int,
        edges: Edges,
        *,
        size: int = 56,
        eval_size: int = 0,
        sigma: float = 0.6,
        min_score: float = MIN_SCORE,
        with_joints: bool = True,
        with_limbs: bool = False,
    ) -> None:
        super().__init__()
        self.num_points = num_points
        self.size, self.eval_size, self.sigma, self.min_score = size, eval_size or size, sigma, min_score
        self.edges = tuple((int(a), int(b)) for a, b in edges)
        self.with_joints, self.with_limbs = with_joints, with_limbs
        self.channels = num_points * with_joints + len(self.edges) * with_limbs

    @torch.no_grad()
    def forward(self, people: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Render in ``dtype``, by default that of ``people``; dense in memory with channels last."""
        if people.ndim != 5 or tuple(people.shape[3:]) != (self.num_points, 3):
            raise ValueError(
                f"heatmaps: found keypoints of shape {tuple(people.shape)}, want (batch, persons, frames, "
                f"{self.num_points}, 3)"
            )
        side = self.size if self.training else self.eval_size
        maps = _canvas(people, self.channels, (side, side), dtype)
        joints = self.num_points * self.with_joints
        if self.with_joints:
            _draw_joints(maps[..., :joints], people, self.sigma, self.min_score)
        if self.with_limbs:
            _draw_limbs(maps[..., joints:], people, self.edges, self.sigma, self.min_score)
        return maps.permute(0, 4, 1, 2, 3)


class KeypointHeatmap(HeatmapRenderer):
    """One heatmap for each keypoint; see :class:`HeatmapRenderer`."""

    def __init__(self, num_points: int, *, size: int = 56, eval_size: int = 0, sigma: float = 0.6) -> None:
        super().__init__(num_points, (), size=size, eval_size=eval_size, sigma=sigma)


class LimbHeatmap(HeatmapRenderer):
    """One heatmap for each edge; see :class:`HeatmapRenderer`."""

    def __init__(
        self, num_points: int, edges: Edges, *, size: int = 56, eval_size: int = 0, sigma: float = 0.6
    ) -> None:
        super().__init__(
            num_points,
            edges,
            size=size,
            eval_size=eval_size,
            sigma=sigma,
            with_joints=False,
            with_limbs=True,
        )


def _canvas(people: Tensor, channels: int, size: tuple[int, int], dtype: torch.dtype | None) -> Tensor:
    """Return zeros (B, T, H, W, channels)."""
    shape = (people.shape[0], people.shape[2], *size, channels)
    dtype = dtype or people.dtype
    if people.device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=people.device)
    # numpy asks the system for large pages, torch does not: on some machines fresh memory is ten times
    # slower without them.
    memory = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(memory).view(dtype).zero_().view(shape)


def _pixels(people: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y in pixels and the score, each (B, P, T, V), float32 at least; score 0 where not finite."""
    people = people.to(torch.promote_types(people.dtype, torch.float32))
    x, y = people[..., 0] * size[1], people[..., 1] * size[0]
    score = people[..., 2] * (x.isfinite() & y.isfinite())
    # Far outside nothing is seen; numbers that float32 counts in pixels keep the arithmetic finite.
    x, y = (torch.nan_to_num(pixels).clamp(-_FAR, _FAR) for pixels in (x, y))
    return x, y, score


def _patch(low: Tensor, high: Tensor, size: int | Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the pixels [start, stop) from int(low - 3 sigma) to int(high + 3 sigma), cut towards zero."""
    start = torch.trunc(low - 3 * sigma).clamp(min=0)
    stop = (torch.trunc(high + 3 * sigma) + 1).clamp(min=0)
    size = torch.as_tensor(size, dtype=low.dtype, device=low.device)
    start, stop = torch.minimum(start, size), torch.minimum(stop, size)
    return start, torch.maximum(start, stop)


def _draw_joints(maps: Tensor, people: Tensor, sigma: float, min_score: float) -> None:
    """Draw keypoints into zeros (B, T, H, W, V), which may be a part of a larger tensor's channels."""
    x, y, score = _pixels(people, (maps.shape[2], maps.shape[3]))
    _draw_blobs(maps, x, y, score * (score >= min_score), sigma)


def _draw_blobs(
    maps: Tensor, x: Tensor, y: Tensor, peak: Tensor, sigma: float, *, fresh: bool = True
) -> None:
    """Raise maps (B, T, H, W, C) to a Gaussian for each x, y, peak (B, P, T, C). ``fresh``: maps are 0."""
    left, across = _gaussian_window(x, maps.shape[3], sigma)  # (B, P, T, C, w) each
    top, down = _gaussian_window(y, maps.shape[2], sigma)
    blobs = (down * peak[..., None])[..., :, None] * across[..., None, :]  # (B, P, T, C, h, w)
    places = (
        _first_places(maps)[:, None, :, :, None, None]
        + top[..., :, None] * maps.stride(2)
        + left[..., None, :] * maps.stride(3)
    )
    for person in range(x.shape[1]):
        _raise_to(maps, places[:, person], blobs[:, person], fresh=fresh and person == 0)


def _gaussian_window(centre: Tensor, size: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return pixels (..., w) int64 of a window inside the image that holds the patch, and one axis of the
    Gaussian at them: peak 1, 0 outside its patch."""
    width = min(int(6 * sigma) + 2, size)  # no patch has more pixels
    start, stop = _patch(centre, centre, size, sigma)
    start, stop, centre = start[..., None], stop[..., None], centre[..., None]
    pixels = start.clamp(max=size - width) + torch.arange(width, device=centre.device, dtype=centre.dtype)
    values = torch.exp((pixels - centre) ** 2 * (-0.5 / sigma**2))
    return pixels.long(), values.where((pixels >= start) & (pixels < stop), values.new_zeros(()))


def _first_places(maps: Tensor) -> Tensor:
    """Return (B, T, C) int64: where the first pixel of each heatmap lies, counted from the first element."""
    batch, time, _, _, channels = maps.shape
    device = maps.device
    return (
        torch.arange(batch, device=device)[:, None, None] * maps.stride(0)
        + torch.arange(time, device=device)[:, None] * maps.stride(1)
        + torch.arange(channels, device=device) * maps.stride(4)
    )


def _raise_to(maps: Tensor, places: Tensor, values: Tensor, *, fresh: bool) -> None:
    """Raise maps to the values at places, all of them different. ``fresh``: it is still 0 there."""
    length = maps.untyped_storage().nbytes() // maps.element_size() - maps.storage_offset()
    flat = maps.as_strided((length,), (1,))
    places, values = places.reshape(-1), values.reshape(-1).to(maps.dtype)
    flat[places] = values if fresh else torch.maximum(values, flat[places])


def _draw_limbs(maps: Tensor, people: Tensor, edges: Edges, sigma: float, min_score: float) -> None:
    """Draw limbs into zeros (B, T, H, W, E), which may be a part of a larger tensor's channels."""
    x, y, score = _pixels(people, (maps.shape[2], maps.shape[3]))  # (B, P, T, V)
    first = torch.tensor([edge[0] for edge in edges], device=x.device)
    second = torch.tensor([edge[1] for edge in edges], device=x.device)
    lower = torch.minimum(score[..., first], score[..., second])  # (B, P, T, E)
    seen = lower >= min_score
    start = torch.stack([x[..., first], y[..., first]])  # (2, B, P, T, E)
    end = torch.stack([x[..., second], y[..., second]])
    short = ((end - start) ** 2).sum(0) < 1
    on_gpu = maps.device.type != "cpu"  # where asking whether there is any would cost more than drawing
    dense = on_gpu or min(maps.shape[2:4]) < _slice_width(sigma)
    with_blobs = on_gpu or bool((seen & short).any())
    peak, weight = score[..., first] * (seen & short), lower * (seen & ~short)
    for person in range(x.shape[1]):
        part = slice(person, person + 1)
        if with_blobs:
            _draw_blobs(maps, *start[:, :, part], peak[:, part], sigma, fresh=person == 0)
        limbs = (start[:, :, person], end[:, :, person], weight[:, person])
        if dense:
            _draw_limbs_densely(maps, *limbs, sigma)
        else:  # one person's limb is a blob or not: what its blob's window has overwritten was 0
            _draw_limbs_sparsely(maps, *limbs, sigma, fresh=person == 0)


def _draw_limbs_densely(maps: Tensor, start: Tensor, end: Tensor, weight: Tensor, sigma: float) -> None:
    """Raise all pixels of maps (B, T, H, W, E) to one person's limbs.

    Args:
        start, end: (2, B, T, E) x and y. weight: (B, T, E), 0 for limbs that leave no trace.
    """
    height, width = maps.shape[2:4]
    columns = torch.arange(width, device=maps.device, dtype=start.dtype)[:, None]  # (W, 1)
    rows = torch.arange(height, device=maps.device, dtype=start.dtype)[:, None, None]  # (H, 1, 1)
    for clips in torch.arange(maps.shape[0]).split(8):  # a few clips at a time: each step fills a tensor
        part = slice(int(clips[0]), int(clips[-1]) + 1)
        a, b = start[:, part, :, None, None, :], end[:, part, :, None, None, :]  # (2, b, T, 1, 1, E)
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        left, right = _patch(low[0], high[0], width, sigma)
        top, bottom = _patch(low[1], high[1], height, sigma)
        inside = ((columns >= left) & (columns < right)) & ((rows >= top) & (rows < bottom))
        limb = _limb_values(columns - a[0], rows - a[1], b[0] - a[0], b[1] - a[1], sigma)
        limb = limb * (inside * weight[part, :, None, None, :])
        maps[part] = torch.maximum(maps[part], limb.to(maps.dtype))


def _slice_width(sigma: float) -> int:
    """Return how many pixels in a row may be near a limb that rises by 45 degrees."""
    return int(2 * _REACH * sigma * math.sqrt(2)) + 1


def _draw_limbs_sparsely(
    maps: Tensor, start: Tensor, end: Tensor, weight: Tensor, sigma: float, *, fresh: bool
) -> None:
    """Raise the pixels near one person's limbs; arguments as for :func:`_draw_limbs_densely`.

    A limb is cut into slices across the axis u along which it is longer: one slice for each pixel of its
    patch on u. On the other axis v a slice is a window of fixed width, as the limb rises by 45 degrees at
    most there.
    """
    chosen = weight > 0
    # Facts of limbs and slices in float64: a long limb's place would else be off by 1e-5 pixels.
    (x, y), (x_end, y_end) = start[:, chosen].double(), end[:, chosen].double()  # (L,) each
    weight = weight[chosen].double()
    steep = (y_end - y).abs() > (x_end - x).abs()
    size_u, size_v = (
        torch.where(steep, *sizes) for sizes in (maps.shape[2:4], (maps.shape[3], maps.shape[2]))
    )
    stride_u, stride_v = (
        torch.where(steep, *strides)
        for strides in ((maps.stride(2), maps.stride(3)), (maps.stride(3), maps.stride(2)))
    )
    u, v = torch.where(steep, y, x), torch.where(steep, x, y)
    along_u = torch.where(steep, y_end - y, x_end - x)
    along_v = torch.where(steep, x_end - x, y_end - y)
    length = torch.hypot(along_u, along_v)
    cosine, sine = along_u / length, along_v / length
    u_start, u_stop = _patch(torch.minimum(u, u + along_u), torch.maximum(u, u + along_u), size_u, sigma)
    v_start, v_stop = _patch(torch.minimum(v, v + along_v), torch.maximum(v, v + along_v), size_v, sigma)

    counts = (u_stop - u_start).long() * (v_start < v_stop)
    limb = torch.repeat_interleave(counts)  # (S,): which limb a slice belongs to
    before = torch.cumsum(counts, 0) - counts
    at_u = torch.arange(len(limb)) - (before - u_start.long()).index_select(0, limb)  # (S,) pixel on u
    facts = torch.stack(
        [u, v, cosine, sine, length / 2, weight, v_start, v_stop, size_v.to(u.dtype), along_v / along_u],
        dim=1,
    )
    facts = facts.index_select(0, limb)[:, :, None]  # (S, 10, 1)
    u, v, cosine, sine, half_length, weight, v_start, v_stop, size_v, slope = facts.unbind(1)
    du = at_u[:, None] - u
    middle = v + slope * du  # of the line in this slice
    width = _slice_width(sigma)
    first = torch.ceil(middle - width / 2).clamp(min=torch.zeros_like(v), max=size_v - width)
    step = torch.arange(width, dtype=start.dtype)  # (w,)
    begin = first - middle, du * cosine + (first - v) * sine - half_length
    begin_across, begin_along, v_start, v_stop = (
        fact.to(start.dtype) for fact in (*begin, v_start - first, v_stop - first)
    )
    cosine, sine, half_length, weight = (fact.to(start.dtype) for fact in (cosine, sine, half_length, weight))

    # Distance to the segment: across it, and beyond its nearer end.
    across = (begin_across * cosine + step * cosine).square_()  # (S, w)
    beyond = (begin_along + step * sine).abs_().sub_(half_length).clamp_(min=0).square_()
    values = across.add_(beyond).mul_(-0.5 / sigma**2).exp_().mul_(weight)
    values *= (step >= v_start) & (step < v_stop)

    begin_place = _first_places(maps)[chosen].index_select(0, limb) + at_u * stride_u.index_select(0, limb)
    stride_v = stride_v.index_select(0, limb)[:, None]
    places = (begin_place[:, None] + first.long() * stride_v) + stride_v * torch.arange(width)
    _raise_to(maps, places, values, fresh=fresh)


def _limb_values(dx: Tensor, dy: Tensor, along_x: Tensor, along_y: Tensor, sigma: float) -> Tensor:
    """Return the Gaussian of the distance to a segment from 0 to (along_x, along_y), at (dx, dy)."""
    squared = (along_x**2 + along_y**2).clamp(min=1)  # shorter ones are blobs
    share = ((dx * along_x + dy * along_y) / squared).clamp(0, 1)  # the nearest point of the segment
    distance = (dx - share * along_x) ** 2 + (dy - share * along_y) ** 2
    return torch.exp(distance * (-0.5 / sigma**2))
