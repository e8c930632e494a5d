"""mg-adapt keeps the contract: the checks of ``mg plugins check mg-adapt``, one test each."""

from __future__ import annotations

import pytest

from mg_data.testing import Check, parametrize_with_checks


@parametrize_with_checks("mg-adapt")
def test_contract(check: Check) -> None:
    if check.subject == "tracker tensorboard":  # the extra tensorboard
        pytest.importorskip("tensorboard")
    check()
