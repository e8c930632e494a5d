"""The section of docs/results.md on the speed of video models, of results/rgb-models.json."""

from __future__ import annotations

from typing import Any

from benchmarks.page_parts import record

PARTS = ("forward", "layout", "compile")


def section() -> list[str]:
    """Return the section's lines; a part that has not been measured reads "not run"."""
    lines = ["", "## Video models: speed", ""]
    found = {part: record("rgb-models", part) for part in PARTS}
    lines += [
        "Medians over rounds in which the sides take turns; random bytes, one clip for forward passes;",
        "`python -m benchmarks.rgb_models`.",
    ]
    lines += [
        "",
        "| forward, float32 | torchvision, ms | ours, ms | ratio (wanted >= 0.98) | channels-last, ms |",
    ]
    lines.append("|---|---|---|---|---|")
    for name, row in _rows(found, "forward"):
        cells = [f"{name} ({row['sample']})", f"{row['torchvision_ms']:.0f}", f"{row['ours_ms']:.0f}"]
        last = f"{row['channels_last_ms']:.0f}" if "channels_last_ms" in row else "-"
        lines.append(f"| {' | '.join(cells)} | {row['ratio']:.3f} | {last} |")
    lines += ["", "| training step, preset `small` | contiguous, ms | channels-last, ms | speed-up |"]
    lines.append("|---|---|---|---|")
    for name, row in _rows(found, "layout"):
        cells = [f"{name} ({row['sample']})", f"{row['contiguous_ms']:.0f}", f"{row['channels_last_ms']:.0f}"]
        lines.append(f"| {' | '.join(cells)} | {row['speed_up']:.2f} |")
    lines += ["", "| `torch.compile`, forward | eager, ms | compiled, ms | speed-up | first call, s |"]
    lines.append("|---|---|---|---|---|")
    for name, row in _rows(found, "compile"):
        if "not run" in row:
            lines.append(f"| {name} | not run: {row['not run']} | | | |")
            continue
        cells = [f"{name} ({row['sample']})", f"{row['eager_ms']:.0f}", f"{row['compiled_ms']:.0f}"]
        lines.append(f"| {' | '.join(cells)} | {row['speed_up']:.2f} | {row['compile_seconds']:.0f} |")
    made = [
        f"{part}: {kept['machine']}, torch {kept['torch']}, commit {kept[part]['commit']}"
        for part, kept in found.items()
        if kept is not None
    ]
    return [*lines, "", "; ".join(made) + "."]


def _rows(found: dict[str, dict[str, Any] | None], part: str) -> list[tuple[str, dict[str, Any]]]:
    record = found[part]
    if record is None:
        return []
    return [(name, row) for name, row in record[part].items() if isinstance(row, dict)]
