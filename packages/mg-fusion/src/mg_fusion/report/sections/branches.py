"""What each branch is: model, preset, modality, parameters, how long it trained."""

from __future__ import annotations

from typing import Any

from mg_fusion.report.run import AbsentError, Run


def build(run: Run) -> dict[str, Any]:
    """Return the branches of run.json."""
    if not run.branches:
        raise AbsentError(run.problems.get("run", "run.json names no branch"))
    rows = []
    for item in run.branches:
        floor, seconds = item.get("floor"), item.get("seconds") or []
        share = None if floor is None else float(floor) / 100 if float(floor) > 1 else float(floor)
        rows.append({**item, "floor": share, "minutes": [float(value) / 60 for value in seconds]})
    return {"rows": rows}
