"""``mg data crop``: the person of every clip, cut out of the video's frames (paper, section 3.1).

Each video is decoded once, forward, for all its clips; several videos at a time with ``workers``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, DatasetSpec, FrameSource, StageResult, UsageError
from mg_data.plugins import registry, resolve
from mg_data.prepare.extras import require
from mg_data.store import ClipsStore, Provenance, StreamsWriter, read_clips
from mg_data.video.codec import encode_frame
from mg_data.video.crop import crop_frame, frame_choice, full_frame_box, keypoint_extremes, square_box

# Metres per stored unit of 16-bit maps, which hold millimetres.
_MILLIMETRE = 0.001


@dataclass(frozen=True)
class ClipJob:
    """One clip of a video: which frames to keep, and its box in keypoint pixels (None = whole frame)."""

    clip_id: str
    frame_numbers: NDArray[np.int64]
    box: NDArray[np.float64] | None


@dataclass(frozen=True)
class VideoJob:
    """One video with all its clips; everything a worker process needs."""

    video_id: str
    clips: tuple[ClipJob, ...]
    opener: str
    root: Path
    stream: str
    image_size: tuple[int, int]
    size: int
    margin: float
    quality: int


@dataclass(frozen=True)
class CroppedClip:
    """The result for one clip."""

    clip_id: str
    frames: list[bytes]
    box: NDArray[np.float32]
    encoding: str
    channels: int


def _frames(
    source: FrameSource, video_id: str, numbers: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (number, frame) for ascending numbers; sources with ``select`` skip what lies between."""
    select = getattr(source, "select", None)
    if select is not None:
        yield from zip(numbers.tolist(), select(video_id, numbers), strict=True)
        return
    first, stop = int(numbers[0]), int(numbers[-1]) + 1
    wanted = set(numbers.tolist())
    for number, frame in enumerate(source.frames(video_id, first, stop), start=first):
        if number in wanted:
            yield number, frame


def _box(job: VideoJob, clip: ClipJob, frame: NDArray[Any]) -> NDArray[np.float32]:
    """Return the square to cut, in pixels of the frame."""
    height, width = frame.shape[:2]
    if clip.box is None:
        return full_frame_box(width, height)
    known_width, known_height = job.image_size
    scale_x, scale_y = width / known_width, height / known_height
    if abs(scale_x / scale_y - 1.0) > 0.01:
        raise DataError(
            f"video '{job.video_id}': its frames are {width}x{height}, but the keypoints are in pixels of "
            f"{known_width}x{known_height} (import it again, or keep whole frames with --full-frame)"
        )
    return square_box(clip.box * np.array([scale_x, scale_y, scale_x, scale_y]), job.margin)


def crop_video(job: VideoJob) -> list[CroppedClip]:
    """Decode one video forward and cut, resize and encode the frames of all its clips."""
    import cv2

    # One thread: frames are small, and the parallelism is over videos.
    cv2.setNumThreads(1)
    source: FrameSource = resolve(job.opener)(job.root, job.stream)
    users: dict[int, list[int]] = {}
    for index, clip in enumerate(job.clips):
        for number in clip.frame_numbers.tolist():
            users.setdefault(number, []).append(index)
    boxes: dict[int, NDArray[np.float32]] = {}
    frames: list[list[bytes]] = [[] for _ in job.clips]
    encoding, channels = "", 0
    for number, frame in _frames(source, job.video_id, np.array(sorted(users), np.int64)):
        deep = frame.dtype == np.uint16
        encoding, channels = "png16" if deep else "jpeg", frame.shape[2] if frame.ndim == 3 else 1
        for index in users[number]:
            if index not in boxes:
                boxes[index] = _box(job, job.clips[index], frame)
            cut = crop_frame(frame, boxes[index], job.size)
            frames[index].append(encode_frame(cut, encoding, quality=job.quality))
    return [
        CroppedClip(clip.clip_id, frames[index], boxes[index], encoding, channels)
        for index, clip in enumerate(job.clips)
    ]


def _results(jobs: Sequence[VideoJob], workers: int) -> Iterator[list[CroppedClip]]:
    """Yield the results in the order of the jobs; at most two videos a worker are in memory."""
    if workers <= 1:
        yield from map(crop_video, jobs)
        return
    waiting: deque[Future[list[CroppedClip]]] = deque()
    # spawn: a forked child would share the parent's open HDF5 and OpenCV state.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(crop_video, job))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _clip_jobs(
    store: ClipsStore, rows: NDArray[np.int64], full_frame: bool, min_confidence: float, max_frames: int
) -> tuple[tuple[ClipJob, ...], list[str]]:
    """Return the jobs of one video's clips, and the ids of those without a visible keypoint."""
    jobs: list[ClipJob] = []
    blind: list[str] = []
    camera = None
    if store.camera is not None:
        camera = (store.camera[0], store.camera[1], store.camera[2], store.camera[3])
    for row in rows:
        clip_id = str(store.clip_ids[row])
        start, stop = int(store.start[row]), int(store.stop[row])
        box = None
        if not full_frame:
            box = keypoint_extremes(store.joints(int(row)), store.columns, camera, min_confidence)
            if box is None:
                blind.append(clip_id)
        jobs.append(ClipJob(clip_id, start + frame_choice(stop - start, max_frames), box))
    return tuple(jobs), blind


