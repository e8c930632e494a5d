"""A timeline to look at: the video, or an empty canvas, with the skeleton and what was recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_adapt.watch.timeline import Timeline
from mg_adapt.watch.videos import Video
from mg_data.contract import DataError, FrameSource, Progress, UsageError
from mg_data.drawing.clip import ClipView, Look, as_rgb, blank, choose_look, draw_frame, gather
from mg_data.drawing.sheet import Tile, write_video
from mg_data.prepare.extras import require
from mg_data.store import ClipsStore


def check_overlay(path: Path, store: ClipsStore, videos: Sequence[Video], source: FrameSource | None) -> None:
    """Refuse, before any model is asked, an overlay that could not be drawn.

    Raises:
        UsageError: no .mp4, videos of unequal frame rates, or neither frames nor the size of a canvas.
    """
    require("watch --overlay", "av", "cv2")
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"--overlay {path}: wanted a file that ends in .mp4")
    rates = sorted({video.fps for video in videos})
    if len(rates) > 1:
        raise UsageError(
            f"--overlay: the videos have {rates[0]:g} to {rates[-1]:g} frames a second; choose one by --only"
        )
    if source is None and min(store.image_size) <= 0:
        raise UsageError(f"{store.path}: does not say how large its images are: give --video for the overlay")


def write_overlay(
    path: Path,
    store: ClipsStore,
    videos: Sequence[Video],
    timelines: Sequence[Timeline],
    class_names: Sequence[str],
    *,
    source: FrameSource | None,
    size: int,
    progress: Progress,
) -> tuple[int, int]:
    """Write one mp4 of all videos and return its width and height.

    Above the frame stand the video and the segment that is on, in the corner the time in seconds.

    Raises:
        DataError: a video has fewer frames than keypoints, or frames of another shape.
    """
    look = replace(choose_look(store, size=size), box=False)

    def parts() -> Iterator[tuple[str, Iterator[Tile]]]:
        for video, timeline in zip(videos, timelines):
            view = gather(store, video.row, 0, None, look)
            tiles = _tiles(view, video, look, source, progress)
            for count, text in spans_of(timeline, class_names):
                yield f"{video.video_id}   {text}".rstrip(), islice(tiles, count)
            if next(tiles, None) is not None:  # cannot be: the spans share out all frames
                raise AssertionError(f"frames of '{video.video_id}' were left over")

    return write_video(path, parts(), videos[0].fps)


def spans_of(timeline: Timeline, class_names: Sequence[str]) -> list[tuple[int, str]]:
    """Return (number of frames, text) of each segment and of what lies between, without a text."""
    spans: list[tuple[int, str]] = []
    at = timeline.start
    for segment in timeline.segments:
        spans.append((segment.start - at, ""))
        text = f"{class_names[segment.label]} {segment.confidence:.2f}"
        spans.append((segment.stop - segment.start, text))
        at = segment.stop
    spans.append((timeline.stop - at, ""))
    return [span for span in spans if span[0]]


def _frames(video: Video, look: Look, source: FrameSource | None) -> Iterator[NDArray[np.uint8]]:
    if source is None:
        return (blank(look.image_size) for _ in range(video.length))
    return as_rgb(source.frames(video.video_id, video.start, video.stop))


def _tiles(
    view: ClipView, video: Video, look: Look, source: FrameSource | None, progress: Progress
) -> Iterator[Tile]:
    drawn = 0
    for index, frame in enumerate(_frames(video, look, source)):
        seconds = (video.start + index) / video.fps
        yield Tile(image=draw_frame(frame, view, index, look), label=f"{seconds:.2f} s")
        progress.advance()
        drawn += 1
    if drawn != video.length:
        raise DataError(f"video '{video.video_id}': {drawn} of {video.length} frames were found")
