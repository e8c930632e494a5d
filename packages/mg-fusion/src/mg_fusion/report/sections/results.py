"""The table of results: each branch, the best of them, equal weights and the vote, before and after."""

from __future__ import annotations

from typing import Any

from mg_fusion.intervals import metric_intervals
from mg_fusion.report.run import PHASES, SUMMARY_ROWS, AbsentError, Run
from mg_fusion.report.sections.headline import groups_or_none, same_store

# Field of metrics.json, heading, decimals of a share in per cent or of the number itself.
FIELDS = (
    ("accuracy", "accuracy (%)"),
    ("macro_f1", "macro-F1 (%)"),
    ("ece", "ECE (%)"),
    ("nll", "NLL (nats)"),
)


def build(run: Run) -> dict[str, Any]:
    """Return one row for each branch and fusion, with remarks and the interval of its latest accuracy."""
    if not run.scores:
        raise AbsentError(run.problems.get("results", "metrics.json holds no scores"))
    rows = []
    for name in [*run.branch_names(), *SUMMARY_ROWS]:
        measured = {phase: run.scores.get(f"{name}/{phase}") for phase in PHASES}
        if not any(measured.values()):
            continue
        rows.append(
            {
                "name": name,
                **measured,
                "note": _note(run, name),
                "fused": name in SUMMARY_ROWS,
                "interval": _interval(run, name),
            }
        )
    if not rows:
        raise AbsentError("metrics.json holds no row called <branch>/before or <branch>/after")
    phases = [phase for phase in PHASES if any(row[phase] for row in rows)]
    return {"rows": rows, "fields": FIELDS, "phases": phases}


def _interval(run: Run, name: str) -> dict[str, float] | None:
    """Return low and high of the latest accuracy, as ``mg score --intervals`` has them, or None."""
    row = run.latest(name)
    measured = run.scores[row]
    if name == "single-best":
        row = same_store(run, row)
    if measured.get("intervals"):
        found: dict[str, float] = measured["intervals"]["accuracy"]
        return found
    try:
        scores = run.scores_of(row)
    except AbsentError:
        return None
    groups = groups_or_none(run, scores.clip_ids)
    interval: dict[str, float] = metric_intervals(scores.probs, scores.labels, groups, metrics=["accuracy"])[
        "accuracy"
    ]
    return interval


def _note(run: Run, name: str) -> str:
    """Return the remarks of metrics.json, and those that follow from floors and weights."""
    remarks = run.metrics.get("notes") or {}
    rows = [f"{name}/{phase}" for phase in PHASES if f"{name}/{phase}" in run.scores]
    notes = [str(run.scores[row]["note"]) for row in rows if run.scores[row].get("note")]
    notes += [str(remarks[row]) for row in rows if row in remarks]
    floor = next((item.get("floor") for item in run.branches if str(item.get("name")) == name), None)
    if floor is not None and not any("FAILING" in note for note in notes):
        share = float(floor) / 100 if float(floor) > 1 else float(floor)
        if float(run.scores[rows[-1]].get("accuracy", 0.0)) < share:
            notes.append(f"FAILING: floor {100 * share:g} %")
    silent = any(vote.weights.get(name) == 0 for vote in run.votes.values())
    if silent and not any("vote weight 0" in note for note in notes):
        notes.append("vote weight 0")
    return "; ".join(dict.fromkeys(notes))
