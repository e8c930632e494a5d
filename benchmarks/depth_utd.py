"""Depth video of UTD-MHAD, cropped to the person against whole frames, and with the skeleton.

Run it by ``python -m benchmarks.depth_utd --work DIR [ROW ...] [--skeleton DIR]``. Protocols are those of
``benchmarks/skeleton_utd.py``: ``standard`` trains on subjects 1, 3, 5, 7 and tests on 2, 4, 6, 8; settings
were chosen by ``choose``, which trains on 1, 3, 5 and tests on 7. The last checkpoint of a fixed number of
epochs is taken and votes have equal weights and temperature 1, so no label of a tested subject is read before
``mg score``. Each finished cell is a file ``results/depth-utd-PROTOCOL-ROW-seedS.json``; cells that are there
are skipped. Votes with the skeleton take the logits that ``benchmarks/skeleton_utd.py`` left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record_run import RESULTS, commit
from benchmarks.skeleton_utd import ENSEMBLE, prepare
from benchmarks.skeleton_utd import _mg as mg
from benchmarks.skeleton_utd import _scores as scores

PROTOCOLS = ("standard", "choose")
# The one word that separates the rows of the paper's ablation is ``full_frame``.
CROPS: dict[str, tuple[str, ...]] = {"cropped": (), "full-frame": ("--full-frame",)}
_SIZE, _MAX_FRAMES = 72, 64
# Hands matter, and mirrored people are left-handed: no flip. Classes are balanced: nothing is reweighted.
_RECIPE = {
    "optimizer": "adamw",
    "lr": 2e-3,
    "weight_decay": 0.05,
    "warmup_epochs": 3,
    "epochs": 60,
    "batch_size": 16,
    "amp": "auto",
    "clip_norm": 5.0,
    "ema": 0.995,
    "flip": False,
    "label_smoothing": 0.1,
    "loss": {"name": "cross-entropy"},
    "auxiliary": [],
}
# 32 frames, of which the stem makes 16: as many steps as a network of 16 frames, and 6.5 points better on 7.
_MODEL = {"temporal_strides": [2, 2, 2, 1]}
ROWS: dict[str, dict[str, Any]] = {
    "cropped": {"crops": "cropped", "modality": "depth-motion", "input": {"frames": 32, "clips": 3}},
    "full-frame": {"crops": "full-frame", "modality": "depth-motion", "input": {"frames": 32, "clips": 3}},
    "difference": {
        "crops": "cropped",
        "modality": "frame-difference",
        "input": {"stream": "depth", "frames": 32, "size": 48, "zoom": 1.15, "clips": 3},
    },
}
# Votes with equal weights, chosen before any of them was scored; ``skeleton`` stands for its ensemble.
VOTES = {
    "visual": ("cropped", "difference"),
    "skeleton + cropped": ("skeleton", "cropped"),
    "skeleton + visual": ("skeleton", "cropped", "difference"),
}


def prepare_crops(work: Path, source: Path) -> dict[str, str]:
    """Crop the depth maps both ways; return the digests of the stores."""
    digests = {}
    for name, switch in CROPS.items():
        path = work / f"depth-{name}.h5"
        if not path.exists():
            mg("data", "crop", work / "clips.h5", source, "--stream", "depth", "--size", _SIZE,
               "--max-frames", _MAX_FRAMES, *switch, "-o", path)  # fmt: skip
        digests[path.name] = mg("store", "info", path)["mg_content_digest"]
    return digests


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_cell(work: Path, protocol: str, row: str, seed: int, threads: int) -> dict[str, Any]:
    """Train, predict and score one row."""
    spec = ROWS[row]
    stem = work / f"{protocol}-{row}-seed{seed}"
    settings = {"recipe": _RECIPE, "modality": spec["input"], "model": _MODEL}
    crops = work / f"depth-{spec['crops']}.h5"
    common = ("--data", crops, "--split", work / f"{protocol}.h5", "--threads", threads)
    began, used = time.perf_counter(), _cpu_seconds()
    train = mg("train", "r2plus1d", *common, "--preset", "small", "--modality", spec["modality"],
               "--settings", json.dumps(settings), "--branch", row, "--seed", seed,
               "-o", stem.with_suffix(".safetensors"))  # fmt: skip
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds() - used
    logits, probs = stem.with_suffix(".h5"), stem.with_name(f"{stem.name}-probs.h5")
    mg("predict", stem.with_suffix(".safetensors"), *common, "--subset", "target", "-o", logits)
    mg("fuse", logits, "-o", probs)
    return {
        "row_settings": {"model": "r2plus1d", "preset": "small", **spec},
        "settings": settings,
        "parameters": train.get("parameters"),
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        "threads": threads,
        "scores": scores(work, probs),
    }


def fuse_with_skeleton(work: Path, skeleton: Path, protocol: str, seed: int) -> dict[str, Any] | None:
    """Score the votes of one seed; None while a branch of the depth or of the skeleton is missing.

    Args:
        skeleton: work folder of ``benchmarks/skeleton_utd.py``.
    """
    members = {row: [work / f"{protocol}-{row}-seed{seed}.h5"] for row in ("cropped", "difference")}
    members["skeleton"] = [skeleton / f"{protocol}-{row}-seed{seed}.h5" for row in ENSEMBLE]
    if not all(path.exists() for paths in members.values() for path in paths):
        return None
    found = {}
    for name, parts in {"skeleton": ("skeleton",), **VOTES}.items():
        probs = work / f"{protocol}-vote-{len(found)}-seed{seed}.h5"
        mg("fuse", *(path for part in parts for path in members[part]), "-o", probs)
        found[name] = scores(work, probs)
    for row in ENSEMBLE:
        probs = work / f"{protocol}-skeleton-{row}-seed{seed}-probs.h5"
        mg("fuse", skeleton / f"{protocol}-{row}-seed{seed}.h5", "-o", probs)
        found[f"skeleton: {row}"] = scores(work, probs)
    return {"settings": {"skeleton": ENSEMBLE, "votes": VOTES, "weights": "equal"}, "scores": found}


def main() -> None:
    """Run the cells that are missing and write their files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and checkpoints")
    parser.add_argument("--skeleton", type=Path, help="work folder of skeleton_utd, for votes with it")
    parser.add_argument(
        "--source", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--protocols", nargs="+", default=["standard"], choices=PROTOCOLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    digests = prepare(arguments.work, arguments.source / "utd_mhad")
    digests |= prepare_crops(arguments.work, arguments.source / "utd_mhad")
    for seed in arguments.seeds:
        for protocol in arguments.protocols:
            inputs = {"clips.h5": digests["clips.h5"], "split.h5": digests[f"{protocol}.h5"]}
            for row in arguments.rows or ROWS:
                crops = f"depth-{ROWS[row]['crops']}.h5"
                _keep(
                    protocol, row, seed, {**inputs, crops: digests[crops]},
                    lambda p=protocol, r=row, s=seed: run_cell(arguments.work, p, r, s, arguments.threads),
                )  # fmt: skip
            if arguments.skeleton is not None:
                _keep(
                    protocol, "fused", seed, inputs,
                    lambda p=protocol, s=seed: fuse_with_skeleton(arguments.work, arguments.skeleton, p, s),
                )  # fmt: skip


def _keep(
    protocol: str, row: str, seed: int, inputs: dict[str, str], cell: Callable[[], dict[str, Any] | None]
) -> None:
    path = RESULTS / f"depth-utd-{protocol}-{row}-seed{seed}.json"
    if path.exists():
        return
    found = cell()
    if found is None:
        return
    words = "--skeleton DIR" if row == "fused" else row
    record = {
        "kind": "depth-utd",
        "protocol": protocol,
        "row": row,
        "seed": seed,
        "command": f"python -m benchmarks.depth_utd --work DIR {words} --protocols {protocol} --seeds {seed}",
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
        "inputs": inputs,
        **found,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    values = record["scores"] if row == "fused" else {row: record["scores"]}
    for name, value in values.items():
        print(f"{path.name} {name}: {100 * value['accuracy']:.2f}", flush=True)


if __name__ == "__main__":
    main()
