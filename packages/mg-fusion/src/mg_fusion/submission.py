"""The challenge's submission: one line ``Id,Target`` a clip, in a csv in a zip.

Labels follow the challenge convention: classes 0..K-1 in the order of the store's class list.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, UsageError
from mg_data.store.atomic import publish

# The 2025 edition wants a header, the 2023 edition none.
HEADERS: dict[str, tuple[str, ...]] = {"2025": ("Id", "Target"), "2023": ()}
MEMBER = "submission.csv"
# Zip files carry a time stamp; a fixed one makes equal answers equal files.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def read_ids(path: str | Path) -> list[str]:
    """Return the ids of a text file, one a line; empty lines are skipped.

    Raises:
        DataError: unreadable, empty, or an id twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: ids cannot be read: {error}") from error
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            continue
        if name in first_line:
            raise DataError(
                f"{path}: id '{name}' is on line {first_line[name]} and on line {number}; each id once"
            )
        first_line[name] = number
    if not first_line:
        raise DataError(f"{path}: holds no id; one id a line is wanted")
    return list(first_line)


def order_rows(
    clip_ids: NDArray[np.str_], wanted: Sequence[str] | None, origin: str = "ids"
) -> NDArray[np.int64]:
    """Return the rows to write: in the order of ``wanted``, or sorted by id.

    Raises:
        DataError: a wanted id that is not answered, an answer that is not wanted, or an id twice.
    """
    place = {str(clip): row for row, clip in enumerate(clip_ids)}
    if len(place) != len(clip_ids):
        raise DataError(f"submission: {len(clip_ids) - len(place)} clip ids are there twice; each id once")
    if wanted is None:
        return np.argsort(clip_ids).astype(np.int64)
    absent = [name for name in wanted if name not in place]
    extra = sorted(set(place) - set(wanted))
    if absent or extra:
        parts = []
        if absent:
            parts.append(f"{len(absent)} of {len(wanted)} ids have no answer, the first is '{absent[0]}'")
        if extra:
            parts.append(f"{len(extra)} answers are not wanted, the first is '{extra[0]}'")
        raise DataError(f"{origin}: {'; '.join(parts)}; predict exactly the clips of the list")
    return np.array([place[name] for name in wanted], dtype=np.int64)


def write_submission(
    path: str | Path, clip_ids: Sequence[str], targets: Sequence[int], *, classes: int, dialect: str = "2025"
) -> None:
    """Write the zip atomically; equal answers give equal bytes.

    Args:
        clip_ids, targets: N ids and class indices. classes: K. dialect: key of :data:`HEADERS`.

    Raises:
        DataError: a target outside 0..K-1, lengths differ, nothing to write. UsageError: unknown dialect.
    """
    if dialect not in HEADERS:
        raise UsageError(f"dialect: found '{dialect}', wanted one of {', '.join(HEADERS)}")
    if len(clip_ids) != len(targets) or not len(clip_ids):
        raise DataError(
            f"submission: found {len(clip_ids)} ids and {len(targets)} answers, wanted as many, at least one"
        )
    bad = [target for target in targets if not 0 <= int(target) < classes]
    if bad:
        raise DataError(f"submission: {len(bad)} answers are outside 0..{classes - 1}, the first is {bad[0]}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if HEADERS[dialect]:
        writer.writerow(HEADERS[dialect])
    writer.writerows((clip, int(target)) for clip, target in zip(clip_ids, targets, strict=True))
    with publish(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        member = zipfile.ZipInfo(MEMBER, _TIMESTAMP)
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = 0o644 << 16
        archive.writestr(member, text.getvalue())
