"""The confusion matrix of the fused result, the pairs most often confused, and the list behind every cell."""

from __future__ import annotations

from typing import Any

from mg_fusion.report.charts.matrix import confusion_grid
from mg_fusion.report.run import PHASES, AbsentError, Run

# Pairs of the table under the matrix.
MOST_PAIRS = 10


def build(run: Run) -> dict[str, Any]:
    """Return a matrix for each phase, the latest first; counts are those of metrics.json."""
    matrices = []
    for phase in reversed(PHASES):
        row = f"fused/{phase}"
        if row in run.scores:
            matrices.append(_matrix(run, row, phase))
    if not matrices:
        raise AbsentError(run.problems.get("results", "metrics.json holds no fused result"))
    if run.guard("clips", lambda: run.answers) is None:
        note = f"Cells list no clips: {run.problems['clips']}."
    else:
        note = ""
    return {"matrices": matrices, "note": note}


def _matrix(run: Run, row: str, phase: str) -> dict[str, Any]:
    measured = run.scores[row]
    per_class, counts = measured["per_class"], measured["confusion"]
    # A class that is neither the truth nor the answer of any clip would be an empty row and column.
    used = [item["index"] for item in per_class if item["support"] or item["predicted"]]
    names = [str(per_class[index]["name"]) for index in used]
    chart = confusion_grid(
        [[counts[one][other] for other in used] for one in used], names, used, f"Confusion, {row}", row
    )
    pairs = [
        {
            "truth": str(per_class[one]["name"]),
            "answer": str(per_class[other]["name"]),
            "count": counts[one][other],
            "share": counts[one][other] / per_class[one]["support"],
            "where": f"truth:{one} {row}:{other}",
        }
        for one in used
        for other in used
        if one != other and counts[one][other]
    ]
    pairs.sort(key=lambda pair: (-pair["count"], -pair["share"]))
    return {
        "row": row,
        "phase": phase,
        "chart": chart,
        "pairs": pairs[:MOST_PAIRS],
        "left_out": len(per_class) - len(used),
    }
