"""Versions of today and wheels of releases."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
WHEELS = Path(__file__).parent / "wheels"


def version_today(name: str) -> Version:
    """Return the version of a package of this tree."""
    table = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text(encoding="utf-8"))
    return Version(table["project"]["version"])


def released(name: str) -> list[Path]:
    """Return the wheels of the released versions of a package, the oldest first."""
    found = [(parse_wheel_filename(path.name)[:2], path) for path in WHEELS.glob("*.whl")]
    return [path for (own, _), path in sorted(found, key=lambda item: item[0]) if own == name]


def require_released(name: str) -> list[Path]:
    """Return the released wheels; skip before the first major version, fail after it if there is none."""
    wheels = released(name)
    if not wheels:
        version = version_today(name)
        message = f"tests/compat/wheels holds no wheel of {name}, which is {version}"
        if version >= Version("1.0"):
            pytest.fail(f"{message}: releases are made by tools/release.py, which keeps their wheels there")
        pytest.skip(f"{message}: its first wheel comes with 1.0.0")
    return wheels
