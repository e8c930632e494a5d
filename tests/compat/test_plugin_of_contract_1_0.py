"""A plugin that was built against contract 1.0 and is never changed works with today's mg-data."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from versions import ROOT, version_today
from wheels import build, make_environment

HERE = Path(__file__).parent
PLUGIN = HERE / "plugin"
# SHA-256 over the plugin's files in order of their names.
PINNED = "42ba31213090a64772a0fc1efc810560e291584bb74ce4afab863e812082bed2"


def use(python: object, folder: Path, **variables: str) -> None:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MG_"))}
    done = subprocess.run(
        [str(python), str(HERE / "use_plugin.py"), str(folder)],
        cwd=folder,
        env={**inherited, **variables, "COMPAT_LOG": str(folder / "log.txt"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("fine\n")


def test_the_plugin_was_not_changed() -> None:
    digest = hashlib.sha256()
    for path in sorted([PLUGIN / "pyproject.toml", *PLUGIN.rglob("*.py")]):
        digest.update(path.relative_to(PLUGIN).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest() == PINNED, "the plugin of contract 1.0 stays as it is: strangers' do, too"


def test_it_works_with_todays_data(tmp_path: Path) -> None:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / f"mg_compat_plugin-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    ((name, module),) = project["entry-points"]["mg.plugins"].items()
    (info / "entry_points.txt").write_text(f"[mg.plugins]\n{name} = {module}\n")
    use(sys.executable, tmp_path, PYTHONPATH=os.pathsep.join([str(PLUGIN / "src"), str(tmp_path)]))


@pytest.mark.slow
@pytest.mark.extended
def test_its_wheel_is_installed_with_todays_data(todays_wheels: dict[str, Path], tmp_path: Path) -> None:
    today = version_today("mg-data")
    if today.major != 1:
        pytest.skip(f"the plugin needs mg-data>=1.0,<2, this is {today}")
    (wheel,) = build(PLUGIN, tmp_path / "wheel", 1_700_000_000, "wheel")
    siblings = [todays_wheels[name] for name in ("mg-data", "mg-fusion")]
    use(make_environment(tmp_path / "env", [wheel, *siblings], ROOT / "constraints.txt"), tmp_path)
