"""``mg data stats``: clips, frames, subjects; counts by class and part; the long tail as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.labels import read_labels
from mg_data.prepare.extras import require
from mg_data.store import ClipsStore, publish, read_clips, read_split


def _class_counts(
    store: ClipsStore, labels: Path | None, split: Path | None
) -> tuple[dict[str, NDArray[np.int64]], dict[str, int]]:
    """Return part -> (K,) counts, and part -> number of clips."""
    num_classes = len(store.class_names)
    parts = np.full(len(store), "all", dtype="<U32")
    truth = np.full(len(store), -1, np.int64)
    if split is not None:
        known = read_split(split)
        rows = store.rows(known.clip_ids)
        parts[:] = "none"
        parts[rows] = known.names
        truth[rows] = known.labels
    if labels is not None:
        table = read_labels(labels)
        truth = np.array([table.get(clip_id, -1) for clip_id in store.clip_ids.tolist()], np.int64)
        if truth.max(initial=-1) >= num_classes:
            raise DataError(f"{labels}: holds class {truth.max()}, {store.path} has {num_classes} classes")
    names = sorted(set(parts.tolist()), key=lambda name: (name == "none", name))
    clips = {name: int(np.sum(parts == name)) for name in names}
    counts = {
        name: np.bincount(truth[(parts == name) & (truth >= 0)], minlength=num_classes) for name in names
    }
    return {name: value for name, value in counts.items() if value.any()}, clips


def imbalance_ratio(counts: NDArray[np.int64]) -> float:
    """Return the largest class count over the smallest that is not zero.

    >>> imbalance_ratio(np.array([0, 2, 50]))
    25.0
    """
    present = counts[counts > 0]
    return float(present.max() / present.min()) if len(present) else 1.0


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
    """
    store = read_clips(clips)
    if plot is not None and labels is None and split is None:
        raise UsageError("data stats --plot draws class counts: give --labels or --split too")
    frames = store.stop - store.start
    by_subject = dict(zip(*(value.tolist() for value in np.unique(store.subject_ids, return_counts=True))))
    counts, parts = _class_counts(store, labels, split)
    data: dict[str, Any] = {
        "dataset": store.dataset,
        "clips": len(store),
        "videos": len(np.unique(store.video_ids)),
        "frames": {"total": int(frames.sum()), "min": int(frames.min()), "median": float(np.median(frames)),
                   "max": int(frames.max())},
        "layout": store.layout,
        "signals": list(store.signal_names),
        "clips_by_subject": by_subject,
        "clips_by_part": parts,
        "clips_by_class": {name: value.tolist() for name, value in counts.items()},
        "imbalance_ratio": {name: imbalance_ratio(value) for name, value in counts.items()},
        "class_names": list(store.class_names),
    }  # fmt: skip
    if plot is not None:
        _plot(plot, store.class_names, counts)
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
    return "\n".join(lines)


def _plot(path: Path, class_names: tuple[str, ...], counts: dict[str, NDArray[np.int64]]) -> None:
    """Draw the class counts, most frequent first, on a logarithmic axis."""
    require("data stats --plot", "matplotlib", extra="plot")
    from matplotlib.figure import Figure

    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    figure = Figure(figsize=(max(6.0, 0.32 * len(order)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    base = np.zeros(len(order))
    if len(counts) == 1:
        axes.set_yscale("log")
        axes.set_ylim(0.5, 1.3 * max(1, int(total.max())))
    for name, value in counts.items():
        axes.bar(np.arange(len(order)), value[order], bottom=base if len(counts) > 1 else None, label=name)
        base = base + value[order]
    axes.set_xticks(np.arange(len(order)), [class_names[index] for index in order], rotation=60, ha="right")
    axes.set_ylabel("clips")
    axes.set_title(f"Clips by class; largest over smallest {imbalance_ratio(total):.0f}")
    if len(counts) > 1:
        axes.legend()
    with publish(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
