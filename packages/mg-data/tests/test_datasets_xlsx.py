"""OpenPose xlsx: read as openpyxl reads it, whoever wrote it; files that do not fit, in one line."""

from __future__ import annotations

import re
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mg_data.contract import DataError
from mg_data.datasets.imigue import xlsx_numbers
from mg_data.datasets.imigue.files import read_openpose_xlsx
from mg_data.datasets.imigue.xlsx_numbers import read_numbers
from mg_data.datasets.synthetic.xlsx import write_xlsx

openpyxl = pytest.importorskip("openpyxl")
SHEET = "xl/worksheets/sheet1.xml"


def example(rows: int = 30, columns: int = 411) -> np.ndarray:
    """Return a table of numbers with many digits, whole numbers, zeros and tiny ones among them."""
    table = np.random.default_rng(rows).uniform(0, 900, (rows, columns))
    table = np.array([float(f"{value:.15g}") for value in table.flat]).reshape(
        rows, columns
    )  # as openpyxl writes
    table[::3, 5] = 0
    table[1::3, 7] = 12
    table[2::3, 9] = 1.5e-9
    return table


def rewrite(path: Path, change: Callable[[bytes], bytes], name: str = SHEET) -> None:
    """Replace one part of an xlsx file."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    parts[name] = change(parts[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, text in parts.items():
            archive.writestr(part, text)


def save(path: Path, table: np.ndarray) -> None:
    """Write a table with openpyxl, which names every cell."""
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in table.tolist():
        sheet.append(row)
    book.save(path)


def test_sheets_are_read_to_the_last_bit_without_calamine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = example()
    save(tmp_path / "named.xlsx", table)
    write_xlsx(tmp_path / "plain.xlsx", np.round(table, 3))
    monkeypatch.setattr(xlsx_numbers, "_by_calamine", None)
    monkeypatch.setattr(xlsx_numbers, "_BLOCK", 50_000)  # blocks that end within rows
    np.testing.assert_array_equal(read_numbers(tmp_path / "named.xlsx", 411), table)
    np.testing.assert_array_equal(read_numbers(tmp_path / "plain.xlsx", 411), np.round(table, 3))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "single quotes": lambda text: text.replace(b'"', b"'"),
    "prefixes": lambda text: re.sub(
        rb"<(/?)([a-z])", rb"<\1x:\2", text.replace(b"xmlns=", b"xmlns:x=")
    ),
    "line breaks": lambda text: text.replace(b"</c>", b"</c>\n "),
    "comments": lambda text: text.replace(b"</c>", b"</c><!-- x > y -->", 3),
    "long numbers": lambda text: text.replace(b"<v>12<", b"<v>0012.000<"),
    "preserved space": lambda text: text.replace(b"<v>12<", b'<v xml:space="preserve">12<'),
    "styles": lambda text: text.replace(b' t="n"', b' s="0"'),
    "formulas": lambda text: text.replace(b"<v>12<", b"<f>6+6</f><v>12<"),
    "no names": lambda text: re.sub(rb'<c r="[A-Z]+\d+"', b"<c", text),
    "no row numbers": lambda text: re.sub(rb'<row r="\d+"', b"<row", text),
    "spans": lambda text: text.replace(b"<row ", b'<row spans="1:411" '),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "utf-16": lambda text: (
        '<?xml version="1.0" encoding="UTF-16"?>' + text.decode().partition("?>")[2]
    ).encode("utf-16") if text.startswith(b"<?xml") else text,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_spellings_of_the_same_sheet_give_the_same_numbers(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    table = example()
    save(tmp_path / "x.xlsx", table)
    rewrite(tmp_path / "x.xlsx", change)
    np.testing.assert_array_equal(read_numbers(tmp_path / "x.xlsx", 411), table)


def test_empty_and_skipped_cells_make_missing_points_where_they_are(tmp_path: Path) -> None:
    table = example()
    for name, pattern, text in (
        ("skipped", rb'<c r="C2"[^>]*><v>[^<]*</v></c>', b""),
        ("closed", rb'<c r="C2"[^>]*><v>[^<]*</v></c>', b'<c r="C2"/>'),
        ("without value", rb'<c r="C2"[^>]*><v>[^<]*</v></c>', b'<c r="C2"><v></v></c>'),
        ("row left out", rb'<row r="2".*?</row>', b""),
    ):
        path = tmp_path / f"{name}.xlsx"
        save(path, table)
        rewrite(path, lambda sheet, p=pattern, t=text: re.sub(p, t, sheet, count=1, flags=re.DOTALL))
        found = read_openpose_xlsx(path).reshape(len(table), -1)
        expected = table.astype(np.float32)
        expected[1, : 411 if name == "row left out" else 3] = 0
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_cells_out_of_place_are_not_taken_by_their_order(tmp_path: Path) -> None:
    # 411 cells in every row, but the first column is free and the last lies beyond.
    save(tmp_path / "x.xlsx", np.hstack([np.zeros((4, 1)), example(4)]))
    rewrite(tmp_path / "x.xlsx", lambda text: re.sub(rb'<c r="A\d"[^>]*><v>[^<]*</v></c>', b"", text))
    with pytest.raises(DataError, match="has 412 columns, wanted 411"):
        read_openpose_xlsx(tmp_path / "x.xlsx")


def test_the_first_sheet_is_the_workbooks_first(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(list(range(411)))
    book.create_sheet("zero", 0).append([7.5] * 411)
    book.save(tmp_path / "x.xlsx")
    assert (read_numbers(tmp_path / "x.xlsx", 411) == 7.5).all()


def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    save(path, example())
    good = path.read_bytes()

    def refused() -> str:
        with pytest.raises(DataError) as caught:
            read_openpose_xlsx(path)
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        return text.removeprefix(f"{path}: ")

    for content in (b"", b"no zip", good[: len(good) // 2], good[: len(good) - 40]):
        path.write_bytes(content)
        assert refused().startswith("is no readable xlsx file")
    damaged = bytearray(good)
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("hello.txt", "a zip that is no workbook")
    assert refused() == ("is no readable xlsx file: There is no item named 'xl/workbook.xml' in the archive")
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", '<?xml version="1.0" encoding="UTB-8"?><workbook/>')
    assert refused() == "is no readable xlsx file: unknown encoding: UTB-8"
    path.write_bytes(good)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo(SHEET).header_offset + 4000
    damaged[place : place + 64] = bytes(64)
    path.write_bytes(damaged)
    assert refused().startswith("is no readable xlsx file")
    save(path, example(columns=410))
    assert refused() == "has 410 columns, wanted 411 (no header, no index)"
    table = example().astype(object)
    table[3, 4] = "köln"
    save(path, table)
    assert refused() == "row 4 holds the text 'köln', wanted numbers without header"
    for sheet in (b"<sheetData></sheetData>", b"<sheetData/>", b"<sheetData><row/></sheetData>"):
        path.write_bytes(good)
        rewrite(path, lambda text, s=sheet: re.sub(rb"<sheetData>.*</sheetData>", s, text, flags=re.DOTALL))
        assert refused() == "is empty, wanted one row a frame"
    path.write_bytes(good)
    rewrite(path, lambda text: text[: len(text) // 2])  # a sheet cut in half inside a sound zip
    assert refused().startswith("is no readable xlsx file")
    path.unlink()
    assert "No such file" in refused()


def test_claims_of_a_header_allocate_nothing(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "x.xlsx"
    write_xlsx(path, np.ones((2, 3)))
    far = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    rewrite(
        path,
        lambda text: re.sub(
            rb"<sheetData>.*</sheetData>",
            b'<dimension ref="A1:XFD1048576"/><sheetData>' + far + b"</sheetData>",
            text,
        ),
    )
    with pytest.raises(DataError, match="spans 1048576 rows x 16384 columns but holds 2 cells"):
        read_openpose_xlsx(path)
    # A bomb: 300 MB of nothing in a zip of 300 kB.
    write_xlsx(path, np.ones((2, 3)))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/media/bomb", "w") as part,
    ):
        for _ in range(300):
            part.write(bytes(1_000_000))
    with pytest.raises(DataError, match=r"unfolds from \d+ to 30\d+ bytes, more than 200 times its size"):
        read_openpose_xlsx(path)
    # The same with a sheet whose size is given as 1000 bytes: no more than these are read, and it shows.
    write_xlsx(path, np.ones((2, 3)))
    rewrite(path, lambda text: text.replace(b"<sheetData>", b"<sheetData>" + b" " * 100_000_000))
    raw = bytearray(path.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    while raw[directory + 46 : directory + 46 + len(SHEET)] != SHEET.encode():
        directory = raw.index(b"PK\x01\x02", directory + 4)
    raw[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is no readable xlsx file"):
        read_openpose_xlsx(path)
    # A table that claims three billion bytes of declarations: entities are not unfolded.
    write_xlsx(path, np.ones((2, 3)))
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    rewrite(path, lambda text: text.replace(b"?>\n", b"?>" + bomb, 1))
    with pytest.raises(DataError, match="declares a document type"):
        read_openpose_xlsx(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_damaged_sheets_are_refused_or_read_as_calamine_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    save(path, example(4, 30))
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    begin, end = parts[SHEET].index(b"<sheetData>"), parts[SHEET].index(b"</sheetData>")
    pieces = (
        b'<c r="B2"/>',
        b"<v>1</v>",
        b"</c>",
        b'"',
        b"<",
        b">",
        b"7",
        b"e",
        b"-",
        b",",
        b" ",
        b"AA",
        b'r="A1"',
    )
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(300):
        sheet = bytearray(parts[SHEET])
        place = int(rng.integers(begin + 11, end))
        if rng.random() < 0.5:
            del sheet[place : place + int(rng.integers(1, 9))]
        else:
            sheet[place:place] = pieces[rng.integers(len(pieces))]
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in parts.items():
                archive.writestr(name, bytes(sheet) if name == SHEET else text)
        try:
            found = read_numbers(path, 30)
        except DataError:
            continue
        read += 1
        np.testing.assert_array_equal(found, xlsx_numbers._by_calamine(path, 30))
    assert read > 30
