"""The synthetic corpus: how fast it is written, and whether it is worth training on.

``python -m benchmarks.synth`` measures writing and a linear probe on keypoints (a minute or two);
``--study`` also trains a small network on crops and on whole frames (about ten minutes on one core).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record_run import RESULTS, commit
from mg_data.datasets.synthetic.table import format_rows
from mg_data.labels import read_labels
from mg_data.store import open_clips, read_split

WORKERS = 2
STUDY = "--clips 600 --subjects 12 --videos-per-subject 3 --classes 12 --size 240x320 --scene press"
RECIPE = {
    "flip": True,
    "amp": "auto",
    "label_smoothing": 0.0,
    "epochs": 25,
    "warmup_epochs": 2,
    "loss": {"name": "focal", "options": {"gamma": 2.0, "weighting": "sqrt"}},
    "auxiliary": [{"name": "orthogonal-semantic", "weight": 1.0}],
}


def mg(*words: object) -> float:
    """Run a command of mg and return its seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "mg_data", *map(str, words), "--quiet"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def text_ratio(repeats: int = 7) -> float:
    """Return how many times faster a table becomes text than by formatting number by number."""
    table = np.round(np.random.default_rng(0).uniform(0, 1280, (2000, 105)), 3)

    def one_by_one() -> bytes:
        lines = (
            f"{row}," + ",".join([f"{value:.3f}" for value in values]) + "\n"
            for row, values in enumerate(table.tolist())
        )
        return "".join(lines).encode()

    def together() -> bytes:
        return b"".join(format_rows(table, between=b",", numbered=True))

    assert one_by_one() == together()
    ratios = []
    for _ in range(repeats):
        seconds = []
        for function in (one_by_one, together):
            began = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def peak_megabytes() -> float:
    """Return the largest memory of any process that was waited for so far, those of workers included."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def writing(folder: Path) -> dict[str, Any]:
    """Write a tenth and the whole of the challenge's size, keypoints only."""
    result: dict[str, Any] = {}
    for scale in ("0.1", "1.0"):
        options = ("--scale", scale, "--keypoints", "light_hand", "--no-video", "--workers", WORKERS)
        seconds = mg("data", "synth", folder / scale, *options)
        facts = json.loads((folder / scale / "corpus.json").read_text(encoding="utf-8"))
        result[scale] = {
            "seconds": seconds,
            "clips": facts["clips"],
            "frames": facts["frames"],
            "peak_megabytes": peak_megabytes(),
        }
    result["memory_ratio"] = result["1.0"]["peak_megabytes"] / result["0.1"]["peak_megabytes"]
    target = ("-o", folder / "clips.h5", "--labels", folder / "labels.csv", "--workers", WORKERS)
    result["import_seconds"] = mg(
        "data", "import", "synthetic", folder / "1.0", *target, "--option", "keypoints=light_hand"
    )
    return result


def _features(joints: NDArray[np.float32], frames: int = 12) -> NDArray[np.float64]:
    """Return positions about the neck in shoulder widths at some moments; missing points wait in place."""
    points = joints[:, 0].astype(np.float64)
    seen = points[..., 2] > 0.1
    neck = np.median(points[:, 1, :2], axis=0)
    width = np.median(np.linalg.norm(points[:, 2, :2] - points[:, 5, :2], axis=-1))
    time_ = np.arange(len(points))
    moments = np.linspace(0, len(points) - 1, frames)
    result = np.zeros((frames, points.shape[1], 2))
    for joint in range(points.shape[1]):
        rows = np.flatnonzero(seen[:, joint])
        if len(rows):
            for axis in range(2):
                value = (points[rows, joint, axis] - neck[axis]) / max(width, 1.0)
                result[:, joint, axis] = np.interp(moments, time_[rows], value)
    centred = result - result.mean(axis=0)
    return np.concatenate([result.ravel(), centred.ravel(), np.abs(np.diff(result, axis=0)).mean(0).ravel()])


