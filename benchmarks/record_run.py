"""Keep the result of a finished run: ``python -m benchmarks.record_run RUN --command "mg run ..."``.

Writes ``results/run-NAME-seedS.json`` with the command, commit, seed, digests of the inputs and all metrics.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
METRICS = ("accuracy", "macro_f1", "mean_class_accuracy", "ece", "nll", "brier", "n", "yield", "precision")


def commit() -> str:
    """Return the commit of the tree, marked if it has changes besides records and the pages made of them."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    name = git("describe", "--always", "--abbrev=12", "--exclude=*")
    others = (":!benchmarks/results", ":!docs")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    return f"{name}-dirty" if changed else name or "unknown"


def describe(folder: Path, command: str) -> dict[str, Any]:
    """Return the record of a run folder."""
    from benchmarks.machine import machine

    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    fusion = json.loads((folder / "round1" / "fusion.json").read_text(encoding="utf-8"))
    history = [
        json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    whole = [entry["seconds"] for entry in history if entry["skipped"] == 0]
    inputs: dict[str, str] = {}
    for step in ("data.import", "data.split"):
        record = json.loads((folder / "steps" / f"{step}.json").read_text(encoding="utf-8"))
        inputs.update({Path(path).name: digest for path, digest in record["outputs"].items()})
    return {
        "kind": "run",
        "name": run["name"],
        "seed": run["seed"],
        "command": command,
        "commit": commit(),
        "machine": machine("no accelerator used"),
        "wall_seconds": whole[-1] if whole else None,
        "inputs": inputs,
        "dataset": run["dataset"],
        "branches": run["branches"],
        "temperature": fusion["temperature"],
        "weights": fusion["weights"],
        "notes": metrics["notes"],
        "scores": {
            name: {key: row[key] for key in METRICS if row.get(key) is not None}
            for name, row in metrics["scores"].items()
        },
        "steps": {item["step"]: item["seconds"] for item in run["stages"]},
    }


def main() -> None:
    """Write the record of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--command", required=True, help="the command that made the run")
    arguments = parser.parse_args()
    record = describe(arguments.run, arguments.command)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"run-{record['name']}-seed{record['seed']}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
