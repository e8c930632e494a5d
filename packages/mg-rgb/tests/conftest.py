"""Tests of the networks of the extra hf are skipped where transformers is not installed."""

from __future__ import annotations

import pytest

OF_TRANSFORMERS = {"timesformer", "videomae", "vivit"}


@pytest.fixture(autouse=True)
def _transformers(request: pytest.FixtureRequest) -> None:
    """Skip a test that has one of them as a parameter: its name, its record, or a check about it."""
    found = getattr(request.node, "callspec", None)
    for value in found.params.values() if found else ():
        named = getattr(value, "subject", getattr(value, "name", value))
        if str(named).removeprefix("model ") in OF_TRANSFORMERS:
            pytest.importorskip("transformers")
