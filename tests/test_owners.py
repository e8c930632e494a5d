"""OWNERS.toml: every package, example, page and tool has a team that answers for it."""

from __future__ import annotations

import tomllib

import pytest
from helpers import ROOT

TABLE = tomllib.loads((ROOT / "OWNERS.toml").read_text(encoding="utf-8"))["owner"]
PLACES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *(ROOT / "packages").iterdir(),
        *(folder for folder in (ROOT / "examples").iterdir() if folder.is_dir()),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "tools").glob("*.py"),
        *(ROOT / "recipes").glob("*.toml"),
        ROOT / "tests",
        ROOT / "benchmarks",
    )
)


def owner(place: str) -> str:
    """Return the team of the longest path that holds a place, or an empty text."""
    name = f"{place}/" if (ROOT / place).is_dir() else place
    found = [entry for entry in TABLE if name.startswith(entry["path"])]
    return max(found, key=lambda entry: len(entry["path"]))["team"] if found else ""


@pytest.mark.parametrize("place", PLACES)
def test_everything_has_an_owner(place: str) -> None:
    assert owner(place), f"{place} has no owner: add it to OWNERS.toml"


def test_packages_and_the_promises_are_named_themselves() -> None:
    paths = {entry["path"] for entry in TABLE}
    packages = {f"packages/{folder.name}/" for folder in (ROOT / "packages").iterdir()}
    assert packages | {"docs/store-format.md", "docs/plugin-hooks.md", "tests/compat/"} <= paths


def test_every_entry_is_whole_unique_and_names_what_is_there() -> None:
    paths = [entry["path"] for entry in TABLE]
    assert len(set(paths)) == len(paths)
    for entry in TABLE:
        assert set(entry) == {"path", "team", "why"}
        assert entry["team"]
        assert len(entry["why"]) > 10
        path = ROOT / entry["path"]
        assert path.is_dir() if entry["path"].endswith("/") else path.is_file(), f"{entry['path']} is gone"


def test_the_owner_is_that_of_the_longest_path() -> None:
    assert owner("packages/mg-fusion") == "fusion"
    assert owner("docs/tutorials/pin-fusion.md") == "fusion"
    assert owner("docs/start.md") == "data"
    assert owner("LICENSE") == ""
