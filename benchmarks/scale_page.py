"""docs/scale.md: what 100,000 hours of video cost, by arithmetic from the measured rates in results/."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.page_parts import NOT_RUN, record, records

HOURS, FPS = 100_000, 25
FRAMES = HOURS * 3600 * FPS
# Not measured here: said as assumptions on the page.
POSE_FRAMES_PER_GPU_SECOND = 100
ACTIVE_SHARE = 0.1
POINTS = 68
CORES, GPUS = 1_000, 100


@dataclass(frozen=True)
class Stage:
    """One stage: its work, how fast one processor does it, and what it leaves on the disk.

    Args:
        rate: units a second of one core or GPU; None where it was not measured.
        store_bytes: of the stage's stores, in all. source: where the rate comes from.
    """

    name: str
    units: float
    unit: str
    rate: float | None
    store_bytes: float
    source: str
    on_gpu: bool = False

    @property
    def hours(self) -> float | None:
        """Hours of one core or GPU."""
        return None if self.rate is None else self.units / self.rate / 3600


def _stages() -> list[Stage]:
    crop, loader, load = (record(name) for name in ("crop", "rgb-loader", "load-scores"))
    imports = record("import-workers")
    watched = [item["video_seconds_a_second"] for item in records("watch-synthetic-seed*")]
    # Forty videos of some 9,000 frames, as text.
    import_rate = 40 * 9_000 / imports["seconds_one"] if imports else None
    crop_rate = crop["synthetic_720x1280"]["crop_frames_per_second"] if crop else None
    frame_bytes = float(loader["bytes_a_frame"]) if loader else 0.0
    windows = HOURS * 3600 / 0.2 * ACTIVE_SHARE
    fuse_rate = None
    if load:
        row = load["steps"]["mg fuse (blocks)"]
        fuse_rate = load["sizes"][-1] / row["seconds"][-1]
    return [
        Stage(
            "pose estimation",
            FRAMES,
            "frames",
            POSE_FRAMES_PER_GPU_SECOND,
            FRAMES * POINTS * 12,
            "assumed, whatever estimator is taken",
            on_gpu=True,
        ),
        Stage(
            "`mg data import` of keypoints as text",
            FRAMES,
            "frames",
            import_rate,
            FRAMES * POINTS * 12,
            "import-workers",
        ),
        Stage(
            "`mg watch`, skeleton branch",
            HOURS * 3600,
            "seconds of video",
            statistics.mean(watched) / 2 if watched else None,
            HOURS * 3600 * 60,
            "watch-synthetic, two threads halved",
        ),
        Stage(
            f"`mg data crop` of the {100 * ACTIVE_SHARE:.0f} % that move",
            FRAMES * ACTIVE_SHARE,
            "frames",
            crop_rate,
            FRAMES * ACTIVE_SHARE * frame_bytes,
            "crop, rgb-loader",
        ),
        Stage(
            "`mg fuse` of their windows, one store a branch",
            windows,
            "rows",
            fuse_rate,
            windows * (32 * 4 + 64) * 4,
            "load-scores",
        ),
    ]


def page() -> str:
    """Return docs/scale.md."""
    stages = _stages()
    lines = [
        "# A plan for 100,000 hours of video",
        "",
        f"Arithmetic from rates measured on one core (`benchmarks/results`), for {HOURS:,} hours at {FPS}",
        f"frames a second: {FRAMES:.1e} frames. Every stage but training is cut into shards by recording",
        "(`--shard i/n`), which meet only in `mg store merge`, so its time falls with the number of",
        "processors until the disk is full at work. Assumed and not measured: a keypoint estimator that does",
        f"{POSE_FRAMES_PER_GPU_SECOND} frames a second on a GPU, and that {100 * ACTIVE_SHARE:.0f} % of the",
        "time somebody moves enough for the video branches to look.",
        "",
        f"| stage | work | rate of one | hours of one | on {CORES:,} cores or {GPUS} GPUs | stores "
        "| rate from |",
        "|---|---|---|---|---|---|---|",
        *map(_line, stages),
        "",
    ]
    timed = [stage for stage in stages if stage.hours is not None]
    slowest = max(timed, key=lambda stage: (stage.hours or 0) / (GPUS if stage.on_gpu else CORES))
    largest = max(stages, key=lambda stage: stage.store_bytes)
    lines += [
        f"The bottleneck is {slowest.name}. The largest store is that of {largest.name}:",
        f"{_bytes(largest.store_bytes)}; with shards of 100 hours these are {HOURS // 100:,} files.",
        "A model is trained on the labelled clips alone, which do not grow with the archive; adapting to it",
        "by pseudo-labels takes a sample of its windows. What crosses the network is read once a stage:",
        f"the video ({_bytes(HOURS * 3600 * 250_000)} at 2 Mbit/s) twice, keypoints twice, crops once a",
        "branch.",
        "",
        "What this plan has not seen: a cluster, a parallel file system, a GPU. That shards and two",
        "processes of one machine give the result of one is tested (see",
        "[Train on many machines](tutorials/cluster.md)).",
    ]
    return "\n".join(lines) + "\n"


def _line(stage: Stage) -> str:
    many = GPUS if stage.on_gpu else CORES
    kind = "GPU" if stage.on_gpu else "core"
    if stage.rate is None or stage.hours is None:
        cells: Sequence[str] = (NOT_RUN,) * 3
    else:
        cells = (
            f"{stage.rate:,.0f} a second",
            f"{stage.hours:,.0f} {kind}-hours",
            f"{stage.hours / many:,.1f} h",
        )
    work = f"{stage.units:.1e} {stage.unit}"
    return f"| {stage.name} | {work} | {' | '.join(cells)} | {_bytes(stage.store_bytes)} | {stage.source} |"


def _bytes(number: float) -> str:
    """Return bytes for a reader.

    >>> _bytes(7.3e12), _bytes(2.1e9)
    ('7.3 TB', '2.1 GB')
    """
    return f"{number / 1e12:.1f} TB" if number >= 1e12 else f"{number / 1e9:.1f} GB"
