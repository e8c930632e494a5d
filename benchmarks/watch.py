"""Gestures in whole videos of unseen synthetic people: ``python -m benchmarks.watch --work DIR``.

A smoke test of ``mg watch``, no evidence for real people. Ten people, one video each, who sit still for a
second on average between two gestures. Seven train, one chooses thresholds (``mg watch --choose``), two are
watched and scored once; their labels are read by ``mg watch --truth`` alone. Wanted: faster than the videos
play, on two threads. Each seed, of corpus and training, is a file ``results/watch-synthetic-seedS.json``;
seeds that are there are skipped. ``--prepare`` stops before anything is timed.
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

from benchmarks.record_run import RESULTS, commit
from benchmarks.skeleton_utd import _mg as mg
from mg_adapt.files import file_digest
from mg_data.store import open_clips

SETTINGS: dict[str, Any] = {
    "corpus": {
        "clips": 400,
        "subjects": 10,
        "videos-per-subject": 1,
        "classes": 8,
        "pause": 1,
        "keypoints": "light_hand",
        "size": "64x96",
    },
    "background_frames": 20,
    "protocol": {
        "train": {"subjects": [f"s{number:02d}" for number in range(1, 8)]},
        "val": {"subjects": ["s08"]},
        "target": {"subjects": ["s09", "s10"]},
    },
    "model": "decoupled-stcnn",
    "preset": "tiny",
    "modality": "joint-motion",
    "recipe": {"epochs": 20},
    "window": 1.0,
    "step": 0.2,
    "iou": 0.5,
}
RUNS, THREADS, LEAST_SECONDS = 3, 2, 180.0
METRICS = (
    "f1",
    "precision",
    "recall",
    "mean_iou",
    "f1_any_class",
    "true_positives",
    "segments",
    "annotations",
)


def prepare(work: Path, seed: int) -> None:
    """Write the corpus, train, and choose thresholds; what is there is kept."""
    work.mkdir(parents=True, exist_ok=True)
    corpus, clips, labels, split = (work / name for name in ("corpus", "clips.h5", "labels.csv", "split.h5"))
    options = ("--option", f"keypoints={SETTINGS['corpus']['keypoints']}", "--option")
    if not corpus.exists():
        words = [word for name, value in SETTINGS["corpus"].items() for word in (f"--{name}", value)]
        mg("data", "synth", corpus, *words, "--seed", seed)
    if not clips.exists():
        background = f"background={SETTINGS['background_frames']}"
        mg("data", "import", "synthetic", corpus, "-o", clips, "--labels", labels, *options, background)
    if not (work / "whole.h5").exists():
        mg("data", "import", "synthetic", corpus, "-o", work / "whole.h5", *options, "whole=true")
    if not split.exists():
        mg("data", "split", clips, labels, "--protocol-json", json.dumps(SETTINGS["protocol"]), "-o", split)
    if not (work / "joint.safetensors").exists():
        mg("train", SETTINGS["model"], "--preset", SETTINGS["preset"], "--modality", SETTINGS["modality"],
           "--data", clips, "--split", split, "--settings", json.dumps({"recipe": SETTINGS["recipe"]}),
           "--seed", seed, "--threads", 1, "-o", work / "joint.safetensors")  # fmt: skip
    if not (work / "thresholds.json").exists():
        pace = ("--window", SETTINGS["window"], "--step", SETTINGS["step"])
        watch(work, "val", "--choose", work / "thresholds.json", *pace, threads=1)


def watch(work: Path, part: str, *more: object, threads: int) -> dict[str, Any]:
    """Watch and score the videos of one part of the protocol."""
    people = SETTINGS["protocol"][part]["subjects"]
    with open_clips(work / "whole.h5") as store:
        videos = [str(video) for video, who in zip(store.video_ids, store.subject_ids) if who in people]
    only = [word for video in videos for word in ("--only", video)]
    return mg("watch", work / "joint.safetensors", "--clips", work / "whole.h5", *only, *more,
              "--background", "background", "--truth", work / "clips.h5", "--iou", SETTINGS["iou"],
              "--threads", threads, "--device", "cpu", "-o", work / f"{part}.json")  # fmt: skip


def measure(work: Path) -> dict[str, Any]:
    """Watch the tested people, several times, and return score and time.

    Raises:
        SystemExit: their videos are too short, or somebody tested was learnt from.
    """
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        found = watch(work, "target", "--thresholds", work / "thresholds.json", threads=THREADS)
        seconds.append(time.perf_counter() - began)
    evaluation = found["evaluation"]
    if found["seconds"] < LEAST_SECONDS:
        raise SystemExit(f"the tested videos last {found['seconds']:.0f} s, wanted {LEAST_SECONDS:g}")
    if evaluation["clips_trained_on"] or evaluation["videos_that_chose_thresholds"]:
        raise SystemExit("a tested person has trained the model or chosen the thresholds")
    wall = statistics.median(seconds)
    chosen = json.loads((work / "thresholds.json").read_text(encoding="utf-8"))
    return {
        "thresholds": found["thresholds"],
        "f1_where_chosen": chosen["f1"],
        "scores": {key: evaluation[key] for key in METRICS},
        "videos": found["videos"],
        "video_seconds": found["seconds"],
        "threads": THREADS,
        "watch_seconds": round(wall, 3),
        "rounds": [round(value, 3) for value in seconds],
        "video_seconds_a_second": round(found["seconds"] / wall, 2),
    }


def main() -> None:
    """Run the seeds that are missing and write their files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for corpora, stores and checkpoints")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--prepare", action="store_true", help="stop before the tested people are watched")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        path, work = RESULTS / f"watch-synthetic-seed{seed}.json", arguments.work / f"seed{seed}"
        if path.exists():
            continue
        prepare(work, seed)
        if arguments.prepare:
            continue
        inputs = ("clips.h5", "labels.csv", "whole.h5", "split.h5")
        record = {
            "kind": "watch-synthetic",
            "seed": seed,
            "command": f"python -m benchmarks.watch --work DIR --seeds {seed}",
            "commit": commit(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, no accelerator used",
            "wanted": {"video_seconds_a_second": "> 1"},
            "inputs": {name: file_digest(work / name) for name in inputs},
            "settings": SETTINGS,
            **measure(work),
        }
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(f"{path.name} F1 {100 * record['scores']['f1']:.2f}, {record['video_seconds_a_second']} times")


if __name__ == "__main__":
    main()
