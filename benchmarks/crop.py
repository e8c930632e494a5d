"""Cropping beside decoding alone, two processes beside one, and memory: ``python -m benchmarks.crop``.

Decoding alone is the same video decoded to RGB arrays by PyAV in one thread. Cropping is what `mg data crop`
does with it: decode, cut the box out, bring it to 224 x 224, JPEG. Both take turns; a speed is a ratio of one
turn. ``--quick`` leaves out the processes and the memory. ``ceiling`` is how many times as fast two separate
crops at once are as one after the other: no crop in two processes can be faster on the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds, run_mg, run_mg_at_once
from benchmarks.record_run import commit
from mg_data.datasets.video_files import VideoFileFrames
from mg_data.prepare.crop_video import ClipJob, CropOptions, VideoJob, crop_video
from mg_data.store import open_clips
from mg_data.video.crop import clip_extremes, steady_points, visible_points
from mg_data.video.decode import count_frames, video_size

SHARED = Path(os.environ.get("MG_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


class VideoFolder(VideoFileFrames):
    """Videos of one folder, by their file names."""

    def find(self, video_id: str) -> Path:
        """Return the file of a video."""
        return self.root / video_id


def open_folder(root: Path, stream: str) -> VideoFolder:
    """Open a folder (the ``frames`` factory of the jobs below)."""
    return VideoFolder(root)


def _corpus(folder: Path, videos: int, clips_per_video: int, size: str) -> Path:
    """Write and import a synthetic corpus; return its folder, with ``<folder>.h5`` beside it."""
    out = folder / f"corpus-{size}-{videos}"
    run_mg("data", "synth", out, "--clips", videos * clips_per_video, "--subjects", videos,
        "--videos-per-subject", 1, "--size", size, "--workers", 2)  # fmt: skip
    run_mg(
        "data", "import", "synthetic", out, "-o", out.with_suffix(".h5"), "--labels", out.with_suffix(".csv")
    )
    return out


def _job(path: Path, extent: NDArray[np.float64]) -> VideoJob:
    count = count_frames(path)
    return VideoJob(
        video_id=path.name,
        clips=(ClipJob("clip", 0, count, np.arange(count), extent),),
        opener="benchmarks.crop:open_folder",
        root=path.parent,
        image_size=video_size(path),
        options=CropOptions("rgb", "rgb", (224, 224), 0.2, "zero", 90),
    )


def _decode(path: Path) -> int:
    count = 0
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24", threads=1)
            count += 1
    return count


def compare(path: Path, extent: NDArray[np.float64], rounds: int = 7) -> dict[str, Any]:
    """Return frames per second of decoding alone and of cropping, in turns, and their ratio."""
    job = _job(path, extent)
    frames = crop_video(job).clips[0].frames
    of_cpu, alone, crops = [], [], []
    for _ in range(rounds):
        began = time.perf_counter(), time.process_time()
        count = _decode(path)
        between = time.perf_counter(), time.process_time()
        crop_video(job)
        ended = time.perf_counter(), time.process_time()
        alone.append(count / (between[0] - began[0]))
        crops.append(len(frames) / (ended[0] - between[0]))
        of_cpu.append((between[1] - began[1]) / (ended[1] - between[1]))
    return {
        "frames": len(frames),
        "decode_frames_per_second": round(statistics.median(alone), 1),
        "crop_frames_per_second": round(statistics.median(crops), 1),
        **ratio_of_rounds(crops, alone),
        # Of the processor's time: what others do on the machine at the same time matters less to it.
        "ratio_of_processor_time": round(statistics.median(of_cpu), 3),
    }


def synthetic_speed(folder: Path, size: str = "1280x720", rounds: int = 7) -> dict[str, Any]:
    """Return :func:`compare` of a synthetic video of 720 x 1280 pixels, cut by its keypoints."""
    corpus = _corpus(folder, 1, 8, size)
    store = open_clips(corpus.with_suffix(".h5"))
    points = np.concatenate([visible_points(store.joints(row), store.columns) for row in range(len(store))])
    extent = clip_extremes(steady_points(points))
    assert extent is not None
    video_id = str(store.video_ids[0])
    return compare(next(corpus.glob(f"**/{video_id}.mp4")), extent, rounds)


def real_speed() -> dict[str, Any] | None:
    """Return :func:`compare` of real videos of 640 x 480 pixels, the signer's box, their median."""
    found = sorted((SHARED / "intel_asl").glob("*.mkv"))[:5]
    if not found:
        return None
    results = [compare(path, np.array([150.0, 60.0, 450.0, 420.0]), 5) for path in found]
    medians = {
        name: round(statistics.median(result[name] for result in results), 3)
        for name, value in results[0].items()
        if not isinstance(value, list)
    }
    ratios = [result["ratio"] for result in results]
    return {**medians, "ratio_range": [min(ratios), max(ratios)]}


def workers(folder: Path, rounds: int = 2) -> dict[str, Any]:
    """Return seconds of ``mg data crop`` with one and two processes in turns, their ratio and its ceiling."""
    corpus = _corpus(folder, 20, 14, "1280x720")
    words = ["data", "crop", corpus.with_suffix(".h5"), corpus, "-o"]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    apart = []
    for _ in range(rounds):
        for number, values in seconds.items():
            values.append(run_mg(*words, folder / "crops.h5", "--workers", number)[0])
        both = [[*words, folder / f"{name}.h5", "--workers", 1] for name in ("first", "second")]
        apart.append(run_mg_at_once(*both))
    return {
        "seconds_one": round(statistics.median(seconds[1]), 2),
        "seconds_two": round(statistics.median(seconds[2]), 2),
        **ratio_of_rounds(seconds[1], seconds[2], 2),
        "ceiling": ratio_of_rounds([2 * one for one in seconds[1]], apart, 2),
    }


def memory(folder: Path) -> dict[str, float]:
    """Return peak memory of cropping 60 and 600 clips, in MB, and the ratio."""
    peak = {}
    for videos in (6, 60):
        corpus = _corpus(folder, videos, 10, "96x64")
        out = folder / f"crops-{videos}.h5"
        peak[videos] = run_mg("data", "crop", corpus.with_suffix(".h5"), corpus, "-o", out, "--size", 112)[1]
    ratio = round(peak[60] / peak[6], 3)
    return {"mb_60_clips": round(peak[6], 1), "mb_600_clips": round(peak[60], 1), "ratio": ratio}


def main() -> None:
    """Write results/PROCESSOR/crop.json."""
    with tempfile.TemporaryDirectory() as name:
        result: dict[str, Any] = {
            "kind": "crop",
            "what": "crop (decode, cut, resize, JPEG) on one core beside decoding alone; two processes",
            "wanted": "ratio >= 0.6 for each video; workers.ratio >= 1.7; memory.ratio <= 1.2",
            "command": "python -m benchmarks.crop",
            "commit": commit(),
            "synthetic_720x1280": synthetic_speed(Path(name)),
            "intel_asl_640x480": real_speed(),
        }
        if "--quick" not in sys.argv:
            result["workers"] = workers(Path(name))
            result["memory"] = memory(Path(name))
    if "--quick" in sys.argv:
        print(json.dumps(result, indent=2))
    else:
        publish("crop", result)


if __name__ == "__main__":
    main()
