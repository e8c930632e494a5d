"""Run readers on changed files: ``python tests/fuzz/fuzz_run.py [READER ...] --seconds 180``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: what was found is kept here
FOUND = HERE.parent.parent / "runs" / "fuzz"


def fuzz(
    reader: str, *, seconds: float, seed: str = "0", first: int = 0, count: int | None = None
) -> dict[str, Any]:
    """Return cases, seconds and findings of a reader; inputs that were found lie in :data:`FOUND`."""
    total: dict[str, Any] = {
        "reader": reader,
        "cases": 0,
        "read": 0,
        "refused": 0,
        "seconds": 0.0,
        "findings": [],
    }
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mg-fuzz-") as name:
        folder = Path(name)
        left = seconds
        while left > 0 or count:
            (folder / "result.json").unlink(missing_ok=True)
            (folder / "now.json").unlink(missing_ok=True)
            words = [
                sys.executable,
                HERE / "fuzz_worker.py",
                reader,
                "--folder",
                folder,
                "--seconds",
                str(left),
                "--seed",
                seed,
                "--first",
                str(first),
            ]
            words += ["--count", str(count)] if count is not None else []
            began = time.monotonic()
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "SOURCE_DATE_EPOCH": "0",
                "PYTHONHASHSEED": "0",
            }
            done = subprocess.run(
                words, capture_output=True, text=True, env=environment, check=False, errors="replace"
            )
            took = time.monotonic() - began
            if (folder / "result.json").exists():
                result = json.loads((folder / "result.json").read_text())
                for key in ("cases", "read", "refused", "seconds"):
                    total[key] += result[key]
                total["slowest"] = result["slowest"]
                total["findings"] += result["findings"]
                break
            if not (folder / "now.json").exists():
                raise RuntimeError(f"the worker of {reader} did not begin:\n{done.stderr[-3000:]}")
            now = json.loads((folder / "now.json").read_text())
            hung = "Timeout (" in done.stderr
            kept = folder / "found" / f"{reader}-{seed}-{now['index']}-{Path(now['file']).name}"
            shutil.copy(folder / "work" / now["file"], kept)
            why = "took too long" if hung else f"killed the process (exit code {done.returncode})"
            total["findings"].append(
                {
                    "why": why,
                    "index": now["index"],
                    "file": str(kept),
                    "trace": done.stderr[-3000:],
                    "times": 1,
                }
            )
            total["cases"] += now["index"] + 1 - first
            for key in ("read", "refused"):
                total[key] += now["tally"][key]
            total["seconds"] += took
            left -= took
            if count is not None:
                count -= now["index"] + 1 - first
            first = now["index"] + 1
        for finding in total["findings"]:
            kept = FOUND / Path(finding["file"]).name
            shutil.copy(finding["file"], kept)
            finding["file"] = str(kept)
    return total


def described(reader: str, finding: dict[str, Any], seed: str) -> str:
    """Return a finding in words: what, the input, how to see it again."""
    return (
        f"{reader}: {finding['why']} ({finding['times']} times)\n  input: {finding['file']}\n  again: "
        f"python tests/fuzz/fuzz_run.py {reader} --seed {seed} --first {finding['index']} --count 1\n"
        f"{finding['trace'][-1500:]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, help="so many cases instead of seconds")
    given = parser.parse_args()
    if not given.readers:
        from fuzz_readers import READERS

        given.readers = list(READERS)
    for reader in given.readers:
        result = fuzz(reader, seconds=given.seconds, seed=given.seed, first=given.first, count=given.count)
        for finding in result["findings"]:
            print(described(reader, finding, given.seed))
        facts = {key: value for key, value in result.items() if key != "findings"}
        print(json.dumps({**facts, "found": len(result["findings"])}), flush=True)


if __name__ == "__main__":
    main()
