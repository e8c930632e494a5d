"""How right a timeline is: F1 over segments that overlap enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mg_adapt.watch.segments import Segment, intersection_over_union


@dataclass(frozen=True)
class Annotation:
    """One annotated gesture: half-open frames of its video and class index."""

    start: int
    stop: int
    label: int


def match(
    found: Sequence[Segment], truth: Sequence[Annotation], iou: float, *, any_class: bool = False
) -> list[tuple[int, int, float]]:
    """Return (number in ``found``, number in ``truth``, IoU) of the pairs of one video, one to one.

    The most confident segment chooses first: of the annotations of its class that are still free the one it
    shares most with, if that is at least ``iou``. A second segment of one gesture is therefore wrong.

    Args:
        any_class: pair segments and annotations whatever their classes.
    """
    pairs: list[tuple[int, int, float]] = []
    free = set(range(len(truth)))
    order = sorted(range(len(found)), key=lambda number: (-found[number].confidence, found[number].start))
    for number in order:
        segment = found[number]
        shares = [
            (intersection_over_union((segment.start, segment.stop), (item.start, item.stop)), -place)
            for place in free
            if (item := truth[place]).label == segment.label or any_class
        ]
        best, place = max(shares, default=(0.0, 0))
        if best >= iou and best > 0:
            pairs.append((number, -place, best))
            free.discard(-place)
    return pairs


def evaluate(
    found: Mapping[str, Sequence[Segment]], truth: Mapping[str, Sequence[Annotation]], iou: float = 0.5
) -> dict[str, Any]:
    """Return precision, recall and F1 over the segments of all videos that ``truth`` names (micro-average).

    Args:
        found, truth: by video. A video of ``truth`` without an annotation is one in which nothing happens; a
            video of ``found`` that ``truth`` does not name is left out.

    Returns:
        ``f1``, ``precision``, ``recall``, ``true_positives``, ``segments``, ``annotations``, ``videos``,
        ``iou``; ``mean_iou`` of the matched pairs; ``f1_any_class``, where classes are ignored: how well
        gestures are found, whatever they are called. None where there is nothing to divide by.
    """
    shares: list[float] = []
    located = 0
    for video, marked in truth.items():
        segments = found.get(video, ())
        shares += [share for _, _, share in match(segments, marked, iou)]
        located += len(match(segments, marked, iou, any_class=True))
    right = len(shares)
    segments_total = sum(len(found.get(video, ())) for video in truth)
    annotations_total = sum(len(marked) for marked in truth.values())
    return {
        "f1": _ratio(2 * right, segments_total + annotations_total),
        "precision": _ratio(right, segments_total),
        "recall": _ratio(right, annotations_total),
        "true_positives": right,
        "segments": segments_total,
        "annotations": annotations_total,
        "videos": len(truth),
        "iou": iou,
        "mean_iou": _ratio(sum(shares), right),
        "f1_any_class": _ratio(2 * located, segments_total + annotations_total),
    }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
