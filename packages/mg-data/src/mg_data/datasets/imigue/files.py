"""The files of one iMiGUE video: label csv, light_hand csv and OpenPose xlsx, parsed and checked."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.datasets.clips.table import read_text_file
from mg_data.datasets.imigue.xlsx_numbers import read_numbers

NUM_CLASSES = 32
OPENPOSE_POINTS = 137
LIGHT_HAND_POINTS = 35


# More frames than any recording has (a year at 68 frames a second); numbers beyond are damage.
_MAX_FRAMES = 1 << 31


def _csv_rows(path: Path) -> list[list[str]]:
    """Return the fields of all lines, or a DataError for what is no text."""
    text = read_text_file(path, "the table")
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as csv: {error}") from error


def _raw(value: int) -> int | None:
    if value == 99:
        return NUM_CLASSES - 1
    return value - 1 if 1 <= value <= 31 else None


def _challenge(value: int) -> int | None:
    return value if 0 <= value < NUM_CLASSES else None


def _one_based(value: int) -> int | None:
    return value - 1 if 1 <= value <= NUM_CLASSES else None


#: name -> (what it allows, raw value -> class 0..31 or None)
LABEL_CONVENTIONS = {
    "raw": ("1..31 and 99", _raw),
    "challenge": ("0..31", _challenge),
    "raw-1based32": ("1..32", _one_based),
}


@dataclass(frozen=True)
class LabelRow:
    """One line of a label csv: class 0..31 (-1 = unknown) and frames, half-open."""

    row: int
    label: int
    start: int
    stop: int


def _fitting(values: list[int], convention: str) -> str:
    others = [
        name
        for name, (_, decode) in LABEL_CONVENTIONS.items()
        if name != convention and all(decode(value) is not None for value in values)
    ]
    return f"the file fits labels={' or '.join(others)}" if others else "it fits no known convention"


def read_label_csv(path: Path, convention: str) -> list[LabelRow]:
    """Read ``class,start,end`` (no header; frames 0-based, end inclusive).

    An empty class or -1 is an unknown label. Rows keep the order of the file; ``row`` counts from 0.

    Raises:
        DataError: a line that is not three whole numbers, an end before its start, or a class outside the
            convention (which usually means that another one is meant, so nothing is guessed).
    """
    allowed, decode = LABEL_CONVENTIONS[convention]
    lines: list[tuple[int, int, int]] = []
    for number, fields in enumerate(_csv_rows(path), start=1):
        if not any(field.strip() for field in fields):
            continue
        try:
            label_text, start_text, end_text = (field.strip() for field in fields)
            label, start, end = int(label_text or "-1"), int(start_text), int(end_text)
        except ValueError:
            raise DataError(
                f"{path}: line {number} is '{','.join(fields)}', wanted class,start,end as whole numbers"
            ) from None
        if not 0 <= start <= end < _MAX_FRAMES:
            raise DataError(f"{path}: line {number} has frames {start}..{end}, wanted 0 <= start <= end")
        lines.append((label, start, end))
    known = [label for label, _, _ in lines if label != -1]
    wrong = [label for label in known if decode(label) is None]
    if wrong:
        raise DataError(
            f"{path}: class {wrong[0]} is outside the convention labels={convention} ({allowed}); "
            f"{_fitting(known, convention)}"
        )
    rows: list[LabelRow] = []
    for row, (label, start, end) in enumerate(lines):
        decoded = decode(label) if label != -1 else -1
        assert decoded is not None  # checked for all lines above
        rows.append(LabelRow(row=row, label=decoded, start=start, stop=end + 1))
    return rows


def read_light_hand(path: Path) -> NDArray[np.float32]:
    """Read ``<vid>_light_hand.csv``: an index column and 35 x (x, y, score), no header.

    Returns:
        (T, 35, 3) float32, pixels and score.

    Raises:
        DataError: empty, no numbers, a wrong number of columns, or an index that begins late or has a gap.
    """
    with path.open("rb") as file:
        if not any(line.strip() for line in file):
            raise DataError(f"{path}: is empty, wanted one line a frame")
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.float64, ndmin=2, encoding="utf-8-sig")
    except ValueError as error:
        raise DataError(f"{path}: is no table of numbers without header: {error}") from error
    wanted = 1 + 3 * LIGHT_HAND_POINTS
    if table.shape[1] != wanted:
        raise DataError(f"{path}: has {table.shape[1]} columns, wanted {wanted} (index, then 35 x 3)")
    if table[0, 0] not in (0, 1):  # labels count frames from the video's first
        raise DataError(
            f"{path}: line 1 has index {table[0, 0]:g}, wanted 0 or 1: frames before it are missing"
        )
    gaps = np.flatnonzero(np.diff(table[:, 0]) != 1)
    if len(gaps):
        line = int(gaps[0]) + 2
        raise DataError(f"{path}: line {line} has index {table[line - 1, 0]:g}, wanted one more than before")
    return _points(table[:, 1:], LIGHT_HAND_POINTS, path)


def read_openpose_xlsx(path: Path) -> NDArray[np.float32]:
    """Read ``<vid>_openpose.xlsx``: 137 x (x, y, score) a row, no header.

    Empty cells make their point a missing one (0, 0, 0).

    Returns:
        (T, 137, 3) float32, pixels and score: body 25, face 70, left hand 21, right hand 21.

    Raises:
        DataError: unreadable, empty, a wrong number of columns, text in a cell, or a zip bomb.
    """
    return _points(read_numbers(path, 3 * OPENPOSE_POINTS), OPENPOSE_POINTS, path)


def _points(table: NDArray[np.float64], num_points: int, path: Path) -> NDArray[np.float32]:
    points = table.reshape(len(table), num_points, 3)
    missing = np.isnan(points).any(axis=2)
    points[missing] = 0.0
    if not np.isfinite(points).all():
        raise DataError(f"{path}: holds values that are not finite")
    return points.astype(np.float32)


def read_subjects(path: Path) -> dict[str, str]:
    """Read a csv with header ``video_id,subject_id``.

    Raises:
        DataError: another header, a line without both, or a video listed twice.
    """
    subjects: dict[str, str] = {}
    header, *rows = _csv_rows(path) or [[]]
    header = [name.strip() for name in header]
    if header[:2] != ["video_id", "subject_id"]:
        raise DataError(f"{path}: has header '{','.join(header)}', wanted video_id,subject_id")
    for number, row in enumerate(rows, start=2):
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        if len(fields) < 2 or not fields[0] or not fields[1]:
            raise DataError(f"{path}: line {number} is '{','.join(fields)}', wanted video_id,subject_id")
        if fields[0] in subjects:
            raise DataError(f"{path}: line {number} lists video '{fields[0]}' again")
        subjects[fields[0]] = fields[1]
    return subjects


def read_clip_ids(path: Path) -> list[str]:
    """Read clip ids: the first column of each line; a first line ``Id`` or ``clip_id`` is a header.

    Raises:
        DataError: unreadable, empty, or an id listed twice.
    """
    ids = [fields[0].strip() for fields in _csv_rows(path) if fields and fields[0].strip()]
    if ids and ids[0].lower() in ("id", "clip_id"):
        ids = ids[1:]
    if not ids:
        raise DataError(f"{path}: lists no clip id, wanted one a line")
    seen: set[str] = set()
    for clip_id in ids:
        if clip_id in seen:
            raise DataError(f"{path}: lists clip '{clip_id}' twice")
        seen.add(clip_id)
    return ids
