"""Frames of importers whose recordings are video files: what differs is where a video lies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, UsageError
from mg_data.datasets.clips.table import check_video
from mg_data.prepare.extras import require


class VideoFileFrames(ABC):
    """RGB frames of the video files below a root (a ``FrameSource``)."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def find(self, video_id: str) -> Path:
        """Return where a video should lie; its id leads to no place outside the root."""

    def video_path(self, video_id: str) -> Path:
        """Return the file of a video; DataError if there is none, or the id leaves the root."""
        why = check_video(video_id)
        if why:
            raise DataError(f"video '{video_id}' {why}")
        path = self.find(video_id)
        if not path.is_file():
            raise DataError(f"{path}: does not exist (the frames of video '{video_id}')")
        return path

    def frames(self, video_id: str, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield frames start..stop-1 as (H, W, 3) uint8 RGB, decoded forward."""
        return self.select(video_id, np.arange(start, stop))

    def select(self, video_id: str, frame_numbers: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
        """Yield only the frames of the given ascending numbers."""
        from mg_data.video.decode import decode_frames

        return decode_frames(self.video_path(video_id), frame_numbers)


def check_stream(dataset: str, stream: str) -> None:
    """Raise UsageError for a stream other than ``rgb``, or where PyAV is not installed."""
    require(dataset, "av")
    if stream != "rgb":
        raise UsageError(f"{dataset} has no stream '{stream}' (it has: rgb)")
