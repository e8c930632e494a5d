"""labels.csv: the truth, beside the stores and never in them. Columns: clip_id, label, class_name."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mg_data.contract.errors import DataError
from mg_data.store.atomic import publish_text

# What the stores have room for.
_MAX_LABEL = 1 << 31
HEADER = ("clip_id", "label", "class_name")

# Bands of a long tail: head classes have at least this share of the largest class's clips, tail classes less.
HEAD_SHARE, TAIL_SHARE = 0.2, 0.02


def write_labels(
    path: str | os.PathLike[str],
    clip_ids: Iterable[str],
    labels: Iterable[int],
    class_names: Sequence[str],
) -> None:
    """Write labels.csv atomically; a label of -1 (unknown) has an empty class name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for clip_id, label in zip(clip_ids, labels, strict=True):
        writer.writerow((clip_id, label, class_names[label] if label >= 0 else ""))
    publish_text(path, text.getvalue())


@dataclass(frozen=True, eq=False)
class LabelTable:
    """What a labels.csv says.

    Args:
        path: the file. labels: clip id -> class index, -1 for unknown.
        names: each (class index, class name) that it states, in the order they first occur.
    """

    path: Path
    labels: dict[str, int]
    names: tuple[tuple[int, str], ...]

    def other_names(self, class_names: Sequence[str]) -> list[str]:
        """Return which names are not those of a class list: ``0 is 'nod', not 'shrug'``.

        Labels beyond the list are passed over.
        """
        return [
            f"{label} is '{name}', not '{class_names[label]}'"
            for label, name in sorted(self.names)
            if 0 <= label < len(class_names) and class_names[label] != name
        ]

    def check_names(self, class_names: Sequence[str], store: str | os.PathLike[str]) -> None:
        """Raise DataError unless the names are those of the store's class list."""
        others = self.other_names(class_names)
        if others:
            raise DataError(
                f"{self.path}: class {others[0]} as in {store}; the labels follow another class list: import "
                "both from one data set"
            )


def read_label_table(path: str | os.PathLike[str]) -> LabelTable:
    """Read a labels.csv, in one pass and without keeping its rows.

    Raises:
        DataError: no file, no such header, a duplicate id, a label that is no integer.
    """
    name = Path(path)
    labels: dict[str, int] = {}
    names: dict[tuple[int, str], None] = {}  # ordered
    try:
        with name.open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.reader(handle)
            _check_header(name, next(rows, []))
            for number, row in enumerate(rows, start=2):
                if not row:
                    continue
                clip_id, label = _label_of(name, number, row)
                if clip_id in labels:
                    raise DataError(f"{name}, line {number}: clip id '{clip_id}' stands twice")
                labels[clip_id] = label
                if len(row) > 2 and row[2]:
                    names.setdefault((label, row[2]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: labels cannot be read: {error}") from error
    return LabelTable(name, labels, tuple(names))


def _check_header(path: Path, found: list[str]) -> None:
    if tuple(found[:2]) != HEADER[:2]:
        shown = ",".join(found)[:80] if found else "an empty file"
        raise DataError(f"{path}: wanted the header clip_id,label,class_name, found '{shown}'")


def _label_of(path: Path, number: int, row: list[str]) -> tuple[str, int]:
    try:
        label = int(row[1])
        if not abs(label) < _MAX_LABEL:
            raise ValueError
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{path}, line {number}: wanted clip_id,label, found '{','.join(row)[:80]}'"
        ) from error
    return row[0], label


def read_labels(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return clip id -> class index; raises as :func:`read_label_table`."""
    return read_label_table(path).labels


def join_labels(paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> int:
    """Write one labels.csv from several without a common clip; return the number of clips.

    Raises:
        DataError: a clip that two files list, a class that they name differently, or a name of two classes.
    """
    owner: dict[str, str] = {}
    named: dict[int, str] = {}
    numbered: dict[str, int] = {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for path in paths:
        read_labels(path)  # refuses what is no labels.csv
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle) if row][1:]
        for clip_id, label, name in ([*row, ""][:3] for row in rows):
            if clip_id in owner:
                raise DataError(f"{path}: lists clip '{clip_id}', which {owner[clip_id]} lists too")
            number = int(label)
            if name and named.setdefault(number, name) != name:
                raise DataError(f"{path}: class {label} is '{name}', other files call it '{named[number]}'")
            if name and numbered.setdefault(name, number) != number:
                raise DataError(f"{path}: '{name}' is class {label}, in other files {numbered[name]}")
            owner[clip_id] = str(path)
            writer.writerow((clip_id, label, name))
    publish_text(out, text.getvalue())
    return len(owner)
