"""The corpus as files: who does what in which video, keypoints with their noise, labels, frames."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_data.datasets.synthetic.motion import GESTURES, Pose, add_gesture, idle
from mg_data.datasets.synthetic.render import Painter, background, write_mp4
from mg_data.datasets.synthetic.skeleton import LEFT_HAND, RIGHT_HAND, keypoints, light_hand
from mg_data.datasets.synthetic.style import Style, draw_style
from mg_data.datasets.synthetic.xlsx import write_xlsx

MARKER = "corpus.json"
#: Training clips of the challenge by class: the long tail that the corpus follows.
TRAIN_COUNTS = (
    10, 393, 38, 199, 80, 23, 57, 824, 80, 3, 284, 137, 97, 41, 26, 24,
    304, 82, 1, 887, 157, 360, 656, 690, 11, 280, 84, 60, 1155, 6, 2079, 3765,
)  # fmt: skip
# Names of random streams: each is a child of the seed, so that one part never changes another.
_PLAN, _STYLE, _VIDEO = 0, 1, 2
_MEAN_SECONDS = 1.5


@dataclass(frozen=True)
class CorpusPlan:
    """What to write; the corpus is a function of this record alone."""

    clips: int
    subjects: int
    videos_per_subject: int
    classes: int
    height: int
    width: int
    fps: float
    seed: int


@dataclass(frozen=True)
class Video:
    """One video before it is drawn: classes of its clips in their order."""

    video_id: str
    subject: int
    labels: tuple[int, ...]


def class_counts(num_clips: int, num_classes: int) -> NDArray[np.int64]:
    """Return (32,) clips of each class: the challenge's proportions, at least one of each while clips last.

    ``num_classes`` keeps the most frequent classes only.
    """
    weights = np.array(TRAIN_COUNTS, np.float64)
    used = np.argsort(-weights, kind="stable")[:num_classes]
    counts = np.zeros(len(weights), np.int64)
    counts[used[:num_clips]] = 1
    left = num_clips - int(counts.sum())
    share = np.zeros_like(weights)
    share[used] = left * weights[used] / weights[used].sum()
    counts += np.floor(share).astype(np.int64)
    rest = np.argsort(np.floor(share) - share, kind="stable")[: num_clips - int(counts.sum())]
    counts[rest] += 1
    return counts


def plan_videos(plan: CorpusPlan) -> list[Video]:
    """Deal the clips to people and videos; videos without a clip are left out."""
    rng = np.random.default_rng([plan.seed, _PLAN])
    labels = rng.permutation(np.repeat(np.arange(len(GESTURES)), class_counts(plan.clips, plan.classes)))
    num_videos = plan.subjects * plan.videos_per_subject
    # Subjects take turns, so that fewer clips than videos still reach every subject.
    return [
        Video(f"{index + 1:04d}", index % plan.subjects, tuple(labels[index::num_videos].tolist()))
        for index in range(min(num_videos, plan.clips))
    ]


def _timeline(
    video: Video, rng: np.random.Generator, style: Style, fps: float
) -> tuple[list[tuple[int, int]], int]:
    """Return half-open frames of each clip, and the video's length."""
    spans: list[tuple[int, int]] = []
    frame = int(rng.integers(4, 10))
    for _ in video.labels:
        seconds = _MEAN_SECONDS / style.speed * rng.uniform(0.8, 1.25)
        stop = frame + max(8, round(seconds * fps))
        spans.append((frame, stop))
        frame = stop + int(rng.integers(3, 11))
    return spans, frame


