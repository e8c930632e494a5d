"""Import with two processes beside one, and its memory: ``python -m benchmarks.import_workers``.

The corpus is synthetic, in the challenge's file layouts: one workbook of 137 keypoints a video. ``ceiling``
is how many times as fast two separate imports at once are as one after the other: no import in two processes
can be faster on the machine.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds, run_mg, run_mg_at_once
from benchmarks.record_run import commit


def _corpus(folder: Path, videos: int, clips_per_video: int) -> Path:
    out = folder / f"corpus-{videos}-{clips_per_video}"
    run_mg("data", "synth", out, "--clips", videos * clips_per_video, "--subjects", videos,
        "--videos-per-subject", 1, "--size", "64x64", "--no-video", "--keypoints", "openpose",
        "--workers", 2)  # fmt: skip
    return out


def _words(corpus: Path, workers: int, name: str = "clips") -> list[object]:
    out = corpus.parent / f"{name}-{workers}.h5"
    words = ["data", "import", "synthetic", corpus, "-o", out, "--labels", out.with_suffix(".csv")]
    return [*words, "--workers", workers]


def measure(rounds: int = 2) -> dict[str, Any]:
    """Return seconds with one and two processes in turns, their ratio, and the ratio of memory."""
    with tempfile.TemporaryDirectory() as name:
        # Videos of a usual length, some 9,000 frames, for the speed; short ones for the memory.
        long = _corpus(Path(name), 40, 200)
        small, large = _corpus(Path(name), 6, 20), _corpus(Path(name), 60, 20)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        apart = []
        for _ in range(rounds):
            for workers, values in seconds.items():
                values.append(run_mg(*_words(long, workers))[0])
            apart.append(run_mg_at_once(_words(long, 1, "first"), _words(long, 1, "second")))
        memory = {corpus: run_mg(*_words(corpus, 1))[1] for corpus in (small, large)}
    return {
        "seconds_one": round(statistics.median(seconds[1]), 2),
        "seconds_two": round(statistics.median(seconds[2]), 2),
        **ratio_of_rounds(seconds[1], seconds[2], 2),
        "ceiling": ratio_of_rounds([2 * one for one in seconds[1]], apart, 2),
        "memory_mb_120_clips": round(memory[small], 1),
        "memory_mb_1200_clips": round(memory[large], 1),
        "memory_ratio": round(memory[large] / memory[small], 3),
    }


def main() -> None:
    """Write results/PROCESSOR/import-workers.json."""
    result = {
        "kind": "import-workers",
        "what": "import of 40 videos, 8,000 clips: speed of two processes over one",
        "wanted": "ratio >= 1.7",
        "command": "python -m benchmarks.import_workers",
        "commit": commit(),
        **measure(),
    }
    publish("import-workers", result)


if __name__ == "__main__":
    main()
