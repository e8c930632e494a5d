"""Raw OpenPose output: one folder of ``*_keypoints.json`` files for each recording, several people in each.

The people of the frames are linked into tracks and the most prominent ones are kept. Whole recordings are
clips, or a csv cuts them (:mod:`mg_data.datasets.clips.table`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.table import ClipRow, choose_file, read_clip_table
from mg_data.datasets.openpose.files import RecordingFiles, find_recordings, list_recording, shown
from mg_data.datasets.openpose.people import by_frame, read_people
from mg_data.datasets.options import check_size, stated_size
from mg_data.keypoints.tracking import track_people
from mg_data.prepare.extras import require

#: option ``keypoints`` -> (layout, parts of a person that are read)
KEYPOINTS = {
    "all": ("openpose-137", ("body", "face", "left hand", "right hand")),
    "body": ("body-25", ("body",)),
}
# Recordings whose first file is looked at when the tree is opened, to say what kind of body they have.
_LOOKED_AT = 100


@dataclass(frozen=True)
class Recording:
    """One recording.

    Args:
        joints: (T, persons, V, 3) float32: x, y in pixels and confidence, from frame ``first_frame`` on.
        image_size: (width, height) of its video, or None if there is none.
        notes: what a reader should know: frames without a file, people left out, a converted body.
    """

    joints: NDArray[np.float32]
    image_size: tuple[int, int] | None
    notes: tuple[str, ...]
    first_frame: int = 0


@dataclass(frozen=True)
class _Settings:
    keypoints: str = "all"
    persons: int = 1
    min_confidence: float = 0.05
    max_gap: int = 300

    def __post_init__(self) -> None:
        if self.keypoints not in tuple(KEYPOINTS):  # a list in its place cannot be looked up
            raise _wrong("keypoints", self.keypoints, f"one of: {', '.join(KEYPOINTS)}")
        if type(self.persons) is not int or not 1 <= self.persons <= 32:
            raise _wrong("persons", self.persons, "a whole number from 1 to 32")
        if type(self.max_gap) is not int or self.max_gap < 0:
            raise _wrong("max_gap", self.max_gap, "a number of frames, from 0")
        if type(self.min_confidence) not in (int, float) or not 0 <= self.min_confidence < 1:
            raise _wrong("min_confidence", self.min_confidence, "a number from 0 and below 1")


def _wrong(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"openpose: option {name} is '{value}', wanted {wanted}")


def read_recording(
    folder: Path,
    *,
    keypoints: str = "all",
    persons: int = 1,
    min_confidence: float = 0.05,
    max_gap: int = 300,
) -> Recording:
    """Read the one recording whose files lie in ``folder``, its people tracked.

    Args:
        keypoints: ``all`` (openpose-137) or ``body`` (body-25).
        persons, min_confidence, max_gap: see :func:`mg_data.keypoints.tracking.track_people`.

    Raises:
        UsageError: an option is out of range. DataError: naming the folder or the file that cannot be used.
    """
    require("openpose", "orjson", "scipy")
    settings = _Settings(keypoints, persons, min_confidence, max_gap)
    return _read(list_recording(folder), settings)


def _read(files: RecordingFiles, settings: _Settings) -> Recording:
    """Read and track one recording."""
    people = read_people(files, KEYPOINTS[settings.keypoints][1])
    seen = people.points[..., 2] > 0
    if seen.any() and np.abs(people.points[..., :2][seen]).max() <= 1.0:
        raise DataError(
            f"{shown(files.folder)}: all points lie within 0..1, wanted pixels (run OpenPose with "
            "--keypoint_scale 0)"
        )
    frames, ids = by_frame(files, people)
    joints = track_people(
        frames,
        persons=settings.persons,
        min_confidence=settings.min_confidence,
        max_gap=settings.max_gap,
        ids=ids,
    )
    notes = [files.missing()] if files.missing() else []
    if people.coco:
        notes.append("the body is COCO-18: the middle of the hips and the feet are missing points")
    empty = int((~joints[..., 2].any(axis=(1, 2))).sum())
    if empty:
        notes.append(f"{empty} of {len(joints)} frames without the person")
    video = files.video()
    size = None
    if video is not None:
        from mg_data.video.decode import video_size

        size = video_size(video)
    return Recording(joints, size, tuple(notes), files.numbers[0])


def _unit(
    files: RecordingFiles,
    settings: _Settings,
    image_size: tuple[int, int] | None,
    rows: Sequence[ClipRow] | None,
) -> tuple[list[RawClip], list[Dropped]]:
    """Return the clips of one recording: all of it, or the rows of a table."""
    recording = _read(files, settings)
    if image_size is not None and recording.image_size is not None:
        check_size(files.video(), recording.image_size, image_size)
    first, length = recording.first_frame, len(recording.joints)
    if not recording.joints.any():
        raise DataError(f"{shown(files.folder)}: nobody is in any of its {length} frames")
    clips: list[RawClip] = []
    dropped = [Dropped(what=files.name, why=note, note=True) for note in recording.notes]
    whole = ClipRow(0, files.name, files.name, None, None)
    for row in (whole,) if rows is None else rows:
        start = first if row.start is None else row.start
        stop = first + length if row.stop is None else row.stop
        if start < first or stop > first + length:
            why = f"frames {start}..{stop - 1}, but the files are of frames {first}..{first + length - 1}"
            dropped.append(Dropped(what=row.clip_id, why=why))
            continue
        joints = recording.joints[start - first : stop - first]
        if not joints.any():
            why = f"nobody is in its frames {start}..{stop - 1}"
            dropped.append(Dropped(what=row.clip_id, why=why))
            continue
        clips.append(
            RawClip(
                clip_id=row.clip_id,
                subject_id=row.subject,
                video_id=files.name,
                start=start,
                stop=stop,
                joints=joints.copy(),
                label=row.label,
            )
        )
    return clips, dropped


def _lost(video: str, source: Path) -> tuple[list[RawClip], list[Dropped]]:
    """Raise that a video of the table has no recording."""
    raise DataError(f"{shown(source)}: holds no recording of video '{video}'")


def import_openpose(
    source: Path,
    *,
    keypoints: str = "all",
    persons: int = 1,
    image_size: str = "",
    clips: str = "",
    classes: str = "",
    min_confidence: float = 0.05,
    max_gap: int = 300,
) -> DatasetImport:
    """Read a folder with the files of one recording, or a tree of such folders.

    A recording's id is its folder relative to the source (the source's own name if the files lie there). A
    frame number that has no file between the first and the last is a frame without a person.

    Args:
        keypoints: ``all`` (openpose-137) or ``body`` (body-25).
        persons: how many people are kept, the most prominent ones of a recording.
        image_size: such as ``1280x720``; by default that of the videos beside the recordings, or without
            any the extremes of the points, for which all files are read twice.
        clips: csv that cuts the recordings, ``video`` being a recording's id, with or without an ending;
            without it each recording is one clip without a label.
        classes: text file with one class name a line, for ``clips``.
        min_confidence, max_gap: see :func:`mg_data.keypoints.tracking.track_people`.

    Raises:
        UsageError: an option's value is of the wrong kind.
        DataError: no recording, or frame numbers or a table that cannot be used.
    """
    require("openpose", "orjson", "scipy")
    settings = _Settings(keypoints, persons, min_confidence, max_gap)
    stated = stated_size("openpose", image_size)
    recordings, notes = find_recordings(Path(source))
    for recording in recordings:
        if recording.missing():
            notes.append(Dropped(what=recording.name, why=recording.missing()))
    coco = sum(_starts_with_coco(recording) for recording in recordings[:_LOOKED_AT])
    if coco:
        why = "the middle of the hips and the feet are missing points"
        notes.append(Dropped(what=f"{coco} recording(s) or more with COCO-18 bodies", why=why))
    size, checked = (stated, None) if stated else _found_size(recordings, notes)
    class_names: tuple[str, ...] = ("unknown",)
    sources: list[ClipSource] = []
    table_path, class_path = (
        choose_file("openpose", "clips", clips),
        choose_file("openpose", "classes", classes),
    )
    if table_path is not None:
        table = read_clip_table(table_path, class_path)
        tables = tuple(path for path in (table_path, class_path) if path is not None)
        class_names = table.class_names
        by_name = _by_name(recordings)
        used = set()
        for video, rows in table.by_video().items():
            found = _lookup(by_name, video)
            if found is None:
                read = partial(_lost, video, Path(source))
                sources.append(ClipSource(name=video, read=read, clips=len(rows)))
                continue
            if found.name in used:
                raise DataError(
                    f"{table.path}: names recording '{found.name}' in two ways, such as '{video}'"
                )
            used.add(found.name)
            sources.append(_source(found, settings, checked, rows, tables))
        notes += [
            Dropped(what=recording.name, why=f"{table.path} has no clip of it")
            for recording in recordings
            if recording.name not in used
        ]
    else:
        sources = [_source(recording, settings, checked, None) for recording in recordings]
    return DatasetImport(
        class_names=class_names,
        vocabulary=f"openpose-{len(class_names)}" if table_path is not None else "unlabelled",
        layout=KEYPOINTS[keypoints][0],
        columns=("x", "y", "confidence"),
        image_size=size,
        sources=sources,
        dropped=notes,
    )


def _source(
    files: RecordingFiles,
    settings: _Settings,
    image_size: tuple[int, int] | None,
    rows: list[ClipRow] | None,
    tables: tuple[Path, ...] = (),
) -> ClipSource:
    return ClipSource(
        name=files.name,
        read=partial(_unit, files, settings, image_size, rows),
        clips=1 if rows is None else len(rows),
        files=(*files.paths(), *tables),
    )


def _by_name(recordings: Sequence[RecordingFiles]) -> dict[str, RecordingFiles | None]:
    """Return id -> recording, and last part of the id -> recording where only one ends so."""
    known: dict[str, RecordingFiles | None] = {}
    for recording in recordings:
        last = PurePosixPath(recording.name).name
        known[last] = None if last in known else recording
    return {**known, **{recording.name: recording for recording in recordings}}


def _lookup(known: dict[str, RecordingFiles | None], video: str) -> RecordingFiles | None:
    """Return the recording that a table calls ``video``: its id, also with an ending, or its last part."""
    path = PurePosixPath(video)
    for name in (video, str(path.with_suffix("")), path.stem):
        if known.get(name) is not None:
            return known[name]
    return None


def _starts_with_coco(recording: RecordingFiles) -> bool:
    """Return whether the people of the first file have COCO-18 bodies."""
    first = replace(recording, numbers=recording.numbers[:1], files=recording.files[:1])
    try:
        return read_people(first, ("body",)).coco
    except DataError:
        return False  # said when the recording's turn comes


def _found_size(
    recordings: Sequence[RecordingFiles], notes: list[Dropped]
) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Return the image size, and again if videos are to be checked against it."""
    videos = (recording.video() for recording in recordings)
    there = (video for video in videos if video is not None)
    first = next(there, None)
    if first is not None:
        from mg_data.video.decode import first_video_size

        size = first_video_size(chain([first], there))
        assert size is not None
        return size, size
    extreme = np.zeros(2)
    for recording in recordings:
        try:
            people = read_people(recording)
        except DataError:
            continue  # said again, as that recording's error, when its turn comes
        seen = people.points[people.points[..., 2] > 0]
        extreme = np.maximum(extreme, seen[:, :2].max(axis=0, initial=0))
    width, height = (int(value) for value in np.clip(np.floor(extreme) + 1, 1, 99_999))
    why = f"unknown, as there is no video: taken as {width}x{height}, the extremes of the points"
    notes.append(Dropped(what="image size", why=f"{why} (state it with image_size)", note=True))
    return (width, height), None


