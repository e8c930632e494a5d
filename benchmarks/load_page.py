"""The section of docs/benchmarks.md on time and memory against size, of results/load-*.json."""

from __future__ import annotations

from benchmarks.page_parts import NOT_RUN, record

# Part -> what its sizes count.
PARTS = {
    "clips": "clips of 16 frames x 20 keypoints",
    "scores": "clips of 32 classes in 64 shards",
    "classes": "classes, 4,562 clips, two models",
    "models": "models, 777 clips of validation, 4,562 of the target",
}


def section() -> list[str]:
    """Return the section's lines; a part that has not been measured reads "not run"."""
    lines = [
        "",
        "## Time and memory against size",
        "",
        "Each command in a process of its own. The exponents are those of growth between the two largest",
        "sizes: 1 is a straight line, below it fixed costs count. `python -m benchmarks.load`.",
    ]
    for part, what in PARTS.items():
        found = record(f"load-{part}")
        if found is None:
            lines += ["", f"{what}: {NOT_RUN}"]
            continue
        sizes = [f"{size:,}" for size in found["sizes"]]
        lines += [
            "",
            f"| {what} | {' | '.join(f'{size}: s, MB' for size in sizes)} | exponent of time | of memory |",
            "|---" * (3 + len(sizes)) + "|",
        ]
        for step, row in found["steps"].items():
            cells = [
                f"{seconds:.1f}, {peak:,}" if peak else f"{seconds:.1f}"
                for seconds, peak in zip(row["seconds"], row["peak_mb"])
            ]
            ends = (
                "" if row[key] is None else f"{row[key]:.2f}"
                for key in ("exponent_seconds", "exponent_memory")
            )
            lines.append(f"| {step} | {' | '.join(cells)} | {' | '.join(ends)} |")
        lines += ["", f"{found['machine']}, commit {found['commit']}."]
    return lines
