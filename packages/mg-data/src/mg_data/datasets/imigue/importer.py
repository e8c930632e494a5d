"""iMiGUE in the layouts of the MiGA challenge: one folder a video, keypoints of whole videos, clips as rows.

``<vid>/<vid>_label.csv`` lists the clips, ``<vid>_light_hand.csv`` and ``<vid>_openpose.xlsx`` hold the
keypoints of all frames, ``<vid>.mp4`` the frames. The folders lie in the source or one level below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.table import choose_file
from mg_data.datasets.imigue.files import (
    LABEL_CONVENTIONS,
    read_clip_ids,
    read_label_csv,
    read_light_hand,
    read_openpose_xlsx,
    read_subjects,
)
from mg_data.datasets.options import check_video_size, stated_size
from mg_data.datasets.video_files import VideoFileFrames, check_stream
from mg_data.prepare.extras import require

# Of a row in a list of clip ids.
_DIGITS = 9
CLASS_NAMES = (
    "turtle neck",
    "deep breath",
    "touch hat",
    "touch face",
    "touch forehead",
    "cover face",
    "rub eyes",
    "touch other face part",
    "touch ears",
    "bite nails",
    "touch chin",
    "touch neck",
    "play hair",
    "adjust tie",
    "touch chest",
    "scratch back",
    "fold arm",
    "tidy sleeve",
    "put arm back",
    "move torso",
    "sit straight",
    "scratch arm",
    "rub hand",
    "cross finger",
    "minaret hand",
    "play things",
    "withdraw arms",
    "head up",
    "bit lip",
    "arm akimbo",
    "shake shoulder",
    "illustrative",
)
#: The class of clips in which nothing was labelled, with option ``background``.
BACKGROUND = "background"
IMAGE_SIZE = (720, 1280)
#: The file of subjects that is read if it is there.
SUBJECTS = "subjects.csv"
#: option ``keypoints`` -> (layout, ending of the file's name, reader)
KEYPOINT_FILES = {
    "openpose": ("openpose-137", "_openpose.xlsx", read_openpose_xlsx),
    "light_hand": ("imigue-35", "_light_hand.csv", read_light_hand),
}


def _files(source: Path, ending: str) -> Iterator[tuple[str, Path]]:
    """Yield (video id, folder) of every ``<vid>/<vid>ENDING`` at most two levels down, by path."""
    for path in sorted([*source.glob(f"*/*{ending}"), *source.glob(f"*/*/*{ending}")]):
        video_id = path.name.removesuffix(ending)
        if path.parent.name == video_id:
            yield video_id, path.parent


def _video_folders(source: Path) -> dict[str, Path]:
    """Return video id -> folder for every video with a label csv."""
    return _add_folders(source, {}, _files(source, "_label.csv"))


def _add_folders(
    source: Path, folders: dict[str, Path], found: Iterable[tuple[str, Path]]
) -> dict[str, Path]:
    """Return the folders with further ones.

    Raises:
        DataError: two folders of one video.
    """
    folders = dict(folders)
    for video_id, folder in found:
        if video_id in folders:
            raise DataError(f"{source}: video '{video_id}' is there twice: {folders[video_id]} and {folder}")
        folders[video_id] = folder
    return folders


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"imigue: option {name} is '{value}', wanted one of: {', '.join(choices)}")


def _beside(source: Path, name: str, value: object) -> Path | None:
    """Return the file in ``source`` that an option names, None if it names none."""
    path = choose_file("imigue", name, value)
    return None if path is None else source / path


def _read_video(
    folder: Path,
    *,
    keypoints: str,
    labels: str,
    subject_id: str,
    wanted: frozenset[str] | None,
    image_size: tuple[int, int] | None,
    background: int = 0,
) -> tuple[list[RawClip], list[Dropped]]:
    """Read all clips of one video, and clips of what lies between them; a unit of :func:`import_imigue`.

    Args:
        image_size: to hold the video against, if it is there.

    Raises:
        DataError: the label csv or the keypoint file cannot be used, or the video is of another size.
    """
    video_id = folder.name
    if image_size is not None:
        check_video_size(folder / f"{video_id}.mp4", image_size)
    rows = read_label_csv(folder / f"{video_id}_label.csv", labels)
    _, ending, read_keypoints = KEYPOINT_FILES[keypoints]
    path = folder / f"{video_id}{ending}"
    if not path.is_file():
        raise DataError(f"{path}: does not exist (the keypoints of {len(rows)} clips)")
    joints = read_keypoints(path)
    clips: list[RawClip] = []
    dropped: list[Dropped] = []
    for row in rows:
        clip_id = f"{video_id}_{row.row}"
        if wanted is not None and clip_id not in wanted:
            continue
        if row.stop > len(joints):
            why = f"frames {row.start}..{row.stop - 1}, but {path.name} has only {len(joints)} frames"
            dropped.append(Dropped(what=clip_id, why=why))
            continue
        clips.append(
            RawClip(
                clip_id=clip_id,
                subject_id=subject_id,
                video_id=video_id,
                start=row.start,
                stop=row.stop,
                joints=joints[row.start : row.stop, None].copy(),
                label=row.label,
            )
        )
    free = free_spans([(row.start, row.stop) for row in rows], len(joints), background)
    clips += [
        RawClip(
            clip_id=f"{video_id}_b{number}",
            subject_id=subject_id,
            video_id=video_id,
            start=start,
            stop=stop,
            joints=joints[start:stop, None].copy(),
            label=len(CLASS_NAMES),
        )
        for number, (start, stop) in enumerate(free)
    ]
    return clips, dropped


def free_spans(taken: Sequence[tuple[int, int]], length: int, frames: int) -> list[tuple[int, int]]:
    """Return half-open spans of so many frames that meet none of the taken ones, from the left of each gap.

    >>> free_spans([(4, 6), (20, 30)], 32, 6)
    [(6, 12), (12, 18)]
    """
    if not frames:
        return []
    spans: list[tuple[int, int]] = []
    free_from = 0
    for start, stop in [*sorted(taken), (length, length)]:
        last = min(start, length) - frames
        spans += [(first, first + frames) for first in range(free_from, last + 1, frames)]
        free_from = max(free_from, stop)
    return spans


def _read_whole(
    folder: Path, *, keypoints: str, subject_id: str, image_size: tuple[int, int] | None
) -> tuple[list[RawClip], list[Dropped]]:
    """Read all frames of one video as a single clip without a label; a unit of :func:`import_imigue`.

    Args:
        image_size: to hold the video against, if it is there.

    Raises:
        DataError: the keypoint file cannot be used, or the video is of another size.
    """
    video_id = folder.name
    if image_size is not None:
        check_video_size(folder / f"{video_id}.mp4", image_size)
    _, ending, read_keypoints = KEYPOINT_FILES[keypoints]
    path = folder / f"{video_id}{ending}"
    if not path.is_file():
        raise DataError(f"{path}: does not exist (the keypoints of the video)")
    joints = read_keypoints(path)
    clip = RawClip(
        clip_id=video_id,
        subject_id=subject_id,
        video_id=video_id,
        start=0,
        stop=len(joints),
        joints=joints[:, None],
    )
    return [clip], []


def _match_ids(listed: Sequence[str], counts: dict[str, int], path: Path) -> None:
    """Raise DataError unless every listed clip id is ``<vid>_<row>`` of a clip that is there."""
    for clip_id in listed:
        video_id, _, row = clip_id.rpartition("_")
        number = int(row) if row.isdecimal() and len(row) <= _DIGITS else -1
        if not 0 <= number < counts.get(video_id, 0):
            found = f"has {counts[video_id]} clips" if video_id in counts else "is not there"
            raise DataError(f"{path}: lists clip '{clip_id}', but video '{video_id}' {found}")


def import_imigue(
    source: Path,
    *,
    keypoints: str = "openpose",
    labels: str = "raw",
    subjects: str = SUBJECTS,
    ids: str = "",
    image_size: str = "",
    whole: bool = False,
    background: int = 0,
) -> DatasetImport:
    """Read a tree in the challenge's layouts; the keypoints of one video are in memory at a time.

    A clip's id is ``<vid>_<row>`` with the row of the label csv counted from 0; frames become half-open.

    Args:
        source: folder of the videos' folders.
        keypoints: ``openpose`` (137 points from the xlsx) or ``light_hand`` (35 points from the csv).
        labels: what the class column holds: ``raw`` 1..31 and 99, ``challenge`` 0..31, ``raw-1based32``
            1..32.
        subjects: file in ``source`` with header ``video_id,subject_id``. Videos it does not list, and all
            videos without ``subjects.csv``, have an unknown subject (""); a file of another name must be
            there.
        ids: file in ``source`` with one clip id a line (a csv's first column; a header ``Id`` is skipped):
            only these clips are imported, and each must be there. For the challenge's list of test clips.
        image_size: WIDTHxHEIGHT that the keypoints are in pixels of; by default that of the first video, and
            without any video 720x1280. Videos of another size are refused unless it is stated.
        whole: one clip a video with all of its frames, without a label, as ``mg watch`` reads it; with the
            frame rate of each video whose mp4 is there. Videos need no label csv then.
        background: also cut clips of so many frames out of what lies between the labelled ones, of a class
            ``background`` behind the others; ``<vid>_b<number>`` is their id. 0 cuts none.

    Raises:
        UsageError: an option's value is unknown, or two that exclude each other.
        DataError: no video, a video twice, a malformed label csv, a class outside the convention, a clip id
            listed twice or without a clip, no file ``subjects``.
    """
    require("imigue", "python_calamine", "av")
    source = Path(source)
    _choice("keypoints", keypoints, tuple(KEYPOINT_FILES))
    _choice("labels", labels, tuple(LABEL_CONVENTIONS))
    if isinstance(background, bool) or not isinstance(background, int) or background < 0:
        raise UsageError(f"imigue: option background is {background!r}, wanted a number of frames from 0 on")
    if background and (whole or ids):
        other = "whole" if whole else "ids"
        raise UsageError(f"imigue: options background and {other} exclude each other: leave one out")
    if whole and ids:
        raise UsageError("imigue: options whole and ids exclude each other: leave one out")
    layout, ending, _ = KEYPOINT_FILES[keypoints]
    folders = _video_folders(source)
    labelled = frozenset(folders)
    unlabelled = [
        (video_id, folder) for video_id, folder in _files(source, ending) if folders.get(video_id) != folder
    ]
    if whole:
        folders = _add_folders(source, folders, unlabelled)
    if not folders:
        wanted_file = f"<vid>_label.csv or <vid>{ending}" if whole else "<vid>_label.csv"
        raise DataError(f"{source}: holds no video (wanted folders <vid> with {wanted_file})")
    subject_file = _beside(source, "subjects", subjects)
    ids_file = _beside(source, "ids", ids)
    if subject_file is not None and not subject_file.is_file():
        if subjects != SUBJECTS:
            raise DataError(f"{subject_file}: does not exist (option subjects names a file in {source})")
        subject_file = None
    subject_of = read_subjects(subject_file) if subject_file is not None else {}
    # A change of one of these is a change of every video.
    tables = tuple(path for path in (subject_file, ids_file) if path is not None)
    # All label files are read before any keypoint: a wrong convention must not spoil only the videos that
    # happen to hold a class outside it.
    counts = {
        video_id: len(read_label_csv(folder / f"{video_id}_label.csv", labels))
        for video_id, folder in folders.items()
        if video_id in labelled
    }
    wanted: frozenset[str] | None = None
    if ids_file is not None:
        listed = read_clip_ids(ids_file)
        _match_ids(listed, counts, ids_file)
        wanted = frozenset(listed)
        counts = {
            video_id: sum(f"{video_id}_{row}" in wanted for row in range(count))
            for video_id, count in counts.items()
        }
    stated = stated_size("imigue", image_size)
    size = stated or _image_size(folders)
    checked = None if stated else size
    notes: list[Dropped] = []
    unlisted = [
        video_id for video_id in folders if (whole or counts[video_id]) and video_id not in subject_of
    ]
    if subject_file is not None and unlisted:
        why = f"{subject_file} does not list them, the first is '{unlisted[0]}'"
        notes.append(Dropped(what=f"the subject of {len(unlisted)} of {len(folders)} videos", why=why))
    if whole:
        from mg_data.video.decode import frame_rates

        return DatasetImport(
            class_names=CLASS_NAMES,
            vocabulary="imigue-32",
            layout=layout,
            columns=("x", "y", "confidence"),
            image_size=size,
            sources=[
                ClipSource(
                    name=video_id,
                    read=partial(
                        _read_whole,
                        folder,
                        keypoints=keypoints,
                        subject_id=subject_of.get(video_id, ""),
                        image_size=checked,
                    ),
                    files=(folder / f"{video_id}{ending}", *tables),
                )
                for video_id, folder in folders.items()
            ],
            frame_rates=frame_rates(
                {video_id: folder / f"{video_id}.mp4" for video_id, folder in folders.items()}
            ),
            dropped=notes,
        )
    return DatasetImport(
        class_names=(*CLASS_NAMES, BACKGROUND) if background else CLASS_NAMES,
        vocabulary="imigue-32-background" if background else "imigue-32",
        layout=layout,
        columns=("x", "y", "confidence"),
        image_size=size,
        sources=[
            ClipSource(
                name=video_id,
                read=partial(
                    _read_video,
                    folder,
                    keypoints=keypoints,
                    labels=labels,
                    subject_id=subject_of.get(video_id, ""),
                    wanted=wanted,
                    image_size=checked,
                    background=background,
                ),
                clips=counts[video_id],
                files=(folder / f"{video_id}_label.csv", folder / f"{video_id}{ending}", *tables),
            )
            for video_id, folder in folders.items()
            if counts[video_id]
        ],
        dropped=[
            *notes,
            *(
                Dropped(what=str(folder), why=f"has no {video_id}_label.csv, which would list its clips")
                for video_id, folder in unlabelled
                if wanted is None
            ),
            *(
                Dropped(what=video_id, why=f"{video_id}_label.csv is empty: the video has no clips")
                for video_id, count in counts.items()
                if not count and wanted is None
            ),
        ],
    )


def _image_size(folders: dict[str, Path]) -> tuple[int, int]:
    """Return (width, height) of the first video that can be read, else the challenge's 720 x 1280."""
    from mg_data.video.decode import first_video_size

    paths = (folder / f"{video_id}.mp4" for video_id, folder in folders.items())
    return first_video_size(path for path in paths if path.is_file()) or IMAGE_SIZE


class ImigueFrames(VideoFileFrames):
    """RGB frames of a tree in the challenge's layouts."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._folders = _video_folders(self.root)

    def find(self, video_id: str) -> Path:
        """Return the file in the video's folder."""
        if video_id not in self._folders:  # no label csv: a whole video
            above = [self.root, *sorted(place for place in self.root.glob("*") if place.is_dir())]
            places = [place / video_id for place in above]
            here = (place for place in places if (place / f"{video_id}.mp4").is_file())
            self._folders[video_id] = next(here, places[0])
        return self._folders[video_id] / f"{video_id}.mp4"


def open_frames(root: Path, stream: str) -> ImigueFrames:
    """Open the videos of the tree ``root``.

    Raises:
        UsageError: the stream is not ``rgb``.
    """
    check_stream("imigue", stream)
    return ImigueFrames(root)
