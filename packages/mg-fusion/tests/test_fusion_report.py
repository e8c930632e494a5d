"""The report is one file, says what is missing, and lets no text of the data become markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fusion_toys import Talk, make_run

from mg_data.contract import UsageError
from mg_fusion.commands.report import report

pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a complete run folder."""
    return make_run(tmp_path_factory.mktemp("run"))


def test_a_complete_run_has_every_section(run_folder: Path) -> None:
    page = Path(report(console=Talk(), run=run_folder).data["out"]).read_text()
    assert "Not shown" not in page
    for title in (
        "Before and after",
        "Vote",
        "Pseudo-labels",
        "F1 by class",
        "Confusion",
        "Reliability",
        "Training",
    ):
        assert f"<h2>{title}" in page
    assert "weight 0: left out" in page
    assert "FAILING: floor 60 %" in page
    assert "sha256:" in page
    assert "prefers-color-scheme: dark" in page


def test_the_page_loads_nothing(run_folder: Path) -> None:
    page = Path(report(console=Talk(), run=run_folder, out=run_folder / "x.html").data["out"]).read_text()
    assert not re.findall(r"(?:src|href)\s*=|https?://|@import|url\(|<script", page)


def test_texts_of_the_data_are_escaped(run_folder: Path) -> None:
    page = Path(report(console=Talk(), run=run_folder).data["out"]).read_text()
    assert "toy &lt;run&gt;" in page
    assert "touch &lt;ear&gt; &amp; nose" in page
    assert "<ear>" not in page
    assert "<run>" not in page


def test_an_empty_folder_gets_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    page = Path(report(console=Talk(), run=tmp_path).data["out"]).read_text()
    assert page.count("Not shown") == 10
    assert "metrics.json is not in this run folder" in page
    assert "there are no training logs" in page


@pytest.mark.parametrize(
    "name", ["run.json", "metrics.json", "round1/fusion.json", "round1/pseudo.h5", "data/labels.csv"]
)
def test_a_damaged_part_is_said_and_the_rest_is_shown(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_text("{broken")
    page = Path(report(console=Talk(), run=folder).data["out"]).read_text()
    assert "<h2>Provenance" in page
    assert page.count("Not shown") >= (0 if name.endswith("pseudo.h5") else 1)
    assert "Training" in page


def test_something_else_than_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give the run folder"):
        report(console=Talk(), run=tmp_path / "absent")
