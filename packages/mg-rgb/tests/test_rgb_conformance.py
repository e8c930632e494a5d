"""mg-rgb keeps the contract: the checks of ``mg plugins check mg-rgb``, one test each."""

from __future__ import annotations

import pytest
import torch

from mg_data.testing import Check, parametrize_with_checks


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@parametrize_with_checks("mg-rgb")
def test_contract(check: Check) -> None:
    check()
