"""What measurements share: the ratio of two sides that took turns, and a command with its time and memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any


def ratio_of_rounds(
    numerators: Sequence[float], denominators: Sequence[float], digits: int = 3
) -> dict[str, Any]:
    """Return the median of the rounds' ratios, and the smallest and the largest of them.

    >>> ratio_of_rounds([2.0, 3.0, 8.0], [1.0, 1.0, 2.0])
    {'ratio': 3.0, 'ratio_range': [2.0, 4.0]}
    """
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), digits),
        "ratio_range": [round(min(ratios), digits), round(max(ratios), digits)],
    }


# Prints the peak memory of the process as its last line. Not ru_maxrss, which counts what the parent had.
_PEAK = """
from mg_data.cli.main import main
try:
    main()
finally:
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            print()
            print(line.split()[1])
"""


def run_mg(*words: object, allowed: Sequence[int] = (0,)) -> tuple[float, float]:
    """Run ``mg`` in a process of its own; return its seconds and its own peak memory in MB.

    Args:
        allowed: exit codes that are no failure.

    Raises:
        SystemExit: another exit code.
    """
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *map(str, words)], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode not in allowed:
        raise SystemExit(f"mg {words[0]} failed with exit code {done.returncode}\n{done.stderr[-3000:]}")
    return seconds, int(done.stdout.split()[-1]) / 1024
