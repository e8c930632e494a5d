"""Skeleton models on UTD-MHAD without adaptation: ``python -m benchmarks.skeleton_utd --work DIR [ROW ...]``.

Protocol ``standard`` trains on subjects 1, 3, 5, 7 and tests on 2, 4, 6, 8; ``hard`` trains on subject 1 and
tests on all but 1 and 3; ``choose`` trains on 1, 3, 5 and tests on 7. The last checkpoint of a fixed number
of epochs is taken: no label of a tested subject is read before ``mg score``. Each finished cell, one row of
one protocol and seed, is a file ``results/skeleton-utd-PROTOCOL-ROW-seedS.json``; cells that are there are
skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record_run import METRICS, RESULTS, commit

PROTOCOLS: dict[str, dict[str, dict[str, list[str]]]] = {
    "standard": {
        "train": {"subjects": ["s1", "s3", "s5", "s7"]},
        "target": {"subjects": ["s2", "s4", "s6", "s8"]},
    },
    "hard": {
        "train": {"subjects": ["s1"]},
        "val": {"subjects": ["s3"]},
        "target": {"subjects": ["s2", "s4", "s5", "s6", "s7", "s8"]},
    },
    # What the ensemble is made of is chosen here, among the training people.
    "choose": {"train": {"subjects": ["s1", "s3", "s5"]}, "target": {"subjects": ["s7"]}},
}
# One person gives a quarter of the clips: about as many steps by smaller batches and more epochs.
_PROTOCOL_RECIPES: dict[str, dict[str, Any]] = {"hard": {"epochs": 120, "batch_size": 16}}
# What all rows share; classes are balanced, so nothing is reweighted.
_RECIPE = {
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "warmup_epochs": 3,
    "amp": "auto",
    "clip_norm": 1.0,
    "flip": True,
    "loss": {"name": "cross-entropy"},
    "auxiliary": [{"name": "orthogonal-semantic", "weight": 1.0}],
}


def _points(
    model: str, modality: str, model_options: dict[str, Any] | None = None, **recipe: Any
) -> dict[str, Any]:
    return {
        "model": model,
        "preset": "small",
        "modality": modality,
        "model_options": model_options or {},
        "recipe": {"lr": 1e-3, "epochs": 60, "batch_size": 32, "ema": 0.999, **recipe},
    }


ROWS: dict[str, dict[str, Any]] = {
    "decoupled-joint": _points("decoupled-stcnn", "joint-motion"),
    "decoupled-limb": _points("decoupled-stcnn", "limb-motion"),
    # decoupled-joint but for the order of the keypoints, or the number of blocks (it has 5)
    **{
        f"decoupled-joint-{order}": _points("decoupled-stcnn", "joint-motion", {"order": order})
        for order in ("shuffled", "walk", "attend")
    },
    "decoupled-joint-3-blocks": _points(
        "decoupled-stcnn", "joint-motion", {"widths": [64, 128, 256], "strides": [2, 2, 2]}
    ),
    "decoupled-joint-8-blocks": _points(
        "decoupled-stcnn",
        "joint-motion",
        {"widths": [64, 64, 64, 128, 128, 128, 256, 256], "strides": [2, 1, 1, 2, 1, 1, 2, 1]},
    ),
    "decoupled-motion": _points("decoupled-stcnn", "motion"),
    "st-gcn": _points("st-gcn", "joint-motion"),
    "st-gcn-limb": _points("st-gcn", "limb-motion"),
    # Learnt graphs need larger steps: at 1e-3 they did not even fit the training clips in these epochs.
    "ctr-gcn-joint": _points("ctr-gcn", "joint-motion", lr=4e-3),
    "ctr-gcn-limb": _points("ctr-gcn", "limb-motion", lr=4e-3),
    "dg-stgcn": _points("dg-stgcn", "joint-motion", lr=4e-3),
    "ms-g3d": _points("ms-g3d", "joint-motion", lr=4e-3),
    "hyperformer": _points("hyperformer", "joint-motion"),
    "skateformer": _points("skateformer", "joint-motion"),
    "posec3d-light": {
        "model": "posec3d",
        "preset": "light",
        "modality": "heatmap",
        "modality_options": {"rotate": 15.0},
        "recipe": {"lr": 2e-3, "epochs": 60, "batch_size": 16, "ema": 0.999},
    },
    "res2net3d": {
        "model": "res2net3d",
        "preset": "small",
        "modality": "heatmap",
        "modality_options": {"rotate": 15.0},
        "recipe": {"lr": 2e-3, "epochs": 60, "batch_size": 16, "ema": 0.999},
    },
}
# Chosen by protocol ``choose`` at seed 0, where it has 98.15 % (joint and limb alone 92.59 %). Nine other
# sets of these and ``st-gcn-limb`` have as much, one has one clip more.
ENSEMBLE = ("decoupled-joint", "decoupled-limb", "decoupled-motion", "st-gcn")


def _mg(*words: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "mg_data", *map(str, words), "--quiet", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"mg {words[0]} {words[1]}: exit code {done.returncode}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def prepare(work: Path, source: Path) -> dict[str, str]:
    """Import the recordings and make the splits; return the digests of both."""
    clips, labels = work / "clips.h5", work / "labels.csv"
    if not clips.exists():
        _mg("data", "import", "utd-mhad", source, "-o", clips, "--labels", labels)
    for name, protocol in PROTOCOLS.items():
        if not (work / f"{name}.h5").exists():
            text = json.dumps(protocol)
            _mg("data", "split", clips, labels, "--protocol-json", text, "-o", work / f"{name}.h5")
    return {
        path.name: _mg("store", "info", path)["mg_content_digest"]
        for path in (clips, *(work / f"{name}.h5" for name in PROTOCOLS))
    }


def _scores(work: Path, probs: Path) -> dict[str, Any]:
    (found,) = _mg("score", probs, "--labels", work / "labels.csv")["scores"].values()
    return {key: found[key] for key in METRICS if found.get(key) is not None}


def run_cell(work: Path, protocol: str, row: str, seed: int, threads: int) -> dict[str, Any]:
    """Train, predict and score one row."""
    spec = ROWS[row]
    stem = work / f"{protocol}-{row}-seed{seed}"
    settings = {
        "recipe": {**_RECIPE, **spec["recipe"], **_PROTOCOL_RECIPES.get(protocol, {})},
        "modality": spec.get("modality_options", {}),
        "model": spec.get("model_options", {}),
    }
    common = ("--data", work / "clips.h5", "--split", work / f"{protocol}.h5", "--threads", threads)
    began = time.perf_counter()
    train = _mg("train", spec["model"], *common, "--preset", spec["preset"], "--modality", spec["modality"],
                "--settings", json.dumps(settings), "--branch", row, "--seed", seed,
                "-o", stem.with_suffix(".safetensors"))  # fmt: skip
    seconds = time.perf_counter() - began
    logits, probs = stem.with_suffix(".h5"), stem.with_name(f"{stem.name}-probs.h5")
    _mg("predict", stem.with_suffix(".safetensors"), *common, "--subset", "target", "-o", logits)
    _mg("fuse", logits, "-o", probs)
    return {
        "row_settings": {key: spec[key] for key in ("model", "preset", "modality")},
        "settings": settings,
        "parameters": train.get("parameters"),
        "train_seconds": round(seconds, 1),
        "threads": threads,
        "scores": _scores(work, probs),
    }


def run_ensemble(work: Path, protocol: str, seed: int) -> dict[str, Any] | None:
    """Vote with equal weights over the rows of one seed, or None while one of them is missing."""
    logits = [work / f"{protocol}-{row}-seed{seed}.h5" for row in ENSEMBLE]
    if not all(path.exists() for path in logits):
        return None
    probs = work / f"{protocol}-ensemble-seed{seed}.h5"
    _mg("fuse", *logits, "-o", probs)
    return {"settings": {"rows": ENSEMBLE, "weights": "equal"}, "scores": _scores(work, probs)}


def main() -> None:
    """Run the cells that are missing and write their files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and checkpoints")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--protocols", nargs="+", default=["standard"], choices=PROTOCOLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    digests = prepare(arguments.work, arguments.source / "utd_mhad")
    for seed in arguments.seeds:
        for protocol in arguments.protocols:
            for row in arguments.rows or ROWS:
                _keep(
                    protocol, row, seed, digests,
                    lambda p=protocol, r=row, s=seed: run_cell(arguments.work, p, r, s, arguments.threads),
                )  # fmt: skip
            _keep(
                protocol, "ensemble", seed, digests,
                lambda p=protocol, s=seed: run_ensemble(arguments.work, p, s),
            )  # fmt: skip


def _keep(protocol: str, row: str, seed: int, digests: dict[str, str], cell: Any) -> None:
    path = RESULTS / f"skeleton-utd-{protocol}-{row}-seed{seed}.json"
    if path.exists():
        return
    found = cell()
    if found is None:
        return
    record = {
        "kind": "skeleton-utd",
        "protocol": protocol,
        "row": row,
        "seed": seed,
        "command": f"python -m benchmarks.skeleton_utd --work DIR {row} --protocols {protocol} "
        f"--seeds {seed}",
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
        "inputs": {"clips.h5": digests["clips.h5"], "split.h5": digests[f"{protocol}.h5"]},
        **found,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path.name, f"{100 * record['scores']['accuracy']:.2f}", flush=True)


if __name__ == "__main__":
    main()
