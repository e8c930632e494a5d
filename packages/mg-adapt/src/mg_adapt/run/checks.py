"""What a recipe asks for in vain, said before anything runs: options of stages, vote and adapter."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from mg_adapt.recipe import check_options, check_type, overlay_options
from mg_adapt.run.settings import AdaptSettings
from mg_data.contract import AdapterSpec, StageSpec, UsageError

# A value of each type of a stage's parameters that a recipe's value is compared with.
_KINDS: Mapping[str, Any] = {"int": 0, "float": 0.0, "bool": False, "str": "", "path": ""}


def check_table(spec: StageSpec, where: str, table: Mapping[str, Any], taken: Container[str]) -> None:
    """Raise UsageError for options that a stage does not have, that the run itself gives, or of a wrong type.

    Args:
        table: options of the stage from a recipe, which messages call ``where``. taken: names of those that
            the run gives itself.
    """
    known = {param.name: param for param in spec.params if param.name not in taken}
    check_options(table, known, where)
    for name, value in table.items():
        param = known[name]
        if param.choices and value not in param.choices:
            raise UsageError(f"{where} {name}: found {value!r}, wanted one of {', '.join(param.choices)}")
        if param.type in _KINDS and not param.multiple and value is not None:
            check_type(value, _KINDS[param.type], f"{where} {name}")


def check_vote(fuse: Mapping[str, Any], adapt: AdaptSettings) -> None:
    """Raise UsageError for a vote of ``[fuse]`` that the loop cannot go on from."""
    fuser = fuse.get("fuser", "soft-vote")
    if fuser != "soft-vote":
        raise UsageError(
            f"[fuse] fuser = {fuser!r}: the loop is built on the soft vote; [ablation] compares others"
        )
    if fuse.get("calibrate") == "per-model" and adapt.rounds:
        raise UsageError(
            "[fuse] calibrate = 'per-model': pseudo-labels are made of a vote at one temperature; take "
            "'grid' or 'nll', or [adapt] rounds = 0"
        )


def check_adapter(spec: AdapterSpec, adapt: AdaptSettings) -> None:
    """Raise UsageError for options that the adapter does not have, or alpha out of range."""
    given = {"threshold": adapt.threshold} if "threshold" in spec.options else {}
    overlay_options(spec.options, [given, adapt.options], f"[adapt] adapter '{adapt.adapter}'")
    if given and not 0 <= adapt.threshold < 1:
        raise UsageError(f"[adapt] threshold must lie in [0, 1), found {adapt.threshold:g}")
