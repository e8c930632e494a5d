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
    peak = _finish(_start(words), words, allowed)
    return time.perf_counter() - began, peak


def run_mg_at_once(*commands: Sequence[object]) -> float:
    """Run several ``mg`` commands at the same time; return the seconds until the last one ended.

    Beside the seconds of one of them, it says what the machine gives to processes that share nothing.

    Raises:
        SystemExit: one of them failed.
    """
    began = time.perf_counter()
    running = [_start(words) for words in commands]
    for process, words in zip(running, commands, strict=True):
        _finish(process, words, (0,))
    return time.perf_counter() - began


def _start(words: Sequence[object]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PEAK, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str], words: Sequence[object], allowed: Sequence[int]) -> float:
    """Wait for a command and return its peak memory in MB."""
    output, errors = process.communicate()
    if process.returncode not in allowed:
        raise SystemExit(f"mg {words[0]} failed with exit code {process.returncode}\n{errors[-3000:]}")
    return int(output.split()[-1]) / 1024
