"""Whole videos as a data set: what ``mg data pose`` names its clips after, and where their frames are.

A video's name is its path below the folder that was given, without the extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip
from mg_data.datasets.video_files import VideoFileFrames, check_stream
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
        DataError: no video there, or none that can be read.
    """
    require("videos", "av")
    from mg_data.video.decode import first_video_size, frame_rates

    found = find_videos([source])
    size = first_video_size(found.values())
    assert size is not None
    return DatasetImport(
        class_names=(UNLABELLED,),
        vocabulary=UNLABELLED,
        layout="",
        columns=("x", "y", "confidence"),
        image_size=size,
        sources=[
            ClipSource(name=name, read=partial(_read, name, path), files=(path,))
            for name, path in found.items()
        ],
        frame_rates=frame_rates(found),
    )


class VideoFrames(VideoFileFrames):
    """RGB frames of the videos below a root, or of the one video that the root is."""

    def find(self, video_id: str) -> Path:
        """Return the one video file of that name without its ending."""
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


def open_frames(root: Path, stream: str) -> VideoFrames:
    """Open the videos below ``root``.

    Raises:
        UsageError: the stream is not ``rgb``.
    """
    check_stream("videos", stream)
    return VideoFrames(root)
