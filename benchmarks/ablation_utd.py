"""The ablation on UTD-MHAD by protocol and seed: ``python -m benchmarks.ablation_utd --work DIR``.

Protocol ``standard`` is that of recipes/utd-mhad-ablation.toml: train on subjects 1, 3, 5, fit the vote on 7,
target 2, 4, 6, 8. ``hard`` trains on subject 1 alone, fits on 3, and has all others as its target: a third
of the clips gets as many steps by smaller batches and more epochs. ``standard-aligned`` and ``hard-aligned``
are these with pseudo-labels whose class frequencies are those of the training people (the adapter
``distribution-alignment``); they share the first round, so run them after it in the same folder. All settings
are fixed before the first seed; ``mg ablate`` keeps every finished cell, so a call that is broken off goes on
where it was.

Each seed of a protocol is a file ``results/ablation-utd-PROTOCOL-seedS.json`` with its finished rows; those
that are there are skipped. ``--rows`` fills some, with only the steps that they need: all of them take a seed
half an hour of two cores, and a row without pseudo-labels a few minutes. ``--summary`` prints the tables of
all rows that are there; a row that lacks a seed says which seeds it has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tomllib
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
_ALIGNED = {"adapt.adapter": "distribution-alignment"}
PROTOCOLS |= {f"{name}-aligned": {**settings, **_ALIGNED} for name, settings in PROTOCOLS.items()}
METRICS = ("accuracy", "macro_f1", "ece")


def row_titles(protocol: str = "standard") -> dict[str, str]:
    """Return name -> title of the rows; of an aligned protocol, those with pseudo-labels and ``joint``."""
    rows = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["ablation"]["rows"]
    aligned = protocol.endswith("-aligned")
    return {
        name: row["title"]
        for name, row in rows.items()
        if not aligned or name == "joint" or row.get("when") == "after"
    }


def run_seed(
    folder: Path, protocol: str, seed: int, rows: list[str], changes: list[str], jobs: int
) -> dict[str, Any]:
    """Fill rows of one seed; return its ablation.json."""
    changed = [f"{key}={json.dumps(value)}" for key, value in PROTOCOLS[protocol].items()] + changes
    words = [
        "--seeds",
        str(seed),
        "--jobs",
        str(jobs),
        "--rows",
        *rows,
        *(item for word in changed for item in ("--set", word)),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mg_data", "ablate", str(RECIPE), "-o", str(folder), *words],
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"mg ablate of {protocol}, seed {seed}: exit code {done.returncode}")
    found: dict[str, Any] = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    return found


def record(
    folder: Path, protocol: str, seed: int, found: dict[str, Any], earlier: dict[str, Any]
) -> dict[str, Any]:
    """Return the record of a seed: scores by row, what pseudo-labels gained, inputs and command.

    Args:
        earlier: the record so far, whose rows are kept.

    Raises:
        SystemExit: its rows are of other inputs.
    """
    inputs: dict[str, str] = {}
    for step in ("data.import", "data.split"):
        outputs = json.loads((folder / "steps" / f"{step}.json").read_text(encoding="utf-8"))
        inputs.update({Path(path).name: digest for path, digest in outputs["outputs"].items()})
    if earlier and earlier["inputs"] != inputs:
        raise SystemExit(f"the rows of {protocol}, seed {seed}, that are there are of other inputs")
    at = commit()
    rows = {
        row["name"]: {
            "title": row["title"],
            "modality": row["modality"],
            "commit": at,
            **row["cells"][str(seed)],
        }
        for row in found["rows"]
        if row["name"] in row_titles(protocol) and str(seed) in row["cells"]
    }
    known = earlier.get("rows", {}) | rows
    return {
        "kind": "ablation-utd",
        "protocol": protocol,
        "seed": seed,
        "command": f"python -m benchmarks.ablation_utd --work DIR --protocols {protocol} --seeds {seed}",
        "commit": at,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
        "inputs": inputs,
        "settings": PROTOCOLS[protocol],
        "rows": {name: known[name] for name in row_titles(protocol) if name in known},
        "pseudo": found["pseudo"].get(str(seed), earlier.get("pseudo")),
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
        text += [f"### {protocol}, seeds {numbers}", ""]
        text += [f"| row | {' | '.join(METRICS)} | seeds |", "|---" * 5 + "|"]
        for name, title in row_titles(protocol).items():
            have = [item for item in seeds if name in item["rows"]]
            if not have:
                text.append(f"| {title} | {' | '.join(['not run'] * len(METRICS))} | - |")
                continue
            cells = (_spread([item["rows"][name][metric] for item in have]) for metric in METRICS)
            own = ", ".join(str(item["seed"]) for item in have)
            text.append(f"| {title} | {' | '.join(cells)} | {own} |")
        text.append("")
        marked = [item["pseudo"] for item in seeds if item.get("pseudo")]
        for kind in ("pseudo", "pseudo-fitted") if marked else ():
            parts = (
                f"{key} {_spread([item[kind][key] for item in marked])}" for key in ("yield", "precision")
            )
            text.append(f"- {kind}: {', '.join(parts)}")
        joint = [
            (item["rows"]["joint"]["accuracy"], item["rows"]["joint-cmpl"]["accuracy"])
            for item in seeds
            if {"joint", "joint-cmpl"} <= item["rows"].keys()
        ]
        if joint:
            removed = sum(after - before for before, after in joint) / sum(1 - before for before, _ in joint)
            gain = _spread([after - before for before, after in joint])
            text.append(
                f"- joint branch: {gain} points by pseudo-labels, {100 * removed:.1f} % of its errors"
            )
        text.append("")
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
    parser.add_argument("--rows", nargs="+", default=[], choices=row_titles(), help="all by default")
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
            earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            wanted = [name for name in row_titles(protocol) if name in (arguments.rows or row_titles())]
            missing = [name for name in wanted if name not in earlier.get("rows", {})]
            if not missing:
                continue
            # An aligned protocol shares its first round with the plain one.
            folder = arguments.work / protocol.removesuffix("-aligned")
            found = run_seed(folder, protocol, seed, missing, arguments.set, arguments.jobs)
            text = json.dumps(record(folder, protocol, seed, found, earlier), indent=2)
            path.write_text(text + "\n", encoding="utf-8")
            print(path.name, ", ".join(missing), flush=True)


if __name__ == "__main__":
    main()
