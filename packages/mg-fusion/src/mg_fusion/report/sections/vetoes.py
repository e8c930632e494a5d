"""The veto effect (paper section 3.4): clips that one overconfident model decides, before and after tau."""

from __future__ import annotations

from typing import Any

import numpy as np

from mg_fusion.report.run import AbsentError, Run
from mg_fusion.veto import HEADER, compare_vetoes, find_vetoes, veto_rows

# Cases that the page lists; the counts are of all.
MOST_CASES = 200


def build(run: Run) -> dict[str, Any]:
    """Return counts and cases on the target, as ``mg fuse --diagnose`` finds them."""
    phase = run.latest("fused").rpartition("/")[2]
    vote = run.need_vote(phase)
    joined = run.branch_scores(phase)
    shares = run.shares(vote, joined)
    if (shares > 0).sum() < 2:
        raise AbsentError("fewer than two models have a weight: there is no majority to override")
    rows = np.flatnonzero((joined.present & (shares > 0)[:, None]).any(axis=0))
    labels = run.truth.of(joined.clip_ids)[rows] if run.truth is not None else None
    own = np.array([vote.model_temperatures.get(key, 1.0) for key in joined.keys])
    logits, present = joined.logits[:, rows], joined.present[:, rows]
    states = [
        find_vetoes(logits, shares, 1.0, present),
        find_vetoes(logits / own[:, None, None], shares, vote.temperature, present),
    ]
    counts = compare_vetoes(states[0], states[1], joined.keys, labels)
    clip_ids = joined.clip_ids[rows]
    cases = []
    for state, found in zip(("before", "after"), states, strict=True):
        lines = veto_rows(found, clip_ids, joined.keys, joined.class_names, labels)
        cases += [{"state": state, **dict(zip(HEADER, line, strict=True))} for line in lines]
    # Harmful ones first: they are what the temperature is for.
    order = {"harmful": 0, "neither": 1, "helpful": 2, "": 3}
    cases.sort(key=lambda case: (case["state"] == "after", order[case["effect"]], -float(case["confidence"])))
    return {
        "phase": phase,
        "of": len(rows),
        "counts": counts,
        "models": joined.keys,
        "cases": cases[:MOST_CASES],
        "all": len(cases),
        "known": labels is not None,
    }
