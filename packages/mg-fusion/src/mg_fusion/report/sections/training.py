"""Training curves out of the JSON-lines logs of every branch and round."""

from __future__ import annotations

import json
import math
from typing import Any

from mg_fusion.report.charts.lines import Line, line_chart
from mg_fusion.report.charts.svg import legend
from mg_fusion.report.run import AbsentError, Run

_ACCURACIES = (("train_accuracy", "training"), ("val_accuracy", "validation"))


def build(run: Run) -> dict[str, Any]:
    """Return charts of loss and accuracy for every ``round*/<branch>.log.jsonl``."""
    groups = []
    for log in read_logs(run):
        charts = []
        loss = _points(log["epochs"], "loss")
        if loss:
            charts.append(line_chart([Line("loss", loss)], "training loss", unit="loss"))
        lines = [
            Line(title, points, series)
            for series, (field, title) in enumerate(_ACCURACIES, start=1)
            if (points := _points(log["epochs"], field))
        ]
        if lines:
            chart = line_chart(lines, "accuracy", unit="accuracy (%)", share=True)
            charts.append(chart + legend([item.name for item in lines]))
        last = log["epochs"][-1]
        groups.append(
            {
                "title": f"{log['branch']}, {log['round']}",
                "charts": charts,
                "epochs": len(log["epochs"]),
                "last": last,
            }
        )
    return {"groups": groups}


def _points(epochs: list[dict[str, Any]], field: str) -> list[tuple[float, float]]:
    points = [(float(item["epoch"]), float(item[field])) for item in epochs if item.get(field) is not None]
    # A loss that overflowed is left out: no axis could hold it.
    return [point for point in points if math.isfinite(point[1])]


def read_logs(run: Run) -> list[dict[str, Any]]:
    """Return branch, round and epochs of every log."""
    logs = []
    for path in sorted(run.folder.glob("round*/*.log.jsonl")):
        epochs = []
        for line in path.read_text(encoding="utf-8").splitlines():
            # A run that was killed can leave half a last line.
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and "epoch" in record:
                epochs.append(record)
        if epochs:
            branch = path.name.removesuffix(".log.jsonl")
            logs.append({"round": path.parent.name, "branch": branch, "epochs": epochs})
    if not logs:
        raise AbsentError("there are no training logs (round*/<branch>.log.jsonl)")
    return logs
