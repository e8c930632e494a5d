"""Reliability diagrams of the vote with its weights, at tau 1 and at the fitted temperature."""

from __future__ import annotations

from typing import Any

from mg_fusion.calibration import expected_calibration_error, reliability
from mg_fusion.report.charts.reliability import reliability_chart
from mg_fusion.report.run import AbsentError, Run
from mg_fusion.table import percent
from mg_fusion.vote import SoftVote, soft_vote


def build(run: Run) -> dict[str, Any]:
    """Return both diagrams; the second is of the fused row of metrics.json itself, and has its ECE."""
    truth = run.need_truth()
    row = run.latest("fused")
    phase = row.rpartition("/")[2]
    vote = run.need_vote(phase)
    joined = run.branch_scores(phase)
    truth.check_classes(joined.class_names, joined.paths[0])
    labels = truth.of(joined.clip_ids)
    shares = run.shares(vote, joined)
    known = (labels >= 0) & (joined.present & (shares > 0)[:, None]).any(axis=0)
    if not known.any():
        raise AbsentError("no target clip has a label")
    plain = SoftVote(temperature=1.0, weights=vote.weights)
    states = []
    for title, used in (("before", plain), ("after", vote)):
        probs = soft_vote(
            joined.logits[:, known], shares, used.temperatures_for(joined.keys), joined.present[:, known]
        )
        error = expected_calibration_error(probs, labels[known])
        table = reliability(probs, labels[known])
        tau = f"tau {used.temperature:g}"
        if used.model_temperatures:
            tau += " and each model's own"
        states.append(
            {
                "state": title,
                "temperature": tau,
                "ece": error,
                "mean_confidence": float(probs.max(axis=1).mean()),
                "accuracy": float((probs.argmax(axis=1) == labels[known]).mean()),
                "chart": reliability_chart(
                    table, f"{title}: {tau}, ECE {percent(error)} %", 1 if title == "before" else 2
                ),
            }
        )
    return {"row": row, "states": states}
