"""Whole videos as a data set: what ``mg data pose`` names its clips after, and where their frames are.

A video's name is its path below the folder that was given, without the extension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.table import check_video
from mg_data.prepare.extras import require

SUFFIXES = frozenset(
    (".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
)
UNLABELLED = "unlabelled"


def find_videos(places: Sequence[Path]) -> dict[str, Path]:
    """Return name -> file, for files and for all video files below folders, in a fixed order.

    Raises:
        DataError: nothing there, two videos of one name, or a name that is no text.
    """
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            files = sorted(path for path in place.rglob("*") if _is_video(path, place))
            if not files:
                raise DataError(f"{place}: holds no video (looked for {', '.join(sorted(SUFFIXES))})")
            named = [(path.relative_to(place).with_suffix("").as_posix(), path) for path in files]
        elif place.exists():
            named = [(place.stem, place)]
        else:
            raise DataError(f"{place}: does not exist")
        for name, path in named:
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise DataError(f"{str(path)!r}: its name is no UTF-8 text (rename it)") from error
            if name in found:
                raise DataError(
                    f"{path}: would be clip '{name}', and so would {found[name]} (rename one, or give the "
                    "folder above both instead)"
                )
            found[name] = path
    return found


def _is_video(path: Path, below: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(below).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _read(name: str, path: Path) -> tuple[list[RawClip], list[Dropped]]:
    from mg_data.video.decode import count_frames

    count = count_frames(path)
    if not count:
        raise DataError(f"{path}: holds no frame")
    return [RawClip(clip_id=name, subject_id="", video_id=name, start=0, stop=count, joints=None)], []


def import_videos(source: Path) -> DatasetImport:
    """Index a folder of videos: one clip without keypoints for each.

    Raises:
        DataError: no video there.
    """
    require("videos", "av")
    from mg_data.video.decode import frame_rates, video_size

    found = find_videos([source])
    return DatasetImport(
        class_names=(UNLABELLED,),
        vocabulary=UNLABELLED,
        layout="",
        columns=("x", "y", "confidence"),
        image_size=video_size(next(iter(found.values()))),
        sources=[
            ClipSource(name=name, read=partial(_read, name, path), files=(path,))
            for name, path in found.items()
        ],
        frame_rates=frame_rates(found),
    )


class VideoFrames:
    """RGB frames of the videos below a root, or of the one video that the root is."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def video_path(self, video_id: str) -> Path:
        why = check_video(video_id)
        if why:
            raise DataError(f"video '{video_id}' {why}")
        if self.root.is_file() and self.root.stem == video_id.rsplit("/", 1)[-1]:
            return self.root
        place = self.root / video_id
        beside = sorted(place.parent.iterdir()) if place.parent.is_dir() else []
        fitting = [path for path in beside if path.stem == place.name and _is_video(path, place.parent)]
        if len(fitting) != 1:
            found = ", ".join(path.name for path in fitting) or "none"
            raise DataError(
                f"{self.root}: wanted one video file '{video_id}.*' below it, found {found} (give the folder "
                "that 'mg data pose' was given)"
            )
        return fitting[0]

    def frames(self, video_id: str, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield frames start..stop-1 as (H, W, 3) uint8 RGB."""
        return self.select(video_id, np.arange(start, stop))

    def select(self, video_id: str, frame_numbers: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
        """Yield only the frames of the given ascending numbers."""
        from mg_data.video.decode import decode_frames

        return decode_frames(self.video_path(video_id), frame_numbers)


def open_frames(root: Path, stream: str) -> VideoFrames:
    """Open the videos below ``root``.

    Raises:
        UsageError: the stream is not ``rgb``.
    """
    require("videos", "av")
    if stream != "rgb":
        raise UsageError(f"videos has no stream '{stream}' (it has: rgb)")
    return VideoFrames(root)
