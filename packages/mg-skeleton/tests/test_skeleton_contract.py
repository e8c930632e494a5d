"""mg-skeleton keeps the contract: the checks of ``mg plugins check mg-skeleton``, one test each.

``test_skeleton_conformance.py`` holds what this package asks of its models beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mg_data.testing import Check, parametrize_with_checks


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@parametrize_with_checks("mg-skeleton")
def test_contract(check: Check) -> None:
    check()
