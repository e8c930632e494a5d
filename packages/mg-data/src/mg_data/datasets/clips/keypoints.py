"""Where the clips of a table get their keypoints from: a clips store, OpenPose JSON or ``.pose`` files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, Dropped
from mg_data.datasets.options import check_size

#: What to do about videos of several sizes, of whose keypoints a store tells one.
ADVICE = "import them apart"
#: reads one video's keypoints: () -> (number of its first frame, (T, P, V, 3), what had to be left out)
ReadJoints = Callable[[], tuple[int, NDArray[np.float32], list[Dropped]]]


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """The keypoints of many videos, and what holds for all of them.

    Args:
        where: the store or folder, for messages.
        of: video -> how its keypoints are read; a video that is not in it has none.
        files: video -> what that reads.
    """

    where: str
    layout: str
    columns: tuple[str, str, str]
    image_size: tuple[int, int]
    of: dict[str, ReadJoints]
    files: dict[str, tuple[Path, ...]]
    camera: tuple[float, float, float, float] | None = None
    notes: tuple[Dropped, ...] = ()


def find_keypoints(path: Path, videos: Sequence[str], *, partial_points: bool = False) -> Keypoints:
    """Return the keypoints of the videos of a table.

    Args:
        path: a clips store, or a folder. In a folder the keypoints of ``a/b.mp4`` are ``a/b.pose``, or the
            OpenPose JSON files in ``a/b``; if there is none, ``b.pose`` or ``b``.

    Raises:
        DataError: there is nothing at ``path``, both kinds are in one folder, or no video has keypoints.
    """
    if path.is_file():
        return _from_store(path, videos)
    if not path.is_dir():
        raise DataError(f"{path}: does not exist (option keypoints: a clips store or a folder)")
    poses = _match(path, videos, _pose_file)
    folders = _match(path, videos, _json_folder)
    if poses and folders:
        one, other = next(iter(poses.values())), next(iter(folders.values()))
        raise DataError(
            f"{path}: holds two kinds of keypoints, {one.name} and the folder {other.name}: keep one kind"
        )
    if not poses and not folders:
        stem = PurePosixPath(videos[0]).stem
        raise DataError(
            f"{path}: has no keypoints of any of the {len(videos)} videos; for '{videos[0]}' wanted "
            f"{stem}.pose or a folder {stem} with OpenPose JSON files"
        )
    if poses:
        return _from_poses(path, poses, partial_points)
    return _from_json(path, folders)


def _match(path: Path, videos: Sequence[str], find: Callable[[Path], Path | None]) -> dict[str, Path]:
    """Return video -> what ``find`` makes of the place where its keypoints would lie."""
    found: dict[str, Path] = {}
    for video in videos:
        name = PurePosixPath(video)
        for place in (path / name.with_suffix(""), path / name.stem):
            hit = find(place)
            if hit is not None:
                found[video] = hit
                break
    _refuse_twice(path, found)
    return found


def _refuse_twice(path: Path, found: dict[str, Path]) -> None:
    """Raise if one file would serve two videos, as ``a/1.mp4`` and ``b/1.mp4`` may in a flat folder."""
    first: dict[Path, str] = {}
    for video, hit in found.items():
        if hit in first:
            raise DataError(
                f"{path}: {hit.name} fits both videos '{first[hit]}' and '{video}': put keypoints into "
                "folders like the videos'"
            )
        first[hit] = video


def _pose_file(place: Path) -> Path | None:
    path = place.with_name(f"{place.name}.pose")
    return path if path.is_file() else None


def _json_folder(place: Path) -> Path | None:
    return place if place.is_dir() and next(place.glob("*_keypoints.json"), None) is not None else None


def _read_row(path: Path, row: int) -> tuple[int, NDArray[np.float32], list[Dropped]]:
    from mg_data.store import open_clips

    with open_clips(path) as store:
        return int(store.start[row]), store.joints(row), []


def _from_store(path: Path, videos: Sequence[str]) -> Keypoints:
    """Join a store of whole videos (one clip a video) by video id, or else by the id's stem."""
    from mg_data.store import open_clips

    with open_clips(path) as store:
        if not store.layout:
            raise DataError(f"{path}: is a clips store without keypoints")
        rows: dict[str, int] = {}
        stems: dict[str, list[int]] = {}
        for number, video_id in enumerate(store.video_ids.tolist()):
            if video_id in rows:
                raise DataError(
                    f"{path}: has several clips of video '{video_id}', wanted one clip a "
                    "video (from 'mg data pose')"
                )
            rows[video_id] = number
            stems.setdefault(PurePosixPath(video_id).stem, []).append(number)
        joined: dict[str, int] = {}
        served: dict[int, str] = {}
        for video in videos:
            # 'mg data pose' names a video by its path without the extension.
            bare = str(PurePosixPath(video).with_suffix(""))
            same = stems.get(PurePosixPath(video).stem, [])
            row = rows.get(video, rows.get(bare, same[0] if len(same) == 1 else None))
            if row is None:
                continue
            if row in served:
                raise DataError(
                    f"{path}: its video '{store.video_ids[row]}' fits both '{served[row]}' and '{video}'"
                )
            joined[video], served[row] = row, video
        if not joined:
            some = ", ".join(list(rows)[:3])
            raise DataError(f"{path}: has none of the videos, such as '{videos[0]}' (it has: {some} ...)")
        x, y, z = store.columns
        camera = store.camera
        notes = [
            Dropped(what=f"signal '{name}' of {path}", why="signals are not cut")
            for name in store.signal_names
        ]
        unused = len(rows) - len(set(joined.values()))
        if unused:
            notes.append(Dropped(what=f"{unused} video(s) of {path}", why="the table has no clip of them"))
        return Keypoints(
            where=str(path),
            layout=store.layout,
            columns=(x, y, z),
            image_size=store.image_size,
            camera=None if camera is None else (camera[0], camera[1], camera[2], camera[3]),
            of={video: partial(_read_row, path, row) for video, row in joined.items()},
            files=dict.fromkeys(joined, (path,)),
            notes=tuple(notes),
        )


