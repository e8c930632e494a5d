"""How long ``import mg_fusion`` takes beside ``import numpy, h5py``: ``python -m benchmarks.fusion_import``.

The package loads its parts on first use, so the import alone brings neither. Measured besides: the import
with what voting on arrays and on stores needs, and with every public name.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit

BASE = "import numpy, h5py"
STATEMENTS = (
    BASE,
    "import mg_fusion",
    "from mg_fusion import SoftVote, soft_vote, fuse_stores",
    "from mg_fusion import *",
)


def measure(rounds: int = 15) -> dict[str, dict[str, Any]]:
    """Return the median seconds of each statement in a fresh interpreter, and its ratio to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(rounds + 2):
        # The order alternates: what is second may find the processor warmer.
        for name in STATEMENTS if number % 2 else STATEMENTS[::-1]:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", name], check=True)
            if number >= 2:  # the first two warm the page cache
                seconds[name].append(time.perf_counter() - began)
    return {
        name: {
            "seconds": round(statistics.median(values), 4),
            **ratio_of_rounds(values, seconds[BASE]),
        }
        for name, values in seconds.items()
    }


def main() -> None:
    """Write results/PROCESSOR/fusion-import.json."""
    result = {
        "kind": "fusion-import",
        "command": "python -m benchmarks.fusion_import",
        "commit": commit(),
        "statements": measure(),
    }
    publish("fusion-import", result)


if __name__ == "__main__":
    main()
