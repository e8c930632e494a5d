"""Numbers as text: what ``%.3f`` would write, for every number a table may hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_data.datasets.synthetic.table import format_rows


@given(
    st.lists(st.lists(st.integers(-(10**5), 10**10), min_size=3, max_size=3), min_size=1, max_size=40),
    st.integers(0, 4),
)
def test_every_number_reads_as_formatted_one_by_one(units: list[list[int]], decimals: int) -> None:
    table = np.array(units, np.float64) / 10**decimals
    expected = "".join(",".join(f"{value:.{decimals}f}" for value in row) + "\n" for row in table.tolist())
    assert b"".join(format_rows(table, decimals=decimals, between=b",")).decode() == expected


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 1500])
def test_rows_are_numbered_through_all_chunks(rows: int) -> None:
    table = np.arange(rows * 2.0).reshape(rows, 2) / 8
    text = b"".join(format_rows(table, between=b",", numbered=True)).decode()
    assert text == "".join(f"{row},{a:.3f},{b:.3f}\n" for row, (a, b) in enumerate(table.tolist()))


def test_cells_may_have_text_around_them() -> None:
    text = b"".join(
        format_rows(
            np.array([[0.0, 12.5]]), decimals=1, before=b"<c>", after=b"</c>", opens=b"<r>", closes=b"</r>"
        )
    )
    assert text == b"<r><c>0.0</c><c>12.5</c></r>"
