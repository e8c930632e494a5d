"""Two results clip by clip: what was fixed, what was broken, what is wrong in both but answered otherwise.

Results are those of two run folders, or logits and probs stores. Clips are joined by id; what only one side
has is named and left out of every figure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, StoreError, UsageError
from mg_data.store import PseudoStore
from mg_fusion.compare import compare_results
from mg_fusion.metrics import classification_metrics
from mg_fusion.report.run import AbsentError, Run, open_run
from mg_fusion.scoring import LabelledScores, label_scores, open_scored
from mg_fusion.truth import Truth, groups_of, read_truth

FORMAT = "mg-compare"
VERSION = 1
# In the order of the page: what changed first.
STATES = ("fixed", "broken", "both wrong, otherwise", "both wrong, alike", "both right")
CHANGED = STATES[:3]


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One of the two results.

    Args:
        path: as given. row: of metrics.json, "" for a store. store: the file. digest: of its content.
        scores: probabilities and truth of its labelled clips. class_names: K names.
        groups: clip id -> subject or video. by: which of them, or "".
    """

    path: Path
    row: str
    store: Path
    digest: str
    scores: LabelledScores
    class_names: tuple[str, ...]
    groups: dict[str, str]
    by: str

    @property
    def title(self) -> str:
        """What the pages call it."""
        return self.path.resolve().name


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Two results on the clips that both have, sorted by id.

    Args:
        first, second: the sides, cut to these clips. clip_ids, truth, groups, state: (N,); ``state`` is an
            index of :data:`STATES`. answers: (2, N) classes. confidence: (2, N).
        missing: ids that the first, the second side lacks.
        result: what :func:`compare_results` says of the second against the first.
    """

    first: Side
    second: Side
    clip_ids: NDArray[np.str_]
    truth: NDArray[np.int64]
    groups: NDArray[np.str_]
    state: NDArray[np.int64]
    answers: NDArray[np.int64]
    confidence: NDArray[np.float64]
    missing: tuple[list[str], list[str]]
    result: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""
        return self.first.class_names

    def counts(self) -> dict[str, int]:
        """Return state -> clips."""
        found = np.bincount(self.state, minlength=len(STATES)).tolist()
        return dict(zip(STATES, found, strict=True))


def _truth_of(path: Path, labels: Path | None) -> tuple[Run | None, Truth | None]:
    run = open_run(path) if path.is_dir() else None
    if labels is not None:
        return run, read_truth(labels)
    return run, run.truth if run is not None else None


def open_sides(first: Path, second: Path, row: str, labels: Path | None) -> tuple[Side, Side]:
    """Read both results.

    Args:
        first, second: run folders or stores. row: of metrics.json, such as ``joint/after``; "" for the latest
            fused one. labels: the truth; None takes that of the run folders.

    Raises:
        UsageError: no such path. DataError: no truth, truths that differ, no such row.
        StoreError: a store that cannot be read, or class lists that differ.
    """
    for path in (first, second):
        if not path.exists():
            raise UsageError(f"compare: {path} does not exist; give two run folders or two stores")
    (one, truth), (two, other) = _truth_of(first, labels), _truth_of(second, labels)
    if truth is not None and other is not None:
        _check_truths(truth, other)
    sides = []
    for path, run, known in ((first, one, truth or other), (second, two, other or truth)):
        if known is None:
            raise DataError(f"compare: {path}: no truth was found; give --labels labels.csv or a split store")
        sides.append(_side(path, run, known, row))
    if sides[0].class_names != sides[1].class_names:
        raise StoreError(
            sides[1].store,
            f"has another class list than {sides[0].store}",
            "compare results of one class list",
        )
    return sides[0], sides[1]


def _check_truths(truth: Truth, other: Truth) -> None:
    differ = sorted(clip for clip, label in truth.labels.items() if other.labels.get(clip, label) != label)
    if differ:
        raise DataError(
            f"compare: {truth.path} and {other.path} label {len(differ)} clips differently, the first is "
            f"'{differ[0]}'; give the one truth with --labels"
        )


def _side(path: Path, run: Run | None, truth: Truth, row: str) -> Side:
    if run is None:
        store = open_scored(path)
        if isinstance(store, PseudoStore):
            raise UsageError(f"compare: {path} holds pseudo-labels; compare logits, probs or run folders")
        return Side(
            path=path,
            row="",
            store=path,
            digest=store.digest,
            scores=label_scores(store, truth),
            class_names=store.class_names,
            groups=dict(truth.subjects),
            by="subject" if truth.subjects else "",
        )
    run.truth = truth
    try:
        name = row or run.latest("fused")
        scores, file = run.scores_of(name), run.store_of(name)
        class_names = run.class_names()
    except AbsentError as error:
        known = ", ".join(run.readable()) if row else ""
        raise DataError(f"compare: {path}: {error}" + (f" (it has: {known})" if known else "")) from error
    except (LookupError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"compare: {path}: its metrics.json could not be read: {reason}; score again"
        ) from error
    by, groups = run.groups
    digest = str(run.scores[name].get("digest", ""))
    return Side(
        path=path,
        row=name,
        store=file,
        digest=digest,
        scores=scores,
        class_names=class_names,
        groups=groups,
        by=by,
    )


def compare_sides(
    first: Side, second: Side, groups: Mapping[str, str] | None = None, by: str = "subject"
) -> Comparison:
    """Compare two results on the labelled clips that both answer.

    Args:
        groups: clip id -> group, what the intervals keep together; None takes the subjects or videos that
            the sides know, and single clips unless they know all. by: what one of them is called.

    Raises:
        DataError: they have no clip in common, or groups were given, but not of every clip.
    """
    ids, ours, theirs = np.intersect1d(
        first.scores.clip_ids, second.scores.clip_ids, assume_unique=True, return_indices=True
    )
    if not len(ids):
        raise DataError(
            f"compare: {first.path} and {second.path} have no labelled clip in common; "
            "clips are joined by their exact id"
        )
    missing = (
        np.setdiff1d(second.scores.clip_ids, ids).tolist(),
        np.setdiff1d(first.scores.clip_ids, ids).tolist(),
    )
    first, second = _cut(first, ours), _cut(second, theirs)
    truth = first.scores.labels
    answers = np.stack([side.scores.probs.argmax(axis=1) for side in (first, second)])
    before, after = answers == truth
    alike = answers[0] == answers[1]
    state = np.select([after & ~before, before & ~after, ~before & ~alike, ~before], [0, 1, 2, 3], 4)
    grouped: NDArray[np.str_] | None = None
    if groups is not None:
        grouped = groups_of(ids, None, groups)
    else:
        groups, by = {**second.groups, **first.groups}, first.by or second.by
        with contextlib.suppress(DataError):  # not of every clip
            grouped = groups_of(ids, None, groups) if groups else None
    return Comparison(
        first=first,
        second=second,
        clip_ids=ids,
        truth=truth,
        groups=np.array([groups.get(clip, "") for clip in ids.tolist()], dtype=np.str_),
        state=state.astype(np.int64),
        answers=answers.astype(np.int64),
        confidence=np.stack([side.scores.probs.max(axis=1) for side in (first, second)]),
        missing=missing,
        result={
            **compare_results(second.scores.probs, first.scores.probs, truth, grouped),
            "grouped_by": by if grouped is not None else "",
        },
    )


def _cut(side: Side, rows: NDArray[np.intp]) -> Side:
    scores = side.scores
    kept = replace(
        scores, clip_ids=scores.clip_ids[rows], probs=scores.probs[rows], labels=scores.labels[rows]
    )
    return replace(side, scores=kept)


def class_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return F1 of both sides and what was fixed and broken, for each class that occurs in the truth."""
    measured = [
        classification_metrics(side.scores.probs, comparison.truth)
        for side in (comparison.first, comparison.second)
    ]
    rows = []
    for index, name in enumerate(comparison.class_names):
        mine = comparison.truth == index
        if not mine.any():
            continue
        first, second = (float(metrics.f1[index]) for metrics in measured)
        rows.append(
            {
                "index": index,
                "name": name,
                "support": int(mine.sum()),
                "f1_first": first,
                "f1_second": second,
                "gain": second - first,
                **{
                    state: int((mine & (comparison.state == place)).sum())
                    for place, state in enumerate(CHANGED)
                },
            }
        )
    return rows


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON value; ``clips`` lists those whose answer changed or was wrong."""
    names = comparison.class_names
    clips = [
        {
            "clip_id": clip,
            "state": STATES[state],
            "truth": names[truth],
            "first": names[one],
            "second": names[two],
            "confidence_first": round(float(sure), 4),
            "confidence_second": round(float(surer), 4),
            **({"group": group} if group else {}),
        }
        for clip, state, truth, one, two, sure, surer, group in zip(
            comparison.clip_ids.tolist(),
            comparison.state.tolist(),
            comparison.truth.tolist(),
            *comparison.answers.tolist(),
            *comparison.confidence.tolist(),
            comparison.groups.tolist(),
            strict=True,
        )
        if STATES[state] != "both right"
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        **{
            key: {
                "path": str(side.path),
                "row": side.row,
                "store": str(side.store),
                "digest": side.digest,
                "accuracy": float((answers == comparison.truth).mean()),
            }
            for key, side, answers in zip(
                ("first", "second"), (comparison.first, comparison.second), comparison.answers, strict=True
            )
        },
        "n": len(comparison.clip_ids),
        "missing": {"in_first": comparison.missing[0], "in_second": comparison.missing[1]},
        "counts": comparison.counts(),
        "p_value": comparison.result["p_value"],
        "gains": {metric: comparison.result[metric] for metric in ("accuracy", "macro_f1", "nll")},
        "groups": comparison.result["groups"],
        "grouped_by": comparison.result["grouped_by"],
        "per_class": class_rows(comparison),
        "clips": clips,
    }
