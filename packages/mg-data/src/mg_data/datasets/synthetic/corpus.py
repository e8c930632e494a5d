"""The corpus as files: keypoints, labels and frames of each video, and the lists beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import StoreError, UsageError
from mg_data.datasets.synthetic.motion import GESTURES, Pose, add_gesture, idle
from mg_data.datasets.synthetic.observe import confuse_hands, crossing, dips, observe
from mg_data.datasets.synthetic.plan import (
    DRESS_STREAM,
    PRESS_STREAM,
    STYLE_STREAM,
    VIDEO_STREAM,
    CorpusPlan,
    Video,
    plan_videos,
    side_files,
)
from mg_data.datasets.synthetic.shot import Shot, draw_shot
from mg_data.datasets.synthetic.skeleton import keypoints, light_hand
from mg_data.datasets.synthetic.style import Style, draw_style, dress
from mg_data.datasets.synthetic.table import format_rows
from mg_data.datasets.synthetic.workplace import spread, workplace
from mg_data.datasets.synthetic.xlsx import write_xlsx

MARKER = "corpus.json"
_MEAN_SECONDS = 1.5
# Bytes a frame, measured on corpora of this writer and rounded down; see expected_bytes.
_LIGHT_HAND_BYTES, _OPENPOSE_BYTES = 650, 1400
_VIDEO_BYTES_A_PIXEL = 0.015


def person(plan: CorpusPlan, subject: int) -> Style:
    """Return the person with this number; the same one in every video."""
    style = draw_style(np.random.default_rng([plan.seed, STYLE_STREAM, subject]))
    if plan.scene == "press":
        style = dress(style, np.random.default_rng([plan.seed, DRESS_STREAM, subject]))
    return style


def _timeline(
    video: Video, rng: np.random.Generator, style: Style, fps: float, pause: float
) -> tuple[list[tuple[int, int]], int]:
    """Return half-open frames of each clip, and the video's length."""
    spans: list[tuple[int, int]] = []
    frame = int(rng.integers(4, 10))
    for _ in video.labels:
        seconds = _MEAN_SECONDS / style.speed * rng.uniform(0.8, 1.25)
        stop = frame + max(8, round(seconds * fps))
        spans.append((frame, stop))
        frame = stop + int(rng.integers(3, 11))
        if pause:  # drawn only where there is one: other corpora stay what they were
            frame += round(pause * rng.uniform(0.5, 1.5) * fps)
    return spans, frame


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
    shot: Shot | None,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.uint8]]:
    # Drawing needs OpenCV, keypoints alone do not.
    from mg_data.datasets.synthetic.render import Painter, background

    if shot is None:
        painter = Painter(background(rng, plan.height, plan.width), style, scale)
        for frame in range(len(points)):
            yield painter.paint(points[frame], hidden[frame])
        return
    from mg_data.datasets.synthetic.press import PressPainter

    press = PressPainter(style, shot, plan.height, plan.width, rng)
    for frame in range(len(points)):
        yield press.paint_frame(frame, points[frame], hidden[frame])


class Scenario:
    """One video worked out: what is where in which frame, before anything is written.

    Attributes:
        spans: half-open frames of each clip. points: (F, 137, 2) true pixels. table: (F, 137, 3) what the
            pose estimator says. hidden: (F, 2) hands behind the body.
    """

    def __init__(self, video: Video, plan: CorpusPlan) -> None:
        self._plan = plan
        self._style = style = person(plan, video.subject)
        self._rng = rng = np.random.default_rng([plan.seed, VIDEO_STREAM, int(video.video_id)])
        self.spans, self.num_frames = _timeline(video, rng, style, plan.fps, plan.pause)
        pose: Pose = idle(rng, style, self.num_frames, plan.fps)
        for label, (start, stop) in zip(video.labels, self.spans):
            add_gesture(pose, label, start, stop, rng, style, plan.fps)
        self.shot: Shot | None = None
        if plan.scene == "press":
            press_rng = np.random.default_rng([plan.seed, PRESS_STREAM, int(video.video_id)])
            self.shot = shot = draw_shot(plan, style, pose, video.labels, self.spans, press_rng)
            relative, visible = keypoints(pose, style)
            self.scale = shot.scale
            self.points = shot.place(relative)
            visible *= shot.hide(self.points) * dips(self.points, shot.scale, plan.fps, press_rng)
            seen = observe(self.points, visible, plan, shot.scale, style, rng)
            self.table = confuse_hands(seen, crossing(self.points, shot.scale), press_rng)
        else:
            relative, visible = keypoints(pose, style)
            self.scale, neck = _camera(plan, style, rng)
            self.points = relative * self.scale + neck
            self.table = observe(self.points, visible, plan, self.scale, style, rng)
        self.hidden = pose.hidden

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Draw the frames, (H, W, 3) RGB; once."""
        return _paint(self.points, self.hidden, self._plan, self._style, self.scale, self.shot, self._rng)


def _write_video(root: Path, video: Video, plan: CorpusPlan) -> int:
    """Write one video's folder and return its number of frames."""
    scenario = Scenario(video, plan)
    folder = root / video.video_id
    try:
        folder.mkdir()
        if plan.keypoints != "light_hand":
            write_xlsx(
                folder / f"{video.video_id}_openpose.xlsx", scenario.table.reshape(scenario.num_frames, -1)
            )
        if plan.keypoints != "openpose":
            hands = light_hand(scenario.table).reshape(scenario.num_frames, -1)
            with (folder / f"{video.video_id}_light_hand.csv").open("wb") as file:
                file.writelines(format_rows(hands, between=b",", numbered=True))
        # The convention "raw": classes count from 1, the last one is 99; the end is the last frame itself.
        raw = [99 if label == len(GESTURES) - 1 else label + 1 for label in video.labels]
        lines = [f"{label},{start},{stop - 1}\n" for label, (start, stop) in zip(raw, scenario.spans)]
        (folder / f"{video.video_id}_label.csv").write_text("".join(lines), encoding="utf-8")
        if plan.video:
            from mg_data.datasets.synthetic.render import write_mp4

            write_mp4(folder / f"{video.video_id}.mp4", scenario.frames(), plan.height, plan.width, plan.fps)
    except OSError as error:
        # The library of the video encoder raises errors of its own kinds, all of them OSError.
        raise StoreError(folder, f"cannot be written: {error.strerror or error}") from error
    return scenario.num_frames


