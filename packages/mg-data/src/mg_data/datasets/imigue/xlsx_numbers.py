"""Tables of numbers in xlsx files: read as a stream of bytes, and by python-calamine where that does not fit.

Sheets of keypoints are millions of cells of one form, so whole blocks of them are found by the places of
their angle brackets. Anything else (text, empty or skipped cells, other spellings of XML) goes to calamine,
after a pass that makes sure that the file cannot make it ask for more memory than its content is worth.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.zip_members import check_members, read_member

_BLOCK = 1 << 20
# A zip may always unfold to this much; beyond it to so many times its own size.
_FREE_BYTES = 64 << 20
_MAX_RATIO = 200
_MAX_SMALL_PART = 4 << 20
# A sheet may always span so many cells; beyond it so many times the cells that it holds.
_FREE_CELLS = 1_000_000
_MAX_SPARSENESS = 4
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_ROW = re.compile(rb'<row(?: r="(\d+)")?(?: (?!r=)[\w:]+="[^"<>&]*")*>')
_CELL = re.compile(rb'<c(?: r="A(?P<row>\d+)(?="))?(?P<ending>"?(?: s="\d+")?(?: t="n")?>)')
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>)?\s*<worksheet")
_END = re.compile(rb"\s*</sheetData>.*</worksheet>\s*\Z", re.DOTALL)
_OTHER_ENCODING = re.compile(rb"encoding=(?![\"'](?i:utf-8)[\"'])")
_NAMED_CELL = re.compile(rb'<c r="([A-Z]{1,3})(\d{1,7})"')
_ANY_CELL = re.compile(rb"[<:]c[\s/>]")
_LT, _GT, _COMMA, _SLASH = b"<>,/"


class _Unusual(Exception):
    """The sheet is not of the one form that blocks are read in."""


def read_numbers(path: Path, columns: int) -> NDArray[np.float64]:
    """Read the first sheet: numbers without header in every row.

    Returns:
        (rows, columns) float64; an empty cell is NaN.

    Raises:
        DataError: no readable xlsx, empty, another number of columns, text in a cell, or a zip that unfolds
            to far more than its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            sheet = _first_sheet(archive)
            try:
                with archive.open(sheet) as stream:
                    return _fast(stream, columns)
            except _Unusual:
                rows = _check_cells(archive, sheet, path)
    except (
        OSError, EOFError, LookupError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error,
        ElementTree.ParseError, expat.ExpatError,
    ) as error:  # fmt: skip
        raise _unreadable(path, error) from error
    if not rows:
        raise DataError(f"{path}: is empty, wanted one row a frame")
    return _by_calamine(path, columns)


