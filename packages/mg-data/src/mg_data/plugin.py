"""Records that mg-data contributes. Imports the contract and light record modules, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.cli.records import COMMANDS
from mg_data.contract import (
    CommandSpec,
    DatasetSpec,
    LayoutSpec,
    ModalitySpec,
    StageSpec,
    hookimpl,
)


@hookimpl
def mg_register_datasets() -> Iterable[DatasetSpec]:
    from mg_data.datasets.records import DATASETS

    return DATASETS


@hookimpl
def mg_register_layouts() -> Iterable[LayoutSpec]:
    from mg_data.keypoints.records import LAYOUTS

    return LAYOUTS


@hookimpl
def mg_register_modalities() -> Iterable[ModalitySpec]:
    from mg_data.keypoints.records import MODALITIES

    return MODALITIES


@hookimpl
def mg_register_stages() -> Iterable[StageSpec]:
    from mg_data.prepare.records import STAGES

    return STAGES


@hookimpl
def mg_register_commands() -> Iterable[CommandSpec]:
    from mg_data.prepare.records import COMMANDS as PREPARE_COMMANDS

    return (*COMMANDS, *PREPARE_COMMANDS)