def _check_same_size(path: Path, found: tuple[int, int] | None, wanted: tuple[int, int]) -> None:
    """Raise DataError for keypoints in pixels of another image than the store's, if both are known."""
    if found is not None and min(found) > 0 and min(wanted) > 0:
        check_size(path, found, wanted, advice=ADVICE)


def _read_pose(
    path: Path, layout: str, partial_points: bool, image_size: tuple[int, int]
) -> tuple[int, NDArray[np.float32], list[Dropped]]:
    from mg_data.datasets.pose.importer import read_pose

    pose = read_pose(path, layout=layout, partial_points=partial_points)
    _check_same_size(path, pose.facts.image_size, image_size)
    return 0, pose.joints, []


def _from_poses(path: Path, poses: dict[str, Path], partial_points: bool) -> Keypoints:
    from mg_data.datasets.pose.importer import open_first
    from mg_data.prepare.extras import require

    require("keypoints from .pose files", "pose_format", extra="pose")
    _, facts = open_first(poses.values())
    return Keypoints(
        where=str(path),
        layout=facts.layout,
        columns=("x", "y", "confidence"),
        image_size=facts.image_size,
        of={
            video: partial(_read_pose, file, facts.layout, partial_points, facts.image_size)
            for video, file in poses.items()
        },
        files={video: (file,) for video, file in poses.items()},
    )


def _read_json(folder: Path, image_size: tuple[int, int]) -> tuple[int, NDArray[np.float32], list[Dropped]]:
    from mg_data.datasets.openpose.importer import read_recording

    recording = read_recording(folder)
    _check_same_size(folder, recording.image_size, image_size)
    if not recording.joints.any():
        raise DataError(f"{folder}: nobody is in any of its {len(recording.joints)} frames")
    return recording.first_frame, recording.joints, []


def _from_json(path: Path, folders: dict[str, Path]) -> Keypoints:
    from mg_data.datasets.openpose.files import list_recording
    from mg_data.prepare.extras import require

    require("keypoints from OpenPose JSON", "orjson", "scipy")
    videos = (list_recording(folder).video() for folder in folders.values())
    there = (video for video in videos if video is not None)
    first = next(there, None)
    size = (0, 0)
    if first is not None:
        require("the size of videos", "av")
        from mg_data.video.decode import first_video_size

        size = first_video_size(chain([first], there)) or size
    return Keypoints(
        where=str(path),
        layout="openpose-137",
        columns=("x", "y", "confidence"),
        image_size=size,
        of={video: partial(_read_json, folder, size) for video, folder in folders.items()},
        files={video: list_recording(folder).paths() for video, folder in folders.items()},
    )