def _unreadable(path: Path, error: BaseException) -> DataError:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    first = (text.splitlines() or [""])[0] or type(error).__name__
    return DataError(f"{path}: is no readable xlsx file: {first}")


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse what unfolds to far more than its size; reading never goes beyond the sizes stated here."""
    size = sum(info.file_size for info in archive.infolist())
    packed = path.stat().st_size
    check_members(archive, packed)
    if size > _FREE_BYTES and size > _MAX_RATIO * packed:
        raise DataError(
            f"{path}: unfolds from {packed} to {size} bytes, more than {_MAX_RATIO} times its size, "
            "which no recording does (write it again from the keypoints)"
        )


def _small_part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    info = archive.getinfo(name)
    if info.file_size > _MAX_SMALL_PART:
        raise ValueError(f"{name} is larger than {_MAX_SMALL_PART} bytes")
    text = read_member(archive, info)
    if b"<!DOCTYPE" in text:
        raise ValueError(f"{name} declares a document type")
    return ElementTree.fromstring(text)


def _first_sheet(archive: zipfile.ZipFile) -> str:
    """Return the name of the part that holds the first sheet."""
    sheets = [item for item in _small_part(archive, "xl/workbook.xml").iter() if item.tag.endswith("}sheet")]
    if not sheets:
        raise ValueError("the workbook has no sheet")
    wanted = sheets[0].get(_RELATION)
    for item in _small_part(archive, "xl/_rels/workbook.xml.rels").iter():
        if wanted is not None and item.get("Id") == wanted:
            target = item.get("Target", "")
            return target[1:] if target.startswith("/") else f"xl/{target}"
    raise ValueError("the workbook does not say where its first sheet is")


def _letters(columns: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the first and the second letter of each column's name, 0 where it has one letter only."""
    names = [
        (chr(64 + index // 26) if index >= 26 else "") + chr(65 + index % 26) for index in range(columns)
    ]
    return (
        np.array([ord(name[0]) for name in names], np.uint8),
        np.array([ord(name[1]) if len(name) == 2 else 0 for name in names], np.uint8),
    )


def _row_blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield whole rows of a sheet, about a block of them at a time; reads (and so checks) all of it."""
    text = stream.read(_BLOCK)
    head, found, text = text.partition(b"<sheetData>")
    if not found or not _HEAD.match(head) or b"<!" in head or _OTHER_ENCODING.search(head):
        raise _Unusual
    while block := stream.read(_BLOCK):
        end = text.rfind(b"</row>") + 6
        if end >= 6:
            yield text[:end]
            text = text[end:] + block
        elif len(text) > 4 * _BLOCK:
            raise _Unusual
        else:
            text += block
    end = text.rfind(b"</row>") + 6
    if end >= 6:
        yield text[:end]
        text = text[end:]
    if (
        not _END.match(text)
        or b"<row" in text
        or text.count(b"<") != text.count(b">")
        or text.count(b'"') % 2
    ):
        raise _Unusual


def _fast(stream: IO[bytes], columns: int) -> NDArray[np.float64]:
    """Read a sheet whose rows are ``<row ...>``, ``columns`` times ``<c ...><v>number</v></c>``, ``</row>``.

    Raises:
        _Unusual: it is not, or holds no row.
    """
    import orjson

    if columns > 26 * 27:
        raise _Unusual
    letters = _letters(columns)
    tables: list[NDArray[np.float64]] = []
    done = 0
    for text in _row_blocks(stream):
        starts, lengths, rows = _values(text, columns, letters, done)
        # The values one after another, each with the byte that follows it, which becomes a comma.
        ends = np.cumsum(lengths + 1)
        where = np.repeat(starts - (ends - lengths - 1), lengths + 1) + np.arange(int(ends[-1]))
        listing = np.frombuffer(text, np.uint8)[where]
        listing[ends - 1] = _COMMA
        numbers = listing[:-1].tobytes()
        if numbers.translate(None, b"0123456789+-.eE,"):
            raise _Unusual
        try:
            table = np.array(orjson.loads(b"[" + numbers + b"]"), np.float64)
        except (ValueError, OverflowError):
            raise _Unusual from None
        if table.size != rows * columns:
            raise _Unusual
        tables.append(table.reshape(rows, columns))
        done += rows
    if not tables:
        raise _Unusual
    return np.concatenate(tables)


def _check_names(
    text: bytes,
    raw: NDArray[np.uint8],
    cells: NDArray[np.int64],
    widths: NDArray[np.int64],
    letters: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    done: int,
) -> None:
    """Check the ``<c ...>`` of every cell: all name their own place or none does, and end alike.

    Args:
        cells: (rows, columns) where they begin. widths: their lengths. done: rows before this block.

    Raises:
        _Unusual: they do not.
    """
    tag = _CELL.match(text, int(cells[0, 0]))
    if tag is None:
        raise _Unusual
    ending = tag["ending"]
    named = tag["row"] is not None
    first, second = letters
    numbers = np.arange(done + 1, done + len(cells) + 1)[:, None]
    digits = np.char.str_len(numbers.astype(np.str_)).astype(np.int64) if named else np.zeros_like(numbers)
    name_length = 6 + digits + np.where(second > 0, 2, 1) if named else 2 + 0 * widths
    fits = bool((widths == name_length + len(ending)).all())
    if not fits:
        raise _Unusual
    for place, byte in enumerate(ending):
        fits = fits and bool((raw[cells + name_length + place] == byte).all())
    for place, byte in enumerate(b'<c r="' if named else b"<c"):
        fits = fits and bool((raw[cells + place] == byte).all())
    if named:
        fits = fits and bool((raw[cells + 6] == first).all())
        fits = fits and bool(((raw[cells + 7] == second) | (second == 0)).all())
        for place in range(int(digits.max())):  # the last digit first; rows of fewer digits look at it again
            back = np.minimum(place, digits - 1)
            wanted = ord("0") + numbers // 10**back % 10
            fits = fits and bool((raw[cells + name_length - 1 - back] == wanted).all())
    if not fits:
        raise _Unusual


def _values(
    text: bytes, columns: int, letters: tuple[NDArray[np.uint8], NDArray[np.uint8]], done: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return where each value of a block begins, how long it is, and the number of rows."""
    raw = np.frombuffer(text, np.uint8)
    lefts, rights = np.flatnonzero(raw == _LT), np.flatnonzero(raw == _GT)
    per_row = 4 * columns + 2
    rows, rest = divmod(len(lefts), per_row)
    if rest or len(rights) != len(lefts) or text.count(b' t="') != text.count(b' t="n"'):
        raise _Unusual
    opened, closed = lefts.reshape(rows, per_row), rights.reshape(rows, per_row)
    for index in range(rows):
        row = _ROW.match(text, int(opened[index, 0]))
        if (
            row is None
            or row.end() != closed[index, 0] + 1
            or (row[1] is not None and int(row[1]) != done + index + 1)
        ):
            raise _Unusual
        if text[opened[index, -1] : closed[index, -1] + 1] != b"</row>":
            raise _Unusual
    cells, value, value_end, cell_end = (opened[:, 1 + part : -1 : 4] for part in range(4))
    widths = (closed - opened)[:, 1:-1]
    fits = (
        (raw[cells + 1] == ord("c")).all()
        and (raw[value + 1] == ord("v")).all()
        and (raw[value_end + 2] == ord("v")).all()
        and (raw[cell_end + 2] == ord("c")).all()
        and (raw[value_end + 1] == _SLASH).all()
        and (raw[cell_end + 1] == _SLASH).all()
        and (widths[:, 1::4] == 2).all()
        and (widths[:, 2::4] == 3).all()
        and (widths[:, 3::4] == 3).all()
        and (closed[:, :-1] < opened[:, 1:]).all()
        and (opened < closed).all()
    )
    if not fits:
        raise _Unusual
    _check_names(text, raw, cells, widths[:, 0::4] + 1, letters, done)
    starts = (closed[:, 2:-1:4] + 1).reshape(-1)
    return starts, value_end.reshape(-1) - starts, rows


def _column(name: str) -> int:
    """Return the number of a column of a cell's name, from 1: 3 for ``C7``."""
    number = 0
    for letter in name:
        if not "A" <= letter <= "Z":
            break
        number = number * 26 + ord(letter) - 64
    return number


def _named_extent(stream: IO[bytes]) -> tuple[int, int, int]:
    """Return what _extent does, much faster, for a sheet whose every cell begins with its name.

    Raises:
        _Unusual: it is not one.
    """
    text = stream.read(_BLOCK)
    if not _HEAD.match(text) or _OTHER_ENCODING.search(text[:1000]):
        raise _Unusual
    columns: set[bytes] = set()
    rows: set[bytes] = set()
    held = 0
    while text:
        block = stream.read(_BLOCK)
        end = text.rfind(b"<") if block else len(text)  # a tag is cut by no block
        if end <= 0 or b"<!" in text:
            raise _Unusual
        cells = _NAMED_CELL.findall(text, 0, end)
        if len(cells) != len(_ANY_CELL.findall(text, 0, end)):
            raise _Unusual
        if cells:
            some_columns, some_rows = zip(*cells)
            columns.update(some_columns)
            rows.update(some_rows)
            held += len(cells)
        text = text[end:] + block
    if not held:
        raise _Unusual
    return max(map(int, rows)), max(_column(name.decode()) for name in columns), held


def _extent(archive: zipfile.ZipFile, sheet: str) -> tuple[int, int, int]:
    """Return the last row and the last column that a cell stands in, and the number of cells."""
    row = column = held = last_row = last_column = 0

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, held, last_row, last_column
        name = tag.rsplit(":", 1)[-1]
        if name == "row":
            row = int(attributes.get("r", row + 1))
            column = 0
        elif name == "c":
            place = attributes.get("r", "")
            column = _column(place) if place else column + 1
            digits = place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            held += 1
            last_row = max(last_row, int(digits) if digits else row)
            last_column = max(last_column, column)

    def refuse(*_: Any) -> None:
        raise ValueError("the sheet declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.StartDoctypeDeclHandler = refuse
    with archive.open(sheet) as stream:
        parser.ParseFile(stream)
    return last_row, last_column, held


def _check_cells(archive: zipfile.ZipFile, sheet: str, path: Path) -> int:
    """Read all parts once, so that none is longer than stated, and return the sheet's last row.

    Raises:
        DataError: a sheet that spans far more cells than it holds.
    """
    for info in archive.infolist():
        with archive.open(info) as part:
            while part.read(_BLOCK):
                pass
    try:
        with archive.open(sheet) as stream:
            last_row, last_column, held = _named_extent(stream)
    except _Unusual:
        last_row, last_column, held = _extent(archive, sheet)
    if last_row * last_column > max(_FREE_CELLS, _MAX_SPARSENESS * held):
        raise DataError(
            f"{path}: spans {last_row} rows x {last_column} columns but holds {held} cells, "
            "wanted one row a frame with all its columns"
        )
    return last_row


def _by_calamine(path: Path, columns: int) -> NDArray[np.float64]:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (CalamineError, OSError) as error:
        raise _unreadable(path, error) from error
    except BaseException as error:
        # What calamine's Rust code did not foresee is no Exception; it is met for damaged files.
        if type(error).__name__ != "PanicException":
            raise
        raise _unreadable(path, error) from error
    if not rows:
        raise DataError(f"{path}: is empty, wanted one row a frame")
    if len(rows[0]) != columns:
        raise DataError(f"{path}: has {len(rows[0])} columns, wanted {columns} (no header, no index)")
    table = np.array(rows, dtype=object)
    table[table == ""] = np.nan
    try:
        return table.astype(np.float64)
    except (TypeError, ValueError):
        for row, values in enumerate(rows, start=1):
            for value in values:
                if value != "" and not isinstance(value, int | float):
                    kind = "text" if isinstance(value, str) else type(value).__name__
                    raise DataError(
                        f"{path}: row {row} holds the {kind} '{value}', wanted numbers without header"
                    ) from None
        raise
