"""What ``mg data crop`` cuts out: which videos, and the box of every clip, from its keypoints."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mg_data
from mg_data.contract import DataError, DatasetSpec
from mg_data.prepare.crop_video import ClipJob, CropOptions, VideoJob, open_source
from mg_data.prepare.parallel import Shard, fingerprint
from mg_data.store import ClipsStore
from mg_data.video.crop import (
    clip_extremes,
    frame_choice,
    frame_extremes,
    smooth_boxes,
    steady_points,
    visible_points,
)


@dataclass
class CropPlan:
    """Walks over the clips store video by video and works out what to cut.

    ``blind`` collects the clips without a visible keypoint while :meth:`jobs` is consumed.
    """

    store: ClipsStore
    spec: DatasetSpec
    root: Path
    options: CropOptions
    config: dict[str, Any]
    part: Shard
    keep_going: bool
    blind: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        order = np.argsort(self.store.video_ids, kind="stable")
        names = self.store.video_ids[order]
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
        videos = np.split(order, starts[1:])
        self.videos = [rows for rows in videos if self.part.holds(str(self.store.video_ids[rows[0]]))]
        self.all_videos = len(videos)
        self.num_clips = sum(len(rows) for rows in self.videos)

    def files(self, video_id: str) -> tuple[Path, ...]:
        """Return the files of a video, as far as its source tells them."""
        source = open_source(self.spec.frames, self.root, self.options.base)
        path_of = getattr(source, "video_path", None)
        if path_of is None:
            return ()
        # A video that is not there is the worker's to report.
        with contextlib.suppress(DataError):
            return (Path(path_of(video_id)),)
        return ()

    def all_files(self) -> list[Path]:
        """Return the files of all videos of this part."""
        return [path for rows in self.videos for path in self.files(str(self.store.video_ids[rows[0]]))]

    def jobs(self) -> Iterator[VideoJob]:
        """Yield the jobs; the keypoints of one video are in memory at a time."""
        for rows in self.videos:
            video_id = str(self.store.video_ids[rows[0]])
            clips = tuple(self._clip(int(row)) for row in rows)
            boxes = hashlib.sha256()
            for clip in clips:
                boxes.update(b"-" if clip.extent is None else np.ascontiguousarray(clip.extent).tobytes())
            facts = [
                mg_data.__version__,
                self.config,
                self.keep_going,
                self.store.dataset,
                self.store.image_size,
                video_id,
                [(clip.clip_id, clip.start, clip.stop) for clip in clips],
                boxes.hexdigest(),
            ]
            yield VideoJob(
                video_id=video_id,
                clips=clips,
                opener=self.spec.frames,
                root=self.root,
                image_size=self.store.image_size,
                options=self.options,
                keep_going=self.keep_going,
                key=fingerprint(facts, self.files(video_id)),
            )

    def _clip(self, row: int) -> ClipJob:
        store = self.store
        start, stop = int(store.start[row]), int(store.stop[row])
        kept = frame_choice(stop - start, self.config["max_frames"])
        extent = None
        if not self.config["full_frame"]:
            extent = self._extent(row)
            if extent is None:
                self.blind.append(str(store.clip_ids[row]))
        return ClipJob(str(store.clip_ids[row]), start, stop, kept, extent)

    def _extent(self, row: int) -> NDArray[np.float64] | None:
        camera = None
        if self.store.camera is not None:
            focal_x, focal_y, centre_x, centre_y = self.store.camera
            camera = (focal_x, focal_y, centre_x, centre_y)
        points = visible_points(
            self.store.joints(row), self.store.columns, camera, self.config["min_confidence"]
        )
        if points is None:
            return None
        if self.config["extremes"] == "steady":
            points = steady_points(points)
        if self.config["box"] == "clip":
            return clip_extremes(points)
        return smooth_boxes(frame_extremes(points), self.config["smooth"])
