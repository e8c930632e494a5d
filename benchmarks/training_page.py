"""The section of docs/results.md on the trainer: its overhead, its memory, two processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def section() -> list[str]:
    """Return the section's lines; what has not been measured reads "not run"."""
    return ["", "## Training: overhead and two processes", "", *_overhead(), "", *_two_processes()]


def _record(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _overhead() -> list[str]:
    record = _record("trainer-overhead")
    if record is None:
        return ["Trainer beside a bare loop: not run"]
    wanted = record["wanted"]
    first, last = record["epochs"][0], record["epochs"][-1]
    return [
        f"The trainer beside a bare PyTorch loop, {record['model']}: {100 * record['overhead']:+.1f} % of the",
        f"time of an epoch (wanted at most {100 * wanted['overhead']:.0f} %; median over epochs in turns, log and",
        f"resumable state included), losses apart by at most {record['loss_difference']:.0e}. Resident memory",
        f"after the first epoch {first['resident_mib']:.0f} MiB, after the last of {len(record['epochs'])}",
        f"{last['resident_mib']:.0f} MiB; from the third on it grows by a factor of "
        f"{record['memory_growth']:.3f} (wanted at most {wanted['memory']:g}).",
        f"{record['machine']}, commit {record['commit']}, `{record['command']}`.",
    ]


def _two_processes() -> list[str]:
    record = _record("two-processes")
    if record is None:
        return ["Training in two processes beside one: not run"]
    wanted = record["wanted"]
    return [
        f"{record['processes']} processes under torchrun are {record['ratio']:.2f} times as fast as one",
        f"(wanted >= {wanted['ratio']:g}; best rounds {record['best_ratio']:.2f}), `{record['model']}`, the same",
        "batches, BatchNorm over the whole batch. Losses of the epochs differ by",
        ", ".join(f"{difference:.0e}" for difference in record["loss_differences"])
        + f" (relative; wanted at most {wanted['loss_difference']:g}).",
        f"{record['machine']}, commit {record['commit']}, `{record['command']}`.",
    ]
