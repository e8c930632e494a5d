"""Every reader of foreign bytes on changed files, for ``MG_FUZZ_SECONDS`` each (docs/fuzzing.md)."""

from __future__ import annotations

import os

import pytest
from fuzz_readers import READERS
from fuzz_run import described, fuzz

SECONDS = float(os.environ.get("MG_FUZZ_SECONDS", "3"))
SEED = os.environ.get("MG_FUZZ_SEED", "0")


@pytest.mark.extended
@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused_in_one_line(name: str) -> None:
    result = fuzz(name, seconds=SECONDS, seed=SEED)
    print(f"{name}: seed {SEED}, {result['cases']} cases in {result['seconds']:.0f} s")
    assert result["cases"]
    assert not result["findings"], "\n".join(described(name, finding, SEED) for finding in result["findings"])
