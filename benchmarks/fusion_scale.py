"""Stores larger than memory, fused in blocks, beside reading them: ``python -m benchmarks.fusion_scale``.

Four logit stores of ``--rows`` clips and 32 classes are written to a temporary folder, once in one order of
rows and once with a store shuffled. Reading is every block of every store through the block reader, ids and
values; fusing is the streamed vote, its result written and digested. Each run is a process of its own, whose
peak memory is taken; the two take turns. ``--rows 10000000`` needs about 12 GB of disk and, to write the
stores, 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from benchmarks.record_run import RESULTS, commit

CLASSES, MODELS = 32, 4
# Values, id in the heap with its reference, and some room.
BYTES_PER_ROW = 4 * CLASSES + 64


def write(folder: Path, rows: int) -> None:
    """Write four stores in one order, and the last one again in another."""
    from mg_data.store import write_logits

    generator = np.random.default_rng(0)
    names = [f"class {index}" for index in range(CLASSES)]
    ids = np.array([f"clip{index:08d}" for index in range(rows)])
    values = generator.normal(size=(rows, CLASSES)).astype(np.float32) * 3

    def store(name: str, order: np.ndarray | slice) -> None:
        write_logits(
            folder / f"{name}.h5",
            clip_ids=ids[order],
            values=values[order],
            class_names=names,
            model=name,
            modality="m",
            branch=name,
            dataset="scale",
        )

    store("a", slice(None))
    store("shuffled", generator.permutation(rows))
    for name in "bcd":  # the same rows under another name: what is timed does not look at them
        shutil.copy(folder / "a.h5", folder / f"{name}.h5")
        with h5py.File(folder / f"{name}.h5", "r+") as file:
            file["logits/values"].attrs["branch"] = name


def child(task: str, folder: Path) -> dict[str, float]:
    """Read or fuse in this process; return seconds and peak memory in MB."""
    from mg_data.store import open_logits
    from mg_fusion import fuse_to_store

    names = ("a", "b", "c", "shuffled" if task == "fuse shuffled" else "d")
    paths = [folder / f"{name}.h5" for name in names]
    began = time.perf_counter()
    if task == "read":
        for path in paths:
            store = open_logits(path)
            for begin in range(0, store.count, 16_384):
                end = min(begin + 16_384, store.count)
                store.ids(begin, end)
                store.read(begin, end)
            store.close()
    else:
        fuse_to_store(paths, folder / "out.h5", temperature=2.5, weights=[4, 3, 2, 1])
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Return this process's peak memory; ru_maxrss would count what its parent had when it was started."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmHWM in /proc/self/status")


def measure(rows: int, rounds: int, parent: Path | None) -> dict[str, object]:
    """Return medians over ``rounds`` in which the tasks take turns."""
    needed = rows * BYTES_PER_ROW * (MODELS + 3)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < 2 * needed:
            raise SystemExit(
                f"{folder}: {free / 1e9:.1f} GB free, wanted {2 * needed / 1e9:.1f} for {rows} rows"
            )
        write(folder, rows)
        tasks = ("read", "fuse", "fuse shuffled")
        runs: dict[str, list[dict[str, float]]] = {task: [] for task in tasks}
        for _ in range(rounds):
            for task in tasks:
                words = [sys.executable, "-m", "benchmarks.fusion_scale", "--task", task, "--folder", name]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                runs[task].append(json.loads(done.stdout))
    result: dict[str, object] = {"rows": rows, "classes": CLASSES, "models": MODELS, "rounds": rounds}
    for task, measured in runs.items():
        result[task] = {
            "seconds": round(statistics.median(run["seconds"] for run in measured), 3),
            "peak_mb": round(max(run["peak_mb"] for run in measured)),
        }
    for task in tasks[1:]:
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["read"], runs[task], strict=True)]
        result[f"speed of {task} beside read"] = round(statistics.median(ratios), 3)
    return result


def main() -> None:
    """Write results/fusion-scale.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--task", choices=("read", "fuse", "fuse shuffled"))
    given = parser.parse_args()
    if given.task:
        print(json.dumps(child(given.task, given.folder)))
        return
    command = "python -m benchmarks.fusion_scale" + (
        "" if given.rows == 1_000_000 else f" --rows {given.rows}"
    )
    result = {
        "kind": "fusion-scale",
        "command": command,
        "commit": commit(),
        **measure(given.rows, given.rounds, given.folder),
    }
    (RESULTS / "fusion-scale.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
