"""The ablation on UTD-MHAD by protocol and seed: ``python -m benchmarks.ablation_utd --work DIR``.

Protocol ``standard`` is that of recipes/utd-mhad-ablation.toml: train on subjects 1, 3, 5, fit the vote on 7,
target 2, 4, 6, 8. ``hard`` trains on subject 1 alone, fits on 3, and has all others as its target: a third
of the clips gets as many steps by smaller batches and more epochs. All settings are fixed before the first
seed; ``mg ablate`` keeps every finished cell, so a call that is broken off goes on where it was.

Each finished seed of a protocol is a file ``results/ablation-utd-PROTOCOL-seedS.json`` with all of its rows;
seeds that are there are skipped. ``--summary`` prints the tables of all seeds that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record_run import RESULTS, commit

RECIPE = Path(__file__).parent.parent / "recipes" / "utd-mhad-ablation.toml"
_POINTS = {"train.epochs": 120, "train.batch_size": 16}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "standard": {},
    "hard": {
        "split.train.subjects": ["s1"],
        "split.val.subjects": ["s3"],
        "split.target.subjects": ["s2", "s4", "s5", "s6", "s7", "s8"],
        "branches.depth.train.epochs": 80,
        "branches.heatmap.train.epochs": 90,
        **{f"branches.{name}.{key}": value for name in ("joint", "limb", "motion")
           for key, value in _POINTS.items()},
    },
}  # fmt: skip
METRICS = ("accuracy", "macro_f1", "ece")


def run_seed(work: Path, protocol: str, seed: int, changes: list[str], jobs: int) -> dict[str, Any]:
    """Run the ablation of one seed; return its ablation.json and the wall time of this call."""
    changed = [f"{key}={json.dumps(value)}" for key, value in PROTOCOLS[protocol].items()] + changes
    began = time.perf_counter()
    words = [
        "--seeds",
        str(seed),
        "--jobs",
        str(jobs),
        *(item for word in changed for item in ("--set", word)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mg_data", "ablate", str(RECIPE), "-o", str(work / protocol), *words],
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"mg ablate of {protocol}, seed {seed}: exit code {done.returncode}")
    found: dict[str, Any] = json.loads((work / protocol / "ablation.json").read_text(encoding="utf-8"))
    return {**found, "wall_seconds": round(time.perf_counter() - began, 1)}


def record(work: Path, protocol: str, seed: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a seed: scores by row, what pseudo-labels gained, inputs and command."""
    inputs: dict[str, str] = {}
    for step in ("data.import", "data.split"):
        outputs = json.loads((work / protocol / "steps" / f"{step}.json").read_text(encoding="utf-8"))
        inputs.update({Path(path).name: digest for path, digest in outputs["outputs"].items()})
    return {
        "kind": "ablation-utd",
        "protocol": protocol,
        "seed": seed,
        "command": f"python -m benchmarks.ablation_utd --work DIR --protocols {protocol} --seeds {seed}",
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
        # Of the call that finished the seed; a call that was broken off before is not in it.
        "wall_seconds": found["wall_seconds"],
        "inputs": inputs,
        "settings": PROTOCOLS[protocol],
        "rows": {
            row["name"]: {"title": row["title"], "modality": row["modality"], **row["cells"][str(seed)]}
            for row in found["rows"]
        },
        "pseudo": found["pseudo"][str(seed)],
        "gains": found["gains"],
    }


def summary(folder: Path = RESULTS) -> str:
    """Return the tables of all seeds that are there: mean and standard deviation in percent."""
    text = []
    for protocol in PROTOCOLS:
        seeds = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(folder.glob(f"ablation-utd-{protocol}-seed*.json"))
        ]
        if not seeds:
            continue
        numbers = ", ".join(str(item["seed"]) for item in seeds)
        text += [f"{protocol}, seeds {numbers}", f"| row | {' | '.join(METRICS)} |", "|---" * 4 + "|"]
        for name, row in seeds[0]["rows"].items():
            cells = (_spread([item["rows"][name][metric] for item in seeds]) for metric in METRICS)
            text.append(f"| {row['title']} | {' | '.join(cells)} |")
        for kind in ("pseudo", "pseudo-fitted"):
            parts = (f"{key} {_spread([item['pseudo'][kind][key] for item in seeds])}" for key in ("yield",
                     "precision"))  # fmt: skip
            text.append(f"{kind}: {', '.join(parts)}")
        joint = [
            (item["rows"]["joint"]["accuracy"], item["rows"]["joint-cmpl"]["accuracy"]) for item in seeds
        ]
        removed = sum(after - before for before, after in joint) / sum(1 - before for before, _ in joint)
        gain = _spread([after - before for before, after in joint])
        text += [f"joint branch: {gain} points by pseudo-labels, {100 * removed:.1f} % of its errors", ""]
    return "\n".join(text)


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{100 * statistics.mean(known):.2f}"
    return mean if len(known) < 2 else f"{mean} ± {100 * statistics.stdev(known):.2f}"


def main() -> None:
    """Run the seeds that are missing and write their files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for stores and checkpoints")
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="steps at work at once, of one thread each")
    parser.add_argument("--set", nargs="+", default=[], help="changes of the recipe: a trial, not a result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the seeds' files")
    parser.add_argument("--summary", action="store_true", help="print the tables of the seeds that are there")
    arguments = parser.parse_args()
    if arguments.summary:
        print(summary(arguments.results))
        return
    if arguments.work is None:
        parser.error("--work DIR is needed")
    if arguments.set and arguments.results == RESULTS:
        parser.error("a changed recipe is no result of this benchmark: give --results another folder")
    arguments.results.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for protocol in arguments.protocols:
            path = arguments.results / f"ablation-utd-{protocol}-seed{seed}.json"
            if path.exists():
                continue
            found = run_seed(arguments.work, protocol, seed, arguments.set, arguments.jobs)
            text = json.dumps(record(arguments.work, protocol, seed, found), indent=2)
            path.write_text(text + "\n", encoding="utf-8")
            print(path.name, flush=True)


if __name__ == "__main__":
    main()
