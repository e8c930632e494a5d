"""The section of docs/results.md on the speed of video models, of results/rgb-models.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "results" / "rgb-models.json"


def section() -> list[str]:
    """Return the section's lines; a part that has not been measured reads "not run"."""
    lines = ["", "## Video models: speed", ""]
    if not PATH.exists():
        return [*lines, "not run"]
    record: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    lines += [
        "Medians over rounds in which the sides take turns; random bytes, one clip for forward passes;",
        f"{record['machine']}, torch {record['torch']}; `{record['command']}`.",
    ]
    lines += [
        "",
        "| forward, float32 | torchvision, ms | ours, ms | ratio (wanted >= 0.98) | channels-last, ms |",
    ]
    lines.append("|---|---|---|---|---|")
    for name, row in _rows(record, "forward"):
        cells = [f"{name} ({row['sample']})", f"{row['torchvision_ms']:.0f}", f"{row['ours_ms']:.0f}"]
        last = f"{row['channels_last_ms']:.0f}" if "channels_last_ms" in row else "-"
        lines.append(f"| {' | '.join(cells)} | {row['ratio']:.3f} | {last} |")
    lines += ["", "| training step, preset `small` | contiguous, ms | channels-last, ms | speed-up |"]
    lines.append("|---|---|---|---|")
    for name, row in _rows(record, "layout"):
        cells = [f"{name} ({row['sample']})", f"{row['contiguous_ms']:.0f}", f"{row['channels_last_ms']:.0f}"]
        lines.append(f"| {' | '.join(cells)} | {row['speed_up']:.2f} |")
    lines += ["", "| `torch.compile`, forward | eager, ms | compiled, ms | speed-up | first call, s |"]
    lines.append("|---|---|---|---|---|")
    for name, row in _rows(record, "compile"):
        if "not run" in row:
            lines.append(f"| {name} | not run: {row['not run']} | | | |")
            continue
        cells = [f"{name} ({row['sample']})", f"{row['eager_ms']:.0f}", f"{row['compiled_ms']:.0f}"]
        lines.append(f"| {' | '.join(cells)} | {row['speed_up']:.2f} | {row['compile_seconds']:.0f} |")
    commits = {record[part]["commit"] for part in ("forward", "layout", "compile") if part in record}
    return [*lines, "", f"Commit {', '.join(sorted(commits))}."]


def _rows(record: dict[str, Any], part: str) -> list[tuple[str, dict[str, Any]]]:
    if part not in record:
        return []
    return [(name, row) for name, row in record[part].items() if isinstance(row, dict)]
