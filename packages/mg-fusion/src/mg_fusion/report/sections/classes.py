"""F1 of every class, most frequent first, in the bands head, medium and tail."""

from __future__ import annotations

from typing import Any

import numpy as np

from mg_fusion.metrics import class_groups, classification_metrics
from mg_fusion.report.charts.bars import BarRow, bar_rows
from mg_fusion.report.charts.svg import legend
from mg_fusion.report.run import AbsentError, Run
from mg_fusion.table import percent

_BANDS = {
    "head": "head: at least 1/5 of the largest class's clips",
    "medium": "medium: between the two",
    "tail": "tail: fewer than 1/50 of the largest class's clips",
    "empty": "no clip to train on",
}


def frequencies(run: Run) -> tuple[list[int], str]:
    """Return clips of each class, and what they are: training clips, or else the clips scored."""
    latest = run.scores[run.latest("fused")]
    support = [int(item["support"]) for item in latest["per_class"]]
    counts = run.class_counts
    if counts is not None and len(counts) == len(support):
        return counts.tolist(), "training clips"
    return support, "target clips"


def build(run: Run) -> dict[str, Any]:
    """Return bars of F1, before and after, and the figures of each band."""
    row = run.latest("fused")
    latest = run.scores[row]
    before = run.scores.get("fused/before") if row != "fused/before" else None
    earlier = {item["index"]: item["f1"] for item in before["per_class"]} if before else {}
    counts, counted = frequencies(run)
    bands = class_groups(counts).tolist()
    shown = [item for item in latest["per_class"] if item["support"]]
    if not shown:
        raise AbsentError("no class has a clip")
    names = ["before pseudo-labels", "after pseudo-labels"] if earlier else ["fused"]
    rows: list[BarRow | str] = []
    last = ""
    for item in sorted(shown, key=lambda item: (-counts[item["index"]], -item["support"], item["index"])):
        index = item["index"]
        if bands[index] != last:
            last = bands[index]
            rows.append(_BANDS[last])
        note = f"{percent(item['f1'])} %, {item['support']} clips"
        if counted == "training clips":
            note += f", {counts[index]} in training"
        values = [earlier.get(index), item["f1"]] if earlier else [item["f1"]]
        rows.append(BarRow(str(item["name"]), values, note, f"truth:{index}"))
    unseen = [str(item["name"]) for item in latest["per_class"] if not item["support"]]
    return {
        "row": row,
        "legend": legend(names) if earlier else "",
        "chart": bar_rows(rows, names, unit="F1 (%)"),
        "unseen": unseen,
        "counted": counted,
        "bands": run.guard("bands", lambda: _bands(run, row, counted)) or latest.get("groups", {}),
    }


def _bands(run: Run, row: str, counted: str) -> dict[str, Any]:
    """Return the metrics of each band; by training clips they are what ``mg score --counts`` says."""
    if counted == "target clips":
        raise AbsentError("bands of the clips scored are in metrics.json")
    scores = run.scores_of(row)
    measured = classification_metrics(scores.probs, scores.labels, class_counts=np.asarray(run.class_counts))
    return {name: dict(values) for name, values in measured.groups.items()}
