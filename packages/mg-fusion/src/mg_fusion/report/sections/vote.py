"""The parameters of the vote, what the search says of them, and the models on the clips fitted on."""

from __future__ import annotations

from typing import Any

from mg_fusion.report.charts.bars import BarRow, bar_rows
from mg_fusion.report.run import Run


def build(run: Run) -> dict[str, Any]:
    """Return weights with their range of equally good settings, and values on the clips fitted on."""
    vote = run.need_vote()
    region = vote.search.get("region", {}).get("weights", {})
    rows: list[BarRow | str] = []
    for key, weight in vote.weights.items():
        spread = f", {region[key][0]:g} to {region[key][1]:g} as good" if key in region else ""
        note = f"{weight:.3g}" if weight else "weight 0: left out"
        rows.append(BarRow(key, [weight], note + spread))
    models = [
        (f"{key} alone, tau 1", values, False) for key, values in vote.baselines.get("singles", {}).items()
    ]
    for title, values in (
        ("equal weights, tau 1", vote.baselines.get("equal_weight")),
        ("searched", vote.search.get("fused")),
    ):
        if values:
            models.append((title, values, True))
    return {
        "vote": vote,
        "search": vote.search,
        "chart": bar_rows(rows, ["weight"], unit="weight", share=False),
        "models": models,
        "unseen": [str(item.get("name")) for item in vote.search.get("unseen_classes", ())],
    }
