"""``mg compare``: what changed between two runs, clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mg_data.contract import Console, StageResult, UsageError
from mg_data.store import publish_text
from mg_fusion.report.comparison import compare_sides, open_sides, to_json
from mg_fusion.table import percent, render_cells
from mg_fusion.truth import given_groups

# Rows of the table in the terminal; --json and the page have all classes.
MOST_CLASSES = 12


def compare(
    *,
    console: Console,
    first: Path,
    second: Path,
    out: Path | None = None,
    row: str = "",
    labels: Path | None = None,
    groups: Path | None = None,
    group_by: str = "subject",
) -> StageResult:
    """Run ``mg compare``; see its ``--help``.

    Returns:
        data: counts, gains, McNemar, classes and clips; text: the same in short.
    """
    if row and not (Path(first).is_dir() or Path(second).is_dir()):
        raise UsageError("compare: --row is of metrics.json in run folders; two stores have none")
    grouped = given_groups(groups, group_by)
    sides = open_sides(Path(first), Path(second), row, labels)
    comparison = compare_sides(*sides, grouped, group_by)
    data = to_json(comparison)
    for title, ids in (("first", data["missing"]["in_first"]), ("second", data["missing"]["in_second"])):
        if ids:
            named = ", ".join(f"'{clip}'" for clip in ids[:3]) + (", ..." if len(ids) > 3 else "")
            console.warn(f"compare: the {title} lacks {len(ids)} clips of the other, left out: {named}")
    text = _text(data)
    if out is not None:
        from mg_fusion.report.compare_page import render_comparison

        publish_text(out, render_comparison(comparison))
        text += f"\n{out}"
    return StageResult(data=data, text=text)


def _text(data: Mapping[str, Any]) -> str:
    gain, counts = data["gains"]["accuracy"], data["counts"]
    lines = [
        f"accuracy {percent(data['first']['accuracy'])} -> {percent(data['second']['accuracy'])} % on "
        f"{data['n']} clips: {100 * gain['gain']:+.2f} points "
        f"[{100 * gain['low']:+.2f}, {100 * gain['high']:+.2f}] over {data['groups']} "
        f"{data['grouped_by'] or 'clip'}s, McNemar p {data['p_value']:.3g}",
        ", ".join(f"{name}: {count}" for name, count in counts.items()),
    ]
    changed = [row for row in data["per_class"] if row["f1_first"] != row["f1_second"] or row["broken"]]
    changed.sort(key=lambda row: (-abs(row["gain"]), row["index"]))
    if changed:
        cells = [
            [
                row["name"],
                percent(row["f1_first"]),
                percent(row["f1_second"]),
                f"{100 * row['gain']:+.2f}",
                *(str(row[key]) for key in ("fixed", "broken", "support")),
            ]
            for row in changed[:MOST_CLASSES]
        ]
        header = ["class", "F1 first", "F1 second", "gain", "fixed", "broken", "clips"]
        lines += ["", render_cells(header, cells)]
        if len(changed) > MOST_CLASSES:
            lines.append(f"and {len(changed) - MOST_CLASSES} classes that changed less")
    return "\n".join(lines)