def probe(folder: Path) -> dict[str, float]:
    """Return accuracy of ridge regression on keypoints, unseen people, 32 classes, the challenge's size."""
    protocol = ("--protocol", folder / "1.0" / "protocol.toml")
    mg("data", "split", folder / "clips.h5", folder / "labels.csv", *protocol, "-o", folder / "split.h5")
    clips, split = open_clips(folder / "clips.h5"), read_split(folder / "split.h5")
    truth = read_labels(folder / "labels.csv")
    parts = {}
    for part in ("train", "target"):
        ids = split.clip_ids[split.names == part]
        rows = clips.rows(ids)
        parts[part] = (
            np.stack([_features(clips.joints(int(row))) for row in rows]),
            np.array([truth[str(clip_id)] for clip_id in ids]),
        )
    x, y = parts["train"]
    mean, deviation = x.mean(0), x.std(0) + 1e-3
    x = np.concatenate([(x - mean) / deviation, np.ones((len(x), 1))], axis=1)
    weight = 1 / np.sqrt(np.bincount(y, minlength=32)[y])
    gram = (x * weight[:, None]).T @ x + 30.0 * np.eye(x.shape[1])
    solution = np.linalg.solve(gram, (x * weight[:, None]).T @ np.eye(32)[y])
    test, labels = parts["target"]
    test = np.concatenate([(test - mean) / deviation, np.ones((len(test), 1))], axis=1)
    right = np.argmax(test @ solution, axis=1) == labels
    by_class = [right[labels == label].mean() for label in np.unique(labels)]
    return {
        "clips": len(labels),
        "accuracy": float(right.mean()),
        "mean_class_accuracy": float(np.mean(by_class)),
        "largest_class": float(np.bincount(labels).max() / len(labels)),
    }


def study(folder: Path) -> dict[str, Any]:
    """Return accuracies of one network on crops and on whole frames of the same size, unseen people."""
    mg("data", "synth", folder / "raw", *STUDY.split(), "--workers", WORKERS)
    clips, labels, split = (folder / name for name in ("s.h5", "s.csv", "s-split.h5"))
    mg("data", "import", "synthetic", folder / "raw", "-o", clips, "--labels", labels, "--workers", WORKERS)
    subjects = [f"s{number:02d}" for number in range(1, 9)]
    protocol = json.dumps({"train": {"subjects": subjects}, "rest": "target"})
    mg("data", "split", clips, labels, "--protocol-json", protocol, "-o", split)
    result: dict[str, Any] = {"options": STUDY, "model": "r2plus1d tiny, frame-difference, 80 px, 25 epochs"}
    for name, extra in (("crop", ()), ("full-frame", ("--full-frame",))):
        crops, checkpoint, logits = (folder / f"{name}{end}" for end in (".h5", ".safetensors", ".logits.h5"))
        mg("data", "crop", clips, folder / "raw", "-o", crops, "--size", 80, "--workers", WORKERS, *extra)
        settings = json.dumps({"recipe": RECIPE})
        where = ("--data", crops, "--split", split)
        model = ("r2plus1d", "--preset", "tiny", "--modality", "frame-difference", "--settings", settings)
        mg("train", *model, *where, "-o", checkpoint, "--seed", 0, "--threads", 1)
        mg("predict", checkpoint, *where, "--subset", "target", "--threads", 1, "-o", logits)
        mg("score", logits, "--labels", labels, "-o", folder / f"{name}.json")
        [row] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["scores"].values()
        result[name] = {key: row[key] for key in ("accuracy", "macro_f1")}
    return result


def main() -> None:
    """Write results/synth.json; a study that was made before stays unless it is made again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", action="store_true", help="train on crops and on whole frames too")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    path = RESULTS / "synth.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result: dict[str, Any] = {"kind": "synth", "command": "python -m benchmarks.synth", "commit": commit()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["text_ratio"] = text_ratio()
        result["writing"] = writing(folder)
        result["probe"] = probe(folder)
        if arguments.study:
            result["study"] = {"commit": result["commit"], **study(folder)}
        elif "study" in before:
            result["study"] = before["study"]
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
