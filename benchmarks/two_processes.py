"""Training in two processes beside one: ``python -m benchmarks.two_processes --work DIR``.

``mg train`` on the recordings of UTD-MHAD (``DIR`` holds the stores of benchmarks/skeleton_utd.py, or gets
them), one thread a process: alone, and under torchrun with two processes (gloo, Lightning Fabric) that share
the same batches. The sides take turns. A time is that of an epoch in the training's log, without the first,
so the start of processes is left out; the ratio is the median of the rounds'. Dropout, which draws other
numbers in each process, is off, and BatchNorm goes over the whole batch: then losses must be equal up to
rounding, which is said epoch by epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import RESULTS, commit
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


def epochs_of(side: str, work: Path, folder: Path, number: int) -> list[dict[str, Any]]:
    """Train once; return the rows of the log, one an epoch."""
    out = folder / f"{side}-{number}.safetensors"
    words = ["train", *MODEL, "--data", work / "clips.h5", "--split", work / "standard.h5", "--threads", "1"]
    words += ["--device", "cpu", "--settings", json.dumps(SETTINGS), "--quiet", "-o", out]
    done = subprocess.run(
        [*SIDES[side], *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"training on side '{side}': exit code {done.returncode}\n{done.stderr[-3000:]}")
    log = out.with_name(f"{out.stem}.log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in log.splitlines()]


def measure(work: Path, rounds: int) -> dict[str, Any]:
    """Return seconds an epoch, ratio and differences of losses."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            for side in list(SIDES)[:: 1 if number % 2 else -1]:
                rows = epochs_of(side, work, Path(name), number)
                seconds[side].append(statistics.median(row["seconds"] for row in rows[1:]))
                losses[side] = [row["loss"] for row in rows]
    differences = [abs(b / a - 1) for a, b in zip(losses["one"], losses["two"])]
    return {
        "epoch_seconds": seconds,
        **ratio_of_rounds(seconds["one"], seconds["two"]),
        "best_ratio": min(seconds["one"]) / min(seconds["two"]),
        "losses": losses,
        "loss_differences": differences,
        "losses_equal": max(differences) <= TOLERANCE,
    }


def main() -> None:
    """Write results/two-processes.json."""
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
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread a process",
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
    (RESULTS / "two-processes.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
