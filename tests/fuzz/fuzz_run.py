"""Run readers on changed files: ``python tests/fuzz/fuzz_run.py [READER ...] --seconds 180``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: seconds in which a guided worker ends by itself; a case may take 20 of them
GRACE = 60.0
#: what was found is kept here
FOUND = HERE.parent.parent / "runs" / "fuzz"


def fuzz(
    reader: str,
    *,
    seconds: float,
    seed: str = "0",
    first: int = 0,
    count: int | None = None,
    guided: bool = False,
) -> dict[str, Any]:
    """Return cases, seconds and findings of a reader; inputs that were found lie in :data:`FOUND`.

    Args:
        guided: go where coverage leads, for ``seconds`` (``fuzz_guided.py``).
    """
    total: dict[str, Any] = {"reader": reader, "cases": 0, "read": 0, "refused": 0, "seconds": 0.0}
    findings: list[dict[str, Any]] = []
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mg-fuzz-") as name:
        folder = Path(name)
        left, starts = seconds, 0
        while left > 0 or count:
            part = folder / f"start-{starts}"
            part.mkdir()
            words = ["--folder", str(part), "--seconds", str(left)]
            if guided:
                words += ["--seed", f"{seed}+{starts}" if starts else seed]
            else:
                words += ["--seed", seed, "--first", str(first)]
                words += ["--count", str(count)] if count is not None else []
            began = time.monotonic()
            script = "fuzz_guided.py" if guided else "fuzz_worker.py"
            done = _work(script, reader, words, left + GRACE if guided else None)
            took = time.monotonic() - began
            result = _result(part / "result.json")
            findings += result["findings"]
            if done.returncode == 0 and result["cases"]:
                for key in ("cases", "read", "refused", "seconds"):
                    total[key] += result[key]
                total["slowest"] = result["slowest"]
                total |= _coverage(done.stderr)
                break
            if not (part / "now.json").exists():
                raise RuntimeError(f"the worker of {reader} did not begin:\n{done.stderr[-3000:]}")
            now = json.loads((part / "now.json").read_text())
            kept = part / "found" / f"{reader}-{seed}-{starts}-{now['index']}-{Path(now['file']).name}"
            shutil.copy(part / "work" / now["file"], kept)
            hung = "Timeout (" in done.stderr
            why = "took too long" if hung else f"killed the process (exit code {done.returncode})"
            if " in mutate\n" in done.stderr:  # no reader was at work
                why += ", while a damaged file was changed further"
            trace = _crash(done.stderr)
            facts = {"why": why, "index": now["index"], "file": str(kept), "trace": trace}
            findings.append({**facts, "times": 1})
            total["cases"] += now["index"] + 1 - first
            for key in ("read", "refused"):
                total[key] += now["tally"][key]
            total["seconds"] += took
            left -= took
            starts += 1
            if not guided:
                count = count - (now["index"] + 1 - first) if count is not None else None
                first = now["index"] + 1
        for finding in findings:
            kept = FOUND / Path(finding["file"]).name
            shutil.copy(finding["file"], kept)
            finding["file"] = str(kept)
    return {**total, "seconds": round(total["seconds"], 1), "findings": findings}


def _work(
    script: str, reader: str, words: list[str], limit: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a worker to its end. One that is done may hang or crash in atheris' destructors: no matter."""
    command = [sys.executable, str(HERE / script), reader, *words]
    fixed = {"OMP_NUM_THREADS": "1", "SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | fixed,
        errors="replace",
    ) as process:
        try:
            talk = process.communicate(timeout=limit)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            talk, code = process.communicate(), 0
    if re.search(r"^Done \d+ runs in", talk[1], re.MULTILINE):
        code = 0
    return subprocess.CompletedProcess(command, code, *talk)


def _crash(talk: str) -> str:
    """Return the stack at a crash or a timeout, without the list of extension modules behind it."""
    begin = max(talk.rfind("Fatal Python error"), talk.rfind("Timeout ("), 0)
    return talk[begin:].partition("\nExtension modules:")[0][-6000:]


def _result(path: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"cases": 0, "findings": []}
    return {**empty, **json.loads(path.read_text())} if path.exists() else empty


def _coverage(talk: str) -> dict[str, int]:
    """Return what libFuzzer counted last: branches reached, inputs kept. Nothing if it was not at work."""
    found = re.findall(r"cov: (\d+) .*corp: (\d+)/", talk)
    return {"branches": int(found[-1][0]), "inputs": int(found[-1][1])} if found else {}


def described(reader: str, finding: dict[str, Any], seed: str) -> str:
    """Return a finding in words: what, the input, how to see it again."""
    again = f"python tests/fuzz/fuzz_run.py {reader} --seed {seed} --first {finding['index']} --count 1"
    return (
        f"{reader}: {finding['why']} ({finding['times']} times)\n  input: {finding['file']}\n"
        + ("" if "guided" in Path(finding["file"]).name else f"  again: {again}\n")
        + str(finding["trace"])[-3000:]
    )


def add_to_record(folder: Path, result: dict[str, Any], seed: str, guided: bool) -> None:
    """Add a run to the reader's record, ``fuzz-READER.json``."""
    path = folder / f"fuzz-{result['reader']}.json"
    kept: dict[str, Any] = {"kind": "fuzz", "reader": result["reader"], "runs": []}
    if path.exists():
        kept = json.loads(path.read_text())
    sys.path.insert(0, str(HERE.parent.parent))
    from benchmarks.record_run import commit

    run: dict[str, Any] = {
        "mode": "guided" if guided else "changes",
        "seed": seed,
        **{key: result[key] for key in ("cases", "seconds", "branches", "inputs") if key in result},
        "found": [re.sub(r"\S*mg-fuzz-[^/]+/start-\d+/\w+/?", "", f["why"]) for f in result["findings"]],
        "commit": commit(),
    }
    path.write_text(json.dumps({**kept, "runs": [*kept["runs"], run]}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, help="so many cases instead of seconds")
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="add the run to FOLDER/fuzz-READER.json"
    )
    parser.add_argument("--guided", action="store_true", help="go where coverage leads (needs atheris)")
    given = parser.parse_args()
    if not given.readers:
        from fuzz_readers import READERS

        given.readers = list(READERS)
    for reader in given.readers:
        result = fuzz(
            reader,
            seconds=given.seconds,
            seed=given.seed,
            first=given.first,
            count=given.count,
            guided=given.guided,
        )
        for finding in result["findings"]:
            print(described(reader, finding, given.seed))
        if given.record:
            add_to_record(given.record, result, given.seed, given.guided)
        facts = {key: value for key, value in result.items() if key != "findings"}
        print(json.dumps({**facts, "found": len(result["findings"])}), flush=True)


if __name__ == "__main__":
    main()
