"""Stores larger than memory, fused in blocks, beside reading them: ``python -m benchmarks.fusion_scale``.

Four logit stores of ``--rows`` clips and 32 classes are written to a temporary folder, once in one order of
rows and once with a store shuffled. Reading is every block of every store through the block reader, ids and
values; fusing is the streamed vote, its result written and digested. Each run is a process of its own, whose
peak memory is taken; the two take turns. ``--rows 10000000`` needs about 16 GB of disk; the stores are
written in blocks too. ``--folder F --keep`` leaves them there and takes those it finds; with ``--rounds 0``
nothing else is done.
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

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit

CLASSES, MODELS = 32, 4
# Rows written at a time, and different rows there are.
BLOCK, TABLE = 1 << 18, 65_521
# Values, id in the heap with its reference, and some room.
BYTES_PER_ROW = 4 * CLASSES + 64


def write(folder: Path, rows: int) -> None:
    """Write four stores in one order, and the last one again with its rows in another, in blocks."""
    from mg_data.store import stream_logits
    from mg_data.store.digest import content_digest

    generator = np.random.default_rng(0)
    # Rows are taken from a table in turn: what is timed does not look at them.
    table = generator.normal(size=(TABLE, CLASSES)).astype(np.float32) * 3
    with stream_logits(
        folder / "a.h5",
        count=rows,
        class_names=[f"class {index}" for index in range(CLASSES)],
        model="a",
        modality="m",
        branch="a",
        dataset="scale",
    ) as stream:
        for begin in range(0, rows, BLOCK):
            numbers = np.arange(begin, min(begin + BLOCK, rows))
            stream.add(_names(numbers), table[numbers % TABLE])
    for name in "bcd":  # the same rows under another name
        shutil.copy(folder / "a.h5", folder / f"{name}.h5")
        with h5py.File(folder / f"{name}.h5", "r+") as file:
            file["logits/values"].attrs["branch"] = name
            file.attrs["mg_content_digest"] = content_digest(file, ascending=True)
    _shuffle(folder / "d.h5", folder / "shuffled.h5", generator.permutation(rows).astype(np.int32), table)


def _names(numbers: np.ndarray) -> np.ndarray:
    return np.char.mod("clip%08d", numbers).astype(np.bytes_)


def _shuffle(source: Path, target: Path, order: np.ndarray, table: np.ndarray) -> None:
    """Write the rows of a store in another order, everything else as it is; its content stays the same."""
    with h5py.File(source) as old, h5py.File(target, "w", libver=("earliest", "v110")) as new:
        new.attrs.update(dict(old.attrs))
        for name in ("classes", "taint", "provenance"):
            old.copy(name, new)
        parts = {}
        for name in ("index/clip_id", "logits/values", "logits/present"):
            item = old[name]
            parts[name] = new.create_dataset(
                name, shape=item.shape, dtype=item.dtype, chunks=item.chunks, fletcher32=item.fletcher32
            )
            parts[name].attrs.update(dict(item.attrs))
            new[name].parent.attrs.update(dict(item.parent.attrs))
        for begin in range(0, len(order), BLOCK):
            numbers = order[begin : begin + BLOCK]
            end = begin + len(numbers)
            parts["index/clip_id"][begin:end] = _names(numbers).astype(object)
            parts["logits/values"][begin:end] = table[numbers % TABLE]
            parts["logits/present"][begin:end] = 1


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


def prepare(folder: Path, rows: int) -> None:
    """Write the stores unless they are there.

    Raises:
        SystemExit: not enough room, or stores of another number of rows.
    """
    from mg_data.store import open_logits

    if (folder / "shuffled.h5").exists():
        store = open_logits(folder / "shuffled.h5")
        store.close()
        if store.count != rows:
            raise SystemExit(f"{folder}: holds stores of {store.count} rows, wanted {rows}")
        return
    needed = rows * BYTES_PER_ROW * (MODELS + 3)
    free = shutil.disk_usage(folder).free
    if free < 2 * needed:
        raise SystemExit(f"{folder}: {free / 1e9:.1f} GB free, wanted {2 * needed / 1e9:.1f} for {rows} rows")
    write(folder, rows)


def measure(rows: int, rounds: int, folder: Path) -> dict[str, object]:
    """Return medians over ``rounds`` in which the tasks take turns."""
    tasks = ("read", "fuse", "fuse shuffled")
    runs: dict[str, list[dict[str, float]]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            words = [sys.executable, "-m", "benchmarks.fusion_scale", "--task", task, "--folder", str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            runs[task].append(json.loads(done.stdout))
    result: dict[str, object] = {"rows": rows, "classes": CLASSES, "models": MODELS, "rounds": rounds}
    for task, measured in runs.items():
        result[task] = {
            "seconds": round(statistics.median(run["seconds"] for run in measured), 3),
            "peak_mb": round(max(run["peak_mb"] for run in measured)),
        }
    for task in tasks[1:]:
        found = ratio_of_rounds(*([run["seconds"] for run in runs[side]] for side in ("read", task)))
        result[f"speed of {task} beside read"] = found["ratio"]
        result[f"speed of {task} beside read, range"] = found["ratio_range"]
    return result


def main() -> None:
    """Write results/PROCESSOR/fusion-scale.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the stores are made")
    parser.add_argument("--keep", action="store_true", help="keep them there, and take those that are there")
    parser.add_argument("--task", choices=("read", "fuse", "fuse shuffled"))
    given = parser.parse_args()
    if given.task:
        print(json.dumps(child(given.task, given.folder)))
        return
    command = "python -m benchmarks.fusion_scale"
    command += "" if given.rows == 1_000_000 else f" --rows {given.rows}"
    with tempfile.TemporaryDirectory(dir=None if given.keep else given.folder) as name:
        folder = given.folder if given.keep else Path(name)
        prepare(folder, given.rows)
        if given.rounds == 0:
            return
        result = {
            "kind": "fusion-scale",
            "command": command,
            "commit": commit(),
            **measure(given.rows, given.rounds, folder),
        }
    publish("fusion-scale" if given.rows == 1_000_000 else f"fusion-scale-{given.rows}", result)


if __name__ == "__main__":
    main()