def _observe(
    points: NDArray[np.float64],
    visible: NDArray[np.float64],
    plan: CorpusPlan,
    scale: float,
    style: Style,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return (F, 137, 3) as a pose estimator would see it: noise, scores, missing points as 0, 0, 0."""
    num_frames = len(points)
    score = np.clip(visible * rng.normal(0.82, 0.07, visible.shape), 0, 0.99)
    # Noise grows where the score is low; now and then a frame is tracked badly.
    bad = 1.0 + 3.0 * (rng.random((num_frames, 1)) < 0.02)
    sigma = style.jitter * scale * bad * (1.6 - score)
    seen = points + rng.normal(0, 1, points.shape) * sigma[..., None]
    missing = (rng.random(score.shape) < style.dropout) | (score < 0.15)
    for block in (LEFT_HAND, RIGHT_HAND):
        missing[:, block] |= _lost(rng, num_frames, 0.012, 6)[:, None]
    outside = (seen < 0).any(-1) | (seen[..., 0] >= plan.width) | (seen[..., 1] >= plan.height)
    table = np.concatenate([seen, score[..., None]], axis=-1)
    table[missing | outside] = 0.0
    return np.round(table, 3)


def _lost(rng: np.random.Generator, num_frames: int, rate: float, length: int) -> NDArray[np.bool_]:
    """Return (F,) frames in which a whole hand is lost, for ``length`` frames at a time."""
    begins = rng.random(num_frames) < rate
    return np.convolve(begins, np.ones(length), "full")[:num_frames] > 0


def _camera(plan: CorpusPlan, style: Style, rng: np.random.Generator) -> tuple[float, NDArray[np.float64]]:
    """Return pixels a shoulder width, and where the neck is in the image."""
    scale = style.scale * rng.uniform(0.94, 1.06) * min(plan.width / 2.3, plan.height / 2.6)
    spare = max(0.0, plan.width - 2.1 * scale) / 2
    neck_x = plan.width / 2 + rng.uniform(-0.8, 0.8) * spare
    return scale, np.array([neck_x, plan.height - rng.uniform(1.42, 1.55) * scale])


def _paint(
    points: NDArray[np.float64],
    hidden: NDArray[np.float64],
    plan: CorpusPlan,
    style: Style,
    scale: float,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.uint8]]:
    painter = Painter(background(rng, plan.height, plan.width), style, scale)
    for frame in range(len(points)):
        yield painter.paint(points[frame], hidden[frame])


def _write_video(root: Path, video: Video, plan: CorpusPlan, style: Style) -> int:
    """Write one video's folder and return its number of frames."""
    rng = np.random.default_rng([plan.seed, _VIDEO, int(video.video_id)])
    spans, num_frames = _timeline(video, rng, style, plan.fps)
    pose: Pose = idle(rng, style, num_frames, plan.fps)
    for label, (start, stop) in zip(video.labels, spans):
        add_gesture(pose, label, start, stop, rng, style, plan.fps)
    relative, visible = keypoints(pose, style)
    scale, neck = _camera(plan, style, rng)
    points = relative * scale + neck
    table = _observe(points, visible, plan, scale, style, rng)
    folder = root / video.video_id
    folder.mkdir()
    write_xlsx(folder / f"{video.video_id}_openpose.xlsx", table.reshape(num_frames, -1))
    hands = light_hand(table).reshape(num_frames, -1).tolist()
    text = "".join(
        f"{index}," + ",".join([f"{value:.3f}" for value in row]) + "\n" for index, row in enumerate(hands)
    )
    (folder / f"{video.video_id}_light_hand.csv").write_text(text, encoding="utf-8")
    # The convention "raw": classes count from 1, the last one is 99; the end is the last frame itself.
    raw = [99 if label == len(GESTURES) - 1 else label + 1 for label in video.labels]
    lines = [f"{label},{start},{stop - 1}\n" for label, (start, stop) in zip(raw, spans)]
    (folder / f"{video.video_id}_label.csv").write_text("".join(lines), encoding="utf-8")
    frames = _paint(points, pose.hidden, plan, style, scale, rng)
    write_mp4(folder / f"{video.video_id}.mp4", frames, plan.height, plan.width, plan.fps)
    return num_frames


def _write_videos(
    root: Path, videos: Sequence[Video], plan: CorpusPlan, styles: Sequence[Style], workers: int
) -> Iterator[int]:
    """Write all folders and yield the frames of each video, in their order."""
    arguments = [(root, video, plan, styles[video.subject]) for video in videos]
    if workers <= 1:
        yield from (_write_video(*each) for each in arguments)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_write_video, *zip(*arguments))


def subject_id(subject: int) -> str:
    """Return the id of the subject with this number, counted from 0."""
    return f"s{subject + 1:02d}"


def write_corpus(
    out: Path, plan: CorpusPlan, advance: Callable[[int], Any] = lambda steps: None, workers: int = 1
) -> dict[str, Any]:
    """Write the corpus; ``out`` appears when it is complete. ``advance`` is told of finished clips.

    The corpus does not depend on ``workers``, the number of processes.

    Returns:
        ``clips``, ``videos``, ``frames``, ``class_counts``.

    Raises:
        UsageError: ``out`` exists and was not written by this function.
    """
    out = Path(out)
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out}: exists and is no synthetic corpus (it has no {MARKER}); choose another folder"
        )
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(parents=True)
    try:
        videos = plan_videos(plan)
        styles = [
            draw_style(np.random.default_rng([plan.seed, _STYLE, index])) for index in range(plan.subjects)
        ]
        frames = 0
        for video, count in zip(videos, _write_videos(temporary, videos, plan, styles, workers)):
            frames += count
            advance(len(video.labels))
        lines = [f"{video.video_id},{subject_id(video.subject)}\n" for video in videos]
        (temporary / "subjects.csv").write_text("video_id,subject_id\n" + "".join(lines), encoding="utf-8")
        facts = {
            "clips": plan.clips,
            "videos": len(videos),
            "frames": frames,
            "class_counts": class_counts(plan.clips, plan.classes).tolist(),
        }
        (temporary / MARKER).write_text(
            json.dumps({"plan": asdict(plan), **facts}, indent=2) + "\n", encoding="utf-8"
        )
        if out.exists():
            shutil.rmtree(out)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return facts
