"""The challenge's submission: one line ``Id,Target`` a clip, in a csv in a zip.

Labels follow the challenge convention: classes 0..K-1 in the order of the store's class list.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.store import publish
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.zip_members import check_members, read_member

Dialect = Literal["2025", "2023"]
# The 2025 edition wants a header, the 2023 edition none.
HEADERS: dict[Dialect, tuple[str, ...]] = {"2025": ("Id", "Target"), "2023": ()}
MEMBER = "submission.csv"
# Zip files carry a time stamp; a fixed one makes equal answers equal files.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def read_ids(path: str | Path, what: str = "id") -> list[str]:
    """Return the ids of a text file, one a line; empty lines are skipped.

    Args:
        what: what an error calls them.

    Raises:
        DataError: unreadable, empty, or an id twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {what}s cannot be read: {error}") from error
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            continue
        if name in first_line:
            raise DataError(
                f"{path}: {what} '{name}' is on line {first_line[name]} and on line {number}; each "
                f"{what} once"
            )
        first_line[name] = number
    if not first_line:
        raise DataError(f"{path}: holds no {what}; one {what} a line is wanted")
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
    path: str | Path,
    clip_ids: Sequence[str],
    targets: Sequence[int],
    *,
    classes: int,
    dialect: Dialect = "2025",
) -> None:
    """Write the challenge's submission, a csv in a zip, atomically; equal answers give equal bytes.

    Args:
        clip_ids, targets: N ids and class indices. classes: K.
        dialect: ``2025`` has the header Id,Target, ``2023`` none.

    Raises:
        ScoresError: a target that is none of 0..K-1, an id twice, lengths differ, nothing to write.
        SettingError: an unknown dialect.
    """
    if dialect not in HEADERS:
        raise SettingError(f"dialect: found '{dialect}', wanted one of {', '.join(HEADERS)}")
    if len(clip_ids) != len(targets) or not len(clip_ids):
        raise ScoresError(
            f"submission: found {len(clip_ids)} ids and {len(targets)} answers, wanted as many, at least one"
        )
    twice = len(clip_ids) - len(set(clip_ids))
    if twice:
        raise ScoresError(f"submission: {twice} clip ids are there twice; each id once")
    bad = [target for target in targets if not _is_whole_number(target)]
    what = "no whole numbers"
    if not bad:
        bad = [target for target in targets if not 0 <= target < classes]
        what = f"outside 0..{classes - 1}"
    if bad:
        first = repr(bad[0]) if isinstance(bad[0], str) else bad[0]
        raise ScoresError(f"submission: {len(bad)} answers are {what}, the first is {first}")
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


def _is_whole_number(target: object) -> bool:
    """Whether an answer is one, of whatever type; texts divide in a way of their own."""
    try:
        return not isinstance(target, str) and bool(target % 1 == 0)  # type: ignore[operator]
    except TypeError:
        return False


