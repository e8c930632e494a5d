"""Records that mg-fusion contributes. Imports the contract and nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import FuserSpec, StageSpec, hookimpl
from mg_fusion.records import FUSERS, STAGES


@hookimpl
def mg_register_fusers() -> Iterable[FuserSpec]:
    """Soft vote, geometric mean, majority."""
    return FUSERS


@hookimpl
def mg_register_stages() -> Iterable[StageSpec]:
    """Fuse, score, submit, report."""
    return STAGES
