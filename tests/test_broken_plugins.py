"""Four broken plugins: mg goes on, each is named with its cause, and the checks tell the author why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import mg

BROKEN = Path(__file__).parent / "broken_plugins"
MODULES = ("import_error", "name_clash", "wrong_signature", "nan_model")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder in which all four are installed."""
    folder = tmp_path_factory.mktemp("site")
    for number, module in enumerate(MODULES):
        name = f"their-{module.replace('_', '-')}"
        (folder / f"{module}.py").write_bytes((BROKEN / f"{module}.py").read_bytes())
        info = folder / f"their_{module}-3.{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.{number}\n")
        (info / "entry_points.txt").write_text(f"[mg.plugins]\n{name} = {module}\n")
    return str(folder)


def check(site: str, distribution: str) -> tuple[dict[str, Any], str]:
    """Return the report and what stderr says."""
    done = mg("--json", "plugins", "check", distribution, code=4, PYTHONPATH=site)
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout), done.stderr


def failures(report: dict[str, Any]) -> dict[str, str]:
    return {item["check"]: item["message"] for item in report["checks"] if item["status"] == "failed"}


def test_help_and_the_listing_go_on(site: str) -> None:
    assert "fuse" in mg("--help", PYTHONPATH=site).stdout
    text = mg("plugins", PYTHONPATH=site).stdout
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("their-")}
    assert "3.0" in lines["their-import-error"]
    assert "No module named 'sensor_sdk_of_nobody'" in lines["their-import-error"]
    assert "3.2" in lines["their-wrong-signature"]
    assert "mg_register_models has no argument 'registry' (it has: none)" in lines["their-wrong-signature"]
    assert "models 'st-gcn' is registered by mg-skeleton and their-name-clash" in text
    assert "loaded" in lines["their-nan-model"]


@pytest.mark.slow
def test_the_name_that_two_claim_is_used_by_neither_and_others_work(site: str) -> None:
    done = mg("train", "st-gcn", "--data", "x", "--split", "y", "-o", "z", code=4, PYTHONPATH=site)
    assert "registered by mg-skeleton and their-name-clash: uninstall one" in done.stderr
    assert "decoupled-stcnn" in mg("models", PYTHONPATH=site).stdout


@pytest.mark.parametrize(
    ("distribution", "failed", "text"),
    [
        ("their-import-error", "loads", "No module named 'sensor_sdk_of_nobody'"),
        ("their-wrong-signature", "loads", "mg_register_models has no argument 'registry' (it has: none)"),
        pytest.param(
            "their-name-clash",
            "names-are-its-own",
            "so one of the two needs another name",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_checks_name_the_cause(site: str, distribution: str, failed: str, text: str) -> None:
    report, stderr = check(site, distribution)
    assert text in failures(report)[failed]
    assert not report["good"]
    assert f"{distribution} {report['version']} does not keep the contract" in stderr


@pytest.mark.slow
def test_a_model_that_returns_nan_is_told_where_to_look(site: str) -> None:
    report, stderr = check(site, "their-nan-model")
    text = failures(report)["output-is-finite"]
    assert (
        "logits hold 6 of 6 numbers that are NaN or infinite, for 2 classes and a finite batch of shape"
        in text
    )
    assert "look for a division by zero" in text
    assert "does not keep the contract" in stderr
    words = mg("plugins", "check", "their-nan-model", code=4, PYTHONPATH=site).stdout
    assert "FAILED model nan-net: output-is-finite" in words
    assert "must hold: Logits and feature hold no NaN" in words


def test_a_plugin_without_anything_to_check_fails(tmp_path: Path) -> None:
    (tmp_path / "empty_plugin.py").write_text("")
    info = tmp_path / "their_empty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-empty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mg.plugins]\ntheir-empty = empty_plugin\n")
    report, _ = check(str(tmp_path), "their-empty")
    assert "returns no record from any hook" in failures(report)["registers-something"]
    done = mg("plugins", "check", "mg-nowhere", code=4, PYTHONPATH=str(tmp_path))
    assert "no plugin of a distribution 'mg-nowhere' is installed (installed: mg-adapt" in done.stderr
