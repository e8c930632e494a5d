"""mg-fusion keeps the contract: the checks of ``mg plugins check mg-fusion``, one test each."""

from __future__ import annotations

import pytest

from mg_data.testing import Check, parametrize_with_checks


@parametrize_with_checks("mg-fusion")
def test_contract(check: Check) -> None:
    if check.subject == "fuser stacking-lightgbm":  # the extra stacking
        pytest.importorskip("lightgbm")
    check()
