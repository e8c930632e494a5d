"""The command starts fast because nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "torchvision", "cv2", "av", "scipy", "matplotlib", "pytorchvideo")


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_light_packages_brings_nothing_heavy() -> None:
    assert not modules_after("import mg_data, mg_fusion").intersection((*HEAVY, "h5py"))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "from mg_data.cli.main import run\nassert run(['--help']) == 0\nassert run(['fuse', '--help']) == 0"
    )
    assert not modules_after(code).intersection((*HEAVY, "h5py", "numpy"))


def test_the_list_of_commands_needs_no_objects_of_run_time() -> None:
    modules = modules_after("from mg_data.cli.main import run\nassert run(['--help']) == 0")
    assert "mg_data.contract.specs" in modules
    assert "mg_data.contract.runtime" not in modules


def test_all_plugins_load_without_torch() -> None:
    code = (
        "from mg_data.plugins import registry\n"
        "assert all(info.status == 'loaded' for info in registry().plugins), registry().plugins\n"
        "assert not registry().conflicts"
    )
    assert not modules_after(code).intersection((*HEAVY, "h5py"))
