"""mg doctor tells what will fail, by exit code and JSON, and one broken part hides no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mg_data.cli import doctor
from mg_data.cli.console import TerminalConsole
from mg_data.contract import MgError

GOOD = {"one": lambda: doctor.Finding("good", "fine")}


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mg_data", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=False,
        cwd=site,
    )


@pytest.mark.slow
def test_a_failed_plugin_is_bad_and_everything_else_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "their_plugin.py").write_text("raise RuntimeError('no sensor')\n")
    info = tmp_path / "their_plugin-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-plugin\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[mg.plugins]\ntheir-plugin = their_plugin\n")
    done = run(tmp_path, "doctor", "--json")
    assert done.returncode == 1
    assert "doctor: plugins" in done.stderr
    report = json.loads(done.stdout)
    checks = {item["name"]: item for item in report["checks"]}
    assert checks["plugins"]["state"] == "bad"
    assert "their-plugin 2.5 failed: RuntimeError: no sensor" in checks["plugins"]["what"]
    assert not report["good"]
    assert set(checks) == set(doctor.CHECKS)
    assert checks["hdf5"]["state"] == checks["store"]["state"] == "good"
    assert report["versions"]["h5py"] != "-"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".mg-doctor")] == []


def test_what_raises_is_bad_and_stops_no_other() -> None:
    def broken() -> doctor.Finding:
        raise OSError("libhdf5.so: cannot open shared object file")

    found = doctor.examine({"broken": broken, **GOOD})
    assert found["broken"].state == "bad"
    assert "OSError: libhdf5.so" in found["broken"].what
    assert found["one"].state == "good"


def test_the_exit_code_and_the_report_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", GOOD)
    assert doctor.doctor(console=TerminalConsole(quiet=True)).data["good"]
    monkeypatch.setattr(doctor, "CHECKS", {**GOOD, "two": lambda: doctor.Finding("bad", "broken")})
    with pytest.raises(MgError, match="doctor: two: what is") as caught:
        doctor.doctor(console=TerminalConsole(quiet=True))
    assert caught.value.exit_code == 1
    assert "[bad ] two: broken" in caught.value.result.text


def test_a_disk_that_is_nearly_full_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 30))
    found = doctor.free_disk()
    assert found.state == "bad"
    assert found.what.startswith("1.0 GiB in ")


def _modules(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    monkeypatch.setattr(doctor, "_optional", modules.get)


def test_a_driver_whose_devices_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_driver_devices", lambda: ["GPU 0: Some Card"])
    cuda = SimpleNamespace(is_available=lambda: False)
    _modules(monkeypatch, torch=SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda=None)))
    found = doctor.gpus()
    assert found == doctor.Finding(
        "bad", "GPU 0: Some Card: the driver has them, torch does not: it is a CPU build"
    )
    _modules(monkeypatch)
    assert doctor.gpus() == doctor.Finding("info", "GPU 0: Some Card")


def test_what_is_missing_and_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _modules(monkeypatch)
    assert doctor.torch().what == "not installed (training and prediction need it; fusion does not)"
    assert (
        "av, opencv-python-headless not installed: videos need pip install 'mg-data[prep]'"
        in doctor.video().what
    )


def test_torchvision_of_another_build_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    assert doctor.torchvision().state == "good"
    import torchvision.ops

    def mismatched(*arguments: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(torchvision.ops, "nms", mismatched)
    found = doctor.torchvision()
    assert found.state == "bad"
    assert "was built for another torch (operator torchvision::nms does not exist)" in found.what
