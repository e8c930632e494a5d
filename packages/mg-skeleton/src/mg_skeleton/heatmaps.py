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

import itertools
import math
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
# Slices of limbs that are drawn at a time.
_SLICES = 3000

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
    memory = _MEMORY.take(math.prod(shape) * dtype.itemsize)
    return torch.from_numpy(memory).view(dtype).zero_().view(shape)


class _Memory:
    """Hands out memory, the same again once nobody has a tensor in it.

    A batch of heatmaps is large enough to be fetched from the system and given back each time, page by page:
    that takes longer than drawing them. numpy asks for large pages, torch does not.
    """

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)
        self._lock = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return ``size`` bytes of any content."""
        with self._lock:
            # Each tensor in it holds a reference; without any there are self._kept and the argument's own.
            if sys.getrefcount(self._kept) > 2 or not size <= self._kept.nbytes <= 2 * size:
                self._kept = np.empty(size, np.uint8)
            return self._kept[:size]


_MEMORY = _Memory()


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
    peak, begin = score * (score >= min_score), _first_places(maps)
    for person in range(people.shape[1]):
        _draw_blobs(maps, begin, x[:, person], y[:, person], peak[:, person], sigma, fresh=person == 0)


def _draw_blobs(
    maps: Tensor, begin: Tensor, x: Tensor, y: Tensor, peak: Tensor, sigma: float, *, fresh: bool
) -> None:
    """Raise heatmaps that begin at the places ``begin`` to a Gaussian for each x, y, peak; all (...)."""
    left, across = _gaussian_window(x, maps.shape[3], sigma)  # (..., w) each
    top, down = _gaussian_window(y, maps.shape[2], sigma)
    blobs = (down * peak[..., None])[..., :, None] * across[..., None, :]  # (..., h, w)
    rows = begin[..., None] + top * maps.stride(2)
    _raise_to(maps, rows[..., :, None] + left[..., None, :] * maps.stride(3), blobs, fresh=fresh)


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
    if not fresh:
        values = torch.maximum(values, flat.index_select(0, places))
    flat.scatter_(0, places, values)  # three times as fast as flat[places] = values


def _draw_limbs(maps: Tensor, people: Tensor, edges: Edges, sigma: float, min_score: float) -> None:
    """Draw limbs into zeros (B, T, H, W, E), which may be a part of a larger tensor's channels."""
    x, y, score = _pixels(people, (maps.shape[2], maps.shape[3]))  # (B, P, T, V)
    first = torch.tensor([edge[0] for edge in edges], device=x.device)
    second = torch.tensor([edge[1] for edge in edges], device=x.device)
    (x, x_end), (y, y_end), (score, score_end) = (
        (facts.index_select(-1, first), facts.index_select(-1, second)) for facts in (x, y, score)
    )  # (B, P, T, E)
    lower = torch.minimum(score, score_end)
    seen = lower >= min_score
    start, end = torch.stack([x, y]), torch.stack([x_end, y_end])  # (2, B, P, T, E)
    short = ((end - start) ** 2).sum(0) < 1
    on_gpu = maps.device.type != "cpu"  # where asking whether there is any would cost more than drawing
    dense = on_gpu or min(maps.shape[2:4]) < _slice_width(sigma)
    with_blobs = on_gpu or bool((seen & short).any())
    peak, weight = score * (seen & short), lower * (seen & ~short)
    begin = _first_places(maps)
    for person in range(people.shape[1]):
        fresh = person == 0  # a limb is drawn as a blob or as a line: neither meets the other's pixels
        if with_blobs:
            drawn = ... if on_gpu else peak[:, person] > 0
            at_x, at_y, height = (facts[:, person][drawn] for facts in (x, y, peak))
            _draw_blobs(maps, begin[drawn], at_x, at_y, height, sigma, fresh=fresh)
        limbs = (start[:, :, person], end[:, :, person], weight[:, person])
        if dense:
            _draw_limbs_densely(maps, *limbs, sigma)
        else:
            _draw_limbs_sparsely(maps, *limbs, sigma, fresh=fresh)


def _draw_limbs_densely(maps: Tensor, start: Tensor, end: Tensor, weight: Tensor, sigma: float) -> None:
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


