"""Thresholds that annotated videos choose, kept as a file: never those of the videos that are then judged."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_adapt.watch.matching import evaluate
from mg_adapt.watch.segments import (
    Segment,
    Thresholds,
    Windows,
    find_segments,
    shifted,
    smooth_probabilities,
)
from mg_adapt.watch.truth import Truth
from mg_adapt.watch.videos import Video
from mg_data.contract import DataError, StoreError
from mg_data.store import publish_json

FORMAT, VERSION = "mg-watch-thresholds", 1
# What is tried: every combination, over the command's own values for the rest.
ENTER = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEAVE_SHARE = (0.4, 0.6, 0.8, 1.0)
SMOOTH = (0.0, 0.15, 0.3)
MIN_DURATION = (0.2, 0.4, 0.7)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One video with its answers: (N, K) probabilities of its windows, not smoothed yet."""

    video: Video
    windows: Windows
    probs: NDArray[np.float64]
    step: float

    def segments(self, thresholds: Thresholds, background: Collection[int]) -> list[Segment]:
        """Return the segments at these thresholds, in frames of the video."""
        smoothed = smooth_probabilities(self.probs, thresholds.smooth / self.step)
        found = find_segments(smoothed, self.windows, self.video.fps, thresholds, background)
        return shifted(found, self.video.start)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a thresholds file says.

    Args:
        window, step: seconds. videos: those that chose. f1: theirs, at ``iou``.
    """

    thresholds: Thresholds
    window: float
    step: float
    videos: tuple[str, ...]
    f1: float
    iou: float
    class_names: tuple[str, ...]


def _grid(start: Thresholds) -> Iterator[Thresholds]:
    for smooth, enter, share, shortest in product(SMOOTH, ENTER, LEAVE_SHARE, MIN_DURATION):
        yield replace(start, smooth=smooth, enter=enter, leave=round(enter * share, 4), min_duration=shortest)


def check_annotated(video_ids: Sequence[str], truth: Truth) -> None:
    """Raise DataError unless a gesture is annotated in one of the videos."""
    if not any(truth.annotations.get(name) for name in video_ids):
        raise DataError(f"--choose: {truth.path} has no annotation of these videos to choose thresholds by")


def choose_thresholds(
    watched: Sequence[Watched], truth: Truth, start: Thresholds, background: Collection[int], iou: float
) -> tuple[Thresholds, float]:
    """Return the thresholds that do best on annotated videos, and their F1.

    F1 of one setting is a matter of luck on few videos, so each is judged by the mean of its own and of the
    settings one step beside it in ``enter``; of equals by its own. Its F1 need not be the highest.

    Raises:
        DataError: no video is annotated, or nothing is found at any threshold.
    """
    check_annotated([item.video.video_id for item in watched], truth)
    there = [item for item in watched if item.video.video_id in truth.annotations]
    named = {item.video.video_id: truth.annotations[item.video.video_id] for item in there}
    scores: dict[Thresholds, float] = {}
    for thresholds in _grid(start):
        found = {item.video.video_id: item.segments(thresholds, background) for item in there}
        scores[thresholds] = evaluate(found, named, iou)["f1"] or 0.0
    if not max(scores.values()):
        raise DataError(
            f"--choose: no threshold finds a gesture of {truth.path} at IoU {iou:g}: try another --window"
        )

    def steadiness(thresholds: Thresholds) -> tuple[float, float]:
        place = ENTER.index(thresholds.enter)
        share = thresholds.leave / thresholds.enter
        beside = [
            replace(thresholds, enter=enter, leave=round(enter * share, 4))
            for enter in ENTER[max(0, place - 1) : place + 2]
        ]
        near = [scores[item] for item in beside if item in scores]
        return sum(near) / len(near), scores[thresholds]

    best = max(scores, key=steadiness)
    return best, scores[best]


def write_chosen(path: Path, chosen: Chosen, inputs: Mapping[str, str]) -> None:
    """Write a thresholds file."""
    facts = asdict(chosen)
    facts["videos"], facts["class_names"] = list(chosen.videos), list(chosen.class_names)
    publish_json(path, {"format": FORMAT, "version": VERSION, **facts, "inputs": dict(inputs)})


def read_chosen(path: Path) -> Chosen:
    """Read a thresholds file.

    Raises:
        StoreError: it cannot be read, or is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(path, f"cannot be read: {error}", "wanted a file of 'mg watch --choose'") from error
    if not isinstance(value, dict) or (value.get("format"), value.get("version")) != (FORMAT, VERSION):
        raise StoreError(path, "is no thresholds file of version 1", "wanted a file of 'mg watch --choose'")
    try:
        return Chosen(
            thresholds=Thresholds(**{key: float(number) for key, number in value["thresholds"].items()}),
            window=float(value["window"]),
            step=float(value["step"]),
            videos=tuple(str(name) for name in value["videos"]),
            f1=float(value["f1"]),
            iou=float(value["iou"]),
            class_names=tuple(str(name) for name in value["class_names"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(path, f"lacks or misstates {error}") from error
