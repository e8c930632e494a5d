"""``mg data stats``: clips, frames, subjects; counts by class and part; the long tail as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.labels import HEAD_SHARE, TAIL_SHARE, read_label_table
from mg_data.prepare.extras import require
from mg_data.store import ClipsStore, open_clips, read_split


def _class_counts(
    store: ClipsStore, labels: Path | None, split: Path | None
) -> tuple[dict[str, NDArray[np.int64]], dict[str, int], NDArray[np.str_]]:
    """Return part -> (K,) counts, part -> number of clips, and (N,) the part of each clip."""
    num_classes = len(store.class_names)
    parts = np.full(len(store), "all", dtype="<U32")
    truth = np.full(len(store), -1, np.int64)
    if split is not None:
        known = read_split(split)
        if labels is None and known.class_names != store.class_names:
            raise DataError(
                f"{split}: lists other classes than {store.path}, so its labels are not those of the store; "
                "divide these clips anew, or give --labels"
            )
        rows = store.rows(known.clip_ids)
        parts[:] = "none"
        parts[rows] = known.names
        truth[rows] = known.labels
    if labels is not None:
        table = read_label_table(labels)
        truth = np.array([table.labels.get(clip_id, -1) for clip_id in store.clip_ids.tolist()], np.int64)
        if truth.max(initial=-1) >= num_classes:
            raise DataError(f"{labels}: holds class {truth.max()}, {store.path} has {num_classes} classes")
        table.check_names(store.class_names, store.path)
    names = sorted(set(parts.tolist()), key=lambda name: (name == "none", name))
    clips = {name: int(np.sum(parts == name)) for name in names}
    counts = {
        name: np.bincount(truth[(parts == name) & (truth >= 0)], minlength=num_classes) for name in names
    }
    return {name: value for name, value in counts.items() if value.any()}, clips, parts


def imbalance_ratio(counts: NDArray[np.int64]) -> float:
    """Return the largest class count over the smallest that is not zero.

    >>> imbalance_ratio(np.array([0, 2, 50]))
    25.0
    """
    present = counts[counts > 0]
    return float(present.max() / present.min()) if len(present) else 1.0


def bands(counts: NDArray[np.int64]) -> dict[str, int]:
    """Return how many classes are head, medium and tail, and how many have no clip.

    With n the largest class's count, a class of the head has at least n / 5 clips, one of the tail fewer
    than n / 50: on the paper's data (Fig. 2) few classes hold most clips and most classes few.

    >>> bands(np.array([100, 20, 19, 2, 1, 0]))
    {'head': 2, 'medium': 2, 'tail': 1, 'empty': 1}
    """
    largest = int(counts.max(initial=0))
    present = counts[counts > 0]
    head = int(np.sum(present >= HEAD_SHARE * largest))
    tail = int(np.sum(present < TAIL_SHARE * largest))
    empty = len(counts) - len(present)
    return {"head": head, "medium": len(present) - head - tail, "tail": tail, "empty": empty}


def _by_subject(store: ClipsStore, parts: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    """Return subject -> part -> clips; subjects with most clips first."""
    found: dict[str, dict[str, int]] = {}
    for subject, part in zip(store.subject_ids.tolist(), parts.tolist()):
        row = found.setdefault(subject, {})
        row[part] = row.get(part, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])))


def stats(
    *,
    clips: Path,
    labels: Path | None = None,
    split: Path | None = None,
    plot: Path | None = None,
    console: Console,
) -> StageResult:
    """Describe a clips store; with labels or a split also by class and part.

    With a split alone the target has no class counts: the split does not know them.

    Raises:
        UsageError: ``plot`` without labels and split.
        DataError: labels, or a split without them, of another class list; a store without a clip.
    """
    store = open_clips(clips)
    if not len(store):
        raise DataError(f"{clips}: holds no clip")
    if plot is not None and labels is None and split is None:
        raise UsageError("data stats --plot draws class counts: give --labels or --split too")
    frames = store.stop - store.start
    by_subject = dict(zip(*(value.tolist() for value in np.unique(store.subject_ids, return_counts=True))))
    counts, parts, part_of_clip = _class_counts(store, labels, split)
    if labels is not None and not counts:
        console.warn(f"{labels}: has no label of a clip in {clips}")
    subjects = _by_subject(store, part_of_clip)
    known = [count for name, count in by_subject.items() if name]
    data: dict[str, Any] = {
        "dataset": store.dataset,
        "clips": len(store),
        "videos": len(np.unique(store.video_ids)),
        "frames": {"total": int(frames.sum()), "min": int(frames.min()), "median": float(np.median(frames)),
                   "max": int(frames.max())},
        "layout": store.layout,
        "signals": list(store.signal_names),
        "clips_by_subject": by_subject,
        "clips_by_subject_and_part": subjects,
        "clips_per_subject": {
            "subjects": len(known), "min": min(known, default=0),
            "median": float(np.median(known)) if known else 0.0, "max": max(known, default=0),
        },
        "clips_by_part": parts,
        "clips_by_class": {name: value.tolist() for name, value in counts.items()},
        "imbalance_ratio": {name: imbalance_ratio(value) for name, value in counts.items()},
        "bands": {name: bands(value) for name, value in counts.items()},
        "class_names": list(store.class_names),
    }  # fmt: skip
    if plot is not None:
        if not counts:
            raise UsageError(f"data stats --plot: {labels or split} has no label of a clip in {clips}")
        require("data stats --plot", "matplotlib", extra="plot")
        from mg_data.prepare.stats_plot import plot_stats

        plot_stats(plot, store.dataset, store.class_names, counts, subjects)
        console.say(f"wrote {plot}")
    return StageResult(data=data, text=_text(data, counts))


def _text(data: dict[str, Any], counts: dict[str, NDArray[np.int64]]) -> str:
    frames = data["frames"]
    lines = [
        f"{data['dataset']}: {data['clips']} clips in {data['videos']} videos, "
        f"layout {data['layout'] or 'none'}",
        f"frames: {frames['total']}, a clip {frames['min']} to {frames['max']}, median {frames['median']:g}",
        "subjects: "
        + ", ".join(f"{name or 'unknown'} {count}" for name, count in data["clips_by_subject"].items()),
    ]
    per_subject = data["clips_per_subject"]
    if per_subject["subjects"]:
        lines.append(
            f"clips of each of {per_subject['subjects']} known subjects: {per_subject['min']} to "
            f"{per_subject['max']}, median {per_subject['median']:g}"
        )
    if set(data["clips_by_part"]) != {"all"}:
        lines.append(
            "parts: " + ", ".join(f"{name} {count}" for name, count in data["clips_by_part"].items())
        )
    if counts:
        width = max(len(name) for name in data["class_names"])
        lines.append(f"{'class':<{width + 4}}" + "".join(f"{name:>8}" for name in counts))
        for index, name in enumerate(data["class_names"]):
            lines.append(
                f"{index:>2}  {name:<{width}}" + "".join(f"{value[index]:>8}" for value in counts.values())
            )
        ratios = ", ".join(f"{name} {imbalance_ratio(value):.1f}" for name, value in counts.items())
        lines.append(f"imbalance (largest over smallest class that is there): {ratios}")
        for name, value in data["bands"].items():
            where = "" if name == "all" else f" of {name}"
            lines.append(
                f"classes{where}: {value['head']} head, {value['medium']} medium, {value['tail']} tail, "
                f"{value['empty']} without a clip (head: at least 1/{1 / HEAD_SHARE:.0f} of the largest, "
                f"tail: less than 1/{1 / TAIL_SHARE:.0f})"
            )
    return "\n".join(lines)
