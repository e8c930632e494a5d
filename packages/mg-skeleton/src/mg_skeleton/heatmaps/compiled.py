"""Heatmaps drawn pixel by pixel on a processor, compiled by numba (extra ``fast``). Imported only when used.

Maps lie in memory with channels last, so that each pixel of a limb is far from the next: a frame is cleared
and drawn while it is in the processor's cache, in half the time that clearing all frames first would take.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from mg_skeleton.heatmaps.rule import REACH, Edges, pixels

TYPES = (torch.float32, torch.float64, torch.bfloat16)
# Frames that are worth a thread of their own.
_SHARE = 8


def draw(
    maps: Tensor, people: Tensor, edges: Edges, sigma: float, min_score: float, *, with_joints: bool
) -> None:
    """Clear maps (B, T, H, W, V + E or either), of a type in ``TYPES``; draw keypoints, then ``edges``.

    Args:
        people: (B, P, T, V, 3), x and y in shares of the image, score.
    """
    batch, time, height, width, channels = maps.shape
    persons, points = people.shape[1], people.shape[3]
    x, y, score = (
        facts.transpose(1, 2).reshape(batch * time, persons, points).contiguous().numpy()
        for facts in pixels(people, (height, width))
    )  # (F, P, V), F = B T
    # numpy does not know bfloat16.
    stored = maps.view(torch.uint16) if maps.dtype == torch.bfloat16 else maps
    frames = stored.view(batch * time, height * width * channels).numpy()
    ends = np.array(edges, np.int64).reshape(-1, 2)
    # In the type of the keypoints, as the reference rounds: a patch is cut at whole pixels.
    margin = x.dtype.type(3 * sigma)
    image = (height, width, float(sigma), margin)
    rest = (ends, points if with_joints else 0, float(min_score), image)
    workers = max(1, min(torch.get_num_threads(), len(frames) // _SHARE))
    cuts = [len(frames) * worker // workers for worker in range(workers + 1)]

    def work(worker: int) -> None:
        part = slice(cuts[worker], cuts[worker + 1])
        _draw_frames(frames[part], x[part], y[part], score[part], *rest)

    if workers == 1:
        work(0)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))


def _raise_to(maps: Any, place: int, value: float) -> None:
    """Raise one pixel to a value; compiled as one of the two below, by the type of the maps."""
    raise NotImplementedError


@numba.extending.overload(_raise_to)  # type: ignore[untyped-decorator,unused-ignore]
def _raise_by_type(maps: Any, place: Any, value: Any) -> Any:
    # numba wants the annotations of both to be those of this function.
    def raise_number(maps: Any, place: Any, value: Any) -> Any:
        if value > maps[place]:
            maps[place] = value

    def raise_bits(maps: Any, place: Any, value: Any) -> Any:
        # bfloat16: the upper half of a float32, rounded to even. Its bits are ordered as numbers are.
        long = np.float32(value).view(np.uint32)
        odd = (long >> np.uint32(16)) & np.uint32(1)
        bits = np.uint16((long + np.uint32(0x7FFF) + odd) >> np.uint32(16))
        if bits > maps[place]:
            maps[place] = bits

    return raise_bits if maps.dtype == numba.types.uint16 else raise_number


@numba.njit()  # type: ignore[untyped-decorator,unused-ignore]
def _patch(low: float, high: float, size: int, margin: float) -> tuple[int, int]:
    """Return the pixels [start, stop) from int(low - margin) to int(high + margin), cut towards zero."""
    return min(max(int(low - margin), 0), size), min(max(int(high + margin) + 1, 0), size)


@numba.njit()  # type: ignore[untyped-decorator,unused-ignore]
def _draw_joint(frame: Any, first: int, stride: int, x: float, y: float, peak: float, image: Any) -> None:
    """Raise the map whose pixels lie at ``first`` and every ``stride`` behind to a Gaussian around x, y."""
    height, width, sigma, margin = image
    factor = np.float32(-0.5 / sigma**2)
    left, right = _patch(x, x, width, margin)
    top, bottom = _patch(y, y, height, margin)
    for row in range(top, bottom):
        down = np.float32(row - y) ** 2
        for column in range(left, right):
            value = peak * math.exp(factor * (down + np.float32(column - x) ** 2))
            _raise_to(frame, first + (row * width + column) * stride, value)


@numba.njit()  # type: ignore[untyped-decorator,unused-ignore]
def _draw_limb(
    frame: Any,
    first: int,
    stride: int,
    start: tuple[float, float],
    end: tuple[float, float],
    peak: float,
    image: Any,
) -> None:
    """Raise the map to a Gaussian of the distance to a segment, in slices across the axis u along which the
    segment is longer; v is the other axis."""
    height, width, sigma, margin = image
    (x, y), (x_end, y_end) = start, end
    steep = abs(y_end - y) > abs(x_end - x)
    if steep:
        u, u_end, v, v_end, size_u, size_v = y, y_end, x, x_end, height, width
        stride_u, stride_v = width * stride, stride
    else:
        u, u_end, v, v_end, size_u, size_v = x, x_end, y, y_end, width, height
        stride_u, stride_v = stride, width * stride
    # Facts of a segment in float64: a long one's place would else be off by 1e-5 pixels.
    along_u, along_v = np.float64(u_end) - u, np.float64(v_end) - v
    length = math.sqrt(along_u * along_u + along_v * along_v)
    cosine, sine, slope = along_u / length, along_v / length, along_v / along_u
    reach = REACH * sigma / abs(cosine)
    # In units of sqrt(2) sigma the Gaussian is exp(-distance^2).
    unit = math.sqrt(0.5) / sigma
    half = np.float32(length / 2 * unit)
    across_step, along_step = np.float32(cosine * unit), np.float32(sine * unit)
    u_start, u_stop = _patch(min(u, u_end), max(u, u_end), size_u, margin)
    v_start, v_stop = _patch(min(v, v_end), max(v, v_end), size_v, margin)
    for at_u in range(u_start, u_stop):
        middle = v + slope * (at_u - u)  # of the segment's line in this slice
        low, high = max(v_start, math.ceil(middle - reach)), min(v_stop, math.floor(middle + reach) + 1)
        along = np.float32(((at_u - u) / cosine - length / 2) * unit)  # from the segment's midpoint
        offset, place = np.float32(low - middle), first + at_u * stride_u + low * stride_v
        for step in range(high - low):
            beside = offset + np.float32(step)
            across = beside * across_step
            # Distance to the segment: across it, and beyond its nearer end.
            beyond = max(abs(along + beside * along_step) - half, np.float32(0))
            _raise_to(frame, place, peak * math.exp(-(across * across + beyond * beyond)))
            place += stride_v


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _draw_frames(
    frames: Any,
    x: Any,
    y: Any,
    score: Any,
    ends: Any,
    joints: int,
    min_score: float,
    image: Any,
) -> None:
    """Clear and draw frames (F, H W C) of keypoints x, y, score (F, P, V).

    Args:
        ends: (E, 2). joints: V, or 0 for limbs alone. image: H, W, sigma, margin of a patch.
    """
    channels = joints + len(ends)
    for number in range(len(frames)):
        frame = frames[number]
        frame[:] = 0
        for person in range(x.shape[1]):
            at_x, at_y, scores = x[number, person], y[number, person], score[number, person]
            for joint in range(joints):
                peak = scores[joint]
                if peak > 0 and peak >= min_score:
                    _draw_joint(frame, joint, channels, at_x[joint], at_y[joint], peak, image)
            for limb in range(len(ends)):
                a, b = ends[limb]
                peak = min(scores[a], scores[b])
                if not (peak > 0 and peak >= min_score):
                    continue
                place = joints + limb
                if (at_x[b] - at_x[a]) ** 2 + (at_y[b] - at_y[a]) ** 2 < 1:  # shorter than a pixel
                    _draw_joint(frame, place, channels, at_x[a], at_y[a], scores[a], image)
                else:
                    start, end = (at_x[a], at_y[a]), (at_x[b], at_y[b])
                    _draw_limb(frame, place, channels, start, end, peak, image)
