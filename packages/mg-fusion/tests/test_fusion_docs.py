"""Examples in the README and in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = (
    "convex",
    "search.fit",
    "calibration",
    "calibrators",
    "commands.fuse",
    "compare",
    "convert.names",
    "fusers.votes",
    "intervals",
    "metrics",
    "report.charts.bars",
    "report.charts.svg",
    "report.page",
    "table",
    "veto",
    "vote",
)


def test_the_readme_runs() -> None:
    readme = Path(__file__).parents[1] / "README.md"
    failed, tried = doctest.testfile(str(readme), module_relative=False)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"mg_fusion.{name}"))
    assert tried > 0
    assert failed == 0
