"""A csv that lists clips: ``clip_id,video,start,stop,label,subject,split``; ``video`` alone must be there.

Reading it is all that happens here: numpy, video and keypoints stay out.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from mg_data.contract import DataError, UsageError

COLUMNS = ("clip_id", "video", "start", "stop", "label", "subject", "split")
# A store keeps one name for each class; without a list of names a number beyond this is a slip of the pen.
MAX_UNNAMED_CLASSES = 10_000
_MAX_FRAME = 2**53
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True)
class ClipRow:
    """One line of the table.

    Args:
        line: where it starts in the file, from 1.
        video: path relative to the videos' root, as written.
        start, stop: frames, half-open; both None stand for the whole video.
        label: class index, -1 if unknown.
        subject, split: "" if not given.
    """

    line: int
    clip_id: str
    video: str
    start: int | None
    stop: int | None
    label: int = -1
    subject: str = ""
    split: str = ""


@dataclass(frozen=True)
class ClipTable:
    """What :func:`read_clip_table` returns; ``ignored`` names columns that mean nothing here."""

    path: Path
    rows: tuple[ClipRow, ...]
    class_names: tuple[str, ...]
    columns: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    def by_video(self) -> dict[str, list[ClipRow]]:
        """Return video -> its rows, both in the order of the file."""
        groups: dict[str, list[ClipRow]] = {}
        for row in self.rows:
            groups.setdefault(row.video, []).append(row)
        return groups

    def by_clip(self) -> dict[str, ClipRow]:
        """Return clip id -> row."""
        return {row.clip_id: row for row in self.rows}


def read_text_file(path: Path, what: str) -> str:
    """Return a text file's content.

    Raises:
        DataError: it cannot be opened, is not UTF-8 or holds a NUL byte; the line is named.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save {what} as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}, line {line}: holds a NUL byte; {what} is damaged or UTF-16, save it as UTF-8"
        )
    return text


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names, one a line in the order of their numbers; blank lines at the end do not count.

    Raises:
        DataError: no name, an empty line between names, a name twice, or a name that is the number of another
            class.
    """
    names = [line.strip() for line in read_text_file(path, "the list of classes").splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{path}: holds no class name, wanted one a line")
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        if not name:
            raise DataError(f"{path}, line {number + 1}: is empty, wanted the name of class {number}")
        if name in seen:
            raise DataError(
                f"{path}, line {number + 1}: class name '{name}' stands in line {seen[name]} already"
            )
        if _WHOLE.fullmatch(name) and int(name) != number:
            raise DataError(
                f"{path}, line {number + 1}: class {number} is named '{name}', which could as well be the "
                "number of another class; use names that are no numbers"
            )
        seen[name] = number + 1
    return tuple(names)


def check_video(text: str) -> str:
    """Return why ``text`` cannot be a path below a root, or "".

    A table may come from strangers: what it names must lie in the folder that the user gave.
    """
    windows = PureWindowsPath(text)
    if PurePosixPath(text).is_absolute() or windows.drive or windows.root:
        return "is an absolute path, wanted one relative to the videos' root"
    if ".." in PurePosixPath(text).parts or ".." in windows.parts:
        return "holds '..', wanted a path that stays in the videos' root"
    if "\\" in text:
        return "holds '\\', wanted '/' between folders"
    if not PurePosixPath(text).name:
        return "names no file"
    return ""


class _Lines:
    """The records of a csv, each cell by the name of its column, with the place for messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = read_text_file(path, "the table")
        if not text.strip():
            raise DataError(f"{path}: is empty, wanted a header such as {','.join(COLUMNS)}")
        self._reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        self.header = [name.strip() for name in self._next() or []]
        self._check_header()

    def _next(self) -> list[str] | None:
        self.line = self._reader.line_num + 1
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise DataError(f"{self.path}, line {self.line}: is no csv: {error}") from None

    def _check_header(self) -> None:
        repeated = next((name for name in self.header if name and self.header.count(name) > 1), "")
        if repeated:
            raise DataError(f"{self.path}, line 1: column '{repeated}' stands twice")
        if "video" in self.header:
            return
        if len(self.header) == 1 and len(re.split(r"[;\t]", self.header[0])) > 1:
            raise DataError(f"{self.path}, line 1: columns are separated by ';' or tabs, wanted ','")
        close = difflib.get_close_matches("video", [name.lower() for name in self.header], n=1)
        hint = f"; did you mean 'video' by '{close[0]}'?" if close else ""
        found = ",".join(self.header)[:80]
        raise DataError(f"{self.path}, line 1: lacks the column video, found '{found}'{hint}")

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> dict[str, str]:
        while (fields := self._next()) is not None:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(self.header):
                raise DataError(
                    f"{self.path}, line {self.line}: has {len(fields)} cells, wanted {len(self.header)} "
                    "as in the header"
                )
            cells = dict(zip(self.header, (field.strip() for field in fields), strict=True))
            for name in COLUMNS:
                if not cells.get(name, "").isprintable():
                    raise self.wrong(name, "holds a line break or another control character")
            return cells
        raise StopIteration

    def wrong(self, column: str, why: str) -> DataError:
        return DataError(f"{self.path}, line {self.line}, column {column}: {why}")

    def frame(self, cells: Mapping[str, str], column: str) -> int | None:
        """Return a frame's number, None if the cell is empty or there is no such column."""
        text = cells.get(column, "")
        if not text:
            return None
        if not _WHOLE.fullmatch(text) or int(text) > _MAX_FRAME:
            raise self.wrong(column, f"'{text[:40]}' is no frame, wanted a whole number from 0 (or empty)")
        if int(text) < 0:
            raise self.wrong(column, f"frame {int(text)} is negative, wanted a whole number from 0")
        return int(text)


