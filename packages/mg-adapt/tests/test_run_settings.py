"""A recipe is checked key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mg_adapt.run.settings import expand, load, parse, set_value
from mg_data.contract import UsageError

RECIPE = """
name = "small"
flip = true
[data]
dataset = "utd-mhad"
source = "${MG_TEST_SOURCE:-raw}"
[split.train]
subjects_file = "train.txt"
[split.target]
subjects = ["s2"]
[branches.joint]
model = "decoupled-stcnn"
train = { epochs = 3 }
adapt = { epochs = 2 }
"""


def write(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_relative_paths_belong_to_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = load(write(tmp_path), {})
    assert settings.data.source == str(tmp_path / "raw")
    assert settings.split["train"]["subjects_file"] == str(tmp_path / "train.txt")
    monkeypatch.setenv("MG_TEST_SOURCE", "/elsewhere")
    assert load(write(tmp_path), {})[0].data.source == "/elsewhere"


def test_a_variable_without_default_must_be_set() -> None:
    with pytest.raises(UsageError, match=r"data\.source: environment variable MG_NOWHERE is not set"):
        expand({"data": {"source": "${MG_NOWHERE}"}}, "")


def test_set_changes_nested_keys() -> None:
    recipe: dict[str, Any] = {"a": {"b": 1}}
    set_value(recipe, "a.c.d", 2)
    assert recipe == {"a": {"b": 1, "c": {"d": 2}}}
    with pytest.raises(UsageError, match="'b' is no table"):
        set_value(recipe, "a.b.c", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flipp": True}, r"unknown key 'flipp' \(did you mean 'flip'\?\)"),
        ({"branches": {}}, r"no \[branches\.NAME\] table"),
        ({"branches": {"a/b": {"model": "m"}}}, "branch name 'a/b'"),
        ({"branches": {"a": {}}}, r"\[branches\.a\] lacks model"),
        ({"branches": {"a": {"model": "m", "crops": "person"}}}, r"there is no table \[crops\.person\]"),
        ({"adapt": {"rounds": 2}}, "rounds must be 0 or 1"),
        ({"trackers": "tensorboard"}, "trackers must be a list of names, found 'tensorboard'"),
        ({"adapt": {"folds": -1}}, "folds must be a whole number of at least 0, found -1"),
        (
            {"ablation": {"rows": {"a": {"brnch": "a"}}}},
            r"rows\.a\]: unknown key 'brnch' \(did you mean 'branch'",
        ),
        ({"ablation": {"rows": {"a/b": {}}}}, "row name 'a/b'"),
        ({"ablation": {"seeds": [0, 0]}}, r"\[ablation\] seeds: wanted distinct whole numbers"),
        ({"data": {}}, r"\[data\] lacks dataset"),
        ({"adapt": 3}, r"\[adapt\] must be a table"),
    ],
)
def test_wrong_recipes_are_refused(change: dict[str, Any], message: str) -> None:
    recipe = {"name": "x", "data": {"dataset": "d"}, "split": {}, "branches": {"a": {"model": "m"}}}
    parse(recipe)
    with pytest.raises(UsageError, match=message):
        parse({**recipe, **change})


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no valid TOML"):
        load(write(tmp_path, "a = ["), {})
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "none.toml", {})
