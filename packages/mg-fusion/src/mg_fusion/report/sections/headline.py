"""The one result of the run, with its interval and what it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from mg_data.contract import MgError
from mg_fusion.compare import compare_results
from mg_fusion.intervals import metric_intervals
from mg_fusion.report.run import AbsentError, Run
from mg_fusion.truth import groups_of


def build(run: Run) -> dict[str, Any]:
    """Return the row, its intervals, and gains over single best, equal weights and before pseudo-labels.

    Intervals are those of metrics.json if ``mg score --intervals`` wrote them, else computed in the same way:
    1000 resamples of whole subjects (or videos, where no subject is known).
    """
    row = _best(run)
    measured = run.scores[row]
    phase = row.rpartition("/")[2]
    compared = [
        {"title": title, "row": other, **_gain(run, row, other)}
        for title, other in (
            ("best single branch", f"single-best/{phase}"),
            ("equal weights", f"equal-weight/{phase}"),
            ("before pseudo-labels", "fused/before"),
        )
        if other in run.scores and other != row
    ]
    intervals = measured.get("intervals") or run.guard("intervals", lambda: _intervals(run, row))
    return {
        "row": row,
        "measured": measured,
        "compared": compared,
        "intervals": intervals,
        "drawn": _drawn(run, row, intervals["groups"]) if intervals else None,
        "drawn_of_gains": next((_drawn(run, row, i["test"]["groups"]) for i in compared if i["test"]), None),
        "by": run.groups[0],
        "branch": {name: str(item.get("branch", "")) for name, item in run.scores.items()},
        "override": next((v.taint["override"] for v in run.votes.values() if v.taint.get("override")), ""),
    }


def _best(run: Run) -> str:
    for name in ("fused", "equal-weight"):
        try:
            return run.latest(name)
        except AbsentError:
            continue
    raise AbsentError(run.problems.get("results", "metrics.json holds no fused result"))


def groups_or_none(run: Run, clip_ids: Any) -> Any:
    """Return (N,) groups of clips for a bootstrap, or None if not every clip has one."""
    try:
        return groups_of(clip_ids, None, run.groups[1]) if run.groups[1] else None
    except MgError:
        return None


def _intervals(run: Run, row: str) -> dict[str, Any]:
    scores = run.scores_of(row)
    return metric_intervals(scores.probs, scores.labels, groups_or_none(run, scores.clip_ids))


def _drawn(run: Run, row: str, groups: int) -> tuple[str, int]:
    """Return what the resamples of so many groups drew: ``clip``, ``subject``, ``video`` or ``group``.

    metrics.json says how many groups its intervals are over, and not of what.
    """
    if groups == run.scores[row].get("n"):
        return "clip", groups
    try:
        names = groups_or_none(run, run.scores_of(row).clip_ids)
    except (AbsentError, MgError):
        names = None
    same = names is not None and len(np.unique(names)) == groups
    return run.groups[0] if same else "group", groups


def _gain(run: Run, row: str, other: str) -> dict[str, Any]:
    """Return the difference of accuracies; with interval and McNemar where both stores are there."""
    found: dict[str, Any] = {
        "gain": run.scores[row]["accuracy"] - run.scores[other]["accuracy"],
        "accuracy": run.scores[other]["accuracy"],
        "test": None,
    }
    if other.startswith("single-best/"):
        other = same_store(run, other)
    try:
        ours, theirs = run.scores_of(row), run.scores_of(other)
    except (AbsentError, MgError):
        return found
    if ours.clip_ids.tolist() != theirs.clip_ids.tolist():
        return found
    groups = groups_or_none(run, ours.clip_ids)
    found["test"] = compare_results(ours.probs, theirs.probs, ours.labels, groups)
    return found


def same_store(run: Run, row: str) -> str:
    """Return the row of the branch whose scores a row repeats (the row itself if there is none)."""
    digest, phase = run.scores[row].get("digest"), row.rpartition("/")[2]
    for name in run.branch_names():
        if run.scores.get(f"{name}/{phase}", {}).get("digest") == digest:
            return f"{name}/{phase}"
    return row
