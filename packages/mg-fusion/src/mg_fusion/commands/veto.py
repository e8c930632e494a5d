"""``mg fuse --diagnose``: clips that one overconfident model decided, before and after the temperature."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_data.contract import Console
from mg_data.store import publish_text
from mg_fusion.stores import Missing, join_stores
from mg_fusion.truth import read_truth
from mg_fusion.veto import HEADER, compare_vetoes, find_vetoes, veto_rows


def diagnose_stores(
    paths: Sequence[Path],
    weights: dict[str, float],
    temperature: float,
    out: Path,
    *,
    labels: Path | None,
    model_temperatures: Mapping[str, float],
    missing: Missing,
    console: Console,
) -> dict[str, Any]:
    """Write the csv of vetoes at tau 1 and at ``temperature``; return their counts.

    Args:
        paths: logit stores. weights: by branch; a branch that is not there has weight 0.
        model_temperatures: of each model, where the vote has them: its logits are divided by it first.
        labels: the truth, to tell harmful vetoes from helpful ones; or None.
    """
    joined = join_stores(paths, missing=missing)
    truth = None
    if labels is not None:
        known = read_truth(labels)
        known.check_classes(joined.class_names, joined.paths[0])
        truth = known.of(joined.clip_ids)
    elif joined.labels is not None:
        truth = joined.labels
    shares = np.array([weights.get(key, 0.0) for key in joined.keys])
    rows = np.flatnonzero((joined.present & (shares > 0)[:, None]).any(axis=0))
    if len(rows) < len(joined.clip_ids):
        console.warn(f"diagnose: {len(joined.clip_ids) - len(rows)} clips have no answer and are left out")
    present: ArrayLike = joined.present[:, rows]
    target = None if truth is None else truth[rows]
    logits = joined.logits[:, rows]
    own = np.array([model_temperatures.get(key, 1.0) for key in joined.keys])
    states = [
        find_vetoes(logits, shares, 1.0, present),
        find_vetoes(logits / own[:, None, None], shares, temperature, present),
    ]
    summary = compare_vetoes(states[0], states[1], joined.keys, target)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    softened = temperature != 1.0 or (own != 1.0).any()
    for found in states if softened else states[:1]:
        writer.writerows(veto_rows(found, joined.clip_ids[rows], joined.keys, joined.class_names, target))
    publish_text(out, text.getvalue())
    return {"path": str(out), "of": len(rows), **summary}


def veto_text(summary: dict[str, Any]) -> str:
    """Return one line about the counts."""
    before, after = summary["before"], summary["after"]

    def show(row: dict[str, Any]) -> str:
        effects = f" ({row['harmful']} harmful, {row['helpful']} helpful)" if "harmful" in row else ""
        return f"{row['clips']}{effects} at tau {row['temperature']:g}"

    return (
        f"one model overrides the majority on {show(before)}, {show(after)} of {summary['of']} clips "
        f"-> {summary['path']}"
    )
