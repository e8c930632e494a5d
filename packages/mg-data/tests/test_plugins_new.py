"""A new plugin passes the checks as it is, in every kind, and its folder is never somebody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mg_data.cli.console import TerminalConsole
from mg_data.cli.plugin_new import new
from mg_data.contract import UsageError
from mg_data.plugins.scaffold import KINDS, compatible_range, write_plugin

QUIET = TerminalConsole(quiet=True)


def install(folder: Path, site: Path) -> None:
    """Lay a distribution into a folder, as an installer would, by what its pyproject.toml says."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    (package,) = (path for path in (folder / "src").iterdir())
    (site / package.name).symlink_to(package)
    info = site / f"{package.name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entries = project["entry-points"]["mg.plugins"]
    lines = [f"{name} = {module}" for name, module in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[mg.plugins]", *lines]) + "\n")


def check(site: Path, distribution: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "mg_data", "--json", "plugins", "check", distribution],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=False,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "kind",
    # The marked ones start torch in a process of their own.
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("model", "modality"))) for kind in KINDS],
)
def test_a_new_plugin_passes_at_once_and_says_how_many_checks_ran(tmp_path: Path, kind: str) -> None:
    if kind in ("model", "modality"):
        pytest.importorskip("torch")
    site = tmp_path / "site"
    site.mkdir()
    new(name=f"mg-a-{kind}", kind=kind, out=tmp_path / "new", console=QUIET)
    install(tmp_path / "new", site)
    found = check(site, f"mg-a-{kind}")
    bad = [item for item in found["checks"] if item["status"] in ("failed", "skipped")]
    assert bad == []
    assert found["good"]
    assert found["ran"] == found["passed"] >= 16


def test_the_distribution_is_complete(tmp_path: Path) -> None:
    files = {
        path.relative_to(tmp_path / "p").as_posix() for path in write_plugin("mg-x", "fuser", tmp_path / "p")
    }
    assert files == {
        "pyproject.toml",
        "README.md",
        "tests/test_contract.py",
        "src/mg_x/__init__.py",
        "src/mg_x/py.typed",
        "src/mg_x/plugin.py",
        "src/mg_x/fuser.py",
    }
    project = tomllib.loads((tmp_path / "p" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["mg.plugins"] == {"mg-x": "mg_x.plugin"}
    (need,) = (item for item in project["dependencies"] if item.startswith("mg-data"))
    assert "<" in need
    assert "==" not in need
    text = "".join(path.read_text() for path in (tmp_path / "p").rglob("*") if path.is_file())
    assert "$" not in text


@pytest.mark.parametrize(("version", "wanted"), [("0.1.3", ">=0.1,<0.2"), ("2.0.0", ">=2.0,<3")])
def test_a_plugin_asks_for_versions_that_keep_the_contract(version: str, wanted: str) -> None:
    assert compatible_range(version) == wanted


@pytest.mark.parametrize("name", ["Demo", "mg_demo", "-x", "a--b", "", "a b", "../x"])
def test_names_that_no_distribution_bears_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a distribution, wanted small letters"):
        write_plugin(name, "model", tmp_path / "x")


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not an empty folder; name another one with -o"):
        write_plugin("mg-x", "model", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
