"""Losses on UTD-MHAD made long-tailed: ``python -m benchmarks.long_tail_utd --work DIR [ROW ...]``.

Trains on subjects 1, 3, 5, 7 and tests on 2, 4, 6, 8. Of the training clips a seeded subsample is kept: the
seed draws an order of the 27 classes, and the class at place r keeps ``round(16 * 16 ** (-r / 26))`` clips,
so counts fall exponentially from 16 to 1. The tail is the rarest third (nine classes), the head the most
frequent one. The test clips keep their equal frequencies. No row flips: mirrored swipes and circles change
their class, which would give rare classes the clips of frequent ones.

Every row trains the same model for the same epochs, and its last checkpoint is taken: no label of a tested
subject is read before ``mg score``. Each finished cell, one row of one seed, is a file
``results/long-tail-utd-ROW-seedS.json``; cells that are there are skipped. ``--summary`` prints the table
of all cells: means over seeds with 95 % t intervals, and the paired gain over cross-entropy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record_run import RESULTS, commit
from benchmarks.skeleton_utd import _mg as mg
from benchmarks.skeleton_utd import prepare
from mg_data.store import Provenance, SplitStore, read_split, write_split

IMBALANCE = 16.0
EPOCHS = 40
_RECIPE: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "batch_size": 16,
    "warmup_epochs": 3,
    "clip_norm": 1.0,
    "amp": "auto",
    "flip": False,
    # The model's own recipe has both; a row that wants one says so.
    "label_smoothing": 0.0,
    "auxiliary": [],
}
_FOCAL = {"name": "focal", "options": {"gamma": 2.0, "weighting": "sqrt"}}
ROWS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"loss": {"name": "cross-entropy"}},
    "inverse-frequency": {"loss": {"name": "cross-entropy", "options": {"weighting": "inverse"}}},
    "sqrt-focal": {"loss": _FOCAL},
    "sqrt-focal-semantic": {
        "loss": _FOCAL,
        "auxiliary": [{"name": "orthogonal-semantic", "weight": 1.0}],
    },
    # At tau 1 it would be the balanced softmax, which is a row of its own.
    "logit-adjustment": {"loss": {"name": "logit-adjustment", "options": {"tau": 1.5}}},
    "balanced-softmax": {"loss": {"name": "balanced-softmax"}},
    "ldam": {"loss": {"name": "ldam", "options": {"reweight_after": 0.8}}},
}
# More than the rows that are run by default.
EXTRA: dict[str, dict[str, Any]] = {
    "class-balanced": {"loss": {"name": "class-balanced", "options": {"beta": 0.99}}},
    "sampler-square-root": {"loss": {"name": "cross-entropy"}, "sampler": "square-root"},
    "sampler-class-balanced": {"loss": {"name": "cross-entropy"}, "sampler": "class-balanced"},
}
BASELINE = "cross-entropy"
METRICS = ("accuracy", "macro_f1", "tail_macro_f1", "middle_macro_f1", "head_macro_f1")
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def class_sizes(available: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (K,) order of classes, most frequent first, and the (K,) clips that each class keeps."""
    classes = len(available)
    order = np.random.default_rng([seed, 1]).permutation(classes)
    wanted = np.round(available.max() * IMBALANCE ** (-np.arange(classes) / (classes - 1))).astype(np.int64)
    sizes = np.empty(classes, np.int64)
    sizes[order] = np.maximum(wanted, 1)
    return order, np.minimum(sizes, available)


