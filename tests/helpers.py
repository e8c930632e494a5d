"""Run the ``mg`` command as a user would: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BRANCHES = ("joint", "heatmap", "r2plus1d", "swin3d")


def mg(
    *words: object, code: int = 0, python: str = sys.executable, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``mg WORDS`` and check its exit code."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [python, "-m", "mg_data", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def tiny_run(folder: Path, *, epochs: int = 1, clips: int = 64, jobs: int = 2) -> list[object]:
    """Return the words of a demo run that is as small as it gets."""
    return [
        "run",
        ROOT / "recipes" / "demo.toml",
        "-o",
        folder,
        "--set",
        f"data.synth.clips={clips}",
        *(word for name in BRANCHES for word in ("--set", f"branches.{name}.train.epochs={epochs}")),
        "--jobs",
        jobs,
    ]
