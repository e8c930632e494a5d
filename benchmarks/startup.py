"""How long ``mg --help`` takes beside ``python -c "import click"``: ``python -m benchmarks.startup``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit

COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "mg --help": [sys.executable, "-m", "mg_data", "--help"],
}


def measure(rounds: int = 25) -> dict[str, Any]:
    """Return the median seconds of each command and their ratio; the commands take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 2):
        for name, words in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            if number >= 2:  # the first two warm the page cache
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {**medians, **ratio_of_rounds(seconds["mg --help"], seconds["import click"])}


def main() -> None:
    """Write results/PROCESSOR/startup.json."""
    result = {"kind": "startup", "command": "python -m benchmarks.startup", "commit": commit(), **measure()}
    publish("startup", result)


if __name__ == "__main__":
    main()