def long_tailed(split: SplitStore, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the split that stay (all but training clips left out), and the order of classes."""
    train = split.names == "train"
    available = np.bincount(split.labels[train], minlength=len(split.class_names))
    order, sizes = class_sizes(available, seed)
    rng = np.random.default_rng([seed, 2])
    kept = [np.flatnonzero(~train)]
    for label, size in enumerate(sizes):
        rows = np.flatnonzero(train & (split.labels == label))
        # By id, so that the choice does not depend on the order in the store.
        rows = rows[np.argsort(split.clip_ids[rows])]
        kept.append(rng.permutation(rows)[:size])
    return np.sort(np.concatenate(kept)), order


def make_split(work: Path, seed: int) -> tuple[Path, list[int], list[int]]:
    """Write the long-tailed split of a seed; return it, the class counts, and the order of classes."""
    path, whole = work / f"long-tail-seed{seed}.h5", read_split(work / "standard.h5")
    rows, order = long_tailed(whole, seed)
    if not path.exists():
        write_split(
            path,
            dataset=whole.dataset,
            clip_ids=whole.clip_ids[rows],
            names=whole.names[rows],
            labels=whole.labels[rows],
            class_names=whole.class_names,
            subject_ids=whole.subject_ids[rows],
            vocabulary=whole.vocabulary,
            provenance=Provenance(
                command="benchmarks.long_tail_utd",
                config={"seed": seed, "imbalance": IMBALANCE},
                inputs={"split": whole.digest},
            ),
        )
    labels = whole.labels[rows][whole.names[rows] == "train"]
    return path, np.bincount(labels, minlength=len(whole.class_names)).tolist(), order.tolist()


def group_f1(per_class: list[dict[str, Any]], order: list[int]) -> dict[str, float]:
    """Return macro-F1 over the most frequent third of the classes, the middle one, and the rarest."""
    third = len(order) // 3
    groups = {"head": order[:third], "middle": order[third : len(order) - third], "tail": order[-third:]}
    by_index = {item["index"]: item["f1"] for item in per_class}
    return {f"{name}_macro_f1": statistics.mean(by_index[c] for c in group) for name, group in groups.items()}


def run_cell(work: Path, row: str, seed: int, threads: int, epochs: int) -> dict[str, Any]:
    """Train, predict and score one row."""
    split, counts, order = make_split(work, seed)
    stem = work / f"long-tail-{row}-seed{seed}"
    checkpoint, logits, probs = (stem.with_name(stem.name + end) for end in (".st", ".h5", "-probs.h5"))
    recipe = {**_RECIPE, "epochs": epochs, **{**ROWS, **EXTRA}[row]}
    common = ("--data", work / "clips.h5", "--split", split, "--threads", threads)
    began = time.perf_counter()
    train = mg("train", "decoupled-stcnn", *common, "--preset", "small", "--modality", "joint-motion",
               "--settings", json.dumps({"recipe": recipe}), "--branch", row, "--seed", seed,
               "-o", checkpoint)  # fmt: skip
    seconds = time.perf_counter() - began
    mg("predict", checkpoint, *common, "--subset", "target", "-o", logits)
    mg("fuse", logits, "-o", probs)
    (found,) = mg("score", probs, "--labels", work / "labels.csv")["scores"].values()
    scores = {name: found[name] for name in ("accuracy", "macro_f1", "mean_class_accuracy", "ece", "n")}
    return {
        "settings": {
            "model": "decoupled-stcnn",
            "preset": "small",
            "modality": "joint-motion",
            "recipe": recipe,
        },
        "class_counts": counts,
        "class_order": order,
        "training_clips": sum(counts),
        "train_accuracy": train["train_accuracy"],
        "train_loss": train["loss"],
        "train_seconds": round(seconds, 1),
        "threads": threads,
        "split": read_split(split).digest,
        "scores": {**scores, **group_f1(found["per_class"], order)},
    }


def interval(values: list[float]) -> str:
    """Return mean and half-width of the 95 % t interval in percent, such as ``81.2 ± 1.4``."""
    mean = 100 * statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    half = 100 * _T.get(len(values) - 1, 1.96) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.2f} ± {half:.2f}"


def summary(folder: Path = RESULTS) -> str:
    """Return the table of all cells: a row each loss, below it the gain over cross-entropy seed by seed."""
    cells: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted(folder.glob("long-tail-utd-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        cells.setdefault(record["row"], {})[record["seed"]] = record["scores"]
    lines = [f"| row | seeds | {' | '.join(METRICS)} |", "|---" * (2 + len(METRICS)) + "|"]
    base = cells.get(BASELINE, {})
    for row in [name for name in (*ROWS, *EXTRA) if name in cells]:
        found = cells[row]
        values = (interval([item[metric] for item in found.values()]) for metric in METRICS)
        lines.append(f"| {row} | {len(found)} | {' | '.join(values)} |")
        shared = sorted(set(found) & set(base))
        if row != BASELINE and shared:
            gains = (interval([found[s][metric] - base[s][metric] for s in shared]) for metric in METRICS)
            lines.append(f"| gain of {row} | {len(shared)} | {' | '.join(gains)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the cells that are missing and write their files."""
    known = [*ROWS, *EXTRA]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", choices=[[], *known], metavar="ROW", help=", ".join(known))
    parser.add_argument("--work", type=Path, help="folder for stores and checkpoints")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="other than 40: a trial, not a result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the cells' files")
    parser.add_argument("--summary", action="store_true", help="print the table of the cells that are there")
    arguments = parser.parse_args()
    if arguments.summary:
        print(summary(arguments.results))
        return
    if arguments.work is None:
        parser.error("--work DIR is needed")
    if arguments.epochs != EPOCHS and arguments.results == RESULTS:
        parser.error(f"a trial of {arguments.epochs} epochs is no result: give --results another folder")
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.results.mkdir(parents=True, exist_ok=True)
    digests = prepare(arguments.work, arguments.source / "utd_mhad")
    for seed in arguments.seeds:
        for row in arguments.rows or ROWS:
            path = arguments.results / f"long-tail-utd-{row}-seed{seed}.json"
            if path.exists():
                continue
            cell = run_cell(arguments.work, row, seed, arguments.threads, arguments.epochs)
            record = {
                "kind": "long-tail-utd",
                "row": row,
                "seed": seed,
                "imbalance": IMBALANCE,
                "command": f"python -m benchmarks.long_tail_utd --work DIR {row} --seeds {seed}",
                "commit": commit(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
                "inputs": {"clips.h5": digests["clips.h5"], "split.h5": cell.pop("split")},
                **cell,
            }
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            accuracy, tail = (100 * record["scores"][name] for name in ("accuracy", "tail_macro_f1"))
            print(path.name, f"accuracy {accuracy:.2f} tail macro-F1 {tail:.2f}", flush=True)


if __name__ == "__main__":
    main()
