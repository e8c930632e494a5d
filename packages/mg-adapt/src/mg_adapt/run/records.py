"""The record of ``mg run``; imports the contract only."""

from __future__ import annotations

from mg_data.contract.specs import CommandSpec, Param

COMMANDS = (
    CommandSpec(
        path=("run",),
        summary="Walk a whole recipe, from recordings to report and submission.",
        factory="mg_adapt.run.command:run",
        params=(
            Param(
                name="recipe", type="path", role="input", positional=True, required=True, help="a TOML file"
            ),
            Param(
                name="out", type="path", role="output", flags=("-o",), help="run folder (default: runs/NAME)"
            ),
            Param(
                name="set",
                type="json",
                multiple=True,
                help="change a recipe key, such as branches.joint.floor=0.9",
            ),
            Param(name="seed", type="int", help="seed of all training, over the recipe's"),
            Param(name="jobs", type="int", help="steps at work at once, over the recipe's [machine] jobs"),
            Param(name="force", type="bool", default=False, help="do every step again"),
            Param(name="dry", type="bool", default=False, help="list the steps and stop"),
        ),
    ),
)
