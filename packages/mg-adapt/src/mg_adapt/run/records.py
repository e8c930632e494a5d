"""The records of ``mg run`` and ``mg ablate``; imports the contract only."""

from __future__ import annotations

from mg_data.contract.specs import CommandSpec, Param

_RECIPE = Param(name="recipe", type="path", role="input", positional=True, required=True, help="a TOML file")
_SET = Param(
    name="set", type="json", multiple=True, help="change a recipe key, such as branches.joint.floor=0.9"
)
_JOBS = Param(name="jobs", type="int", help="steps at work at once, over the recipe's [machine] jobs")
_FORCE = Param(name="force", type="bool", default=False, help="do every step again")
_DRY = Param(name="dry", type="bool", default=False, help="list the steps and stop")

COMMANDS = (
    CommandSpec(
        path=("run",),
        summary="Walk a whole recipe, from recordings to report and submission.",
        factory="mg_adapt.run.command:run",
        params=(
            _RECIPE,
            Param(
                name="out", type="path", role="output", flags=("-o",), help="run folder (default: runs/NAME)"
            ),
            _SET,
            Param(name="seed", type="int", help="seed of all training, over the recipe's"),
            Param(
                name="folds",
                help="cross-validate over the people of train and val instead: subject, or a number of folds",
                default="",
            ),
            _JOBS,
            _FORCE,
            _DRY,
        ),
    ),
    CommandSpec(
        path=("ablate",),
        summary="Fill the rows of an ablation over several seeds: table, csv and figure.",
        factory="mg_adapt.run.ablate:ablate",
        params=(
            _RECIPE,
            Param(
                name="out",
                type="path",
                role="output",
                flags=("-o",),
                help="folder of the ablation (default: runs/NAME-ablation)",
            ),
            Param(
                name="seeds",
                type="int",
                multiple=True,
                default=(),
                help="seeds of all training (default: those of [ablation], else the recipe's)",
            ),
            Param(
                name="rows",
                multiple=True,
                default=(),
                help="names of the rows to fill now, with only what they need (default: all)",
            ),
            _SET,
            _JOBS,
            _FORCE,
            _DRY,
        ),
    ),
)
