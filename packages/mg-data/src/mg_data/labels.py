"""labels.csv: the truth, beside the stores and never in them. Columns: clip_id, label, class_name."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
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


def read_labels(path: str | os.PathLike[str]) -> dict[str, int]:
    """Return clip id -> class index.

    Raises:
        DataError: no file, no such header, a duplicate id, a label that is no integer.
    """
    name = Path(path)
    try:
        with name.open(encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: labels cannot be read: {error}") from error
    if not rows or tuple(rows[0][:2]) != HEADER[:2]:
        found = ",".join(rows[0]) if rows else "an empty file"
        raise DataError(f"{name}: wanted the header clip_id,label,class_name, found '{found[:80]}'")
    labels: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            clip_id, label = row[0], int(row[1])
            if not abs(label) < _MAX_LABEL:
                raise ValueError
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{name}, line {number}: wanted clip_id,label, found '{','.join(row)[:80]}'"
            ) from error
        if clip_id in labels:
            raise DataError(f"{name}, line {number}: clip id '{clip_id}' stands twice")
        labels[clip_id] = label
    return labels


def other_names(path: str | os.PathLike[str], class_names: Sequence[str]) -> list[str]:
    """Return which names in a labels.csv are not those of a class list: ``0 is 'nod', not 'shrug'``.

    A file that :func:`read_labels` has read; labels beyond the list are that function's caller's to judge.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as handle:
        rows = (row for row in csv.reader(handle) if row)
        next(rows, None)  # the header
        stated = {(int(row[1]), row[2]) for row in rows if len(row) > 2 and row[2]}
    return [
        f"{label} is '{name}', not '{class_names[label]}'"
        for label, name in sorted(stated)
        if 0 <= label < len(class_names) and class_names[label] != name
    ]


def check_names(
    path: str | os.PathLike[str], class_names: Sequence[str], store: str | os.PathLike[str]
) -> None:
    """Raise DataError unless the names in a labels.csv are those of the store's class list."""
    others = other_names(path, class_names)
    if others:
        raise DataError(
            f"{path}: class {others[0]} as in {store}; the labels follow another class list: import both "
            "from one data set"
        )


def join_labels(paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> int:
    """Write one labels.csv from several without a common clip; return the number of clips.

    Raises:
        DataError: a clip that two files list, or a class that they name differently.
    """
    owner: dict[str, str] = {}
    named: dict[str, str] = {}
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
            if name and named.setdefault(label, name) != name:
                raise DataError(f"{path}: class {label} is '{name}', other files call it '{named[label]}'")
            owner[clip_id] = str(path)
            writer.writerow((clip_id, label, name))
    publish_text(out, text.getvalue())
    return len(owner)
