"""The benchmark suite: what it looks for is in the records, and it sees what got worse."""

from __future__ import annotations

import copy
import platform
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import bench

    return bench


def test_every_ratio_stands_in_its_record(suite: Any) -> None:
    from benchmarks.machine import kinds

    missing = [
        (kind, ratio.record, ratio.keys)
        for kind in kinds()
        for ratio in suite.RATIOS
        if (record := suite.load(ratio.record, kind)) is not None and ratio.find(record) is None
    ]
    assert kinds()
    assert not missing


@pytest.mark.parametrize(
    ("flags", "kind"),
    [("fpu avx avx2", "avx2"), ("avx2 avx512f", "avx512"), ("avx2 avx512f amx_tile", "amx"), ("", "")],
)
def test_records_are_kept_by_the_kind_of_processor(suite: Any, tmp_path: Path, flags: str, kind: str) -> None:
    from benchmarks.machine import processor

    (tmp_path / "cpuinfo").write_text(f"model name : anything\nflags : {flags}\n")
    assert processor(tmp_path / "cpuinfo") == (kind or platform.machine().lower())


def test_every_record_has_a_measurement_that_can_be_run(suite: Any) -> None:
    made = {measurement.record for measurement in suite.MEASUREMENTS}
    assert {ratio.record for ratio in suite.RATIOS} <= made
    for measurement in suite.MEASUREMENTS:
        assert (ROOT / "benchmarks" / f"{measurement.module}.py").exists()


def test_what_got_worse_by_more_than_15_percent_is_a_regression(suite: Any) -> None:
    before = {"two-processes": {"ratio": 1.8}, "startup": {"ratio": 2.0}, "clips-read": {"ratio": 0.9}}
    now = copy.deepcopy(before)
    now["two-processes"]["ratio"] = 1.5  # 17 % less
    now["startup"]["ratio"] = 2.2  # time: 9 % more
    lines, worse = suite.compare(before, now)
    assert len(lines) == 3
    (only,) = worse
    assert "two processes" in only
    assert "-17 % REGRESSION" in only
    assert "(wanted >= 1.6)" in only
    now["startup"]["ratio"] = 2.5
    assert len(suite.compare(before, now)[1]) == 2


def test_an_overhead_near_zero_is_compared_as_part_of_a_whole(suite: Any) -> None:
    (overhead,) = (ratio for ratio in suite.RATIOS if ratio.keys == ("overhead",))
    assert suite.change(overhead, -0.05, 0.02) == pytest.approx(0.95 / 1.02 - 1)
    assert not overhead.meets(0.04)


def test_what_was_not_there_before_is_no_regression(suite: Any) -> None:
    lines, worse = suite.compare({}, {"startup": {"ratio": 9.0}})
    assert not worse
    assert lines == ['time of `mg --help`, beside `python -c "import click"`: 9 (wanted <= 2.5)']


def test_an_unknown_record_is_named(suite: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        suite.main(["start-up"])
    assert "unknown: start-up" in capsys.readouterr().err


def test_decoding_and_cropping_are_compared_frame_for_frame(suite: Any, tmp_path: Path) -> None:
    from benchmarks import crop

    found = crop.synthetic_speed(tmp_path, "96x64", rounds=1)
    assert found["frames"] > 100
    assert found["ratio"] > 0
