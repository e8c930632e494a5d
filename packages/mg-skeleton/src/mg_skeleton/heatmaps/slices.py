"""Limbs on a processor without numba: only the pixels near them, slice by slice, by numpy.

By numpy, as torch shares even small steps out to threads, which on a busy machine wait for one another fifty
times as long as they work.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mg_skeleton.heatmaps.rule import REACH
from mg_skeleton.heatmaps.tensors import first_places, raise_to

# Slices that are drawn at a time: what is made of them stays in the processor's cache.
_SLICES = 25_000


def draw_limbs(
    maps: Tensor, start: Tensor, end: Tensor, weight: Tensor, sigma: float, *, fresh: bool
) -> None:
    """Raise the pixels near one person's limbs; arguments as for :func:`.tensors.draw_limbs_densely`.

    A limb is cut into slices across the axis u along which it is longer: one slice for each pixel of its
    patch on u. On the other axis v a slice is a window, inside the patch, of as many pixels as may be near
    a limb of that slope.
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
    u_start, u_stop = _patch(np.minimum(u, u_end), np.maximum(u, u_end), size_u, sigma)
    v_start, v_stop = _patch(np.minimum(v, v_end), np.maximum(v, v_end), size_v, sigma)
    # Facts of limbs in float64: a long limb's place would else be off by 1e-5 pixels.
    along_u, along_v = u_end - u.astype(np.float64), v_end - v.astype(np.float64)
    length = np.hypot(along_u, along_v)
    cosine, sine, slope = along_u / length, along_v / length, along_v / along_u
    middle, along = v + slope * (u_start - u), (u_start - u) / cosine - length / 2  # in slice 0
    place = first_places(maps).numpy()[chosen] + u_start * stride_u
    # In units of sqrt(2) sigma the Gaussian is exp(-distance^2).
    unit, kind = math.sqrt(0.5) / sigma, weights.dtype
    half, across_step, along_step = (
        (fact * unit).astype(kind) for fact in (length / 2, cosine, sine)
    )  # along_step, across_step: of one pixel on v
    near = np.floor(2 * REACH * sigma / np.abs(cosine)).astype(np.int64) + 1
    pixels = np.minimum(near, v_stop - v_start)
    counts = (u_stop - u_start) * (pixels > 0)  # slices of each limb
    until = np.cumsum(counts)
    cuts = np.searchsorted(until, np.arange(_SLICES, counts.sum(), _SLICES)).tolist()
    for low, high in itertools.pairwise([0, *cuts, len(counts)]):
        for wide in np.unique(pixels[low:high][counts[low:high] > 0]).tolist():
            group = low + np.flatnonzero((pixels[low:high] == wide) & (counts[low:high] > 0))
            limb = np.repeat(group, counts[group])  # (S,), as what follows
            number = np.arange(len(limb)) - np.repeat(np.cumsum(counts[group]) - counts[group], counts[group])
            line = middle[limb] + slope[limb] * number
            first = np.clip(np.ceil(line - wide / 2), v_start[limb], v_stop[limb] - wide)
            step = np.arange(wide, dtype=kind)[:, None]
            # Last axis: slices, as numpy is slow over short ones.
            beside = (first - line).astype(kind) + step  # (w, S)
            # Distance to the segment: across it, and beyond its nearer end.
            beyond = beside * along_step[limb]
            beyond += ((along[limb] + number / cosine[limb]) * unit).astype(kind)
            np.abs(beyond, out=beyond)
            beyond -= half[limb]
            np.maximum(beyond, 0, out=beyond)
            beyond *= beyond
            values = beside * across_step[limb]
            values *= values
            values += beyond
            np.negative(values, out=values)
            np.exp(values, out=values)
            values *= weights[limb]
            stride = stride_v[limb]
            places = place[limb] + number * stride_u[limb] + first.astype(np.int64) * stride
            places = places + np.arange(wide)[:, None] * stride
            raise_to(maps, torch.from_numpy(places), torch.from_numpy(values), fresh=fresh)


def _patch(
    low: NDArray[np.floating], high: NDArray[np.floating], size: NDArray[np.integer], sigma: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels [start, stop) from int(low - 3 sigma) to int(high + 3 sigma), cut towards zero."""
    start, stop = np.trunc(low - 3 * sigma), np.trunc(high + 3 * sigma) + 1
    start, stop = np.clip(start, 0, size).astype(np.int64), np.clip(stop, 0, size).astype(np.int64)
    return start, np.maximum(start, stop)
