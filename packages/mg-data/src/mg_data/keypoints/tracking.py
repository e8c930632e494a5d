"""Detections of people in single frames -> tracks of the same person through a clip.

An estimator lists the people of a frame in any order. Here each detection is linked to the track it
continues, and the most prominent tracks of the whole clip are kept. Needs scipy (extra ``prep``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# A person who was away may have moved on: the largest cost of a link rises by this share, slowly over so
# many frames.
_GATE_RISE, _GATE_RISES_OVER = 0.5, 30
# Tracks that wait for their person, and people of one frame that are looked at; the most prominent ones.
# With them the work is linear in the number of frames, however much a detector flickers.
_MAX_WAITING = 16
_MAX_PEOPLE = 32
# Added to the cost where two detections share no point, less where they share some: of a person whom the
# estimator took for two, the larger part goes on.
_NOTHING_SHARED = 0.1
# Added for each factor of 2 between the sizes of two detections that share all points: who appears smaller
# where somebody left is somebody else.
_HALF_THE_SIZE = 0.5
# Same number given by the estimator in both frames: the cost is lowered to this share.
_SAME_ID = 0.75
# Arrays of so many people stay in a core's cache.
_ROWS_AT_ONCE = 512
# No coordinate of an image: such a point is treated like one that is not finite.
_FAR = 1e9


class _Detections(NamedTuple):
    """All people of all frames, those of a frame in order of prominence.

    points: (D, V, 3). weight: (D, V) confidence, 0 where a point does not count. centre: (D, 2) of the box.
    size: (D,) diagonal of the box, at least 1 pixel. prominence: (D,). total: (D,) sum of the weights.
    ids: (D,), -1 unknown. frame: (D,). first: (T + 1,) where the people of each frame begin.
    """

    points: Array
    weight: Array
    centre: NDArray[np.float64]
    size: NDArray[np.float64]
    prominence: NDArray[np.float64]
    total: Array
    ids: NDArray[np.int64]
    frame: NDArray[np.int64]
    first: NDArray[np.int64]


def track_people(
    frames: Sequence[NDArray[Any]],
    *,
    persons: int = 1,
    min_confidence: float = 0.05,
    max_gap: int = 300,
    max_distance: float = 0.35,
    ids: Sequence[Sequence[int]] | None = None,
) -> Array:
    """Follow people through a clip and keep the most prominent ones.

    The cost of continuing a track with a detection is the mean distance of the points that both show,
    weighted by confidence, over the mean size of both (the diagonal of the box around the points); where
    both show no common point it is twice the distance of the boxes' centres. To it is added up to 0.1 for
    points that only one of them shows, and 0.5 for each factor of 2 between their sizes, as far as they
    show the same points. The links of a frame are the assignment of least total cost.

    A person's prominence is the sum over frames of size times confidence (mean over all V points), so the
    person in the foreground wins over a passer-by. The order in which an estimator lists people has no
    influence. At most 32 people of a frame are looked at, the most prominent ones.

    Args:
        frames: for each frame (P_t, V, 3): x, y in pixels and a confidence; P_t may be 0.
        persons: how many people are kept.
        min_confidence: points at or below it, and non-finite ones (or beyond 1e9), do not count; a detection
            without any point that counts is no person. Points of a person are returned as they are even if
            they do not count, except that non-finite ones become 0, 0, 0.
        max_gap: a person may be unseen for this many frames and is still the same one.
        max_distance: largest cost of a link between neighbouring frames; over a gap up to half as much again.
        ids: for each frame the estimator's own numbers of its people, negative if unknown: a hint that makes
            a link cheaper and never decides alone.

    Returns:
        (T, persons, V, 3) float32, the most prominent person first; 0, 0, 0 in frames without the person.

    Raises:
        ValueError: frames of different V or of another shape, or ``persons`` below 1.
    """
    if persons < 1:
        raise ValueError(f"persons is {persons}, wanted at least 1")
    found = _detections(frames, min_confidence, ids)
    out = np.zeros((len(frames), persons, found.points.shape[1], 3), np.float32)
    tracks = _link(found, len(frames), max_gap, max_distance)
    totals = [float(found.prominence[track].sum()) for track in tracks]
    order = sorted(range(len(tracks)), key=lambda number: -totals[number])
    for slot, number in enumerate(order[:persons]):
        track = tracks[number]
        out[found.frame[track], slot] = found.points[track]
    return out


def _detections(
    frames: Sequence[NDArray[Any]], min_confidence: float, ids: Sequence[Sequence[int]] | None
) -> _Detections:
    """Gather the people of all frames and measure them."""
    counts = np.zeros(len(frames), np.int64)
    shapes = {np.shape(people)[1:] for people in frames}
    if len(shapes) > 1 or any(len(shape) != 2 or shape[1] != 3 for shape in shapes):
        raise ValueError(f"people of a frame must be (P, V, 3) with one V, found {sorted(map(str, shapes))}")
    num_points = shapes.pop()[0] if shapes else 0
    for number, people in enumerate(frames):
        counts[number] = len(people)
    points = (
        np.concatenate([np.asarray(people, np.float32) for people in frames])
        if len(frames)
        else np.zeros((0, num_points, 3), np.float32)
    )
    given = np.full(len(points), -1, np.int64)
    if ids is not None:
        flat = [int(value) for of_frame in ids for value in of_frame]
        if len(flat) != len(points) or any(len(a) != b for a, b in zip(ids, counts)):
            raise ValueError("ids must have one number for each person of each frame")
        given = np.asarray(flat, np.int64)
    frame = np.repeat(np.arange(len(frames)), counts)
    weight = np.zeros(points.shape[:2], np.float32)
    low, high = np.zeros((len(points), 2)), np.zeros((len(points), 2))
    floor = np.float32(max(min_confidence, 0.0))
    for begin in range(0, len(points), _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        block = points[rows]
        if not np.abs(block).max(initial=0) < _FAR:  # so too if one is NaN
            block[~(np.abs(block) < _FAR).all(axis=2)] = 0
        counted = block[..., 2] > floor
        np.copyto(weight[rows], block[..., 2], where=counted)
        for axis in range(2):
            least = np.where(counted, block[..., axis], np.float32(np.inf)).min(axis=1, initial=np.inf)
            most = np.where(counted, block[..., axis], np.float32(-np.inf)).max(axis=1, initial=-np.inf)
            low[rows, axis], high[rows, axis] = least, most
    total = weight.sum(axis=1)
    nobody = total == 0
    low[nobody] = high[nobody] = 0
    size = np.maximum(np.hypot(*(high - low).T), 1.0)
    centre = (low + high) / 2
    prominence = size * total / max(num_points, 1)
    order = _order(points, weight, prominence, frame)
    if len(order) < len(points) or (order[1:] < order[:-1]).any():  # else it would only cost copies
        points, weight, centre, size = points[order], weight[order], centre[order], size[order]
        prominence, total, given, frame = prominence[order], total[order], given[order], frame[order]
    return _Detections(
        points=points,
        weight=weight,
        centre=centre,
        size=size,
        prominence=prominence,
        total=total,
        ids=given,
        frame=frame,
        first=np.searchsorted(frame, np.arange(len(frames) + 1)),
    )


def _order(
    points: Array, weight: Array, prominence: NDArray[np.float64], frame: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the people frame by frame, the most prominent ones first, at most _MAX_PEOPLE a frame.

    Equal prominence is decided by the points themselves: the order of the estimator's list must not matter.
    """
    order = np.lexsort((-prominence, frame))
    same = (np.diff(frame[order]) == 0) & (np.diff(prominence[order]) == 0)
    for number in np.unique(frame[order][:-1][same]):
        begin, end = np.searchsorted(frame[order], [number, number + 1])
        order[begin:end] = sorted(
            order[begin:end],
            key=lambda row: (
                -prominence[row],
                (weight[row] > 0).tolist(),
                points[row][weight[row] > 0].tolist(),
            ),
        )
    begins = np.searchsorted(frame[order], frame[order])
    order = order[np.arange(len(order)) - begins < _MAX_PEOPLE]
    return np.asarray(order[prominence[order] > 0], np.int64)


