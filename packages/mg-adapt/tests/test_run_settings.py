"""A recipe is checked key by key."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from mg_adapt.run.settings import changes_of, expand, load, parse, set_value
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


def test_files_of_an_importers_options_belong_there_too(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "openpose").mkdir()
    text = RECIPE.replace('"utd-mhad"', '"clips"')
    for dataset, keypoints in (("clips", str(tmp_path / "openpose")), ("imigue", "openpose")):
        options = {"root": "videos", "classes": "elsewhere.txt", "keypoints": "openpose"}
        changes = {"data.options": options, "data.dataset": dataset}
        found = load(write(tmp_path, text), changes)[0].data.options
        assert found == {"root": str(tmp_path / "videos"), "classes": "elsewhere.txt", "keypoints": keypoints}
    with pytest.raises(UsageError, match="source: wanted a text, found 5"):
        load(write(tmp_path), {"data.source": 5})
    with pytest.raises(UsageError, match="split: wanted a table, found 3"):
        load(write(tmp_path), {"split": 3})


def test_a_variable_without_default_must_be_set() -> None:
    with pytest.raises(UsageError, match=r"data\.source: environment variable MG_NOWHERE is not set"):
        expand({"data": {"source": "${MG_NOWHERE}"}}, "")


def test_set_changes_nested_keys() -> None:
    recipe: dict[str, Any] = {"a": {"b": 1}}
    set_value(recipe, "a.c.d", 2)
    assert recipe == {"a": {"b": 1, "c": {"d": 2}}}
    with pytest.raises(UsageError, match="'b' is no table"):
        set_value(recipe, "a.b.c", 3)
    set_value(recipe, "train", {"loss": "focal"})
    set_value(recipe, "train.loss.options.gamma", 1.0)
    assert recipe["train"]["loss"] == {"name": "focal", "options": {"gamma": 1.0}}


def test_words_of_set_that_are_no_changes_are_refused() -> None:
    assert changes_of(None) == changes_of([]) == {}
    assert changes_of({"a.b": 1}) == {"a.b": 1}
    # What the command line makes of --set 5 and of --set 5 --set seed=1.
    for given in ([5], [5, {"seed": 1}]):
        with pytest.raises(UsageError, match=r"--set: wanted KEY=VALUE, found \[5"):
            changes_of(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flipp": True}, r"unknown key 'flipp' \(did you mean 'flip'\?\)"),
        ({"branches": {}}, r"no \[branches\.NAME\] table"),
        ({"branches": {"a/b": {"model": "m"}}}, "branch name 'a/b'"),
        ({"branches": {"a": {}}}, r"\[branches\.a\] lacks model"),
        ({"branches": {"a": {"model": "m", "crops": "person"}}}, r"there is no table \[crops\.person\]"),
        ({"adapt": {"rounds": 2}}, "rounds must be 0 or 1"),
        ({"trackers": "tensorboard"}, "trackers: wanted a list, each a text, found 'tensorboard'"),
        ({"adapt": {"folds": -1}}, r"\[adapt\] folds must be at least 0, found -1"),
        ({"adapt": {"use": ["target"]}}, r"\[adapt\] use: 'target' is no labelled part"),
        ({"adapt": {"temperature": "warm"}}, r"\[adapt\] temperature: .* found 'warm'"),
        ({"adapt": {"use": "train"}}, r"\[adapt\] use: wanted a list, each a text, found 'train'"),
        ({"adapt": {"threshold": "0.5"}}, r"\[adapt\] threshold: wanted a number, found '0.5'"),
        ({"adapt": {"temperature": True}}, r"\[adapt\] temperature: wanted a number or a text, found True"),
        ({"machine": {"jobs": "2"}}, r"\[machine\] jobs: wanted a whole number, found '2'"),
        ({"seed": -1}, "seed must be at least 0, found -1"),
        ({"name": ""}, "name: the recipe needs one"),
        ({"train": 3}, "train: wanted a table, found 3"),
        ({"crops": {"person": 3}}, "crops: wanted a table of tables"),
        (
            {"branches": {"a": {"model": "m", "flip_average": "no"}}},
            r"\[branches\.a\] flip_average: wanted true or false, found 'no'",
        ),
        ({"branches": {"a": {"model": "m", "floor": "x"}}}, r"\[branches\.a\] floor: wanted a number"),
        (
            {"branches": {"a": {"model": "m", "floor": 90}}},
            r"\[branches\.a\] floor must lie in \[0, 1\], .* found 90",
        ),
        (
            {"ablation": {"rows": {"b": {"branch": "a", "dann": -1}}}},
            r"\[ablation\.rows\.b\] dann must be at least 0, found -1",
        ),
        # Its logits and the vote would be one file.
        ({"branches": {"fused": {"model": "m"}}}, "branch name 'fused' is taken by a row of the vote"),
        (
            {"ablation": {"rows": {"a": {"brnch": "a"}}}},
            r"rows\.a\]: unknown key 'brnch' \(did you mean 'branch'",
        ),
        ({"ablation": {"rows": {"a/b": {}}}}, "row name 'a/b'"),
        ({"ablation": {"seeds": [0, 0]}}, r"\[ablation\] seeds: wanted distinct whole numbers"),
        ({"data": {}}, r"\[data\] lacks dataset"),
        ({"machine": {"jobs": 0}}, r"\[machine\] jobs must be at least 1, found 0"),
        ({"machine": {"threads": -1}}, r"\[machine\] threads must be at least 0, found -1"),
        ({"adapt": 3}, r"\[adapt\] must be a table"),
    ],
)
def test_wrong_recipes_are_refused(change: dict[str, Any], message: str) -> None:
    recipe = {"name": "x", "data": {"dataset": "d"}, "split": {}, "branches": {"a": {"model": "m"}}}
    parse(recipe)
    with pytest.raises(UsageError, match=message):
        parse({**recipe, **change})


@pytest.mark.parametrize("change", [{"split": "train"}, {"data.source": 3}, {"split.train.subjects_file": 3}])
def test_files_are_looked_for_in_tables_of_any_shape(tmp_path: Path, change: dict[str, Any]) -> None:
    with contextlib.suppress(UsageError):
        load(write(tmp_path), change)


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no valid TOML"):
        load(write(tmp_path, "a = ["), {})
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "none.toml", {})
