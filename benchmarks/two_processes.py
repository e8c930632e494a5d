"""Training in two processes beside one: ``python -m benchmarks.two_processes --work DIR``.

``mg train`` on the recordings of UTD-MHAD (``DIR`` holds the stores of benchmarks/skeleton_utd.py, or gets
them), one thread a process: alone, and under torchrun with two processes (gloo, Lightning Fabric) that share
the same batches. The sides take turns. A time is that of an epoch in the training's log, without the first,
so the start of processes is left out; the ratio is the median of the rounds'. Dropout, which draws other
numbers in each process, is off, and BatchNorm goes over the whole batch: then losses must be equal up to
rounding, which is said epoch by epoch. ``ceiling`` is how many times as fast two separate trainings at once
are as one after the other: no training in two processes can be faster on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from benchmarks.skeleton_utd import prepare

PROCESSES = 2
GOAL = 1.6
TOLERANCE = 1e-3  # of a loss, relative: rounding that a few dozen steps of AdamW have magnified
SETTINGS = {
    "recipe": {"batch_size": 32, "epochs": 3, "log_every": 99, "sync_batchnorm": True},
    "model": {"dropout": 0.0},
    "modality": {},
}
MODEL = ("decoupled-stcnn", "--preset", "base", "--modality", "joint-motion")
SIDES = {
    "one": [sys.executable, "-m", "mg_data"],
    "two": [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(PROCESSES), "-m", "mg_data"),
    ],
}


def epochs_of(side: str, work: Path, outs: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Train once for each checkpoint, all at once; return the rows of each log, one an epoch."""
    words = ["train", *MODEL, "--data", work / "clips.h5", "--split", work / "standard.h5", "--threads", "1"]
    words += ["--device", "cpu", "--settings", json.dumps(SETTINGS), "--quiet", "-o"]
    running = [
        subprocess.Popen(
            [*SIDES[side], *map(str, words), str(out)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for out in outs
    ]
    for process in running:
        errors = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"training on side '{side}': exit code {process.returncode}\n{errors[-3000:]}")
    logs = [out.with_name(f"{out.stem}.log.jsonl").read_text(encoding="utf-8") for out in outs]
    return [[json.loads(line) for line in log.splitlines()] for log in logs]


def seconds_of(log: list[dict[str, Any]]) -> float:
    """Return the median seconds of an epoch, without the first."""
    return float(statistics.median(row["seconds"] for row in log[1:]))


def measure(work: Path, rounds: int) -> dict[str, Any]:
    """Return seconds an epoch, ratio, its ceiling and differences of losses."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    apart = []
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            for side in list(SIDES)[:: 1 if number % 2 else -1]:
                (rows,) = epochs_of(side, work, [Path(name) / f"{side}-{number}.safetensors"])
                seconds[side].append(seconds_of(rows))
                losses[side] = [row["loss"] for row in rows]
            outs = [Path(name) / f"apart{part}-{number}.safetensors" for part in range(PROCESSES)]
            apart.append(max(map(seconds_of, epochs_of("one", work, outs))))
    differences = [abs(b / a - 1) for a, b in zip(losses["one"], losses["two"])]
    return {
        "epoch_seconds": seconds,
        **ratio_of_rounds(seconds["one"], seconds["two"]),
        "ceiling": ratio_of_rounds([PROCESSES * one for one in seconds["one"]], apart),
        "best_ratio": min(seconds["one"]) / min(seconds["two"]),
        "losses": losses,
        "loss_differences": differences,
        "losses_equal": max(differences) <= TOLERANCE,
    }


def main() -> None:
    """Write results/PROCESSOR/two-processes.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the stores; made if missing")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    digests = prepare(given.work, given.source / "utd_mhad")
    before = os.getloadavg()
    result = {
        "kind": "two-processes",
        "command": f"python -m benchmarks.two_processes --work DIR --rounds {given.rounds}",
        "commit": commit(),
        "machine": machine("one thread a process"),
        "seed": 0,
        "inputs": {name: digests[name] for name in ("clips.h5", "standard.h5")},
        "model": " ".join(MODEL),
        "settings": SETTINGS,
        "processes": PROCESSES,
        "wanted": {"ratio": GOAL, "loss_difference": TOLERANCE},
        "load_before": before,
        **measure(given.work, given.rounds),
        "load_after": os.getloadavg(),
    }
    publish("two-processes", result)


if __name__ == "__main__":
    main()
