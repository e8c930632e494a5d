"""Whole videos: a clips store with one clip each, their frame rates, and their crops beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_adapt.recipe import nearest
from mg_data.contract import DataError, DatasetSpec, FrameSource, PluginError, StoreError, UsageError
from mg_data.datasets.videos import VideoFrames
from mg_data.plugins import registry, resolve
from mg_data.store import ClipsStore, StreamsStore

_MOST_FPS = 1000.0


@dataclass(frozen=True)
class Video:
    """One video to watch: its row in the store, frames ``start`` to ``stop`` (half-open), frames a second."""

    video_id: str
    row: int
    start: int
    stop: int
    fps: float

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.stop - self.start


def choose_videos(
    store: ClipsStore, only: Sequence[str], fps: float | None, source: FrameSource | None
) -> list[Video]:
    """Return the videos of a store, in its order.

    Args:
        only: video ids; empty for all. fps: frames a second of all of them, None to find out.
        source: the videos themselves, which are asked where the store does not tell.

    Raises:
        DataError: two clips of one video. UsageError: no such video, or nothing tells its frame rate.
    """
    ids = [str(video_id) for video_id in store.video_ids]
    repeated = next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) < len(ids) else None
    if repeated is not None:
        raise DataError(
            f"{store.path}: holds {ids.count(repeated)} clips of video '{repeated}', wanted whole videos, "
            "one clip each (from 'mg data pose', or 'mg data import' with --option whole=true)"
        )
    for name in only:
        if name not in ids:
            raise UsageError(f"--only: {store.path} has no video '{name}'{nearest(name, ids)}")
    if fps is not None and not 0 < fps <= _MOST_FPS:
        raise UsageError(f"--fps is {fps:g}, wanted more than 0, at most {_MOST_FPS:g}")
    stated = _stated_rates(store)
    found = []
    for row, name in enumerate(ids):
        if only and name not in only:
            continue
        rate = fps or stated.get(name) or _rate_of_file(source, name)
        if rate is None:
            raise UsageError(
                f"{store.path}: does not say how many frames a second video '{name}' has: give --fps, or "
                "--video with its file or folder"
            )
        found.append(Video(name, row, int(store.start[row]), int(store.stop[row]), float(rate)))
    return found


def _stated_rates(store: ClipsStore) -> dict[str, float]:
    """Return the rates that 'mg data pose' wrote beside the keypoints: one of all, or one for each video."""
    stated = store.provenance.config.get("fps")
    if isinstance(stated, Mapping):
        return {str(name): float(rate) for name, rate in stated.items()}
    if isinstance(stated, int | float) and stated > 0:
        return {str(name): float(stated) for name in store.video_ids}
    return {}


def _rate_of_file(source: FrameSource | None, name: str) -> float | None:
    path_of = getattr(source, "video_path", None)
    if path_of is None:
        return None
    from mg_data.video.decode import frame_rate

    return frame_rate(path_of(name))


class OneVideo:
    """The frames of one file, whatever the video is called."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def video_path(self, video_id: str) -> Path:
        return self.path

    def frames(self, video_id: str, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield frames start..stop-1 as (H, W, 3) uint8 RGB."""
        from mg_data.video.decode import decode_frames

        return decode_frames(self.path, np.arange(start, stop))


def open_source(store: ClipsStore, video: Path) -> FrameSource:
    """Open the frames of a store's videos: one file, or the tree that its data set keeps videos in.

    Raises:
        UsageError: nothing is there, or the data set has no frames.
    """
    if not video.exists():
        raise UsageError(f"--video {video}: does not exist")
    if video.is_file():
        return OneVideo(video)
    try:
        spec: DatasetSpec = registry().dataset_of(store.dataset)
    except PluginError:  # 'mg data pose --dataset' takes any name
        return VideoFrames(video)
    if not spec.streams:
        raise UsageError(f"--video: data set '{spec.name}' has no frames; leave it out for an empty canvas")
    source: FrameSource = resolve(spec.frames)(video, spec.streams[0])
    return source


def rows_of_crops(crops: StreamsStore, store: ClipsStore, videos: Sequence[Video]) -> dict[int, int]:
    """Return for each video's row in the clips store its row in a streams store of the same videos.

    Raises:
        StoreError: a video is missing, or not all of its frames are there.
    """
    rows = crops.rows(np.array([str(store.clip_ids[video.row]) for video in videos]))
    for video, row in zip(videos, rows.tolist()):
        held = int(crops.num_frames[row])
        if held != video.length:
            raise StoreError(
                crops.path,
                f"holds {held} frames of video '{video.video_id}', its keypoints have {video.length}",
                "crop it with --max-frames 0, out of the same clips store",
            )
    return {video.row: row for video, row in zip(videos, rows.tolist())}
