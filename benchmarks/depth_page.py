"""The page's section on depth video: rows of ``depth_utd`` and its votes with the skeleton."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
TITLES = {
    "cropped": "nearness and its change, cropped to the person",
    "full-frame": "the same, whole frames",
    "difference": "change of nearness alone, cropped",
}


def _records(row: str) -> dict[int, dict[str, Any]]:
    found = {}
    for path in sorted(RESULTS.glob(f"depth-utd-standard-{row}-seed*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[record["seed"]] = record
    return found


def _line(title: str, scores: dict[int, dict[str, Any]], minutes: list[float]) -> str:
    cells = []
    for key in ("accuracy", "macro_f1"):
        values = [100 * scores[seed][key] for seed in sorted(scores)]
        if not values:
            cells.append("not run")
        elif len(values) == 1:
            cells.append(f"{values[0]:.2f}")
        else:
            cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
    seeds = ", ".join(str(seed) for seed in sorted(scores)) or "-"
    missing = ", ".join(str(seed) for seed in SEEDS if seed not in scores) or "-"
    time = f"{statistics.mean(minutes):.0f}" if minutes else ""
    return f"| {title} | {' | '.join(cells)} | {seeds} | {missing} | {time} |"


def section() -> list[str]:
    """Return the lines of the section."""
    lines = [
        "",
        "## Depth video on UTD-MHAD, without adaptation",
        "",
        "A narrow R(2+1)D (`r2plus1d`, preset `small`) from scratch on 32 frames of 48 px; train on subjects",
        "1, 3, 5, 7, test on 2, 4, 6, 8. Last checkpoint of fixed epochs; votes of equal weights; percent;",
        "`python -m benchmarks.depth_utd`. Minutes are processor time of one thread on a machine that did",
        "other work besides.",
        "",
        "| row | accuracy | macro-F1 | seeds | not run | training, minutes |",
        "|---|---|---|---|---|---|",
    ]
    for row, title in TITLES.items():
        found = _records(row)
        minutes = [record["train_cpu_seconds"] / 60 for record in found.values()]
        scores = {seed: record["scores"] for seed, record in found.items()}
        lines.append(_line(f"{row}: {title}", scores, minutes))
    fused = _records("fused")
    names = list(next(iter(fused.values()))["scores"]) if fused else []
    for name in names:
        scores = {seed: record["scores"][name] for seed, record in fused.items() if name in record["scores"]}
        what = "vote" if " + " in name or name in ("skeleton", "visual") else "alone"
        lines.append(_line(f"{what}: {name.removeprefix('skeleton: ')}", scores, []))
    if fused:
        settings = next(iter(fused.values()))["settings"]
        lines += ["", f"`skeleton` is the vote of {', '.join(settings['skeleton'])}."]
        lines.append("`visual` is cropped and difference.")
    return lines
