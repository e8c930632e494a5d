"""Fabricated scores, stores and a run folder for the tests of mg-fusion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mg_data.contract import StageResult
from mg_data.labels import read_labels, write_labels
from mg_data.store import Provenance, clip_keys, write_features, write_logits, write_pseudo, write_split

CLASSES = ("rub hands", "touch <ear> & nose", "fold arms", "shrug", "scratch")
DATASET = "toy"


class Talk:
    """A console that remembers what was said."""

    quiet = False

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def progress(self, label: str, total: int | None) -> Any:
        raise NotImplementedError


def toy_scores(
    clips: int, strengths: Sequence[float], seed: int = 0, classes: int = len(CLASSES)
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return (M, N, K) logits whose model m favours the truth by ``strengths[m]``, and (N,) labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, clips)
    noise = generator.normal(size=(len(strengths), clips, classes)) * 1.5
    return noise + np.array(strengths)[:, None, None] * np.eye(classes)[labels], labels


def write_toy(
    folder: Path,
    part: str,
    *,
    clips: int = 60,
    strengths: Sequence[float] = (1.0, 2.0, 3.0),
    branches: Sequence[str] = ("heat", "joint", "rgb"),
    seed: int = 0,
    shuffle: int | None = None,
    **options: Any,
) -> tuple[list[Path], Path]:
    """Write a logit store for each branch, and labels.csv; ``shuffle`` seeds another row order in each."""
    logits, labels = toy_scores(clips, strengths, seed)
    ids = np.array([f"{part}{index:03d}" for index in range(clips)])
    options.setdefault("trained_on", clip_keys(DATASET, ["train000"]))
    paths = []
    for index, branch in enumerate(branches):
        rows = np.arange(clips)
        if shuffle is not None:
            rows = np.random.default_rng(shuffle + index).permutation(clips)
        path = folder / f"{part}-{branch}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_logits(
            path,
            clip_ids=ids[rows],
            values=logits[index][rows],
            class_names=CLASSES,
            model="toy",
            modality=branch,
            branch=branch,
            dataset=DATASET,
            **options,
        )
        paths.append(path)
    truth = folder / f"{part}.csv"
    write_labels(truth, ids, labels, CLASSES)
    return paths, truth


def write_toy_split(folder: Path, val_truth: Path) -> None:
    """Write data/split.h5: 240 training clips with a long tail, and the other clips of make_run."""
    sizes = (150, 60, 24, 5, 1)
    val = read_labels(val_truth)
    parts = [
        ("train", f"train{i:03d}", label, f"t{i % 6}") for i, label in enumerate(np.repeat(range(5), sizes))
    ]
    parts += [("val", clip, label, f"v{i % 3}") for i, (clip, label) in enumerate(val.items())]
    parts += [("target", f"target{i:03d}", -1, f"s{i % 5}") for i in range(120)]
    names, ids, labels, subjects = zip(*parts, strict=True)
    write_split(
        folder / "data" / "split.h5",
        dataset=DATASET,
        clip_ids=ids,
        names=names,
        labels=labels,
        subject_ids=subjects,
        class_names=CLASSES,
    )


def write_toy_features(folder: Path, dimensions: int = 8) -> Path:
    """Write features of the target clips beside the checkpoint that made them, which holds their anchors."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    generator = np.random.default_rng(3)
    anchors = np.linalg.qr(generator.normal(size=(dimensions, len(CLASSES))))[0].T * 4
    truth = read_labels(folder / "data" / "labels.csv")
    values = (
        np.array([anchors[label] for label in truth.values()])
        + generator.normal(size=(120, dimensions)) * 0.5
    )
    checkpoint = folder / "round2" / "rgb.safetensors"
    save_file(
        {"loss.orthogonal-semantic.anchors": np.ascontiguousarray(anchors, np.float32)},
        checkpoint,
        metadata={"mg": json.dumps({"sha256": "feed"})},
    )
    path = folder / "round2" / "features-rgb.h5"
    write_features(
        path,
        clip_ids=list(truth),
        features={"feature": values},
        dataset=DATASET,
        class_names=CLASSES,
        provenance=Provenance(
            command="mg predict --features", config={"branch": "rgb"}, inputs={"checkpoint": "sha256:feed"}
        ),
    )
    return path


def make_run(folder: Path) -> Path:
    """Write a run folder as ``mg run`` leaves it: two rounds, three branches, one of them of weight 0."""
    from mg_fusion.commands.fuse import fuse
    from mg_fusion.commands.score import score

    talk = Talk()
    strengths = {1: (0.1, 2.0, 2.5), 2: (0.4, 3.0, 3.5)}
    branches = ("heat", "joint", "rgb")
    stores: list[Path] = []
    names: list[str] = []
    for number, when in ((1, "before"), (2, "after")):
        part = folder / f"round{number}"
        target, truth = write_toy(part, "target", clips=120, strengths=strengths[number], seed=5)
        equal, fused = part / "target-equal.h5", part / "target-fused.h5"
        if number == 1:
            val, val_truth = write_toy(part, "val", clips=90, strengths=strengths[1], seed=6)
            fuse(console=talk, stores=target, out=fused, fit=val, labels=val_truth)
            (folder / "data").mkdir()
            truth.rename(folder / "data" / "labels.csv")
            write_toy_split(folder, val_truth)
        else:
            fuse(console=talk, stores=target, out=fused, params=folder / "round1" / "fusion.json")
        fuse(console=talk, stores=target, out=equal)
        stores += [*target, equal, fused]
        names += [f"{branch}/{when}" for branch in (*branches, "equal-weight", "fused")]
        for branch in branches:
            lines = [
                json.dumps(
                    {
                        "epoch": e,
                        "loss": 2 / e,
                        "lr": 0.1,
                        "train_accuracy": 1 - 0.7 / e,
                        "val_accuracy": None,
                    }
                )
                for e in range(1, 9)
            ]
            (part / f"{branch}.log.jsonl").write_text("\n".join(lines) + '\n{"epoch": 9, "lo')
    pseudo = folder / "round1" / "pseudo.h5"
    logits, _ = toy_scores(120, strengths[1], 5)
    ids = [f"target{index:03d}" for index in range(0, 120, 2)]
    write_pseudo(
        pseudo,
        clip_ids=ids,
        labels=logits[2].argmax(axis=1)[::2],
        confidence=np.full(60, 0.8),
        votes=np.zeros((60, 3), dtype=np.int32),
        model_names=branches,
        class_names=CLASSES,
        threshold=0.65,
        temperature=1.0,
        round=1,
        candidates=120,
        dataset=DATASET,
    )
    result: StageResult = score(
        console=talk,
        stores=[*stores, pseudo],
        names=[*names, "pseudo"],
        labels=folder / "data" / "labels.csv",
        out=folder / "metrics.json",
    )
    metrics = dict(result.data)
    for when in ("before", "after"):
        metrics["scores"][f"single-best/{when}"] = metrics["scores"][f"rgb/{when}"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    described = [
        {
            "name": name,
            "model": "toy",
            "preset": "small",
            "modality": name,
            "parameters": 123456,
            "floor": 0.6,
        }
        for name in branches
    ]
    head = {"name": "toy <run>", "seed": 3, "branches": described, "recipe": {"name": "toy", "seed": 3}}
    (folder / "run.json").write_text(json.dumps(head))
    write_toy_features(folder)
    return folder
