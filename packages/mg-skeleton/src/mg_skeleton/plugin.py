"""What mg-skeleton contributes. Imports the contract and records, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import CommandSpec, ModelSpec, hookimpl
from mg_skeleton.records import COMMANDS, MODELS


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    """Return the models over keypoints."""
    return MODELS


@hookimpl
def mg_register_commands() -> Iterable[CommandSpec]:
    """Return the commands about models that need their code."""
    return COMMANDS
