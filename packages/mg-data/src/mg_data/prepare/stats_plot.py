"""The figure of ``mg data stats --plot``: the long tail, as in Fig. 2 of the paper, and clips by subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mg_data.labels import HEAD_SHARE, TAIL_SHARE
from mg_data.prepare.stats import bands, imbalance_ratio
from mg_data.store import publish

_COLOURS = {"train": "#3b6ea5", "val": "#e0a030", "target": "#7a9a5b", "none": "#b0b0b0", "all": "#3b6ea5"}
_OTHER = ("#9467bd", "#8c564b", "#17becf", "#d62728")
_BANDS = ("#fdf3e3", "#f2f2f2", "#e6eef6")
# More names than this on one axis cannot be read.
_NAMED = 80


def _colour(part: str, index: int) -> str:
    return _COLOURS.get(part, _OTHER[index % len(_OTHER)])


def _place(part: str) -> tuple[int, str]:
    """Return what parts are sorted by: train, val, target, then others by name."""
    known = list(_COLOURS)
    return (known.index(part) if part in known else len(known), part)


def _draw_classes(axes: Axes, class_names: tuple[str, ...], counts: Mapping[str, NDArray[np.int64]]) -> None:
    """Draw clips by class, most frequent first, on a logarithmic axis; a bar for each part side by side."""
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")
    places = np.arange(len(order))
    largest = max(1, int(total.max()))
    ranked = total[order]
    present = int(np.sum(ranked > 0))
    head = int(np.sum(ranked >= HEAD_SHARE * largest))
    body = int(np.sum(ranked >= TAIL_SHARE * largest))
    edges = (0, head, body, present)
    for name, colour, left, right in zip(("head", "medium", "tail"), _BANDS, edges, edges[1:]):
        if right > left:
            axes.axvspan(left - 0.5, right - 0.5, color=colour, zorder=0, linewidth=0)
            label = f"{name} ({right - left})"
            axes.text((left + right - 1) / 2, 2.2 * largest, label, ha="center", va="center", fontsize=9)
    width = 0.84 / len(counts)
    for index, part in enumerate(sorted(counts, key=_place)):
        value = counts[part]
        shift = (index - (len(counts) - 1) / 2) * width
        bars = axes.bar(places + shift, value[order], width, label=part, color=_colour(part, index), zorder=2)
        if len(counts) == 1:
            axes.bar_label(bars, [str(count) for count in value[order]], fontsize=6, padding=1)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 4 * largest)
    axes.set_xlim(-0.7, len(order) - 0.3)
    names = [class_names[index] for index in order]
    axes.set_xticks(places, names, rotation=55, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_ylabel("clips (logarithmic)")
    axes.grid(axis="y", color="white", linewidth=0.8, zorder=1)
    if len(counts) > 1:
        axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9), fontsize=8)


def _draw_subjects(axes: Axes, subjects: Mapping[str, Mapping[str, int]]) -> None:
    """Draw clips by subject, parts one upon another."""
    places = np.arange(len(subjects))
    parts = sorted({part for row in subjects.values() for part in row}, key=_place)
    base = np.zeros(len(subjects))
    for index, part in enumerate(parts):
        value = np.array([row.get(part, 0) for row in subjects.values()])
        axes.bar(places, value, 0.8, bottom=base, label=part, color=_colour(part, index), zorder=2)
        base += value
    if len(subjects) <= _NAMED:
        names = [name or "unknown" for name in subjects]
        axes.set_xticks(places, names, rotation=90 if len(names) > 12 else 0, fontsize=7)
    else:
        axes.set_xticks([])
    axes.set_xlim(-0.7, len(subjects) - 0.3)
    axes.set_ylim(0, 1.08 * max(1.0, float(base.max(initial=0))))
    axes.set_ylabel("clips")
    axes.set_xlabel("subject")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6, zorder=0)
    if len(parts) > 1:
        axes.legend(fontsize=8)


def plot_stats(
    path: Path,
    dataset: str,
    class_names: tuple[str, ...],
    counts: Mapping[str, NDArray[np.int64]],
    subjects: Mapping[str, Mapping[str, int]],
) -> None:
    """Write the PNG.

    Args:
        counts: part -> (K,) clips of each class. subjects: subject -> part -> clips, in the bars' order.
    """
    total = np.sum(list(counts.values()), axis=0)
    band = bands(total)
    longest = max(len(name) for name in class_names)
    wide = max(8.0, 0.34 * len(class_names), 0.16 * min(len(subjects), _NAMED))
    figure = Figure(figsize=(min(wide, 40.0), 6.6 + 0.045 * longest), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1.7, 1.0))
    _draw_classes(above, class_names, counts)
    note = f", {band['empty']} without a clip" if band["empty"] else ""
    above.set_title(
        f"{dataset}: {int(total.sum())} labelled clips in {len(class_names)} classes{note}; "
        f"largest class / smallest = {imbalance_ratio(total):.0f}",
        fontsize=11,
    )
    _draw_subjects(below, subjects)
    with publish(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
