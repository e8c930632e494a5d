"""``mg layouts``, ``mg layouts show``: keypoint layouts as tables and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mg_data.cli.text import table
from mg_data.contract.runtime import Console, StageResult
from mg_data.contract.specs import LayoutSpec
from mg_data.plugins import registry


def _data(spec: LayoutSpec, owner: str) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "from": owner,
        "names": list(spec.names),
        "edges": list(spec.edges),
        "pairs": list(spec.pairs),
        "centre": spec.centre,
        "parents": list(spec.parents),
        "source": spec.source,
        "columns": list(spec.columns),
        "dims": spec.dims,
    }


def layouts(*, console: Console) -> StageResult:
    """List keypoint layouts."""
    known = registry()
    rows: list[tuple[str, ...]] = [("layout", "points", "edges", "pairs", "dims", "what")]
    listing = []
    for name, spec in sorted(known.layouts.items()):
        counts = (str(len(spec.names)), str(len(spec.edges)), str(len(spec.pairs)))
        rows.append((name, *counts, spec.dims, spec.summary))
        listing.append(_data(spec, known.version_of("layouts", name)))
    return StageResult(data={"layouts": listing}, text=table(rows))


def show(*, name: str, plot: Path | None = None, console: Console) -> StageResult:
    """Describe one layout, point by point; draw it with ``plot``.

    Raises:
        PluginError: there is no such layout. DataError: the layout breaks a rule. UsageError: ``plot``
        without matplotlib.
    """
    from mg_data.keypoints.layouts import check_layout, flip_permutation

    known = registry()
    spec: LayoutSpec = known.get("layouts", name)
    check_layout(spec)
    mirror = flip_permutation(spec).tolist()
    rows: list[tuple[str, ...]] = [("point", "name", "bone from", "mirrored", spec.source or "")]
    for point, label in enumerate(spec.names):
        bone = "(centre)" if point == spec.centre else spec.names[spec.parents[point]]
        pair = "" if mirror[point] == point else spec.names[mirror[point]]
        rows.append((str(point), label, bone, pair, str(spec.columns[point]) if spec.columns else ""))
    owner = known.version_of("layouts", name)
    head = f"{spec.name}: {spec.summary} (from {owner})"
    unit = "x, y, confidence in pixels" if spec.dims == "xy" else "x, y, z in metres"
    counts = f"{len(spec.names)} points of {unit}; {len(spec.edges)} edges, {len(spec.pairs)} pairs"
    if plot is not None:
        from mg_data.drawing.layout_plot import plot_layout

        plot_layout(spec, plot)
        console.say(f"wrote {plot}")
    return StageResult(data=_data(spec, owner), text=f"{head}\n{counts}\n\n{table(rows)}")