class OpenposeFrames:
    """RGB frames of the videos beside recordings."""

    def __init__(self, root: Path) -> None:
        self._recordings = {recording.name: recording for recording in find_recordings(Path(root))[0]}
        self.root = Path(root)

    def video_path(self, video_id: str) -> Path:
        recording = self._recordings.get(video_id)
        if recording is None:
            raise DataError(f"{shown(self.root)}: holds no recording '{video_id}'")
        path = recording.video()
        if path is None:
            stem = shown(recording.stem or recording.folder.name)
            raise DataError(
                f"{shown(recording.folder)}: has no video (wanted {stem}.mp4, .mkv, .avi, .mov or .webm "
                "there, in the folder above, or in a folder 'video' there)"
            )
        return path

    def frames(self, video_id: str, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield frames start..stop-1 as (H, W, 3) uint8 RGB, decoded forward."""
        return self.select(video_id, np.arange(start, stop))

    def select(self, video_id: str, frame_numbers: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
        """Yield only the frames of the given ascending numbers."""
        from mg_data.video.decode import decode_frames

        return decode_frames(self.video_path(video_id), frame_numbers)


def open_frames(root: Path, stream: str) -> OpenposeFrames:
    """Open the videos beside the recordings in ``root``.

    Raises:
        UsageError: the stream is not ``rgb``.
    """
    require("openpose", "av")
    if stream != "rgb":
        raise UsageError(f"openpose has no stream '{stream}' (it has: rgb)")
    return OpenposeFrames(root)
