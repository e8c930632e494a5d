"""The page of ``mg compare``, by the same templates, style and script as the report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from mg_fusion.report.charts.bars import BarRow, bar_rows
from mg_fusion.report.charts.svg import legend
from mg_fusion.report.clip_table import class_column, name_column, share_column
from mg_fusion.report.comparison import STATES, Comparison, class_rows, to_json
from mg_fusion.report.page import Pages

# Changes of answer that the page lists.
MOST_CHANGES = 20

CONTENTS = (
    {"key": "result", "title": "Result"},
    {"key": "changes", "title": "What changed"},
    {"key": "classes", "title": "By class"},
    {"key": "missing", "title": "Clips of one side alone"},
    {"key": "provenance", "title": "What was compared"},
)


def compare_table(comparison: Comparison) -> dict[str, Any]:
    """Return the table behind the lists of clips."""
    columns = [
        name_column("state", "change", np.array(STATES)[comparison.state]),
        class_column("truth", "truth", comparison.truth),
    ]
    for place, name in enumerate(("first", "second")):
        columns.append(class_column(name, name, comparison.answers[place]))
        columns.append(share_column(f"{name}:confidence", "confidence (%)", comparison.confidence[place]))
    if (comparison.groups != "").any():
        columns.insert(1, name_column("group", comparison.result["grouped_by"] or "group", comparison.groups))
    # The order of states is ours and not that of their names, so that links can count on it.
    columns[0] = {**columns[0], "names": list(STATES), "values": comparison.state.tolist()}
    return {"classes": list(comparison.class_names), "ids": comparison.clip_ids.tolist(), "columns": columns}


def _pairs(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the most frequent changes of answer, by truth, first and second answer."""
    changed = comparison.answers[0] != comparison.answers[1]
    found = Counter(
        zip(
            comparison.truth[changed].tolist(),
            *comparison.answers[:, changed].tolist(),
            comparison.state[changed].tolist(),
            strict=True,
        )
    )
    names = comparison.class_names
    return [
        {
            "truth": names[truth],
            "first": names[one],
            "second": names[two],
            "state": STATES[state],
            "count": count,
            "where": f"truth:{truth} first:{one} second:{two}",
        }
        for (truth, one, two, state), count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ][:MOST_CHANGES]


def _bars(comparison: Comparison) -> str:
    rows: list[BarRow | str] = []
    for row in sorted(class_rows(comparison), key=lambda row: (row["gain"], row["name"])):
        note = f"{100 * row['gain']:+.2f}; {row['fixed']} fixed, {row['broken']} broken of {row['support']}"
        rows.append(BarRow(row["name"], [row["f1_first"], row["f1_second"]], note, f"truth:{row['index']}"))
    return bar_rows(rows, ["first", "second"], unit="F1 (%)")


def render_comparison(comparison: Comparison) -> str:
    """Return the comparison as one HTML page.

    Raises:
        UsageError: jinja2 is not installed.
    """
    data = to_json(comparison)
    return Pages().page(
        "compare.html.j2",
        CONTENTS,
        compare_table(comparison),
        data=data,
        titles=(comparison.first.title, comparison.second.title),
        states=[
            {"name": name, "count": data["counts"][name], "where": f"state:{place}"}
            for place, name in enumerate(STATES)
        ],
        pairs=_pairs(comparison),
        legend=legend(["first", "second"]),
        bars=_bars(comparison),
    )
