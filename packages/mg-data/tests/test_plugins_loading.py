"""A stranger's plugin adds records; a broken one is named and harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LAYOUT = """
from mg_data.contract import LayoutSpec, hookimpl

@hookimpl
def mg_register_layouts():
    return [LayoutSpec(name="{name}", summary="two points", names=("a", "b"), edges=((0, 1),), pairs=(),
                       centre=0, parents=(0, 0))]
"""


def add_distribution(site: Path, name: str, code: str, entry: str | None = None) -> None:
    """Lay a distribution with one plugin module into a folder, as an installer would."""
    module = name.replace("-", "_") + "_plugin"
    (site / f"{module}.py").write_text(code)
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[mg.plugins]\n{entry or name} = {module}\n")


def mg(site: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), **variables}
    return subprocess.run(
        [sys.executable, "-m", "mg_data", *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def plugins(site: Path, **variables: str) -> dict[str, dict[str, object]]:
    done = mg(site, "--json", "plugins", **variables)
    assert done.returncode == 0, done.stderr
    return {item["distribution"]: item for item in json.loads(done.stdout)["plugins"]}


def test_a_strangers_layout_is_listed_with_its_distribution(tmp_path: Path) -> None:
    add_distribution(tmp_path, "their-layouts", LAYOUT.format(name="two-points"))
    found = plugins(tmp_path)["their-layouts"]
    assert found["status"] == "loaded"
    assert found["adds"] == {"layouts": ["two-points"]}
    assert "two-points" in mg(tmp_path, "layouts").stdout


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        (
            "from mg_data.contract import hookimpl\n@hookimpl\ndef mg_register_layouts(extra=1): return []",
            "mg_register_layouts(extra=...) must not have a default",
        ),
        (
            "from mg_data.contract import hookimpl\n@hookimpl\ndef mg_register_layout(): return []",
            "'mg_register_layout' is no hook of this project",
        ),
        (
            "from mg_data.contract import hookimpl\n@hookimpl\ndef mg_register_layouts(): return ['x']",
            "mg_register_layouts returned str, wanted LayoutSpec",
        ),
    ],
)
def test_a_broken_plugin_is_named_and_help_still_works(tmp_path: Path, code: str, cause: str) -> None:
    add_distribution(tmp_path, "broken", code)
    found = plugins(tmp_path)["broken"]
    assert (found["status"], cause in str(found["error"])) == ("failed", True), found
    assert mg(tmp_path, "--help").returncode == 0
    strict = mg(tmp_path, "plugins", MG_STRICT_PLUGINS="1")
    assert strict.returncode == 4
    assert "broken" in strict.stderr
    assert "Traceback" not in strict.stderr


def test_a_name_that_two_plugins_claim_belongs_to_neither(tmp_path: Path) -> None:
    add_distribution(tmp_path, "first", LAYOUT.format(name="clashing"))
    add_distribution(tmp_path, "second", LAYOUT.format(name="clashing"))
    done = mg(tmp_path, "--json", "plugins")
    assert "layouts 'clashing' is registered by first and second" in json.loads(done.stdout)["conflicts"][0]
    assert "clashing" not in mg(tmp_path, "layouts").stdout
    assert mg(tmp_path, "plugins", MG_STRICT_PLUGINS="1").returncode == 4


def test_two_distributions_with_one_entry_point_name_are_told_apart(tmp_path: Path) -> None:
    add_distribution(tmp_path, "one", LAYOUT.format(name="l1"), entry="same")
    add_distribution(tmp_path, "other", LAYOUT.format(name="l2"), entry="same")
    found = plugins(tmp_path)
    assert found["one"]["status"] == "loaded"
    assert "claimed by both one and other" in str(found["other"]["error"])


def test_the_allow_list_decides_who_is_imported(tmp_path: Path) -> None:
    add_distribution(tmp_path, "broken", "raise SystemError('must not be imported')")
    found = plugins(tmp_path, MG_PLUGINS="mg-data")
    assert found["mg-data"]["status"] == "loaded"
    assert found["broken"]["status"] == "ignored"
    wrong = mg(tmp_path, "plugins", MG_PLUGINS="mg-dta")
    assert wrong.returncode == 4
    assert "MG_PLUGINS names 'mg-dta', which is not installed" in wrong.stderr


def test_a_missing_packages_command_names_the_package(tmp_path: Path) -> None:
    done = mg(tmp_path, "train", "x", MG_PLUGINS="mg-data")
    assert done.returncode == 4
    assert "'mg train' comes with mg-adapt" in done.stderr


def test_a_missing_option_is_named() -> None:
    for words, missing in ((("data", "pose", "v"), "--out"), (("data", "import", "imigue", "x"), "--out")):
        done = subprocess.run(
            [sys.executable, "-m", "mg_data", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "Missing option" in done.stderr
        assert missing in done.stderr
