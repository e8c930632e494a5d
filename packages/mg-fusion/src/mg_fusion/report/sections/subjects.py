"""Accuracy person by person: the cross-subject spread that one number hides."""

from __future__ import annotations

from typing import Any

import numpy as np

from mg_fusion.report.charts.bars import DotRow, dot_rows
from mg_fusion.report.run import AbsentError, Run


def build(run: Run) -> dict[str, Any]:
    """Return the accuracy of every subject (or video), best first, and the spread over them."""
    by = run.groups[0]
    if not by:
        raise AbsentError("no subject or video of the clips is known (data/split.h5, data/clips.h5)")
    row = run.latest("fused")
    answers = run.answers
    run.scores_of(row)
    shares = person_shares(run, row)
    earlier = {}
    if row != "fused/before" and "fused/before" in run.labelled:
        earlier = {item["name"]: item["accuracy"] for item in person_shares(run, "fused/before")}
    if not shares:
        raise AbsentError(f"no {by} of the labelled clips is known")
    values = np.array([item["accuracy"] for item in shares])
    # Fifths, so that the four steps of the axis are round numbers.
    low = float(np.floor(5 * min([*values, *earlier.values()])) / 5)
    rows = [
        DotRow(
            item["name"],
            earlier.get(item["name"]),
            item["accuracy"],
            f"{100 * item['accuracy']:.2f} %, {item['n']} clips",
            f"group:{place_of(answers.groups, item['name'])}",
        )
        for item in sorted(shares, key=lambda item: (-item["accuracy"], item["name"]))
    ]
    mean = float(run.scores[row]["accuracy"])
    return {
        "by": by,
        "row": row,
        "both": bool(earlier),
        "chart": dot_rows(rows, mean, min(low, 0.8)),
        "people": shares,
        "spread": {
            "lowest": float(values.min()),
            "median": float(np.median(values)),
            "highest": float(values.max()),
            "deviation": float(values.std()),
        },
        "overall": mean,
    }


def person_shares(run: Run, row: str) -> list[dict[str, Any]]:
    """Return name, clips and accuracy of every subject (or video) in a row's answers."""
    answers = run.answers
    answered = answers.answer[row] >= 0
    right = answers.answer[row] == answers.truth
    found = []
    for name in np.unique(answers.groups[answered & (answers.groups != "")]).tolist():
        mine = answered & (answers.groups == name)
        found.append({"name": name, "n": int(mine.sum()), "accuracy": float(right[mine].mean())})
    return found


def place_of(groups: Any, name: str) -> int:
    """Return the number by which the table of clips knows a group."""
    return int(np.searchsorted(np.unique(groups), name))
