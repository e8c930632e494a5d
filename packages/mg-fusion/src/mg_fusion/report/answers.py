"""What several results answer on the same clips, joined by clip id: the table behind every list of clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mg_fusion.scoring import LabelledScores

IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Clips sorted by id.

    Args:
        clip_ids: (N,). truth: (N,) class. groups: (N,) subject or video, "" where unknown.
        class_names: K names.
        answer: row -> (N,) class, -1 where the row has no answer. confidence: row -> (N,), 0 there.
    """

    clip_ids: NDArray[np.str_]
    truth: IntArray
    groups: NDArray[np.str_]
    class_names: tuple[str, ...]
    answer: Mapping[str, IntArray]
    confidence: Mapping[str, NDArray[np.float64]]


def read_answers(
    scores: Mapping[str, LabelledScores], class_names: tuple[str, ...], groups: Mapping[str, str]
) -> Answers:
    """Join rows of scores.

    Args:
        scores: row -> labelled scores, all of one truth. groups: clip id -> subject or video.
    """
    clip_ids = np.unique(np.concatenate([row.clip_ids for row in scores.values()]))
    truth = np.full(len(clip_ids), -1, dtype=np.int64)
    answer: dict[str, IntArray] = {}
    confidence: dict[str, NDArray[np.float64]] = {}
    for name, row in scores.items():
        place = np.searchsorted(clip_ids, row.clip_ids)
        truth[place] = row.labels
        answer[name] = np.full(len(clip_ids), -1, dtype=np.int64)
        answer[name][place] = row.probs.argmax(axis=1)
        confidence[name] = np.zeros(len(clip_ids))
        confidence[name][place] = row.probs.max(axis=1)
    return Answers(
        clip_ids=clip_ids,
        truth=truth,
        groups=np.array([groups.get(clip, "") for clip in clip_ids.tolist()], dtype=np.str_),
        class_names=class_names,
        answer=answer,
        confidence=confidence,
    )
