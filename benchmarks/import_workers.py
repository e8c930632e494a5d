"""Import with two processes beside one, and its memory: ``python -m benchmarks.import_workers``.

The corpus is synthetic, in the challenge's file layouts: one workbook of 137 keypoints a video.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import RESULTS, commit

# Prints the peak memory of the process itself, in KiB, as its last line.
_PEAK = """
import resource
from mg_data.cli.main import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _mg(*words: object) -> tuple[float, int]:
    """Run the command in a process of its own; return its seconds and its peak memory in KiB."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *map(str, words)], capture_output=True, text=True, check=True
    )
    return time.perf_counter() - began, int(done.stdout.split()[-1])


def _corpus(folder: Path, videos: int, clips_per_video: int) -> Path:
    out = folder / f"corpus-{videos}-{clips_per_video}"
    _mg("data", "synth", out, "--clips", videos * clips_per_video, "--subjects", videos,
        "--videos-per-subject", 1, "--size", "64x64", "--no-video", "--keypoints", "openpose",
        "--workers", 2)  # fmt: skip
    return out


def _import(corpus: Path, workers: int) -> tuple[float, int]:
    out = corpus.parent / f"clips-{workers}.h5"
    words = ["data", "import", "synthetic", corpus, "-o", out, "--labels", out.with_suffix(".csv")]
    return _mg(*words, "--workers", workers)


def measure(rounds: int = 2) -> dict[str, Any]:
    """Return seconds with one and two processes in turns, their ratio, and the ratio of memory."""
    with tempfile.TemporaryDirectory() as name:
        # Videos of a usual length, some 9,000 frames, for the speed; short ones for the memory.
        long = _corpus(Path(name), 40, 200)
        small, large = _corpus(Path(name), 6, 20), _corpus(Path(name), 60, 20)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for workers, values in seconds.items():
                values.append(_import(long, workers)[0])
        memory = {corpus: _import(corpus, 1)[1] for corpus in (small, large)}
    return {
        "seconds_one": round(statistics.median(seconds[1]), 2),
        "seconds_two": round(statistics.median(seconds[2]), 2),
        **ratio_of_rounds(seconds[1], seconds[2], 2),
        "memory_kib_120_clips": memory[small],
        "memory_kib_1200_clips": memory[large],
        "memory_ratio": round(memory[large] / memory[small], 3),
    }


def main() -> None:
    """Write results/import-workers.json."""
    result = {
        "kind": "import-workers",
        "what": "import of 40 videos, 8,000 clips: speed of two processes over one",
        "wanted": "ratio >= 1.7",
        "command": "python -m benchmarks.import_workers",
        "commit": commit(),
        **measure(),
    }
    (RESULTS / "import-workers.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
