"""The hooks of the project, one line each. A plugin implements those it has something for.

Each hook takes no argument and returns an iterable of records; the observer alone is told something.
Implementations must not give their arguments defaults.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from mg_data.contract.specs import (
    AdapterSpec,
    CommandSpec,
    DatasetSpec,
    FuserSpec,
    LayoutSpec,
    LossSpec,
    ModalitySpec,
    ModelSpec,
    PoseEstimatorSpec,
    StageSpec,
    TrackerSpec,
)
from mg_data.contract.version import PROJECT_NAME

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def mg_register_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Return importers: raw tree -> clips store and labels."""


@hookspec
def mg_register_layouts() -> Iterable[LayoutSpec]:  # type: ignore[empty-body]
    """Return named keypoint schemas."""


@hookspec
def mg_register_pose_estimators() -> Iterable[PoseEstimatorSpec]:  # type: ignore[empty-body]
    """Return pose estimators: video -> keypoints."""


@hookspec
def mg_register_modalities() -> Iterable[ModalitySpec]:  # type: ignore[empty-body]
    """Return modalities: stored clip -> array for a model."""


@hookspec
def mg_register_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Return trainable branches."""


@hookspec
def mg_register_losses() -> Iterable[LossSpec]:  # type: ignore[empty-body]
    """Return classification or auxiliary losses."""


@hookspec
def mg_register_adapters() -> Iterable[AdapterSpec]:  # type: ignore[empty-body]
    """Return adapters: target scores -> pseudo-labels."""


@hookspec
def mg_register_fusers() -> Iterable[FuserSpec]:  # type: ignore[empty-body]
    """Return fusers: several models' scores -> probabilities."""


@hookspec
def mg_register_trackers() -> Iterable[TrackerSpec]:  # type: ignore[empty-body]
    """Return trackers: where training scalars go."""


@hookspec
def mg_register_stages() -> Iterable[StageSpec]:  # type: ignore[empty-body]
    """Return steps of ``mg run``; each is also a command."""


@hookspec
def mg_register_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Return further subcommands of ``mg``."""


@hookspec
def mg_store_written(path: str, kind: str, digest: str) -> None:
    """Observe a store, after it got its final name."""
