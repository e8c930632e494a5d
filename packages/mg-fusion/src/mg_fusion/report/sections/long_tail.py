"""The long-tail figure: training clips of each class on a log scale above its F1."""

from __future__ import annotations

from typing import Any

from mg_fusion.metrics import class_groups
from mg_fusion.report.charts.tail import TailClass, band_legend, tail_chart
from mg_fusion.report.run import AbsentError, Run
from mg_fusion.report.sections.classes import frequencies


def build(run: Run) -> dict[str, Any]:
    """Return the figure over all classes that are trained on or scored."""
    row = run.latest("fused")
    latest = run.scores[row]["per_class"]
    before = run.scores.get("fused/before") if row != "fused/before" else None
    counts, counted = frequencies(run)
    bands = class_groups(counts).tolist()
    classes = []
    for item in sorted(latest, key=lambda item: (-counts[item["index"]], item["index"])):
        index = item["index"]
        if not counts[index] and not item["support"]:
            continue
        # A class without a target clip has no F1 that means something.
        seen = bool(item["support"])
        earlier = before["per_class"][index]["f1"] if before and seen else None
        classes.append(
            TailClass(str(item["name"]), counts[index], bands[index], earlier, item["f1"] if seen else None)
        )
    if not classes:
        raise AbsentError("no class has a clip")
    marks = ["F1 before", "F1 after"] if before else ["F1"]
    present = [band for band in ("head", "medium", "tail", "empty") if band in {c.band for c in classes}]
    largest, smallest = classes[0].count, min(item.count for item in classes if item.count)
    return {
        "chart": tail_chart(classes, "Training clips and F1 of each class", counted),
        "legend": band_legend(present, marks),
        "counted": counted,
        "ratio": largest / smallest,
        "left_out": len(latest) - len(classes),
    }
