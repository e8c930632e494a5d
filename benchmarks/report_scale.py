"""The report of a run as large as the challenge: ``python -m benchmarks.report_scale``.

A run folder is fabricated in a temporary place: 4,562 target clips of 35 people, 777 of validation, 32
classes in iMiGUE's training shares, six models in two rounds, logs of 100 epochs, pseudo-labels, features of
256 dimensions with their anchors; fused, searched and scored by the commands of mg-fusion. Then ``mg report``
is run in fresh processes, with each way to draw the features, and ``mg compare`` of the two rounds. Wanted:
at most 20 seconds and 5 MB. ``--keep FOLDER`` writes the run there and leaves it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine, publish
from benchmarks.measuring import run_mg
from benchmarks.record_run import commit
from mg_data.labels import write_labels
from mg_data.store import Provenance, clip_keys, write_features, write_logits, write_pseudo, write_split

CLIPS, VAL, PEOPLE, SEED = 4562, 777, 35, 0
DIMENSIONS, EPOCHS = 256, 100
# Clips of the 32 classes in iMiGUE's training part.
TRAIN = (
    10, 393, 38, 199, 80, 23, 57, 824, 80, 3, 284, 137, 97, 41, 26, 24, 304, 82, 1, 887, 157, 360, 656, 690,
    11, 280, 84, 60, 1155, 6, 2079, 3765,
)  # fmt: skip
BRANCHES = {"rgb": 3.0, "flow": 2.1, "depth": 1.6, "heatmap": 2.4, "joint": 2.8, "limb": 2.6}
CLASSES = tuple(f"micro-gesture {index}" for index in range(len(TRAIN)))
DATASET = "scale"


def _scores(
    labels: NDArray[np.int64], strength: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    noise = generator.normal(size=(len(labels), len(TRAIN))) * 1.4
    return noise + strength * np.eye(len(TRAIN))[labels]


def _run(*words: object) -> None:
    command = [sys.executable, "-m", "mg_data", *map(str, words), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_run(folder: Path) -> None:
    """Write a run folder of this size, as ``mg run`` leaves it."""
    generator = np.random.default_rng(SEED)
    shares = np.array(TRAIN) / sum(TRAIN)
    truth, val_truth = (generator.choice(len(TRAIN), size, p=shares) for size in (CLIPS, VAL))
    ids = [f"{index % 104 + 2000:04d}_{index // 104}" for index in range(CLIPS)]
    val_ids = [f"{index % 10 + 1000:04d}_{index // 10}" for index in range(VAL)]
    train_labels = np.repeat(np.arange(len(TRAIN)), TRAIN)
    train_ids = [f"t{index}" for index in range(len(train_labels))]
    (folder / "data").mkdir(parents=True)
    write_labels(folder / "data" / "labels.csv", ids, truth.tolist(), CLASSES)
    people = [f"t{index % 37}" for index in range(len(train_ids))]
    people += [f"v{index % 10}" for index in range(VAL)] + [
        f"s{index % PEOPLE:02d}" for index in range(CLIPS)
    ]
    write_split(
        folder / "data" / "split.h5",
        dataset=DATASET,
        clip_ids=train_ids + val_ids + ids,
        names=["train"] * len(train_ids) + ["val"] * VAL + ["target"] * CLIPS,
        labels=np.concatenate([train_labels, val_truth, np.full(CLIPS, -1)]),
        subject_ids=people,
        class_names=CLASSES,
    )
    trained_on = clip_keys(DATASET, train_ids)
    rows: dict[str, Path] = {}
    for number, when in ((1, "before"), (2, "after")):
        part = folder / f"round{number}"
        part.mkdir()
        for branch, strength in BRANCHES.items():
            for subset, clip_ids, labels in (("target", ids, truth), ("val", val_ids, val_truth)):
                if subset == "val" and number == 2:
                    continue
                write_logits(
                    part / f"{subset}-{branch}.h5",
                    clip_ids=clip_ids,
                    values=_scores(labels, strength + 0.3 * (number - 1), generator),
                    class_names=CLASSES,
                    model="fabricated",
                    modality=branch,
                    branch=branch,
                    dataset=DATASET,
                    trained_on=trained_on,
                )
            rows[f"{branch}/{when}"] = part / f"target-{branch}.h5"
            _write_log(part / f"{branch}.log.jsonl")
        stores = [part / f"target-{branch}.h5" for branch in BRANCHES]
        how: list[object] = ["--params", folder / "round1" / "fusion.json"]
        if number == 1:
            fit = [part / f"val-{branch}.h5" for branch in BRANCHES]
            how = ["--fit", *fit, "--labels", folder / "data" / "split.h5"]
        _run("fuse", *stores, "-o", part / "target-fused.h5", *how)
        _run("fuse", *stores, "-o", part / "target-equal.h5")
        rows |= {f"equal-weight/{when}": part / "target-equal.h5", f"fused/{when}": part / "target-fused.h5"}
    rows["pseudo"] = _write_pseudo(folder, ids, truth, generator)
    labels_file = folder / "data" / "labels.csv"
    names = ["--names", *rows]
    _run("score", *rows.values(), *names, "--labels", labels_file, "-o", folder / "metrics.json")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for when in ("before", "after"):
        metrics["scores"][f"single-best/{when}"] = {**metrics["scores"][f"rgb/{when}"], "branch": "rgb"}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    branches = [
        {"name": name, "model": "fabricated", "modality": name, "seconds": [60.0]} for name in BRANCHES
    ]
    head = {"name": "scale", "seed": SEED, "dataset": DATASET, "branches": branches, "recipe": {"seed": SEED}}
    (folder / "run.json").write_text(json.dumps(head), encoding="utf-8")
    _write_features(folder, ids, truth, generator)


def _write_log(path: Path) -> None:
    rows = (
        {"epoch": epoch, "loss": 3 / epoch**0.5, "train_accuracy": 1 - 0.9 / epoch**0.4, "val_accuracy": 0.4}
        for epoch in range(1, EPOCHS + 1)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_pseudo(
    folder: Path, ids: list[str], truth: NDArray[np.int64], generator: np.random.Generator
) -> Path:
    chosen = np.flatnonzero(generator.random(CLIPS) < 0.6)
    labels = np.where(generator.random(len(chosen)) < 0.9, truth[chosen], 31)
    path = folder / "round1" / "pseudo.h5"
    write_pseudo(
        path,
        clip_ids=[ids[index] for index in chosen],
        labels=labels,
        confidence=generator.uniform(0.65, 1.0, len(chosen)),
        votes=np.where(generator.random((len(chosen), len(BRANCHES))) < 0.7, labels[:, None], 31),
        model_names=tuple(BRANCHES),
        class_names=CLASSES,
        threshold=0.65,
        temperature=1.0,
        round=1,
        candidates=CLIPS,
        dataset=DATASET,
    )
    return path


def _write_features(
    folder: Path, ids: list[str], truth: NDArray[np.int64], generator: np.random.Generator
) -> None:
    from safetensors.numpy import save_file

    anchors = np.linalg.qr(generator.normal(size=(DIMENSIONS, len(TRAIN))))[0].T * 4
    save_file(
        {"loss.orthogonal-semantic.anchors": np.ascontiguousarray(anchors, np.float32)},
        folder / "round2" / "joint.safetensors",
        metadata={"mg": json.dumps({"sha256": "fabricated"})},
    )
    write_features(
        folder / "round2" / "features-joint.h5",
        clip_ids=ids,
        features={"feature": anchors[truth] + generator.normal(size=(CLIPS, DIMENSIONS)) * 0.25},
        dataset=DATASET,
        class_names=CLASSES,
        provenance=Provenance(config={"branch": "joint"}, inputs={"checkpoint": "sha256:fabricated"}),
    )


def measure(words: list[object], out: Path, rounds: int) -> dict[str, Any]:
    """Run a command that writes a page; return seconds, peak memory of the worst and the size."""
    runs = [run_mg(*words, "-o", out, "--quiet") for _ in range(rounds)]
    seconds = [run[0] for run in runs]
    page = out.read_text(encoding="utf-8")
    return {
        "seconds": round(statistics.median(seconds), 2),
        "seconds_range": [round(min(seconds), 2), round(max(seconds), 2)],
        "peak_mb": round(max(run[1] for run in runs)),
        "megabytes": round(out.stat().st_size / 1e6, 3),
        "not_shown": page.count("Not shown"),
    }


def main() -> None:
    """Write results/PROCESSOR/report-scale.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder to write the run into and leave")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name) / "run"
        if not (folder / "metrics.json").exists():
            write_run(folder)
        out = Path(name) / "page.html"
        first, second = (folder / f"round{number}" / "target-fused.h5" for number in (1, 2))
        labels = folder / "data" / "labels.csv"
        result = {
            "kind": "report-scale",
            "command": "python -m benchmarks.report_scale",
            "commit": commit(),
            "machine": machine(),
            "seed": SEED,
            "clips": CLIPS,
            "classes": len(TRAIN),
            "models": len(BRANCHES),
            "rounds": given.rounds,
            "wanted": {"seconds": 20, "megabytes": 5},
            "report, t-SNE": measure(["report", folder, "--embedding", "tsne"], out, given.rounds),
            "report, PCA": measure(["report", folder, "--embedding", "pca"], out, given.rounds),
            "compare": measure(["compare", first, second, "--labels", labels], out, given.rounds),
        }
    publish("report-scale", result)


if __name__ == "__main__":
    main()
