"""The explorer on a run as large as the challenge: ``python -m benchmarks.explore_scale``.

The run of benchmarks/report_scale.py (4,562 clips, 32 classes, six models, two rounds) with a clips store of
16 frames of 20 points a clip. ``mg explore`` is started five times in a process of its own, and asked for its
page, its run, its first clips, a clip and a frame. Wanted: the first page within 2 seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np

from benchmarks.machine import machine, publish
from benchmarks.record_run import commit
from benchmarks.report_scale import CLASSES, DATASET, PEOPLE, SEED, write_run
from mg_data.labels import read_labels
from mg_data.store import ClipsWriter, Provenance

RUNS, FRAMES, LAYOUT, POINTS = 5, 16, "kinect-20", 20


def write_clips(folder: Path) -> None:
    """Write the clips store of the run: drawn points in an image of 640 x 480."""
    generator = np.random.default_rng(SEED)
    with ClipsWriter(
        folder / "data" / "clips.h5",
        dataset=DATASET,
        class_names=CLASSES,
        vocabulary="scale",
        layout=LAYOUT,
        columns=("x", "y", "z"),
        image_size=(640, 480),
        camera=(365.0, 365.0, 320.0, 240.0),
        signals={},
        provenance=Provenance(command="benchmarks.explore_scale"),
    ) as writer:
        for number, clip_id in enumerate(read_labels(folder / "data" / "labels.csv")):
            joints = generator.normal(scale=0.3, size=(FRAMES, 1, POINTS, 3)).astype(np.float32)
            writer.add(
                clip_id=clip_id,
                subject_id=f"s{number % PEOPLE:02d}",
                video_id=clip_id.partition("_")[0],
                start=0,
                stop=FRAMES,
                joints=joints + np.float32([0, 0, 2]),
            )


def _ask(address: str, path: str) -> tuple[bytes, float]:
    began = time.perf_counter()
    with urllib.request.urlopen(address + path) as answer:
        return answer.read(), time.perf_counter() - began


def explore_once(folder: Path) -> dict[str, float]:
    """Start the explorer, ask for each thing once, and return the seconds of each."""
    command = [sys.executable, "-m", "mg_data", "explore", str(folder), "--port", "0", "--no-browser"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = process.stderr.readline().split(" is shown at ")[1].split(" ")[0]
        _, page = _ask(address, "")
        found = {"start to first page": time.perf_counter() - began, "page": page}
        _, found["run"] = _ask(address, "api/run")
        listed, found["first hundred clips"] = _ask(
            address, "api/clips?subset=target&sort=-confidence&right=no"
        )
        clip = urllib.parse.quote(json.loads(listed)["clips"][0]["id"])
        _, found["clip"] = _ask(address, f"api/clip?id={clip}")
        _, found["frame"] = _ask(address, f"api/frame?id={clip}&frame=3")
        _, found["second frame"] = _ask(address, f"api/frame?id={clip}&frame=4")
    finally:
        process.terminate()
        process.wait()
    return found


def main() -> None:
    """Measure and write the record."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        write_run(folder)
        write_clips(folder)
        rounds = [explore_once(folder) for _ in range(RUNS)]
    record = {
        "kind": "explore-scale",
        "command": "python -m benchmarks.explore_scale",
        "commit": commit(),
        "machine": machine(),
        "seed": SEED,
        "wanted": {"start to first page": 2.0},
        "median_seconds": {key: round(statistics.median(row[key] for row in rounds), 4) for key in rounds[0]},
        "largest_seconds": {key: round(max(row[key] for row in rounds), 4) for key in rounds[0]},
    }
    publish("explore-scale", record)


if __name__ == "__main__":
    main()
