"""From probabilities of windows to segments of a video. Pure functions over numpy arrays, no torch.

Each window stands for the frames that are nearer to its centre than to any other window's, so the windows
share out the whole video. A segment is a run of windows over which one class stays probable: begun by a high
threshold and held by a lower one, so that a probability that wavers about one threshold makes one segment.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError


@dataclass(frozen=True)
class Segment:
    """One recognised gesture: half-open frames of its video, class index, mean probability."""

    start: int
    stop: int
    label: int
    confidence: float


def shifted(segments: Iterable[Segment], frames: int) -> list[Segment]:
    """Return the segments so many frames later."""
    return [replace(item, start=item.start + frames, stop=item.stop + frames) for item in segments]


@dataclass(frozen=True)
class Windows:
    """(N,) half-open frames of each window, ascending, in a span of ``length`` frames."""

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    length: int

    def __len__(self) -> int:
        return len(self.start)

    def bounds(self) -> NDArray[np.int64]:
        """Return (N + 1,): the frames that window i stands for are ``bounds[i]`` to ``bounds[i + 1]``."""
        centres = (self.start + self.stop) / 2
        inner = np.ceil((centres[1:] + centres[:-1]) / 2).astype(np.int64)
        return np.concatenate([[0], inner, [self.length]])


def place_windows(length: int, window: int, step: int) -> Windows:
    """Return windows of ``window`` frames every ``step`` frames; the last one ends with the video.

    A video that is shorter than a window is one window.

    >>> place_windows(10, 4, 4).start.tolist(), place_windows(3, 4, 4).stop.tolist()
    ([0, 4, 6], [3])
    """
    if length <= window:
        return Windows(np.array([0]), np.array([length]), length)
    start = np.arange(0, length - window + 1, step)
    if start[-1] + window < length:
        start = np.append(start, length - window)
    return Windows(start, start + window, length)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When a class is taken to be there. Probabilities in [0, 1], times in seconds.

    Args:
        enter: least smoothed probability that begins a segment (somewhere within it).
        leave: a segment goes on as long as its class has at least this.
        smooth: deviation of the Gaussian that probabilities are averaged over time by, 0 = not at all.
        merge: segments of one class that lie no farther apart than this are one.
        min_duration: shorter segments are dropped.
        overlap: a segment that shares more than this with a more confident one (intersection over union) is
            dropped; one that shares less is cut back.
    """

    enter: float = 0.5
    leave: float = 0.3
    smooth: float = 0.2
    merge: float = 0.2
    min_duration: float = 0.4
    overlap: float = 0.3

    def check(self) -> None:
        """Raise UsageError for a value out of range."""
        limits = {"enter": 1.0, "leave": 1.0, "overlap": 1.0, "smooth": 60.0, "merge": 60.0}
        for name, most in {**limits, "min_duration": 3600.0}.items():
            value = getattr(self, name)
            if not 0 <= value <= most:  # NaN included
                raise UsageError(f"--{name.replace('_', '-')} is {value:g}, wanted 0 to {most:g}")
        if self.leave > self.enter:
            raise UsageError(
                f"--leave {self.leave:g} is above --enter {self.enter:g}: no segment could last, lower it"
            )


def smooth_probabilities(probs: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Average (N, K) probabilities over neighbouring windows by a Gaussian; rows of sum 1 stay so.

    Args:
        sigma: deviation in windows, 0 leaves them as they are. At the ends only what is there is averaged.
    """
    if sigma <= 0 or len(probs) < 2:
        return probs
    reach = min(math.ceil(3 * sigma), len(probs) - 1)
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma))
    here = slice(reach, reach + len(probs))
    weight = np.convolve(np.ones(len(probs)), kernel)[here]
    columns = [np.convolve(column, kernel)[here] / weight for column in probs.T]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _Run:
    """Windows ``first`` to ``last`` (half-open) of one class."""

    first: int
    last: int
    label: int
    confidence: float


def _runs(on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open spans over which a (N,) mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def find_segments(
    probs: NDArray[np.float64],
    windows: Windows,
    fps: float,
    thresholds: Thresholds,
    background: Collection[int] = (),
) -> list[Segment]:
    """Return the segments of one video in their order; no two of them share a frame.

    Args:
        probs: (N, K) smoothed probabilities, a row a window.
        background: classes that are no gesture; they take probability from the others and are not reported.
    """
    bounds = windows.bounds()
    candidates: list[_Run] = []
    for label in range(probs.shape[1]):
        column = probs[:, label]
        if label in background or column.max(initial=0.0) < thresholds.enter:
            continue
        spans = [span for span in _runs(column >= thresholds.leave) if _begins(column, span, thresholds)]
        for first, last in _joined(spans, bounds, thresholds.merge * fps):
            candidates.append(_Run(first, last, label, float(column[first:last].mean())))
    kept = _without_overlap(candidates, probs, bounds, thresholds, thresholds.min_duration * fps)
    return [
        Segment(int(bounds[run.first]), int(bounds[run.last]), run.label, run.confidence)
        for run in sorted(kept, key=lambda run: run.first)
    ]


def _begins(column: NDArray[np.float64], span: tuple[int, int], thresholds: Thresholds) -> bool:
    return bool(column[span[0] : span[1]].max() >= thresholds.enter)


def _joined(spans: Sequence[tuple[int, int]], bounds: NDArray[np.int64], gap: float) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and bounds[first] - bounds[joined[-1][1]] <= gap:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _without_overlap(
    candidates: Sequence[_Run],
    probs: NDArray[np.float64],
    bounds: NDArray[np.int64],
    thresholds: Thresholds,
    shortest: float,
) -> list[_Run]:
    """Non-maximum suppression; the most confident first, what is left of the others where nothing is yet."""
    kept: list[_Run] = []
    taken = np.zeros(len(probs), bool)
    for run in sorted(candidates, key=lambda run: (-run.confidence, run.first, run.label)):
        if bounds[run.last] - bounds[run.first] < shortest:
            continue
        span = (int(bounds[run.first]), int(bounds[run.last]))
        others = [(int(bounds[other.first]), int(bounds[other.last])) for other in kept]
        if any(intersection_over_union(span, other) > thresholds.overlap for other in others):
            continue
        column = probs[:, run.label]
        for first, last in _runs(~taken[run.first : run.last]):
            piece = (run.first + first, run.first + last)
            if bounds[piece[1]] - bounds[piece[0]] < shortest or not _begins(column, piece, thresholds):
                continue
            kept.append(_Run(*piece, run.label, float(column[piece[0] : piece[1]].mean())))
            taken[piece[0] : piece[1]] = True
    return kept


def intersection_over_union(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return what two half-open spans have in common, as a share of what either covers.

    >>> intersection_over_union((0, 4), (2, 6)), intersection_over_union((0, 2), (2, 4))
    (0.3333333333333333, 0.0)
    """
    common = min(one[1], other[1]) - max(one[0], other[0])
    if common <= 0:
        return 0.0
    return common / (one[1] - one[0] + other[1] - other[0] - common)
