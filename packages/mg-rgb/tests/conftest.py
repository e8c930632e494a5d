"""Tests of the networks of the extra hf are skipped where transformers is not installed."""

from __future__ import annotations

import pytest

OF_TRANSFORMERS = {"timesformer", "videomae", "vivit"}


@pytest.fixture(autouse=True)
def _transformers(request: pytest.FixtureRequest) -> None:
    """Skip a test that has one of them as a parameter: a name, or a check of ``mg plugins check``."""
    found = getattr(request.node, "callspec", None)
    values = found.params.values() if found else ()
    named = {str(getattr(value, "subject", value)).removeprefix("model ") for value in values}
    if named & OF_TRANSFORMERS:
        pytest.importorskip("transformers")
