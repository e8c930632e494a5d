"""Records that mg-adapt contributes. Imports the contract and light record modules, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_adapt.records import ADAPTERS, LOSSES, STAGES, TRACKERS
from mg_adapt.records_target import TARGET_STAGES
from mg_adapt.run.records import COMMANDS
from mg_adapt.watch.records import COMMANDS as WATCH
from mg_data.contract import AdapterSpec, CommandSpec, LossSpec, StageSpec, TrackerSpec, hookimpl


@hookimpl
def mg_register_losses() -> Iterable[LossSpec]:
    """Return the losses of paper 3.2, plain cross-entropy, and other losses for a long tail."""
    return LOSSES


@hookimpl
def mg_register_adapters() -> Iterable[AdapterSpec]:
    """Return the adapters."""
    return ADAPTERS


@hookimpl
def mg_register_trackers() -> Iterable[TrackerSpec]:
    """Return the TensorBoard tracker."""
    return TRACKERS


@hookimpl
def mg_register_stages() -> Iterable[StageSpec]:
    """Return train, predict, adapt, shot, dann and folds."""
    return (*STAGES, *TARGET_STAGES)


@hookimpl
def mg_register_commands() -> Iterable[CommandSpec]:
    """Return ``mg run``, ``mg ablate`` and ``mg watch``."""
    return (*COMMANDS, *WATCH)
