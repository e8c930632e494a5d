"""torch where it is needed: imported by name when a check runs, since mg-data does not depend on it."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from mg_data.testing.checks import CheckSkipped


def the_torch() -> Any:
    """Return the module torch.

    Raises:
        CheckSkipped: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise CheckSkipped("needs torch, which is not installed here: pip install torch") from error


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[Any]:
    """Give torch with its generators at ``seed``; they are what they were before when the block ends."""
    torch = the_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch


def not_finite(tensor: Any) -> int:
    """Return how many numbers of a tensor are NaN or infinite."""
    return int((~tensor.isfinite()).sum())


def largest_difference(first: Any, second: Any) -> float:
    """Return max |a - b| over max(1, max |b|): a difference relative to the size of the numbers."""
    if first.numel() == 0:
        return 0.0
    return float((first - second).abs().max() / max(1.0, float(second.abs().max())))
