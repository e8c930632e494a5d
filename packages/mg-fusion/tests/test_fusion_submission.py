"""Submissions are checked as the challenge would: form, exact ids, duplicates, range, numbering."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from fusion_toys import Talk

from mg_data.contract import DataError, UsageError
from mg_fusion.commands.submit import check
from mg_fusion.submission import check_submission, read_submission, write_submission

IDS = ("0101_1", "0101_2", "0102_1")


def zipped(path: Path, text: str, member: str = "submission.csv") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text)
    return path


def ids_file(folder: Path) -> Path:
    path = folder / "ids.txt"
    path.write_text("\n".join(IDS))
    return path


@pytest.mark.parametrize("dialect", ["2025", "2023"])
def test_what_is_written_passes_the_check(tmp_path: Path, dialect: str) -> None:
    path = tmp_path / "s.zip"
    write_submission(path, IDS, [0, 31, 4], classes=32, dialect=dialect)
    found = check(console=Talk(), file=path, ids=ids_file(tmp_path), dialect=dialect)
    assert found.data["dialect"] == dialect
    assert found.data["problems"] == []
    other = {"2025": "2023", "2023": "2025"}[dialect]
    with pytest.raises(DataError, match=f"dialect {other} wants"):
        check(console=Talk(), file=path, dialect=other)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("Id,Target\n0101_1,0\n0101_2,1\n0102_1,2\n", []),
        ("0101_1,0\n0101_2,1\n0102_1,2\n", []),
        ("\ufeffId,Target\r\n0101_1,0\r\n0101_2,1\r\n0102_1,2\r\n", []),
        ("id,target\n0101_1,0\n0101_2,1\n0102_1,2\n", ["line 1: header 'id,target', wanted 'Id,Target'"]),
        (
            "Id,Target\n0101_1,0\n0101_1,1\n0102_1,2\n",
            [
                "1 lines repeat an id, the first is '0101_1'; 1 of them with another answer",
                "1 of 3 ids have no answer, the first is '0101_2'",
            ],
        ),
        (
            "Id,Target\n0101_1,0\n0101_2,1\n0102_1,2\n0103_1,2\n",
            ["1 answers are not wanted, the first is '0103_1'"],
        ),
        ("0101_1,0\n0101_2,-1\n0102_1,2\n", ["1 answers are outside 0..31, the first is -1"]),
        (
            "0101_1,99\n0101_2,1\n0102_1,31\n",
            [
                "1 answers are outside 0..31, the first is 99; it looks like the annotation's "
                "numbering 1..31 and 99"
            ],
        ),
        (
            "0101_1,32\n0101_2,1\n0102_1,5\n",
            ["1 answers are outside 0..31, the first is 32; it looks like numbering from 1: subtract 1"],
        ),
        (
            "0101_1,0\n0101_2,1.0\n0102_1,2\n",
            ["line 2: class '1.0' of '0101_2' is no whole number", "1 of 3 ids have no answer"],
        ),
        ("0101_1,0\n0101_2,1,9\n0102_1,2\n", ["line 2: 3 cells", "1 of 3 ids have no answer"]),
        ("0101_1 ,0\n0101_2,1\n0102_1,2\n", ["line 1: id '0101_1 ' is empty or has spaces around it"]),
        ("Id,Target\n", ["holds no answer"]),
    ],
)
def test_everything_that_is_wrong_is_listed(tmp_path: Path, text: str, problems: list[str]) -> None:
    found = read_submission(zipped(tmp_path / "s.zip", text))
    listed = check_submission(found, classes=32, ids=IDS)
    assert len(listed) == len(problems)
    for said, wanted in zip(listed, problems, strict=True):
        assert said.startswith(wanted)


def test_the_error_carries_the_list(tmp_path: Path) -> None:
    path = zipped(tmp_path / "s.zip", "0101_1,40\n0101_1,1\n")
    with pytest.raises(DataError, match="3 problems, the first: 1 lines repeat an id") as caught:
        check(console=Talk(), file=path, ids=ids_file(tmp_path))
    assert len(caught.value.result.data["problems"]) == 3
    with pytest.raises(UsageError, match="at least 2"):
        check(console=Talk(), file=path, classes=1)


def test_a_bare_csv_is_checked_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("Id,Target\n0101_1,0\n")
    talk = Talk()
    assert check(console=talk, file=path).data["clips"] == 1
    assert "takes it in a zip" in talk.warned[0]
    assert "no --ids" in talk.said[0]


def test_files_that_are_no_submission_are_refused(tmp_path: Path) -> None:
    two = zipped(tmp_path / "two.zip", "a,1\n")
    with zipfile.ZipFile(two, "a") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(DataError, match=r"wanted one csv in the zip.*found 'submission.csv', 'readme.txt'"):
        read_submission(two)
    with pytest.raises(DataError, match="its csv is larger than any submission"):
        read_submission(zipped(tmp_path / "bomb.zip", "a,1\n" * 2**23))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(zipped(tmp_path / "whole.zip", "a,1\n").read_bytes()[:40])
    with pytest.raises(DataError, match="submission cannot be read"):
        read_submission(broken)
    with pytest.raises(DataError, match="submission cannot be read"):
        read_submission(tmp_path / "absent.zip")


def test_submit_is_a_command_and_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mg_data.cli.main import run

    path = tmp_path / "s.zip"
    write_submission(path, IDS, [0, 31, 4], classes=32)
    assert run(["submit", "check", str(path), "--ids", str(ids_file(tmp_path))]) == 0
    assert "3 clips, dialect 2025" in capsys.readouterr().out
    assert run(["submit", "check", str(path), "--classes", "5"]) == 5
    done = capsys.readouterr()
    assert "1 answers are outside 0..4, the first is 31" in done.out
    assert done.err.count("\n") == 2  # the hint about --ids, and the error
    assert run(["submit", str(tmp_path / "absent.h5")]) == 3
    assert run(["submit", "--help"]) == 0
    assert "mg submit check" in capsys.readouterr().out
