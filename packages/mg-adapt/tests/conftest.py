"""The toy plugin beside the installed ones, and one thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))


@pytest.fixture
def toy_plugin() -> Iterator[None]:
    """Register the toy data set, modality and model for one test."""
    import mg_adapt_toy
    import torch

    from mg_data.plugins import use_plugins

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    use_plugins(mg_adapt_toy)
    yield
    use_plugins()
    torch.set_num_threads(threads)


@pytest.fixture
def toy(toy_plugin: None, tmp_path: Path) -> tuple[Path, Path]:
    """Return the paths of a toy clips store and its split."""
    from mg_adapt_toy import write_toy

    return write_toy(tmp_path)
