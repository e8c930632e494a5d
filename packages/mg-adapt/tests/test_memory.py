"""A training process keeps its memory from step to step."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Blocks as a step takes and frees them, in a process of its own: what it keeps it keeps to its end.
STEPS = """
import resource, sys
import torch
from mg_adapt.training.memory import keep_freed_memory
print(keep_freed_memory())
def step():
    blocks = [torch.ones(1_000_000) for _ in range(8)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def steps(**variables: str) -> tuple[str, int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=kept | variables, capture_output=True, text=True, check=True
    )
    kept_memory, faults = done.stdout.split()
    return kept_memory, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_a_step_takes_the_memory_of_the_step_before() -> None:
    kept_memory, faults = steps()
    if kept_memory == "False":
        pytest.skip("the C library has no mallopt")
    pages = 10 * 8 * 4_000_000 // 4096
    assert faults < pages / 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_whoever_tuned_memory_is_left_alone() -> None:
    assert steps(MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
    assert steps(GLIBC_TUNABLES="glibc.malloc.trim_threshold=131072")[0] == "False"
