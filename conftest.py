"""Fixtures for all tests: where the public recordings are, and one torch thread per worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of public recordings (MG_SHARED_DATA, default ../shared/data); skips where it is absent."""
    folder = Path(os.environ.get("MG_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no public recordings at {folder} (set MG_SHARED_DATA)"
        if os.environ.get("MG_REQUIRE_DATA", "") not in ("", "0"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
