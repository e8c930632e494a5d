"""The page's sections on the inertial plugin, the ablation and the long tail of UTD-MHAD."""

from __future__ import annotations

import json
import statistics

from benchmarks import ablation_utd, long_tail_utd
from benchmarks.record_run import RESULTS


def _present(name: str) -> list[int]:
    return sorted({int(path.stem.rpartition("-seed")[2]) for path in RESULTS.glob(f"{name}-seed*.json")})


def imu_section() -> list[str]:
    """Return the lines on the example plugin mg-imu."""
    seeds = _present("imu-utd")
    lines = ["", "## A third party's modality: inertial signals of UTD-MHAD", ""]
    if not seeds:
        return [*lines, "not run"]
    records = [
        json.loads((RESULTS / f"imu-utd-seed{seed}.json").read_text(encoding="utf-8")) for seed in seeds
    ]
    lines += [
        "The plugin `examples/mg-imu` beside keypoints, trained and tested as the skeleton models above;",
        f"equal votes; percent; seeds {', '.join(map(str, seeds))}; `python -m benchmarks.imu_utd`.",
        "",
        "| vote of | accuracy | macro-F1 |",
        "|---|---|---|",
    ]
    for name in records[0]["scores"]:
        cells = []
        for key in ("accuracy", "macro_f1"):
            values = [100 * record["scores"][name][key] for record in records]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def ablation_section() -> list[str]:
    """Return the lines on the ablation, a table for each protocol with a finished seed."""
    lines = ["", "## Ablation on UTD-MHAD", ""]
    lines += [
        "Rows of the paper's Table 2 by `python -m benchmarks.ablation_utd` (three seeds of each protocol);",
        "mean and standard deviation over seeds; percent. `standard` trains on three people, fits the vote",
        "on a fourth and has four as its target; `hard` trains on one, fits on one and has six as target.",
        "`-aligned`: pseudo-labels by `distribution-alignment`, which supposes what holds here by design,",
        "that every person made every movement equally often. The adapter was written after looking at which",
        "target clips seed 1 of `standard` got wrong, so these rows say what it can do rather than what one",
        "would have got without knowing; its options are its defaults, and no other seed was looked at.",
        "Probabilities of `All fused` are at the tau that is best for accuracy, 5 to 7 on `hard`, and say",
        "little there (ECE); pseudo-labels are made at the tau of lowest NLL.",
        "",
    ]
    for protocol in ablation_utd.PROTOCOLS:
        if not _present(f"ablation-utd-{protocol}"):
            lines.append(f"{protocol}: not run.")
    found = ablation_utd.summary().split("\n")
    return [*lines, *(["", *found] if any(found) else [])]


def long_tail_section() -> list[str]:
    """Return the lines on the losses for a long tail."""
    lines = ["", "## Losses on a long-tailed UTD-MHAD", ""]
    lines += [
        "Training clips thinned 16:1 by a seeded exponential, tail = the rarest third of the classes; mean",
        "and 95 % interval over seeds; percent; `python -m benchmarks.long_tail_utd`.",
        "",
    ]
    if not list(RESULTS.glob("long-tail-utd-*.json")):
        return [*lines, "not run"]
    return [*lines, long_tail_utd.summary()]
