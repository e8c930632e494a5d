"""Records that mg-fusion contributes. Imports the contract and nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import CommandSpec, FuserSpec, StageSpec, hookimpl
from mg_fusion.records import FUSERS, STAGES
from mg_fusion.records_compare import COMPARE
from mg_fusion.records_scores import CALIBRATE, COMMANDS


@hookimpl
def mg_register_fusers() -> Iterable[FuserSpec]:
    """Means, votes and ranks; stacking, weights by class, model averaging."""
    return FUSERS


@hookimpl
def mg_register_stages() -> Iterable[StageSpec]:
    """Fuse, calibrate, score, submit, report."""
    return (*STAGES, CALIBRATE)


@hookimpl
def mg_register_commands() -> Iterable[CommandSpec]:
    """Conversion of score files, check of submissions, comparison of runs."""
    return (*COMMANDS, COMPARE)
