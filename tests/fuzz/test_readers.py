"""Every reader of foreign bytes on changed files (docs/fuzzing.md).

The same cases everywhere, unless ``MG_FUZZ_SECONDS`` or ``MG_FUZZ_SEED`` asks for others.
"""

from __future__ import annotations

import os

import pytest
from fuzz_readers import READERS
from fuzz_run import described, fuzz

SECONDS = float(os.environ.get("MG_FUZZ_SECONDS", "0"))
CASES = None if SECONDS else 100
SEED = os.environ.get("MG_FUZZ_SEED", "0")


@pytest.mark.extended
@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused_in_one_line(name: str) -> None:
    result = fuzz(name, seconds=SECONDS, seed=SEED, count=CASES)
    print(f"{name}: seed {SEED}, {result['cases']} cases in {result['seconds']:.0f} s")
    assert result["cases"]
    assert not result["findings"], "\n".join(described(name, finding, SEED) for finding in result["findings"])