def _costs(found: _Detections, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cost of linking detections ``first[i]`` and ``second[i]``."""
    cost = np.empty(len(first), np.float64)
    for begin in range(0, len(first), _ROWS_AT_ONCE):
        a, b = first[begin : begin + _ROWS_AT_ONCE], second[begin : begin + _ROWS_AT_ONCE]
        weight = np.minimum(found.weight[a], found.weight[b])
        apart = np.square(found.points[a] - found.points[b])
        apart = np.sqrt(apart[..., 0] + apart[..., 1])
        total = weight.sum(axis=1)
        common = total > 0
        distance = np.einsum("pv,pv->p", weight, apart) / np.where(common, total, np.float32(1))
        if not common.all():
            centres = np.hypot(*(found.centre[a] - found.centre[b]).T)
            distance = np.where(common, distance, 2 * centres)
        shared = total / np.maximum(found.total[a], found.total[b])
        value = distance / ((found.size[a] + found.size[b]) / 2) + _NOTHING_SHARED * (1 - shared)
        value += _HALF_THE_SIZE * shared * np.abs(np.log2(found.size[a] / found.size[b]))
        known = (found.ids[a] >= 0) & (found.ids[a] == found.ids[b])
        cost[begin : begin + len(a)] = np.where(known, _SAME_ID * value, value)
    return cost


def _neighbour_costs(found: _Detections, num_frames: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the costs between all people of frames t - 1 and t, and where those of t begin: (T + 1,).

    Computed for all frames at once: it is most of the work and needs no decision.
    """
    counts = np.diff(found.first)
    before = np.concatenate([np.zeros(min(num_frames, 1), np.int64), counts[:-1]])
    begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(before * counts)])
    frame = np.repeat(np.arange(num_frames), before * counts)
    within = np.arange(begins[-1]) - begins[frame]
    first = found.first[frame - 1] + within // counts[frame]
    second = found.first[frame] + within % counts[frame]
    return _costs(found, first, second), begins


