"""The loader of crop stores beside decoding alone: ``python -m benchmarks.rgb_loader``.

Both sides use two processes on the same JPEG frames of 256 x 256 pixels. The limit is OpenCV's ``imdecode``
of every frame, in memory, and nothing else. The loader is the trainer's: clips of 32 frames at 224 pixels,
read from the store in random order, decoded, cut, augmented and put together to batches in the main process.
A ratio is frames a second of the loader over frames a second of the limit; both are measured in turns.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.machine import machine, publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from mg_adapt.training.data import EpochBatches, TrainingClips, TrainingSamples, training_loader
from mg_adapt.training.loading import raised
from mg_data.store import StreamsWriter, Taint, open_streams
from mg_data.video.codec import encode_frame
from mg_rgb.modalities.colour import Rgb

CLIPS, LENGTH, SIDE, WORKERS, BATCH = 96, 64, 256, 2, 8
# RandomResizedCrop, flips and colour jitter; whole frames resized; cuts of 224 pixels at random, which need
# no resizing; small rotations.
SAMPLES: dict[str, dict[str, Any]] = {
    "training": {"crop_area": 0.5, "rotation_degrees": 0.0, "colour_jitter": 0.2},
    "plain": {"crop_area": 1.0, "crop_aspect": 1.0, "rotation_degrees": 0.0, "colour_jitter": 0.0},
    "cut": {
        "zoom": SIDE / 224,
        "scale_jitter": 0.0,
        "aspect_jitter": 0.0,
        "shift_jitter": 0.05,
        "rotation_degrees": 0.0,
        "colour_jitter": 0.2,
    },
    "rotated": {"rotation_degrees": 8.0, "colour_jitter": 0.2},
}
_SPEC = {"stream": "rgb", "frames": 32, "stride": 0, "size": 224}


def write(path: Path) -> float:
    """Write clips of a moving smooth picture with some noise; return the mean bytes of a frame."""
    rng = np.random.default_rng(0)
    sizes = []
    with StreamsWriter(path, dataset="d", stream="rgb", encoding="jpeg", channels=3) as writer:
        for clip in range(CLIPS):
            small = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            large = cv2.resize(small, (SIDE + LENGTH, SIDE + LENGTH), interpolation=cv2.INTER_CUBIC)
            noisy = np.clip(large + rng.normal(0, 4, large.shape), 0, 255).astype(np.uint8)
            frames = [
                encode_frame(np.ascontiguousarray(noisy[n : n + SIDE, n : n + SIDE]), "jpeg")
                for n in range(LENGTH)
            ]
            sizes += [len(frame) for frame in frames]
            writer.add(clip_id=f"c{clip:03}", frames=frames, boxes=np.zeros((LENGTH, 4)))
    return statistics.mean(sizes)


def _decode(path: Path, part: int, orders: Connection) -> None:
    """Decode every frame of this part's clips whenever told to, from memory."""
    cv2.setNumThreads(0)
    store = open_streams(path)
    frames = [frame for row in range(part, CLIPS, WORKERS) for frame in store.frame_bytes(row)]
    orders.send(len(frames))
    while orders.recv():
        for frame in frames:
            cv2.imdecode(frame, cv2.IMREAD_UNCHANGED)
        orders.send(len(frames))


def decode_rate(pipes: list[Connection]) -> float:
    """Return frames a second of all processes together."""
    began = time.perf_counter()
    for pipe in pipes:
        pipe.send(True)
    return sum(pipe.recv() for pipe in pipes) / (time.perf_counter() - began)


class Loading:
    """The trainer's loader over one kind of sample, its processes started."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        modality = Rgb(path, **_SPEC, **options)
        clips = TrainingClips(
            clip_ids=modality.clip_ids,
            labels=np.zeros(CLIPS, np.int64),
            sources={"train": CLIPS},
            taint=Taint.unknown(),
        )
        flips = options["colour_jitter"] > 0
        samples = TrainingSamples(modality, clips, seed=0, flip=flips, mirror=np.zeros(1, np.int64))
        self.batches = EpochBatches(clips.labels, BATCH, seed=0)
        self.loader = training_loader(samples, self.batches, WORKERS)

    def rate(self, epoch: int) -> float:
        """Return frames a second of one epoch."""
        self.batches.epoch = epoch
        frames = 0
        began = time.perf_counter()
        for x, _, _ in raised(self.loader):
            frames += x.shape[0] * x.shape[2]
        return frames / (time.perf_counter() - began)


def measure(repeats: int = 7) -> dict[str, Any]:
    """Return frames a second and ratios, medians of several turns."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rgb.h5"
        size = write(path)
        pairs = [multiprocessing.Pipe() for _ in range(WORKERS)]
        processes = [
            multiprocessing.Process(target=_decode, args=(path, part, theirs))
            for part, (_, theirs) in enumerate(pairs)
        ]
        for process in processes:
            process.start()
        pipes = [ours for ours, _ in pairs]
        for pipe in pipes:
            pipe.recv()
        loaders = {kind: Loading(path, options) for kind, options in SAMPLES.items()}
        for loading in loaders.values():
            loading.rate(0)
        limits: list[float] = []
        rates: dict[str, list[float]] = {kind: [] for kind in SAMPLES}
        for turn in range(1, repeats + 1):
            limits.append(decode_rate(pipes))
            for kind, loading in loaders.items():
                rates[kind].append(loading.rate(turn))
        for pipe in pipes:
            pipe.send(False)
        for process in processes:
            process.join()
    return {
        "frames": f"{CLIPS * LENGTH} of {SIDE}x{SIDE}, {size / 1000:.1f} kB a frame",
        "bytes_a_frame": round(size),
        "decoding_frames_a_second": round(statistics.median(limits)),
        "frames_a_second": {kind: round(statistics.median(found)) for kind, found in rates.items()},
        "ratios": {kind: ratio_of_rounds(found, limits) for kind, found in rates.items()},
    }


def main() -> None:
    """Write results/PROCESSOR/rgb-loader.json."""
    found = measure()
    result = {
        "kind": "rgb-loader",
        "command": "python -m benchmarks.rgb_loader",
        "commit": commit(),
        "machine": machine(),
        "workers": WORKERS,
        "wanted": "ratio >= 0.7",
        **found["ratios"]["training"],
        "samples": SAMPLES,
        **found,
    }
    publish("rgb-loader", result)


if __name__ == "__main__":
    main()
