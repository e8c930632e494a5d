"""What an inertial plugin adds on UTD-MHAD: ``python -m benchmarks.imu_utd --work DIR --skeleton DIR``.

``examples/mg-imu`` must be installed. Train on subjects 1, 3, 5, 7, test on 2, 4, 6, 8; the last checkpoint
of a fixed number of epochs is taken and the vote has equal weights and temperature 1, so no label of a tested
subject is read before ``mg score``. The skeleton's logits are those of ``benchmarks/skeleton_utd.py`` in its
work folder. Each seed is a file ``results/imu-utd-seedS.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks.record_run import RESULTS, commit
from benchmarks.skeleton_utd import _mg as mg
from benchmarks.skeleton_utd import _scores as scores
from benchmarks.skeleton_utd import prepare

# Votes of the inertial branch with branches of the skeleton, chosen before any of them was scored.
VOTES = {
    "decoupled-joint": ("decoupled-joint",),
    "decoupled-joint + imu": ("decoupled-joint", "imu"),
    "decoupled-joint + decoupled-limb": ("decoupled-joint", "decoupled-limb"),
    "decoupled-joint + decoupled-limb + imu": ("decoupled-joint", "decoupled-limb", "imu"),
    "imu": ("imu",),
}
# Classes are balanced, so nothing is reweighted; the rest is the record's own recipe.
SETTINGS = {
    "recipe": {
        "loss": {"name": "cross-entropy"},
        "auxiliary": [{"name": "orthogonal-semantic", "weight": 1.0}],
        "ema": 0.999,
    }
}


def run_seed(work: Path, skeleton: Path, seed: int, threads: int) -> dict[str, Any]:
    """Train the inertial branch and score all votes.

    Raises:
        SystemExit: the skeleton's logits of this seed are not there.
    """
    logits = {
        name: skeleton / f"standard-{name}-seed{seed}.h5" for name in ("decoupled-joint", "decoupled-limb")
    }
    missing = [str(path) for path in logits.values() if not path.exists()]
    if missing:
        raise SystemExit(f"{missing[0]} is missing: run 'python -m benchmarks.skeleton_utd' first")
    imu, split = work / "imu.h5", work / "standard.h5"
    if not imu.exists():
        mg("imu", "import", work / "clips.h5", "-o", imu)
    stem = work / f"standard-imu-seed{seed}"
    common = ("--data", imu, "--split", split, "--threads", threads)
    began = time.perf_counter()
    train = mg("train", "imu-cnn", *common, "--preset", "small", "--settings", json.dumps(SETTINGS),
               "--branch", "imu", "--seed", seed, "-o", stem.with_suffix(".safetensors"))  # fmt: skip
    seconds = time.perf_counter() - began
    logits["imu"] = stem.with_suffix(".h5")
    mg("predict", stem.with_suffix(".safetensors"), *common, "--subset", "target", "-o", logits["imu"])
    found = {}
    for name, members in VOTES.items():
        probs = work / f"standard-vote-{len(found)}-seed{seed}.h5"
        mg("fuse", *(logits[member] for member in members), "-o", probs)
        found[name] = scores(work, probs)
    return {
        "settings": SETTINGS,
        "parameters": train.get("parameters"),
        "train_seconds": round(seconds, 1),
        "threads": threads,
        "scores": found,
    }


def main() -> None:
    """Run the seeds that are missing and write their files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and checkpoints")
    parser.add_argument("--skeleton", type=Path, required=True, help="work folder of skeleton_utd")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    digests = prepare(arguments.work, arguments.source / "utd_mhad")
    for seed in arguments.seeds:
        path = RESULTS / f"imu-utd-seed{seed}.json"
        if path.exists():
            continue
        found = run_seed(arguments.work, arguments.skeleton, seed, arguments.threads)
        imu = mg("store", "info", arguments.work / "imu.h5")["mg_content_digest"]
        record = {
            "kind": "imu-utd",
            "seed": seed,
            "command": f"python -m benchmarks.imu_utd --work DIR --skeleton DIR --seeds {seed}",
            "commit": commit(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
            "inputs": {
                "clips.h5": digests["clips.h5"],
                "split.h5": digests["standard.h5"],
                "imu.h5": imu,
            },
            **found,
        }
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for name, row in record["scores"].items():
            print(f"{path.name} {name}: {100 * row['accuracy']:.2f}", flush=True)


if __name__ == "__main__":
    main()
