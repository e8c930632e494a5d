"""OpenPose JSON of whole recordings: our importer beside a ``json.load`` loop that builds the same array.

``python -m benchmarks.openpose_json``. The loop reads file after file and makes one array of each part; it
takes the first person of every frame, which here is the same one, and so it need not track. Ours reads,
checks and tracks. Both sides run on one core, in turns, on files in the page cache.
"""

from __future__ import annotations

import json
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from mg_data.datasets.openpose.importer import read_recording

PARTS = {
    "pose_keypoints_2d": 25,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
}
FILES = 3000
WANTED = 3.0


def _person(points: NDArray[np.float64]) -> dict[str, Any]:
    """Return one person as OpenPose writes it: pixels with three decimals, a missing point as 0,0,0."""
    person: dict[str, Any] = {"person_id": [-1]}
    begin = 0
    for part, count in PARTS.items():
        values = points[begin : begin + count].ravel().tolist()
        person[part] = [round(value, 3 if value > 1 else 6) or 0 for value in values]
        begin += count
    return {**person, **{part.replace("2d", "3d"): [] for part in PARTS}}


def write_recording(folder: Path, files: int = FILES, seed: int = 0) -> None:
    """Write a seated person in the foreground with body, face and hands, and in half of the frames a smaller
    one behind; points tremble by a pixel, the foreground's legs are missing.
    """
    rng = np.random.default_rng(seed)
    spread = np.repeat([260.0, 60.0, 25.0, 25.0], list(PARTS.values()))[:, None]
    base = np.repeat([[640, 360], [640, 200], [800, 500], [480, 500]], list(PARTS.values()), axis=0) + (
        spread * rng.uniform(-1, 1, (137, 2))
    )
    confidence = rng.uniform(0.4, 0.95, (137, 1))
    confidence[[10, 11, 13, 14, *range(19, 25)]] = 0
    for number in range(files):
        sway = 20 * np.sin(number / 40)
        people = []
        for scale, x in ((1.0, 0.0), (0.4, 700.0))[: 2 if (number // 300) % 2 else 1]:
            place = scale * (base + sway) + [x, 0] + rng.normal(0, 1, (137, 2))
            points = np.concatenate([place, confidence], axis=1) * (confidence > 0)
            people.append(_person(points))
        text = json.dumps({"version": 1.3, "people": people}, separators=(",", ":"))
        (folder / f"video_{number:012d}_keypoints.json").write_text(text, encoding="ascii")


def stdlib_loop(folder: Path) -> NDArray[np.float32]:
    """Return (T, 1, 137, 3) of the first person of each frame."""
    paths = sorted(folder.glob("*_keypoints.json"), key=lambda p: int(re.findall(r"\d+", p.name)[-1]))
    frames = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            people = json.load(file)["people"]
        parts = [
            np.array(people[0][part], np.float32).reshape(count, 3)
            if people and people[0][part]
            else np.zeros((count, 3), np.float32)
            for part, count in PARTS.items()
        ]
        frames.append(np.concatenate(parts))
    return np.stack(frames)[:, None]


def _seconds(function: Callable[[Path], NDArray[np.float32]], folder: Path) -> float:
    began = time.perf_counter()
    function(folder)
    return time.perf_counter() - began


def _ours(folder: Path) -> NDArray[np.float32]:
    return read_recording(folder).joints


def measure(rounds: int = 7, files: int = FILES) -> dict[str, Any]:
    """Return median seconds of both sides and the median ratio of the rounds; both arrays must be equal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "recording"
        folder.mkdir()
        write_recording(folder, files)
        megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        np.testing.assert_array_equal(_ours(folder), stdlib_loop(folder))
        pairs = [(_seconds(_ours, folder), _seconds(stdlib_loop, folder)) for _ in range(rounds)]
    return {
        "files": files,
        "megabytes": round(megabytes, 1),
        "ours": statistics.median(ours for ours, _ in pairs),
        "stdlib json": statistics.median(theirs for _, theirs in pairs),
        **ratio_of_rounds([theirs for _, theirs in pairs], [ours for ours, _ in pairs]),
        "wanted": WANTED,
    }


def main() -> None:
    """Write results/PROCESSOR/openpose-json.json."""
    result = {
        "kind": "openpose-json",
        "command": "python -m benchmarks.openpose_json",
        "commit": commit(),
        "python": platform.python_version(),
        **measure(),
    }
    publish("openpose-json", result)


if __name__ == "__main__":
    main()
