"""Clips read from a store in random order beside ``np.load(mmap_mode="r")``.

Run it by ``python -m benchmarks.clips_read``.

Both sides copy the same rows in the same order, in turns. The first pass of the store compares every
checksum, later ones do not; a ratio is the time of the array over that of the store.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from mg_data.store import ClipsStore, ClipsWriter, open_clips

# (mean frames, keypoints, clips): clips have 2/3 to 4/3 of the mean.
SIZES = ((16, 20, 12_000), (60, 68, 3_000), (60, 137, 3_000))


def write(folder: Path, frames: int, points: int, clips: int) -> tuple[np.ndarray, list[int]]:
    """Write clips.h5 and joints.npy; return the (N + 1,) offsets of the clips and a random order."""
    rng = np.random.default_rng(frames * points)
    lengths = rng.integers(2 * frames // 3, 4 * frames // 3 + 1, clips)
    limits = np.concatenate([[0], np.cumsum(lengths)])
    flat = rng.random((int(limits[-1]), 1, points, 3), dtype=np.float32)
    np.save(folder / "joints.npy", flat)
    with ClipsWriter(folder / "clips.h5", dataset="d", class_names=["a"], layout="any") as writer:
        for row in range(clips):
            writer.add(
                clip_id=f"c{row}",
                subject_id="s",
                video_id="v",
                start=0,
                stop=int(lengths[row]),
                joints=flat[limits[row] : limits[row + 1]],
            )
    return limits, rng.permutation(clips).tolist()


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(frames: int, points: int, clips: int, repeats: int = 9) -> dict[str, float | str]:
    """Return microseconds a clip and ratios of the first pass and of later ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limits, order = write(folder, frames, points, clips)
        begins = limits.tolist()

        def from_array(array: np.ndarray) -> None:
            for row in order:
                np.array(array[begins[row] : begins[row + 1]])

        def from_store(store: ClipsStore) -> None:
            for row in order:
                store.joints(row)

        first: dict[str, list[float]] = {"array": [], "store": []}
        later: dict[str, list[float]] = {"array": [], "store": []}
        for _ in range(repeats):
            array = np.load(folder / "joints.npy", mmap_mode="r")
            store = open_clips(folder / "clips.h5")
            for seconds in (first, later):
                if seconds is later:  # the store maps a chunk when it is touched for the second time
                    from_store(store)
                seconds["array"].append(_seconds(lambda: from_array(array)))  # noqa: B023
                seconds["store"].append(_seconds(lambda: from_store(store)))  # noqa: B023
            assert np.array_equal(store.joints(order[0]), array[begins[order[0]] : begins[order[0] + 1]])
            store.close()
    micro = 1e6 / clips
    return {
        "clips": f"{clips} of {2 * frames // 3} to {4 * frames // 3} x {points} x 3 float32",
        "array_us": round(micro * statistics.median(later["array"]), 2),
        "store_us": round(micro * statistics.median(later["store"]), 2),
        **ratio_of_rounds(later["array"], later["store"]),
        "first_store_us": round(micro * statistics.median(first["store"]), 2),
        "first_ratio": round(statistics.median(a / b for a, b in zip(first["array"], first["store"])), 3),
    }


def main() -> None:
    """Write results/PROCESSOR/clips-read.json."""
    sizes = [measure(*size) for size in SIZES]
    slowest = min(sizes, key=lambda size: float(size["ratio"]))
    result = {
        "kind": "clips-read",
        "command": "python -m benchmarks.clips_read",
        "commit": commit(),
        "wanted": "ratio >= 0.7",
        **{key: slowest[key] for key in ("ratio", "ratio_range")},
        "sizes": sizes,
    }
    publish("clips-read", result)


if __name__ == "__main__":
    main()
