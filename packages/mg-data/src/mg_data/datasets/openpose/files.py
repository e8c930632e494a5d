"""OpenPose recordings: ``<video>_<frame>_keypoints.json``, one file for each frame, and their video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mg_data.contract import DataError, Dropped

ENDING = "_keypoints.json"
VIDEO_ENDINGS = (".mp4", ".mkv", ".avi", ".mov", ".webm")
# Folders beside a recording's folder in which its video is looked for, too.
_VIDEO_FOLDERS = ("", "video", "videos")
_NAME = re.compile(r"(.*?)[_-]?([0-9]{1,18})" + re.escape(ENDING), re.DOTALL)


@dataclass(frozen=True)
class RecordingFiles:
    """The files of one recording.

    Args:
        name: id of the recording: its folder relative to the source, ``/`` between folders.
        stem: what stands before the frame number in the files' names.
        numbers: frame numbers, ascending. files: the names that belong to them.
    """

    name: str
    folder: Path
    stem: str
    numbers: tuple[int, ...]
    files: tuple[str, ...]

    def paths(self) -> tuple[Path, ...]:
        """Return the paths of all files."""
        return tuple(self.folder / name for name in self.files)

    def missing(self) -> str:
        """Describe which frame numbers between the first and the last have no file, "" if none."""
        gap = self.numbers[-1] - self.numbers[0] + 1 - len(self.numbers)
        if not gap:
            return ""
        pairs = pairwise(self.numbers)
        spans = [(low + 1, high - 1) for low, high in pairs if high - low > 1]
        some = ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in spans[:5])
        return f"{gap} frame(s) have no file and count as frames without a person: {some}" + (
            " ..." if len(spans) > 5 else ""
        )

    def video(self) -> Path | None:
        """Return the video of the recording: of the same stem, in its folder or beside it, None if there is
        none.

        The stem is that of the files' names or the folder's name; beside it means in the folder above, or in
        a folder ``video`` or ``videos`` there.
        """
        places = (self.folder, *(self.folder.parent / name for name in _VIDEO_FOLDERS))
        for place in places:
            for stem in dict.fromkeys((self.stem, self.folder.name)):
                for ending in VIDEO_ENDINGS if stem else ():
                    for path in (place / f"{stem}{ending}", place / f"{stem}{ending.upper()}"):
                        if path.is_file():
                            return path
        return None


def find_recordings(source: Path) -> tuple[list[RecordingFiles], list[Dropped]]:
    """Return the recordings in a folder and the folders below it, by name, and the files passed over.

    A folder that holds files of several stems holds one recording for each: ``<folder>/<stem>``.

    Raises:
        DataError: no folder, no file, or frame numbers that cannot be used.
    """
    source = _absolute(source)
    if not source.is_dir():
        raise DataError(f"{source}: is no folder (wanted one with *{ENDING} files in it or below it)")
    found: list[RecordingFiles] = []
    dropped: list[Dropped] = []
    for folder, folders, names in os.walk(source):
        folders.sort()
        here = _recordings(Path(folder), names, source, dropped)
        found.extend(here)
    if not found:
        raise DataError(f"{source}: holds no OpenPose recording (wanted files <video>_<frame>{ENDING})")
    twice = _repeated(recording.name for recording in found)
    if twice is not None:
        raise DataError(f"{source}: two recordings would be called '{twice}'; rename a folder")
    return sorted(found, key=lambda recording: recording.name), dropped


def list_recording(folder: Path) -> RecordingFiles:
    """Return the one recording whose files lie in ``folder``.

    Raises:
        DataError: there is none, or there are several.
    """
    folder = _absolute(folder)
    try:
        names = os.listdir(folder)  # noqa: PTH208 (names only: thousands of Path objects take a while)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
    found = _recordings(folder, names, folder, [])
    if not found:
        raise DataError(f"{folder}: holds no OpenPose files (wanted <video>_<frame>{ENDING})")
    if len(found) > 1:
        stems = ", ".join(f"'{recording.stem}'" for recording in found[:3])
        raise DataError(f"{folder}: holds files of {len(found)} recordings ({stems}), wanted one in a folder")
    return found[0]


def _absolute(path: Path) -> Path:
    """Return the path without ``..``, links not followed: a recording is called what its folder is called."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _recordings(folder: Path, names: list[str], source: Path, dropped: list[Dropped]) -> list[RecordingFiles]:
    """Return the recordings whose files lie in one folder."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if not name.endswith(ENDING):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            dropped.append(
                Dropped(what=shown(folder / name), why=f"its name has no frame number before {ENDING}")
            )
            continue
        groups.setdefault(match[1], []).append((int(match[2]), name))
    relative = folder.relative_to(source).as_posix() if folder != source else source.name
    found = []
    for stem, frames in sorted(groups.items()):
        frames.sort()
        numbers = [number for number, _ in frames]
        for low, high in pairwise(frames):
            if low[0] == high[0]:
                raise DataError(
                    f"{shown(folder)}: {shown(low[1])} and {shown(high[1])} are both frame {low[0]}"
                )
        span = numbers[-1] - numbers[0] + 1
        if span > 10_000 + 100 * len(numbers):
            raise DataError(
                f"{shown(folder)}: has {len(numbers)} files, but their frame numbers run from {numbers[0]} "
                f"to {numbers[-1]}; the number before {ENDING} must count frames"
            )
        name = relative if len(groups) == 1 else f"{relative}/{stem}"
        if not _is_text(name):
            raise DataError(f"{shown(folder / stem)}: its name is not UTF-8, so no id can be made of it")
        found.append(RecordingFiles(name, folder, stem, tuple(numbers), tuple(name for _, name in frames)))
    return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: Path | str) -> str:
    """Return a path for messages: what is not UTF-8 in it as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
