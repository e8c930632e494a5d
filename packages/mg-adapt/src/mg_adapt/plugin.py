"""Records that mg-adapt contributes. Imports the contract and light record modules, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_adapt.records import ADAPTERS, LOSSES, STAGES
from mg_adapt.run.records import COMMANDS
from mg_data.contract import AdapterSpec, CommandSpec, LossSpec, StageSpec, hookimpl


@hookimpl
def mg_register_losses() -> Iterable[LossSpec]:
    """Return the losses of paper 3.2 and plain cross-entropy."""
    return LOSSES


@hookimpl
def mg_register_adapters() -> Iterable[AdapterSpec]:
    """Return the adapters."""
    return ADAPTERS


@hookimpl
def mg_register_stages() -> Iterable[StageSpec]:
    """Return train, predict and adapt."""
    return STAGES


@hookimpl
def mg_register_commands() -> Iterable[CommandSpec]:
    """Return ``mg run``."""
    return COMMANDS
