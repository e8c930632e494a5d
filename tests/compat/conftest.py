"""The tests of this folder share the tools, versions.py and wheels of today's packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tools")]


@pytest.fixture(scope="session")
def todays_wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels of all packages as they are now."""
    out = tmp_path_factory.mktemp("today")
    for folder in sorted((ROOT / "packages").iterdir()):
        words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, folder]
        subprocess.run(words, check=True, capture_output=True)
    return {parse_wheel_filename(path.name)[0]: path for path in out.glob("*.whl")}
