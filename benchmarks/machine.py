"""What a measurement was made on, and where the records of ratios lie: a folder for each kind of processor.

How many times as fast one program is as another depends on the processor: on one without wide vectors both
sides wait for the same arithmetic. So a ratio is compared with that of the same kind alone.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.record_run import RESULTS

# Flags of an x86 processor, the best first, and what its kind is called.
_KINDS = (("amx_tile", "amx"), ("avx512f", "avx512"), ("avx2", "avx2"))


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the kind of this processor: ``amx``, ``avx512``, ``avx2``, or what the system calls it."""
    try:
        flags = set(cpuinfo.read_text(encoding="utf-8").split())
    except OSError:
        flags = set()
    return next((kind for flag, kind in _KINDS if flag in flags), platform.machine().lower())


def machine(*more: str) -> str:
    """Return words for this machine, and ``more`` of them."""
    return ", ".join([f"{platform.machine()} ({processor()})", f"{os.cpu_count()} cores", *more])


def publish(name: str, record: Mapping[str, Any]) -> None:
    """Write a record of ratios as ``results/PROCESSOR/NAME.json`` and print it."""
    text = json.dumps({"machine": machine(), **record}, indent=2)
    path = record_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


def record_path(name: str) -> Path:
    """Return where this machine's record of ratios lies."""
    return RESULTS / processor() / f"{name}.json"


def kinds() -> list[str]:
    """Return the processors that have records, by name, and last those of unknown ones (``earlier``)."""
    found = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
    return sorted(found, key=lambda kind: kind == "earlier")