def _link(found: _Detections, num_frames: int, max_gap: int, max_distance: float) -> list[list[int]]:
    """Return the tracks, each a list of rows of ``found`` in order of time."""
    neighbours, begins = _neighbour_costs(found, num_frames)
    tracks: list[list[int]] = []
    weight: list[float] = []  # prominence of each track so far
    present: list[int] = []  # track of each person of the frame before
    waiting: list[int] = []  # tracks whose person is not seen at the moment
    limits, prominence = found.first.tolist(), found.prominence.tolist()
    for number in range(num_frames):
        begin, end = limits[number], limits[number + 1]
        count = end - begin
        if count == 1 and len(present) == 1 and not waiting and neighbours[begins[number]] <= max_distance:
            tracks[present[0]].append(begin)  # one person, who stays: most frames of most recordings
            weight[present[0]] += prominence[begin]
            continue
        waiting = [track for track in waiting if number - found.frame[tracks[track][-1]] - 1 <= max_gap]
        chosen = [-1] * count
        if count:
            cost = neighbours[begins[number] : begins[number + 1]].reshape(len(present), count)
            cost = cost / max_distance
            links = _assign(cost)
            # Waiting tracks matter only if somebody's track is in doubt.
            if waiting and (len(links) < count or any(value > 0.5 for *_, value in links)):
                others = _waiting_costs(found, tracks, waiting, begin, end, number)
                links = _assign(np.concatenate([cost, others / max_distance]))
            candidates = present + waiting
            for row, column, _ in links:
                chosen[column] = candidates[row]
        taken = set(chosen)
        waiting = [track for track in (*waiting, *present) if track not in taken]
        if len(waiting) > _MAX_WAITING:
            waiting = sorted(waiting, key=lambda track: -weight[track])[:_MAX_WAITING]
        for column, track in enumerate(chosen):
            if track < 0:
                chosen[column] = len(tracks)
                tracks.append([])
                weight.append(0.0)
            tracks[chosen[column]].append(begin + column)
            weight[chosen[column]] += prominence[begin + column]
        present = chosen
    return tracks


def _waiting_costs(
    found: _Detections, tracks: list[list[int]], waiting: list[int], begin: int, end: int, number: int
) -> NDArray[np.float64]:
    """Return (waiting, people of the frame) costs, lowered with the time that a person is away."""
    last = np.array([tracks[track][-1] for track in waiting], np.int64)
    people = np.arange(begin, end)
    cost = _costs(found, np.repeat(last, len(people)), np.tile(people, len(last)))
    away = np.minimum((number - found.frame[last] - 1) / _GATE_RISES_OVER, 1.0)
    return np.asarray(cost.reshape(len(last), len(people)) / (1.0 + _GATE_RISE * away)[:, None])


def _assign(cost: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Return (row, column, cost) of the assignment of least cost; a link that costs more than 1 is not made.

    Where everybody can have the one closest to them there is nothing to assign, which is the usual case.
    """
    links = _closest(cost.tolist())
    if len({column for _, column, _ in links}) == len(links):
        return links
    links = [(row, column, value) for column, row, value in _closest(cost.T.tolist())]
    if len({row for row, _, _ in links}) == len(links):
        return links
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.minimum(cost, 1.0 + 1e-9))
    every = zip(rows.tolist(), columns.tolist(), cost[rows, columns].tolist())
    return [link for link in every if link[2] <= 1]


def _closest(cost: list[list[float]]) -> list[tuple[int, int, float]]:
    """Return (row, column, cost) of each row's least cost, where that is not above 1."""
    least = [(row, min(values)) for row, values in enumerate(cost) if values]
    return [(row, cost[row].index(value), value) for row, value in least if value <= 1]
