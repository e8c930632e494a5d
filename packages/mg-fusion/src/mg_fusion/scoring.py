"""Stores against the truth: metrics of scores, yield and precision of pseudo-labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, StoreError
from mg_data.store import (
    LogitsStore,
    ProbsStore,
    PseudoStore,
    read_logits,
    read_probs,
    read_pseudo,
    read_split,
    store_kind,
)
from mg_fusion.calibration import reliability
from mg_fusion.compare import compare_results
from mg_fusion.intervals import metric_intervals
from mg_fusion.metrics import classification_metrics
from mg_fusion.truth import Truth, groups_of, is_store, read_truth
from mg_fusion.vote import FloatArray, softmax

ScoredStore = LogitsStore | ProbsStore | PseudoStore


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledScores:
    """Probabilities of the clips of a store whose truth is known, clips sorted by id.

    Args:
        clip_ids: (N,). probs: (N, K). labels: (N,).
        unlabelled: clips of the store without a label. unanswered: labelled clips without an answer.
    """

    clip_ids: NDArray[np.str_]
    probs: FloatArray
    labels: NDArray[np.int64]
    unlabelled: int
    unanswered: int


def open_scored(path: str | Path) -> ScoredStore:
    """Open a store that can be scored.

    Raises:
        StoreError: unreadable, or of another kind.
    """
    kind = store_kind(path)
    if kind == "logits":
        return read_logits(path)
    if kind == "probs":
        return read_probs(path)
    if kind == "pseudo":
        return read_pseudo(path)
    raise StoreError(path, f"is a store of kind '{kind}'", "score logits, probs or pseudo stores")


def default_name(store: ScoredStore) -> str:
    """Return the row name of a store: the model's key, or the file's name."""
    return store.key if isinstance(store, LogitsStore) else Path(store.path).stem


def probabilities(store: LogitsStore | ProbsStore, rows: NDArray[np.intp] | None = None) -> FloatArray:
    """Return (N, K) of all rows or of some: softmax at tau 1 for logits, the values for probabilities."""
    if rows is not None and np.array_equal(rows, np.arange(len(store.clip_ids))):
        rows = None  # spares a copy
    if isinstance(store, LogitsStore):
        return softmax(store.as_log() if rows is None else store.as_log()[rows])
    return (store.values if rows is None else store.values[rows]).astype(np.float64)


def label_scores(store: LogitsStore | ProbsStore, truth: Truth) -> LabelledScores:
    """Join scores and truth by clip id.

    Raises:
        DataError: no clip of the store has a label, or a label is outside its classes.
        StoreError: another class list.
    """
    truth.check_classes(store.class_names, Path(store.path))
    labels = truth.of(store.clip_ids)
    _check_range(store, labels)
    known = labels >= 0
    if not known.any():
        raise DataError(
            f"{store.path}: none of its {len(labels)} clips has a label in {truth.path}; "
            "give the truth of these clips (clip ids are joined exactly)"
        )
    rows = np.flatnonzero(known & store.present)
    if not len(rows):
        raise DataError(f"{store.path}: the model answers none of the {int(known.sum())} labelled clips")
    rows = rows[np.argsort(store.clip_ids[rows])]
    return LabelledScores(
        clip_ids=store.clip_ids[rows],
        probs=probabilities(store, rows),
        labels=labels[rows],
        unlabelled=int((~known).sum()),
        unanswered=int((known & ~store.present).sum()),
    )


def _check_range(store: ScoredStore, labels: NDArray[np.int64]) -> None:
    if len(labels) and labels.max() >= len(store.class_names):
        raise DataError(
            f"{store.path}: has {len(store.class_names)} classes, but the truth has label {labels.max()}; "
            "the labels follow another class list"
        )


def score_pseudo(
    store: PseudoStore,
    truth: Truth,
    *,
    target_ids: Collection[str] | None = None,
    target_size: int | None = None,
) -> dict[str, Any]:
    """Return yield and precision of pseudo-labels, overall and by class.

    Yield is the share of the target clips that got a label, precision the share of those labels that are
    right. The number of target clips is what the store says, else ``target_size``; by class it needs the ids
    of the target clips.

    Args:
        target_ids: ids of all target clips, if known. target_size: their number, if the store does not say.

    Raises:
        DataError: none of the labels can be checked. StoreError: another class list.
    """
    truth.check_classes(store.class_names, Path(store.path))
    labels = truth.of(store.clip_ids)
    _check_range(store, labels)
    known = labels >= 0
    if len(labels) and not known.any():
        raise DataError(f"{store.path}: none of its {len(labels)} clips has a label in {truth.path}")
    right = (labels == store.labels) & known
    candidates = store.candidates or target_size or (len(target_ids) if target_ids is not None else 0)
    if candidates and candidates < len(labels):
        raise DataError(
            f"{store.path}: has {len(labels)} pseudo-labels of {candidates} target clips; give --target-size"
        )
    target = None
    if target_ids is not None:
        target = truth.of(np.array(sorted(target_ids)))
    elif candidates and len(truth.labels) == candidates:
        # A truth of exactly as many clips as there were candidates is the truth of the target.
        target = np.array(list(truth.labels.values()), dtype=np.int64)
    checked = int(known.sum())
    per_class = []
    for index, name in enumerate(store.class_names):
        given = known & (store.labels == index)
        size = int((target == index).sum()) if target is not None else None
        per_class.append(
            {
                "index": index,
                "name": name,
                "selected": int((store.labels == index).sum()),
                "precision": float(right[given].mean()) if given.any() else None,
                "target": size,
                "yield": float((known & (labels == index)).sum() / size) if size else None,
            }
        )
    return {
        "kind": "pseudo",
        "n": len(labels),
        "unlabelled": int((~known).sum()),
        "candidates": candidates or None,
        "yield": len(labels) / candidates if candidates else None,
        "precision": float(right.sum() / checked) if checked else None,
        "threshold": store.threshold,
        "temperature": store.temperature,
        "round": store.round,
        "per_class": per_class,
    }


def score_store(
    store: LogitsStore | ProbsStore,
    truth: Truth,
    *,
    groups: Mapping[str, str] | None = None,
    intervals: bool = False,
    class_counts: NDArray[np.int64] | None = None,
    against: LogitsStore | ProbsStore | None = None,
) -> dict[str, Any]:
    """Return the metrics of a logits or probs store as a JSON value.

    Args:
        groups: clip id -> video or subject, for intervals; None takes the subjects the truth knows.
        intervals: add 95 % intervals by bootstrap over groups.
        class_counts: (K,) training clips of each class, which decide what is head, medium and tail.
        against: another result, to be compared with on the clips that both answer.

    Raises:
        DataError: as :func:`label_scores`; a clip without a group. StoreError: another class list.
    """
    scores = label_scores(store, truth)
    measured = classification_metrics(scores.probs, scores.labels, class_counts=class_counts)
    result = {
        "kind": "logits" if isinstance(store, LogitsStore) else "probs",
        **measured.to_json(store.class_names),
        "reliability": reliability(scores.probs, scores.labels),
        "unlabelled": scores.unlabelled,
        "unanswered": scores.unanswered,
    }
    if intervals:
        names = groups_of(scores.clip_ids, truth, groups)
        result["intervals"] = metric_intervals(scores.probs, scores.labels, names)
    if against is not None:
        result["against"] = _compare(store, scores, against, truth, groups)
    return result


def _compare(
    store: LogitsStore | ProbsStore,
    scores: LabelledScores,
    against: LogitsStore | ProbsStore,
    truth: Truth,
    groups: Mapping[str, str] | None,
) -> dict[str, Any]:
    if against.class_names != store.class_names:
        raise StoreError(
            against.path, f"has another class list than {store.path}", "compare results of one class list"
        )
    other = label_scores(against, truth)
    common, ours, theirs = np.intersect1d(
        scores.clip_ids, other.clip_ids, assume_unique=True, return_indices=True
    )
    if not len(common):
        raise DataError(
            f"{store.path} and {against.path} have no labelled clip in common; nothing to compare"
        )
    found = compare_results(
        scores.probs[ours], other.probs[theirs], scores.labels[ours], groups_of(common, truth, groups)
    )
    return {
        "store": str(against.path),
        "digest": against.digest,
        **found,
        "left_out": len(scores.clip_ids) + len(other.clip_ids) - 2 * len(common),
    }


def training_counts(path: str | Path, class_names: Sequence[str], store: str | Path) -> NDArray[np.int64]:
    """Return (K,) clips of each class of the training part of a split store, or of all of labels.csv.

    Args:
        class_names, store: of the scores, to compare with those of the file.

    Raises:
        DataError: no such clip, or a label beyond the classes. StoreError: another class list, or a split
        without a part 'train'.
    """
    truth, classes = read_truth(path), len(class_names)
    truth.check_classes(class_names, Path(store))
    labels = list(truth.labels.values())
    if is_store(Path(path)):
        labels = [label for label in read_split(path).select("train")[1].tolist() if label >= 0]
    if not labels or max(labels) >= classes:
        raise DataError(
            f"{path}: wanted labels of training clips in 0..{classes - 1}, found "
            + (f"label {max(labels)}" if labels else "none")
        )
    return np.bincount(labels, minlength=classes)
