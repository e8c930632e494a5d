"""A peer in an environment of its own, as a server of timings: a name in, the seconds of that call out.

So the two sides of a comparison take turns in one run, each with the libraries that it wants.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def time_call(function: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


class Peer:
    """A process of a peer's environment that times what it is told to.

    Args:
        environment: its folder. script: what runs there with ``--serve``, and calls :func:`serve`.
    """

    def __init__(self, environment: Path, script: Path, threads: int) -> None:
        words = [str(environment / "bin" / "python"), "-u", str(script.resolve()), "--serve"]
        kept = {"PATH", "HOME", "LANG", "TMPDIR"}
        variables = {name: value for name, value in os.environ.items() if name in kept}
        variables |= {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(Path(__file__).parent.parent)}
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
        )

    def seconds(self, name: str) -> float:
        """Return the seconds that one call of the peer takes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise RuntimeError(f"the peer ended before it timed {name!r}; is its environment whole?")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def serve(calls: Mapping[str, Callable[[], Any]]) -> None:
    """Time calls named on stdin, until it ends."""
    for line in sys.stdin:
        print("seconds", time_call(calls[line.strip()]), flush=True)
