"""Time and memory against size: ``python -m benchmarks.load [PART ...] [--work DIR]``.

Parts: ``clips`` (stores of up to a million clips of 16 frames x 20 keypoints, about 4 GB, checked, counted
and split), ``scores`` (up to ten million rows of 32 classes in 64 shards, merged, fused and scored),
``classes`` (4,562 clips of up to 1,000 classes, fused and scored), ``models`` (up to 12 stores of 777
validation and 4,562 target clips, searched and fused). Each command is a process of its own; its seconds and
peak memory are kept for every size, with the exponent of their growth between the two largest sizes: 1 is a
straight line, below it fixed costs count. Free space is checked first.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fusion_scale import BLOCK, TABLE
from benchmarks.machine import machine
from benchmarks.measuring import run_mg
from benchmarks.record_run import RESULTS, commit

FRAMES, POINTS, CLASSES, SHARDS = 16, 20, 32, 64
SIZES: dict[str, tuple[int, ...]] = {
    "clips": (10_000, 100_000, 1_000_000),
    "scores": (100_000, 1_000_000, 10_000_000),
    "classes": (10, 100, 1_000),
    "models": (3, 6, 12),
}
TARGET, VAL = 4_562, 777
# The most that a part has on the disk at once, in bytes for each unit of its largest size.
_ROOM = {
    "clips": 2 * FRAMES * POINTS * 12,
    "scores": 4 * (4 * CLASSES + 64),
    "classes": 10**5,
    "models": 10**7,
}

Cells = Iterator[tuple[str, tuple[float, float]]]


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of work in this process; its memory is not measured (0)."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began, 0.0


def clips(folder: Path, size: int) -> Cells:
    """Write, check, count and split a store of ``size`` clips of 100 people."""
    from mg_data.labels import write_labels
    from mg_data.store import ClipsWriter

    store, labels = folder / "clips.h5", folder / "labels.csv"
    names = [f"class {index}" for index in range(CLASSES)]
    rng = np.random.default_rng(0)
    table = rng.random((997, FRAMES, 1, POINTS, 3), dtype=np.float32)

    def write() -> None:
        with ClipsWriter(store, dataset="load", class_names=names, layout="kinect-20") as writer:
            for row in range(size):
                video = row // 100
                writer.add(
                    clip_id=f"v{video:05}_{row % 100}",
                    subject_id=f"s{video % 100:02}",
                    video_id=f"v{video:05}",
                    start=FRAMES * (row % 100),
                    stop=FRAMES * (row % 100 + 1),
                    joints=table[row % len(table)],
                )

    yield "write clips", timed(write)
    ids = [f"v{row // 100:05}_{row % 100}" for row in range(size)]
    write_labels(labels, ids, [row % CLASSES for row in range(size)], names)
    # Random keypoints give warnings, which are no error of the command.
    yield "mg data check", run_mg("data", "check", store, "--labels", labels, "--quiet", allowed=(0, 5))
    yield "mg data stats", run_mg("data", "stats", store, "--labels", labels, "--quiet")
    protocol = {
        "train": {"subjects": [f"s{person:02}" for person in range(50)]},
        "target": {"subjects": [f"s{person:02}" for person in range(50, 100)]},
    }
    words = ("data", "split", store, labels, "--protocol-json", json.dumps(protocol), "--quiet")
    yield "mg data split", run_mg(*words, "-o", folder / "split.h5")


def scores(folder: Path, size: int) -> Cells:
    """Write logits in shards, merge them and score the result."""
    from mg_data.labels import write_labels
    from mg_data.store import stream_logits

    names = [f"class {index}" for index in range(CLASSES)]
    truth = np.random.default_rng(1).integers(0, CLASSES, size)
    table = np.random.default_rng(0).normal(size=(TABLE, CLASSES)).astype(np.float32) * 3
    shards = [folder / f"shard-{number:02}.h5" for number in range(SHARDS)]

    def write() -> None:
        for number, path in enumerate(shards):
            rows = np.arange(number, size, SHARDS)
            with stream_logits(
                path,
                count=len(rows),
                class_names=names,
                model="m",
                modality="m",
                branch="m",
                dataset="load",
            ) as stream:
                for begin in range(0, len(rows), BLOCK):
                    part = rows[begin : begin + BLOCK]
                    values = table[part % TABLE].copy()
                    values[np.arange(len(part)), truth[part]] += 4
                    stream.add(np.char.mod("clip%08d", part).astype(np.bytes_), values)

    yield "write 64 shards", timed(write)
    whole, labels = folder / "logits.h5", folder / "truth.csv"
    write_labels(labels, [f"clip{row:08}" for row in range(size)], truth.tolist(), names)
    yield "mg store merge", run_mg("store", "merge", *shards, "-o", whole, "--quiet")
    yield "mg fuse (blocks)", run_mg("fuse", whole, "-o", folder / "probs.h5", "--quiet")
    yield "mg score", run_mg("score", folder / "probs.h5", "--labels", labels, "--quiet")


def _score_stores(folder: Path, models: int, classes: int) -> tuple[list[Path], list[Path], Path]:
    """Write logits of the target and of validation for each model; return them and the truth of both."""
    from mg_data.labels import write_labels
    from mg_data.store import write_logits

    names = [f"class {index}" for index in range(classes)]
    rng = np.random.default_rng(0)
    parts: dict[str, list[Path]] = {}
    ids, truths = [], []
    for part, count in (("target", TARGET), ("val", VAL)):
        truth = rng.integers(0, classes, count)
        own = [f"{part}{row:05}" for row in range(count)]
        ids += own
        truths += truth.tolist()
        for model in range(models):
            values = rng.normal(size=(count, classes)) * 1.4
            values[np.arange(count), truth] += 1.6 + 0.1 * model
            path = folder / f"{part}-{model}.h5"
            write_logits(
                path, clip_ids=own, values=values, class_names=names, model="m", modality=f"m{model}",
                branch=f"b{model}", dataset="load",
            )  # fmt: skip
            parts.setdefault(part, []).append(path)
    labels = folder / "truth.csv"
    write_labels(labels, ids, truths, names)
    return parts["target"], parts["val"], labels


def classes(folder: Path, size: int) -> Cells:
    """Fuse and score two models of ``size`` classes, with intervals."""
    target, _, labels = _score_stores(folder, 2, size)
    yield "mg fuse", run_mg("fuse", *target, "-o", folder / "probs.h5", "--quiet")
    yield "mg score", run_mg("score", folder / "probs.h5", "--labels", labels, "--quiet")


def models(folder: Path, size: int) -> Cells:
    """Search temperature and weights of ``size`` models and fuse them; beyond a grid the search ascends."""
    target, val, labels = _score_stores(folder, size, CLASSES)
    fit = ("--fit", *val, "--labels", labels)
    yield (
        "mg fuse --fit",
        run_mg("fuse", *target, *fit, "-o", folder / "probs.h5", "--quiet", "--allow-tainted"),
    )
    yield "mg score", run_mg("score", folder / "probs.h5", "--labels", labels, "--quiet")


PARTS: dict[str, Callable[[Path, int], Cells]] = {
    "clips": clips,
    "scores": scores,
    "classes": classes,
    "models": models,
}


def exponent(sizes: tuple[int, ...], values: list[float]) -> float | None:
    """Return the exponent of growth between the two largest sizes.

    >>> exponent((1, 10, 100), [1.0, 2.0, 20.0])
    1.0
    """
    if len(values) < 2 or min(values[-2:]) <= 0:
        return None
    return round(math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2]), 2)


def measure(part: str, work: Path | None, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return seconds, memory and exponents of every step of a part."""
    found: dict[str, dict[str, list[float]]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=work) as name:
            free, needed = shutil.disk_usage(name).free, _ROOM[part] * size
            if free < 2 * needed:
                raise SystemExit(
                    f"{name}: {free / 1e9:.1f} GB free, wanted {2 * needed / 1e9:.1f} for {size:,} {part}"
                )
            for step, (seconds, peak) in PARTS[part](Path(name), size):
                row = found.setdefault(step, {"seconds": [], "peak_mb": []})
                row["seconds"].append(round(seconds, 2))
                row["peak_mb"].append(round(peak))
                print(f"{part} {size:,}: {step} {seconds:.1f} s, {peak:.0f} MB", flush=True)
    return {
        "sizes": list(sizes),
        "steps": {
            step: {
                **row,
                "exponent_seconds": exponent(sizes, row["seconds"]),
                "exponent_memory": exponent(sizes, row["peak_mb"]),
            }
            for step, row in found.items()
        },
    }


def main() -> None:
    """Write results/load-PART.json for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--work", type=Path, help="where stores are made; they are removed")
    parser.add_argument("--most", type=int, help="leave out larger sizes: a trial, not a result")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))} (known: {', '.join(PARTS)})")
    for part in given.parts or PARTS:
        sizes = tuple(size for size in SIZES[part] if given.most is None or size <= given.most)
        result = {
            "kind": "load",
            "part": part,
            "command": f"python -m benchmarks.load {part}",
            "commit": commit(),
            "machine": machine(),
            "seed": 0,
            **measure(part, given.work, sizes),
        }
        if given.most is None:
            path = RESULTS / f"load-{part}.json"
            path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        else:
            print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