# More than any submission has: 200,000 lines of 80 characters.
_LARGEST_BYTES = 16 * 2**20
# Raw annotations number the classes 1..31 and 99; the challenge 0..31.
_RAW_OTHER = 99


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submission file says: the result of :func:`read_submission`.

    Args:
        member: name of the csv in the zip, "" for a bare csv. dialect: by its header.
        clip_ids, targets: of the lines that can be read. problems: everything else, one line each.
    """

    member: str
    dialect: Dialect
    clip_ids: tuple[str, ...]
    targets: tuple[int, ...]
    problems: tuple[str, ...]


def _content(path: Path) -> tuple[str, str]:
    """Return the name of the csv in the zip ("" if it is bare) and its text."""
    try:
        with path.open("rb") as handle:
            zipped = handle.read(4) == b"PK\x03\x04"
        if not zipped:
            if path.stat().st_size > _LARGEST_BYTES:
                raise DataError(f"{path}: is larger than any submission")
            return "", path.read_text(encoding="utf-8-sig")
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)
            members = [info for info in archive.infolist() if not info.is_dir()]
            tables = [info for info in members if info.filename.lower().endswith(".csv")]
            if len(members) != 1 or not tables:
                names = ", ".join(f"'{info.filename}'" for info in members[:5]) or "nothing"
                raise DataError(f"{path}: wanted one csv in the zip and nothing else, found {names}")
            if tables[0].file_size > _LARGEST_BYTES:
                raise DataError(f"{path}: its csv is larger than any submission")
            return tables[0].filename, read_member(archive, tables[0]).decode("utf-8-sig")
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, zlib.error, EOFError) as error:
        raise DataError(f"{path}: submission cannot be read: {error}") from error


def read_submission(path: str | Path) -> Submission:
    """Read a submission, csv in a zip or bare, and say what is wrong with its form.

    Raises:
        DataError: it cannot be read at all.
    """
    member, text = _content(Path(path))
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise DataError(f"{path}: submission is no csv: {error}") from error
    problems: list[str] = []
    clip_ids, targets = [], []
    header = tuple(cell.strip() for cell in rows[0]) if rows else ()
    dialect: Dialect = "2023"
    if header == HEADERS["2025"]:
        dialect = "2025"
    elif [cell.casefold() for cell in header] == [cell.casefold() for cell in HEADERS["2025"]]:
        dialect = "2025"
        problems.append(f"line 1: header '{','.join(header)}', wanted 'Id,Target'")
    elif len(header) == 2 and not _is_whole(header[1]):
        dialect = "2025"
        problems.append(f"line 1: '{','.join(header)[:60]}' is neither the header 'Id,Target' nor an answer")
    for number, row in enumerate(rows[1 if dialect == "2025" else 0 :], start=2 if dialect == "2025" else 1):
        if not row:
            continue
        if len(row) != 2:
            problems.append(f"line {number}: {len(row)} cells, wanted id and class")
            continue
        name, target = row
        if name != name.strip() or not name:
            problems.append(f"line {number}: id '{name}' is empty or has spaces around it")
        if not _is_whole(target):
            problems.append(f"line {number}: class '{target[:20]}' of '{name.strip()}' is no whole number")
            continue
        clip_ids.append(name.strip())
        targets.append(int(target))
    return Submission(
        member=member,
        dialect=dialect,
        clip_ids=tuple(clip_ids),
        targets=tuple(targets),
        problems=tuple(problems),
    )


def _is_whole(text: str) -> bool:
    return bool(re.fullmatch(r"-?[0-9]{1,9}", text))


def check_submission(
    found: Submission,
    *,
    classes: int,
    ids: Sequence[str] | None = None,
    dialect: Dialect | Literal["auto"] = "auto",
) -> list[str]:
    """Return everything that is wrong with a submission, one line each; empty if it is sound.

    Args:
        classes: K; answers are 0..K-1. ids: the exact ids wanted, or None. dialect: wanted, or ``auto``.

    Raises:
        SettingError: an unknown dialect or fewer than two classes.
    """
    if dialect not in ("auto", *HEADERS):
        raise SettingError(f"dialect: found '{dialect}', wanted auto or one of {', '.join(HEADERS)}")
    if classes < 2:
        raise SettingError(f"classes: found {classes}, wanted at least 2")
    problems = list(found.problems)
    if dialect != "auto" and dialect != found.dialect:
        wants = "the header Id,Target" if HEADERS[dialect] else "no header"
        problems.append(f"dialect {dialect} wants {wants}, the file follows {found.dialect}")
    if not found.targets:
        return [*problems, "holds no answer"]
    first: dict[str, int] = {}
    twice: list[str] = []
    for place, name in enumerate(found.clip_ids):
        if name in first:
            twice.append(name)
        first.setdefault(name, place)
    if twice:
        differ = sum(
            found.targets[first[name]] != target
            for name, target in zip(found.clip_ids, found.targets, strict=True)
        )
        problems.append(
            f"{len(twice)} lines repeat an id, the first is '{twice[0]}'"
            + (f"; {differ} of them with another answer" if differ else "")
        )
    if ids is not None:
        wanted = set(ids)
        absent = [name for name in ids if name not in first]
        extra = [name for name in first if name not in wanted]
        if absent:
            problems.append(f"{len(absent)} of {len(ids)} ids have no answer, the first is '{absent[0]}'")
        if extra:
            problems.append(f"{len(extra)} answers are not wanted, the first is '{extra[0]}'")
    bad = [target for target in found.targets if not 0 <= target < classes]
    if bad:
        problems.append(
            f"{len(bad)} answers are outside 0..{classes - 1}, the first is {bad[0]}"
            + _convention(found, classes)
        )
    return problems


def _convention(found: Submission, classes: int) -> str:
    """Return which other numbering of the classes the answers look like."""
    low, high = min(found.targets), max(found.targets)
    others = set(found.targets) - {_RAW_OTHER}
    if _RAW_OTHER in found.targets and (not others or (min(others) >= 1 and max(others) < classes)):
        return (
            "; it looks like the annotation's numbering 1..31 and 99: subtract 1, and 99 becomes "
            f"{classes - 1}"
        )
    if low >= 1 and high == classes:
        return f"; it looks like numbering from 1: subtract 1 (the challenge counts 0..{classes - 1})"
    return ""
