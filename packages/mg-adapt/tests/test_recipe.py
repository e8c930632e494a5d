"""Settings: precedence, and messages that name the nearest key."""

from __future__ import annotations

import pytest

from mg_adapt.recipe import Recipe, merge_recipes, overlay_options, read_settings, resolve_recipe
from mg_data.contract import UsageError


def test_later_sources_win_over_earlier_ones() -> None:
    model = {"lr": 0.1, "epochs": 7}
    user = read_settings({"recipe": {"lr": 0.2, "batch_size": 4}}, ["recipe.batch_size=5"])["recipe"]
    recipe = resolve_recipe(model, user)
    assert (recipe.epochs, recipe.lr, recipe.batch_size, recipe.momentum) == (7, 0.2, 5, Recipe().momentum)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'learning_rte'|did you mean 'warmup_epochs'"):
        Recipe.from_dict({"warmup_epoch": 3})
    with pytest.raises(UsageError, match="did you mean 'batch_size'"):
        resolve_recipe({}, {"batchsize": 3})
    with pytest.raises(UsageError, match="did you mean 'width'"):
        overlay_options({"width": 8}, [{"widht": 3}], "model 'toy'")


def test_wrong_types_and_impossible_values_are_refused() -> None:
    with pytest.raises(UsageError, match=r"recipe.lr: wanted a number, found 'fast'"):
        resolve_recipe({}, {"lr": "fast"})
    with pytest.raises(UsageError, match=r"recipe.epochs: wanted a whole number, found 2.5"):
        resolve_recipe({}, {"epochs": 2.5})
    with pytest.raises(UsageError, match=r"recipe.epochs: wanted a whole number, found inf"):
        resolve_recipe({}, {"epochs": float("inf")})
    with pytest.raises(UsageError, match=r"recipe.warmup_epochs: wanted a finite number, found inf"):
        resolve_recipe({}, {"warmup_epochs": float("inf")})
    with pytest.raises(UsageError, match=r"recipe.flip: wanted true or false, found 1"):
        resolve_recipe({}, {"flip": 1})
    with pytest.raises(UsageError, match=r"recipe.optimizer: 'adam' is unknown, did you mean 'adamw'\?"):
        resolve_recipe({}, {"optimizer": "adam"})
    with pytest.raises(UsageError, match=r"recipe.ema must lie in \[0, 1\)"):
        resolve_recipe({}, {"ema": 1.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_numbers_that_are_none_are_refused_wherever_they_stand(value: float) -> None:
    with pytest.raises(UsageError, match=r"loss 'focal'\.gamma: wanted a finite number, found (nan|inf)"):
        overlay_options({"gamma": 2.0}, [{"gamma": value}], "loss 'focal'")
    with pytest.raises(UsageError, match=r"recipe\.auxiliary\[0\]\.weight: wanted a finite number"):
        resolve_recipe({}, {"auxiliary": [{"name": "orthogonal-semantic", "weight": value}]})


def test_settings_that_are_no_table_and_endless_numbers_are_refused() -> None:
    for settings in (5, [1], "recipe.json"):
        with pytest.raises(UsageError, match="settings: wanted a table of settings, found"):
            read_settings(settings, [])  # type: ignore[arg-type]
    endless = read_settings(None, [f"recipe.epochs={'1' * 5000}"])["recipe"]
    with pytest.raises(UsageError, match=r"recipe\.epochs: wanted a whole number, found '111"):
        resolve_recipe({}, endless)


def test_a_single_loss_option_is_changed_without_naming_the_loss() -> None:
    user = read_settings(None, ["recipe.loss.options.gamma=1"])["recipe"]
    recipe = resolve_recipe({"loss": {"name": "focal", "options": {"weighting": "none"}}}, user)
    assert recipe.loss.options == {"weighting": "none", "gamma": 1}


def test_a_loss_without_a_name_changes_the_layer_below_it_whichever_that_is() -> None:
    merged = merge_recipes(
        {"loss": {"options": {"weighting": "none"}}},
        {"loss": {"name": "cross-entropy", "options": {"weighting": "sqrt"}}},
        {"lr": 0.1},
        {"loss": {"options": {"label_smoothing": 0.1}}},
    )
    assert merged["loss"] == {
        "name": "cross-entropy",
        "options": {"weighting": "sqrt", "label_smoothing": 0.1},
    }
    with pytest.raises(UsageError, match=r"recipe\.loss\.options: wanted a table, found 3"):
        resolve_recipe({}, {"loss": {"options": 3}})


def test_set_needs_a_section() -> None:
    with pytest.raises(UsageError, match=r"wanted SECTION.KEY=VALUE"):
        read_settings(None, ["lr=3"])


def test_a_recipe_survives_its_json() -> None:
    recipe = resolve_recipe({}, {"auxiliary": [{"name": "orthogonal-semantic", "weight": 2}], "ema": 0.9})
    assert Recipe.from_dict(recipe.to_json()) == recipe


def test_settings_given_are_not_changed() -> None:
    given = {"recipe": {"loss": {"name": "focal", "options": {"gamma": 2.0}}}}
    read_settings(given, ["recipe.loss.options.gamma=5"])
    assert given["recipe"]["loss"]["options"] == {"gamma": 2.0}
