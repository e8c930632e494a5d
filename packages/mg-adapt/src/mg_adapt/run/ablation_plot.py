"""The figure of an ablation: accuracy of every row, its seeds as points (matplotlib, extra ``plot``)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mg_data.store import publish

_PLAIN, _ADAPTED = "#9db4cc", "#3b6ea5"


def plot_ablation(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figure as PNG or SVG, by its name, of what :func:`ablation_summary.collect` found."""
    rows = [row for row in found["rows"] if row["cells"]]
    figure = Figure(figsize=(8.0, 1.4 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        values = [100 * cell["accuracy"] for cell in row["cells"].values()]
        mean, spread = 100 * row["mean"]["accuracy"], 100 * (row["spread"]["accuracy"] or 0.0)
        colour = _ADAPTED if row["when"] == "after" else _PLAIN
        axes.barh(place, mean, 0.66, color=colour, zorder=2)
        if len(values) > 1:
            axes.errorbar(mean, place, xerr=spread, color="black", capsize=3, linewidth=1, zorder=3)
        axes.scatter(values, [place] * len(values), s=12, color="white", edgecolors="black", zorder=4)
        axes.annotate(
            f"{mean:.2f}", (mean + spread, place), (6, 0), textcoords="offset points", va="center", fontsize=8
        )
    names = [textwrap.fill(str(row["title"]), 44) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    lowest = min((100 * cell["accuracy"] for row in rows for cell in row["cells"].values()), default=0.0)
    # Bars keep their true lengths unless all of them are long.
    axes.set_xlim(max(0.0, lowest - 10.0) if lowest > 70 else 0.0, 112.0)
    axes.set_xlabel("accuracy on the target in percent; points: seeds, whiskers: std", fontsize=8)
    axes.set_title(f"{found['name']}: dark bars after pseudo-labels", fontsize=10)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
    with publish(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=150)