def _numpy_patch(
    low: NDArray[np.floating], high: NDArray[np.floating], size: NDArray[np.integer], sigma: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return what :func:`_patch` returns."""
    start, stop = np.trunc(low - 3 * sigma), np.trunc(high + 3 * sigma) + 1
    start, stop = np.clip(start, 0, size), np.clip(stop, 0, size)
    return start, np.maximum(start, stop)


def _slice_width(sigma: float) -> int:
    """Return how many pixels in a row may be near a limb that rises by 45 degrees."""
    return int(2 * _REACH * sigma * math.sqrt(2)) + 1


def _draw_limbs_sparsely(
    maps: Tensor, start: Tensor, end: Tensor, weight: Tensor, sigma: float, *, fresh: bool
) -> None:
    """Raise the pixels near one person's limbs; arguments as for :func:`_draw_limbs_densely`.

    A limb is cut into slices across the axis u along which it is longer: one slice for each pixel of its
    patch on u. On the other axis v a slice is a window of fixed width, as the limb rises by 45 degrees at
    most there. By numpy: torch shares even small steps out to threads, which on a busy machine wait for one
    another fifty times as long as they work.
    """
    height, width = maps.shape[2], maps.shape[3]
    chosen = weight.numpy() > 0
    weights = weight.numpy()[chosen]  # (L,), as what follows
    (x, y), (x_end, y_end) = start.numpy()[:, chosen], end.numpy()[:, chosen]
    steep = np.abs(y_end - y) > np.abs(x_end - x)
    u, u_end = np.where(steep, y, x), np.where(steep, y_end, x_end)
    v, v_end = np.where(steep, x, y), np.where(steep, x_end, y_end)
    size_u, size_v = np.where(steep, height, width), np.where(steep, width, height)
    stride_u = np.where(steep, maps.stride(2), maps.stride(3))
    stride_v = np.where(steep, maps.stride(3), maps.stride(2))
    u_start, u_stop = _numpy_patch(np.minimum(u, u_end), np.maximum(u, u_end), size_u, sigma)
    v_start, v_stop = _numpy_patch(np.minimum(v, v_end), np.maximum(v, v_end), size_v, sigma)
    # Facts of limbs in float64: a long limb's place would else be off by 1e-5 pixels.
    along_u, along_v = u_end - u.astype(np.float64), v_end - v.astype(np.float64)
    length = np.hypot(along_u, along_v)
    facts = (u, v, along_u / length, along_v / length, along_v / along_u, length / 2, v_start, v_stop)
    table = np.stack([*facts, size_v, weights], axis=1).astype(np.float64)  # (L, 10)
    begin = _first_places(maps).numpy()[chosen]
    counts = (u_stop - u_start).astype(np.int64) * (v_start < v_stop)  # slices of each limb
    until = np.cumsum(counts)
    first_at = u_start.astype(np.int64) - (until - counts)  # pixel on u of a limb's slice 0, 1, 2, ...
    cuts = np.searchsorted(until, np.arange(_SLICES, counts.sum(), _SLICES)).tolist()
    pixels, kind = _slice_width(sigma), weights.dtype
    step = np.arange(pixels, dtype=kind)  # (w,)

    def draw(limbs: tuple[int, int]) -> None:
        # Slices (S,) of a part of the limbs: what is made of them stays in the processor's cache.
        low, high = limbs
        limb = np.repeat(np.arange(low, high), counts[low:high])
        number = until[low] - counts[low] + np.arange(len(limb)) if len(limb) else limb
        at_u = first_at[limb] + number
        columns = np.take(table, limb, axis=0).T[..., None]  # (10, S, 1)
        u, v, cosine, sine, slope, half_length, v_start, v_stop, size_v, peak = columns
        du = at_u[:, None] - u
        middle = v + slope * du  # of the line in this slice
        first = np.clip(np.ceil(middle - pixels / 2), 0, size_v - pixels)
        window = (
            *((first - middle) * cosine, du * cosine + (first - v) * sine - half_length),
            *(cosine, sine, half_length, peak, v_start - first, v_stop - first),
        )
        across, along, cosine, sine, half_length, peak, v_start, v_stop = (
            fact.astype(kind) for fact in window
        )
        # Distance to the segment: across it, and beyond its nearer end.
        beyond = np.abs(along + step * sine)  # (S, w)
        beyond -= half_length
        np.maximum(beyond, 0, out=beyond)
        beyond *= beyond
        values = across + step * cosine
        values *= values
        values += beyond
        values *= kind.type(-0.5 / sigma**2)
        np.exp(values, out=values)
        values *= peak
        values *= (step >= v_start) & (step < v_stop)

        stride = stride_v[limb][:, None]
        places = (begin[limb] + at_u * stride_u[limb])[:, None] + first.astype(np.int64) * stride
        places = places + stride * np.arange(pixels)
        _raise_to(maps, torch.from_numpy(places), torch.from_numpy(values), fresh=fresh)

    parts = list(itertools.pairwise([0, *cuts, len(counts)]))
    workers = min(torch.get_num_threads(), len(parts))
    if workers > 1:  # no two limbs share a pixel of a heatmap
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(draw, parts))
    else:
        for part in parts:
            draw(part)


def _limb_values(dx: Tensor, dy: Tensor, along_x: Tensor, along_y: Tensor, sigma: float) -> Tensor:
    """Return the Gaussian of the distance to a segment from 0 to (along_x, along_y), at (dx, dy)."""
    squared = (along_x**2 + along_y**2).clamp(min=1)  # shorter ones are blobs
    share = ((dx * along_x + dy * along_y) / squared).clamp(0, 1)  # the nearest point of the segment
    distance = (dx - share * along_x) ** 2 + (dy - share * along_y) ** 2
    return torch.exp(distance * (-0.5 / sigma**2))
