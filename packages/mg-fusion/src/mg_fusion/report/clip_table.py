"""The table in the page, as JSON, that every list of clips is made of. Numbers and not names: it is long."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.report.run import PHASES, Run


def class_column(key: str, title: str, values: ArrayLike) -> dict[str, Any]:
    """Return a column of class indices, -1 for none."""
    return {"key": key, "title": title, "kind": "class", "values": np.asarray(values).tolist()}


def name_column(key: str, title: str, names: ArrayLike) -> dict[str, Any]:
    """Return a column of names, each kept once."""
    known, values = np.unique(np.asarray(names), return_inverse=True)
    return {"key": key, "title": title, "kind": "name", "names": known.tolist(), "values": values.tolist()}


def share_column(key: str, title: str, values: ArrayLike) -> dict[str, Any]:
    """Return a column of shares, in hundredths of a per cent; below 0 is none."""
    return {
        "key": key,
        "title": title,
        "kind": "share",
        "values": np.round(np.asarray(values) * 10_000).astype(np.int64).tolist(),
    }


def clip_table(run: Run) -> dict[str, Any]:
    """Return ids and columns of all labelled clips: truth, person, the vote's and the branches' answers."""
    answers = run.answers
    columns = [class_column("truth", "truth", answers.truth)]
    if run.groups[0]:
        columns.append(name_column("group", run.groups[0], answers.groups))
    for phase in reversed(PHASES):
        row = f"fused/{phase}"
        if row in answers.answer:
            columns.append(class_column(row, row, answers.answer[row]))
            confidence = np.where(answers.answer[row] < 0, -1.0, answers.confidence[row])
            columns.append(share_column(f"{row}:confidence", "confidence (%)", confidence))
    for place, name in enumerate(run.branch_names()):
        row = next(
            (f"{name}/{phase}" for phase in reversed(PHASES) if f"{name}/{phase}" in answers.answer), ""
        )
        if row:
            columns.append(class_column(f"branch{place}", row, answers.answer[row]))
    return {"classes": list(answers.class_names), "ids": answers.clip_ids.tolist(), "columns": columns}