def _check_options(size: int, margin: float, quality: int, max_frames: int) -> None:
    for name, value, low, high in (
        ("size", size, 8, 4096),
        ("margin", margin, 0.0, 10.0),
        ("quality", quality, 1, 100),
        ("max-frames", max_frames, 0, 100_000),
    ):
        if not low <= value <= high:
            raise UsageError(f"data crop: --{name} is {value}, wanted {low} to {high}")


def crop(
    *,
    clips: Path,
    root: Path,
    out: Path,
    stream: str = "rgb",
    size: int = 224,
    margin: float = 0.2,
    min_confidence: float = 0.1,
    full_frame: bool = False,
    quality: int = 90,
    max_frames: int = 0,
    workers: int = 1,
    console: Console,
) -> StageResult:
    """Write the crop store of one stream: ``size`` x ``size`` frames of every clip, and their boxes.

    One box serves a whole clip: the extremes of its visible keypoints, each side moved out by ``margin``,
    made square. Colour becomes JPEG; 16-bit maps become exact PNGs in millimetres (``scale`` 0.001). Clips
    without a visible keypoint keep the whole frame and are reported.

    Args:
        max_frames: keep at most so many evenly spaced frames of a clip; 0 keeps all.
        workers: processes; the store's digest does not depend on it.

    Raises:
        UsageError: a value out of range, or a stream that the data set lacks.
        DataError: a video is missing, damaged, too short, or of another shape than the keypoints.
    """
    require("data crop", "cv2")
    _check_options(size, margin, quality, max_frames)
    store = read_clips(clips)
    spec: DatasetSpec = registry().get("datasets", store.dataset)
    if stream not in spec.streams:
        have = ", ".join(spec.streams) or "none"
        raise UsageError(f"data set '{spec.name}' has no stream '{stream}' (it has: {have})")
    if not full_frame and not store.layout:
        raise UsageError(f"{clips}: holds no keypoints to crop by (keep whole frames with --full-frame)")
    config: dict[str, Any] = {
        "stream": stream,
        "size": size,
        "margin": margin,
        "min_confidence": min_confidence,
        "full_frame": full_frame,
        "quality": quality,
        "max_frames": max_frames,
    }
    blind: list[str] = []

    def jobs() -> Iterator[VideoJob]:
        order = np.argsort(store.video_ids, kind="stable")
        starts = np.flatnonzero(
            np.r_[True, np.diff(np.unique(store.video_ids[order], return_inverse=True)[1]) > 0]
        )
        for rows in np.split(order, starts[1:]):
            clip_jobs, unseen = _clip_jobs(store, rows, full_frame, min_confidence, max_frames)
            blind.extend(unseen)
            yield VideoJob(
                video_id=str(store.video_ids[rows[0]]),
                clips=clip_jobs,
                opener=spec.frames,
                root=root,
                stream=stream,
                image_size=store.image_size,
                size=size,
                margin=margin,
                quality=quality,
            )

    writer: StreamsWriter | None = None
    frames = num_bytes = 0
    results = _results(list(jobs()), workers)
    first = next(results)
    writer = StreamsWriter(
        out,
        dataset=store.dataset,
        stream=stream,
        encoding=first[0].encoding,
        channels=first[0].channels,
        scale=_MILLIMETRE if first[0].encoding == "png16" else 1.0,
        provenance=Provenance("mg data crop", config, {"clips": store.digest}),
    )
    with writer, console.progress(f"crop {stream}", len(store)) as bar:
        video: list[CroppedClip] | None = first
        while video is not None:
            for clip in video:
                if clip.encoding != first[0].encoding:
                    raise DataError(
                        f"clip '{clip.clip_id}' is {clip.encoding}, the ones before {first[0].encoding}"
                    )
                boxes = np.repeat(clip.box[None], len(clip.frames), axis=0)
                writer.add(clip_id=clip.clip_id, frames=clip.frames, boxes=boxes)
                frames += len(clip.frames)
                num_bytes += sum(map(len, clip.frames))
                bar.advance()
            video = next(results, None)
    if blind:
        console.warn(f"{len(blind)} clip(s) without a visible keypoint keep the whole frame: '{blind[0]}'")
    return StageResult(
        data={
            "clips": len(store),
            "frames": frames,
            "bytes": num_bytes,
            "without_keypoints": blind,
            "digest": writer.digest,
        },
        text=f"{out}: {frames} {stream} frames of {len(store)} clips, {size} px, {num_bytes / 1e6:.1f} MB",
    )
