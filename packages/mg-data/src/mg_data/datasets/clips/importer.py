"""A plain csv of clips, with or without keypoints: the data set ``clips``.

Keypoints come from a clips store of whole videos, from OpenPose JSON recordings or from ``.pose`` files; a
clip is the span of its video's keypoints that the table names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip
from mg_data.datasets.clips.keypoints import ADVICE, Keypoints, ReadJoints, find_keypoints
from mg_data.datasets.clips.table import (
    ClipRow,
    ClipTable,
    choose_file,
    read_class_names,
    read_clip_table,
)
from mg_data.datasets.options import check_video_size
from mg_data.datasets.video_files import VideoFileFrames, check_stream
from mg_data.prepare.extras import require

__all__ = [
    "ClipRow",
    "ClipTable",
    "ClipsFrames",
    "import_clips",
    "open_frames",
    "read_class_names",
    "read_clip_table",
]


def _clip(row: ClipRow, start: int, stop: int, joints: NDArray[np.float32] | None) -> RawClip:
    return RawClip(
        clip_id=row.clip_id,
        subject_id=row.subject,
        video_id=row.video,
        start=start,
        stop=stop,
        joints=joints,
        label=row.label,
    )


def _cut_clips(
    rows: Sequence[ClipRow], read: ReadJoints, path: Path | None = None, size: tuple[int, int] = (0, 0)
) -> tuple[list[RawClip], list[Dropped]]:
    """Return the clips of one video, cut out of its keypoints; a unit of :func:`import_clips`.

    Args:
        path: the video, to be held against ``size``, None if the keypoints themselves tell of what image.
    """
    if path is not None:
        check_video_size(path, size, advice=ADVICE)
    first, joints, dropped = read()
    last = first + len(joints)
    clips: list[RawClip] = []
    for row in rows:
        start = first if row.start is None else row.start
        stop = last if row.stop is None else row.stop
        if first <= start < stop <= last:
            clips.append(_clip(row, start, stop, joints[start - first : stop - first].copy()))
            continue
        held = f"{len(joints)} frames" if first == 0 else f"frames {first}..{last - 1}"
        why = f"frames {start}..{stop - 1}, but the keypoints of '{row.video}' have only {held}"
        dropped.append(Dropped(what=row.clip_id, why=why))
    return clips, dropped


def _index_clips(rows: Sequence[ClipRow], path: Path | None) -> tuple[list[RawClip], list[Dropped]]:
    """Return the clips of one video without keypoints; ``path`` is the video, None where there is no root."""
    if path is None:
        return [_clip(row, row.start or 0, row.stop or 0, None) for row in rows], []
    from mg_data.video.decode import count_frames

    if not path.is_file():
        raise DataError(f"{path}: does not exist (the video of {len(rows)} clip(s))")
    count = count_frames(path)
    clips: list[RawClip] = []
    dropped: list[Dropped] = []
    for row in rows:
        start, stop = row.start or 0, count if row.stop is None else row.stop
        if stop <= count:
            clips.append(_clip(row, start, stop, None))
            continue
        why = f"frames {start}..{stop - 1}, but {path} has only {count} frames"
        dropped.append(Dropped(what=row.clip_id, why=why))
    return clips, dropped


def _lost(video: str, rows: Sequence[ClipRow], where: str) -> tuple[list[RawClip], list[Dropped]]:
    """Raise what is wrong with a video without keypoints: a unit that cannot be read."""
    raise DataError(f"{where}: has no keypoints of video '{video}' ({len(rows)} clip(s))")


def _indexed(table: ClipTable, root: Path | None) -> list[ClipSource]:
    """Return the units without keypoints."""
    whole = next((row for row in table.rows if row.stop is None), None)
    if root is None and whole is not None:
        raise DataError(
            f"{table.path}, line {whole.line}, column stop: is empty, but without keypoints and videos "
            "nobody knows how long the video is: give start and stop, or --option root=FOLDER"
        )
    sources = []
    for video, rows in table.by_video().items():
        path = None if root is None else root / video
        files = (table.path,) if path is None else (table.path, path)
        sources.append(
            ClipSource(name=video, read=partial(_index_clips, rows, path), clips=len(rows), files=files)
        )
    return sources


def _first_size(table: ClipTable, root: Path | None) -> tuple[int, int]:
    """Return (width, height) of the first video that can be read, (0, 0) if none is there."""
    if root is None:
        return 0, 0
    require("clips", "av")
    from mg_data.video.decode import first_video_size

    return first_video_size(root / video for video in table.by_video() if (root / video).is_file()) or (0, 0)


def _with_keypoints(
    table: ClipTable, keypoints: Keypoints, root: Path | None, size: tuple[int, int]
) -> list[ClipSource]:
    """Return the units with keypoints; ``size`` is that of the videos below ``root``, where these tell it."""
    sources = []
    for video, rows in table.by_video().items():
        read = keypoints.of.get(video)
        sources.append(
            ClipSource(
                name=video,
                read=partial(_cut_clips, rows, read, None if root is None else root / video, size)
                if read is not None
                else partial(_lost, video, rows, keypoints.where),
                clips=len(rows),
                files=(table.path, *keypoints.files.get(video, ())),
            )
        )
    return sources


def import_clips(
    source: Path,
    *,
    keypoints: str = "",
    root: str = "",
    classes: str = "",
    vocabulary: str = "",
    partial_points: bool = False,
) -> DatasetImport:
    """Read a table of clips (:func:`read_clip_table`) and cut them out of their videos' keypoints.

    A clip's video id is the cell ``video`` as written, so that ``mg data crop clips.h5 ROOT`` finds it.

    Args:
        source: the csv.
        keypoints: a clips store of whole videos (``mg data pose``), joined by video; or a folder of OpenPose
            JSON recordings or of ``.pose`` files named like the videos. Empty: an index without keypoints.
        root: folder of the videos, asked for their length where there are no keypoints.
        classes: text file with one class name a line.
        vocabulary: name of the list of classes; by default ``clips-K`` with their number K.
        partial_points: as for the data set ``pose``.

    Raises:
        UsageError: an option's value is of the wrong kind.
        DataError: the table, the list of classes or the keypoints as a whole cannot be used.
    """
    root_path = choose_file("clips", "root", root)
    points_path = choose_file("clips", "keypoints", keypoints)
    if not Path(source).is_file():
        raise DataError(f"{source}: is no file (wanted a csv of clips)")
    table = read_clip_table(source, choose_file("clips", "classes", classes))
    if root_path is not None and not root_path.is_dir():
        raise DataError(f"{root_path}: is no folder (option root: where the videos of {source} lie)")
    notes: list[Dropped] = []
    if table.ignored:
        names = ", ".join(f"'{name}'" for name in table.ignored)
        notes.append(Dropped(what=f"column(s) {names} of {source}", why="they have no meaning here"))
    name = str(vocabulary) or f"clips-{len(table.class_names)}"
    if points_path is None:
        return DatasetImport(
            class_names=table.class_names,
            vocabulary=name,
            layout="",
            columns=("x", "y", "confidence"),
            image_size=_first_size(table, root_path),
            sources=_indexed(table, root_path),
            dropped=notes,
        )
    found = find_keypoints(points_path, list(table.by_video()), partial_points=bool(partial_points))
    size = found.image_size
    told_by = None
    if size == (0, 0) and found.columns[2] == "confidence":
        size = _first_size(table, root_path)
        if size != (0, 0):
            told_by = root_path
        else:
            why = "unknown: no video lies beside the keypoints (say where the videos are with root)"
            notes.append(Dropped(what="image size", why=why, note=True))
    return DatasetImport(
        class_names=table.class_names,
        vocabulary=name,
        layout=found.layout,
        columns=found.columns,
        image_size=size,
        camera=found.camera,
        sources=_with_keypoints(table, found, told_by, size),
        dropped=[*notes, *found.notes],
    )


class ClipsFrames(VideoFileFrames):
    """RGB frames of videos below a root; a video's id is its path."""

    def find(self, video_id: str) -> Path:
        """Return the path that the id is."""
        return self.root / video_id


def open_frames(root: Path, stream: str) -> ClipsFrames:
    """Open the videos below ``root``.

    Raises:
        UsageError: the stream is not ``rgb``.
    """
    check_stream("clips", stream)
    return ClipsFrames(root)