def expected_bytes(plan: CorpusPlan) -> int:
    """Return about how many bytes the corpus will take; rather too few than too many."""
    clips = sum(len(video.labels) for video in plan_videos(plan))
    frames = clips * ((_MEAN_SECONDS + plan.pause) * plan.fps + 6)
    total = 0.0
    if plan.keypoints != "light_hand":
        total += frames * _OPENPOSE_BYTES
    if plan.keypoints != "openpose":
        total += frames * _LIGHT_HAND_BYTES
    if plan.video:
        total += frames * plan.height * plan.width * _VIDEO_BYTES_A_PIXEL
    return round(total)


def _check_space(out: Path, plan: CorpusPlan) -> None:
    """Raise StoreError if the disk is clearly too small."""
    folder = out
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    wanted, free = expected_bytes(plan), shutil.disk_usage(folder).free
    if free < wanted:
        raise StoreError(
            out,
            f"the corpus takes about {wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            "choose another folder, a smaller --scale or --size, --keypoints light_hand, or --no-video",
        )


def write_corpus(
    out: Path, plan: CorpusPlan, advance: Callable[[int], Any] = lambda steps: None, workers: int = 1
) -> dict[str, Any]:
    """Write the corpus; ``out`` appears when it is complete. ``advance`` is told of finished clips.

    The corpus does not depend on ``workers``, the number of processes; each holds one video at a time. An
    interrupted run leaves nothing behind, and what a killed one left is removed (see workplace.py).

    Returns:
        ``clips``, ``videos``, ``frames``, ``class_counts``; of a scaled corpus also ``parts``: clips, videos,
        subjects and class counts of train, val and test.

    Raises:
        UsageError: ``out`` exists and was not written by this function.
        StoreError: the disk is too small or full, or the folder cannot be written.
        DataError: a worker process died.
    """
    out = Path(out)
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out}: exists and is no synthetic corpus (it has no {MARKER}); choose another folder"
        )
    _check_space(out, plan)
    videos = plan_videos(plan)
    labels = np.array([label for video in videos for label in video.labels])
    facts: dict[str, Any] = {"clips": len(labels), "videos": len(videos), "frames": 0}
    with workplace(out) as folder:
        arguments = [(folder, video, plan) for video in videos]
        for video, frames in zip(videos, spread(_write_video, arguments, workers)):
            facts["frames"] += frames
            advance(len(video.labels))
        for name, text in side_files(videos, bool(plan.scale)).items():
            (folder / name).write_text(text, encoding="utf-8")
        facts["class_counts"] = np.bincount(labels, minlength=len(GESTURES)).tolist()
        if plan.scale:
            facts["parts"] = _parts(videos)
        kept = {"version": plan.version} if plan.version > 1 else {}
        text = json.dumps({**kept, "plan": plan.to_json(), **facts}, indent=2)
        (folder / MARKER).write_text(text + "\n", encoding="utf-8")
    return facts


def _parts(videos: list[Video]) -> dict[str, dict[str, Any]]:
    """Return clips, videos and subjects of each part, and its clips by class."""
    result: dict[str, dict[str, Any]] = {}
    for part in ("train", "val", "test"):
        chosen = [video for video in videos if video.part == part]
        labels = [label for video in chosen for label in video.labels]
        result[part] = {
            "clips": len(labels),
            "videos": len(chosen),
            "subjects": len({video.subject for video in chosen}),
            "class_counts": np.bincount(labels, minlength=len(GESTURES)).tolist(),
        }
    return result


__all__ = ["MARKER", "CorpusPlan", "Scenario", "expected_bytes", "person", "write_corpus"]
