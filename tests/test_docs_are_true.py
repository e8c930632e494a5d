"""The generated pages show today's commands and hooks, and the recipes can be planned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, mg


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_planned(recipe: object) -> None:
    steps = mg("run", recipe, "--dry").stdout.split()
    assert "round1/fuse" in steps
    assert "result/score" in steps


def test_a_misspelt_recipe_key_names_the_nearest() -> None:
    done = mg("run", ROOT / "recipes" / "demo.toml", "--set", "adapt.treshold=0.5", "--dry", code=2)
    assert "[adapt]: unknown key 'treshold' (did you mean 'threshold'?)" in done.stderr


def test_the_site_builds_without_a_warning_or_a_dead_link(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
    assert (tmp_path / "site" / "tutorials" / "fuse-scores.html").exists()


def test_results_and_model_zoo_are_made_of_the_records_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_record_is_read_for_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement that no section reads would lie there unseen."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import bench_page, fuzz_page, zoo_page
    from benchmarks.__main__ import page

    read: set[Path] = set()
    read_text = Path.read_text

    def reading(path: Path, *arguments: object, **options: object) -> str:
        read.add(path)
        return read_text(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", reading)
    page()
    zoo_page.page()
    bench_page.page()
    fuzz_page.page()
    records = set((ROOT / "benchmarks" / "results").rglob("*.json"))
    assert records
    assert {path.name for path in records - read} == set()


@pytest.mark.extended
@pytest.mark.slow
def test_sizes_in_the_model_zoo_are_those_of_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built anew: parameters, sample and feature of every preset."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.model_sizes import measure
    from benchmarks.page_parts import record

    found = record("model-sizes")
    assert found is not None
    assert found["models"] == measure(), "run 'python -m benchmarks.model_sizes', then 'make pages'"