def _span(lines: _Lines, cells: Mapping[str, str]) -> tuple[int | None, int | None]:
    start, stop = lines.frame(cells, "start"), lines.frame(cells, "stop")
    if (start is None) != (stop is None):
        empty, given = ("start", "stop") if start is None else ("stop", "start")
        raise lines.wrong(
            empty, f"is empty, but {given} is not: give both (half-open), or neither for the whole video"
        )
    if start is not None and stop is not None and stop <= start:
        raise lines.wrong("stop", f"stop {stop} is not after start {start} (frames are half-open)")
    return start, stop


def _given_label(lines: _Lines, text: str, numbers: Mapping[str, int], classes: Path) -> int:
    """Return the class of a cell by the given list of names."""
    if text in numbers:
        return numbers[text]
    if _WHOLE.fullmatch(text):
        if 0 <= int(text) < len(numbers):
            return int(text)
        raise lines.wrong(
            "label", f"class {int(text)} is out of range, {classes} has classes 0..{len(numbers) - 1}"
        )
    close = difflib.get_close_matches(text, numbers, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(list(numbers)[:5])} ..."
    raise lines.wrong("label", f"class '{text}' is not in {classes} ({hint})")


def _found_label(lines: _Lines, text: str) -> int | str:
    """Return the class number of a cell, or the name that it is, where no list of names is given."""
    if not _WHOLE.fullmatch(text):
        return text
    if not 0 <= int(text) < MAX_UNNAMED_CLASSES:
        raise lines.wrong(
            "label",
            f"class {int(text)} is out of range 0..{MAX_UNNAMED_CLASSES - 1}; an empty cell is unknown",
        )
    return int(text)


def _name_classes(
    found: Sequence[tuple[int, int | str]], path: Path
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return class names and their numbers from the labels met, each with its line."""
    names = sorted({label for _, label in found if isinstance(label, str)})
    numbers = [(line, label) for line, label in found if isinstance(label, int)]
    if names and numbers:
        line, label = numbers[0]
        raise DataError(
            f"{path}, line {line}, column label: '{label}' is a number, but other labels are names such as "
            f"'{names[0]}'; use one kind, or give the list of classes"
        )
    if numbers:
        return tuple(f"class {number}" for number in range(max(label for _, label in numbers) + 1)), {}
    # A store must name a class, and a table without labels has none: the one class is "unknown".
    return tuple(names) or ("unknown",), {name: number for number, name in enumerate(names)}


def read_clip_table(path: Path, classes: Path | None = None, *, labels: bool = True) -> ClipTable:
    """Read a table of clips.

    Columns: ``clip_id`` (by default the video's stem, with ``_<start>`` if there is a span), ``video``
    (relative to the videos' root), ``start`` and ``stop`` (frames, half-open; both empty = the whole video),
    ``label`` (number or name of a class, empty = unknown), ``subject``, ``split``. Others are ignored.

    Args:
        path: utf-8 csv with a header.
        labels: False passes over the column ``label``, whatever is in it.
        classes: text file with the class names in order. Without it they are the sorted names among the
            labels, or ``class 0`` .. ``class K-1`` if the labels are numbers.

    Raises:
        DataError: naming file, line and column.
    """
    path = Path(path)
    class_names = read_class_names(classes) if classes is not None else ()
    numbers = {name: number for number, name in enumerate(class_names)}
    lines = _Lines(path)
    seen: dict[str, int] = {}
    found: list[tuple[int, int | str]] = []
    rows: list[tuple[ClipRow, int | str]] = []
    for cells in lines:
        video = cells["video"]
        why = check_video(video) if video else "is empty, wanted the video's path"
        if why:
            raise lines.wrong("video", f"'{video}' {why}" if video else why)
        start, stop = _span(lines, cells)
        stem = PurePosixPath(video).stem
        clip_id = cells.get("clip_id", "") or (stem if start is None else f"{stem}_{start}")
        if clip_id in seen:
            made = "" if cells.get("clip_id") else " (made of the video's name: give clips ids of their own)"
            raise lines.wrong("clip_id", f"clip id '{clip_id}' stands in line {seen[clip_id]} already{made}")
        seen[clip_id] = lines.line
        label: int | str = -1
        text = cells.get("label", "") if labels else ""
        if text and classes is not None:
            label = _given_label(lines, text, numbers, classes)
        elif text:
            label = _found_label(lines, text)
            found.append((lines.line, label))
        subject, split = cells.get("subject", ""), cells.get("split", "")
        rows.append((ClipRow(lines.line, clip_id, video, start, stop, -1, subject, split), label))
    if not rows:
        raise DataError(f"{path}: lists no clip, it holds a header only")
    if classes is None:
        class_names, numbers = _name_classes(found, path)
    return ClipTable(
        path=path,
        rows=tuple(
            ClipRow(**{**row.__dict__, "label": numbers[label] if isinstance(label, str) else label})
            for row, label in rows
        ),
        class_names=class_names,
        columns=tuple(name for name in COLUMNS if name in lines.header),
        ignored=tuple(name for name in lines.header if name not in COLUMNS),
    )


def choose_file(what: str, name: str, value: object) -> Path | None:
    """Return an importer's option that is a path, None if it is empty.

    Raises:
        UsageError: it is no text.
    """
    if not isinstance(value, (str, Path)):
        raise UsageError(f"{what}: option {name} is {value!r}, wanted a path")
    return Path(value) if str(value) else None
