"""What plugins and sibling packages may rely on. Imports nothing else of mg_data, and nothing heavy.

The objects of :mod:`mg_data.contract.runtime` are loaded when one of them is asked for: a plugin's records
need none, and every start of ``mg`` reads the records of all plugins.
"""

from typing import TYPE_CHECKING, Any

from mg_data.contract.errors import (
    DataError,
    MgError,
    PluginError,
    StoreError,
    TaintError,
    UsageError,
)
from mg_data.contract.hookspecs import hookimpl
from mg_data.contract.specs import (
    AdapterSpec,
    CommandSpec,
    DatasetSpec,
    FuserSpec,
    LayoutSpec,
    LossSpec,
    ModalitySpec,
    ModelSpec,
    Param,
    ParamRole,
    ParamType,
    PoseEstimatorSpec,
    StageSpec,
    TrackerSpec,
    WeightsSpec,
)
from mg_data.contract.version import CONTRACT_VERSION, ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from mg_data.contract.runtime import (
        ClipSource,
        Console,
        DatasetImport,
        Dropped,
        FrameSource,
        InputSpec,
        Loss,
        Modality,
        ModelOutput,
        PoseEstimator,
        Progress,
        PseudoLabels,
        RawClip,
        StageResult,
        TargetScores,
        Tracker,
    )

__all__ = [
    "CONTRACT_VERSION",
    "ENTRY_POINT_GROUP",
    "AdapterSpec",
    "ClipSource",
    "CommandSpec",
    "Console",
    "DataError",
    "DatasetImport",
    "DatasetSpec",
    "Dropped",
    "FrameSource",
    "FuserSpec",
    "InputSpec",
    "LayoutSpec",
    "Loss",
    "LossSpec",
    "MgError",
    "Modality",
    "ModalitySpec",
    "ModelOutput",
    "ModelSpec",
    "Param",
    "ParamRole",
    "ParamType",
    "PluginError",
    "PoseEstimator",
    "PoseEstimatorSpec",
    "Progress",
    "PseudoLabels",
    "RawClip",
    "StageResult",
    "StageSpec",
    "StoreError",
    "TaintError",
    "TargetScores",
    "Tracker",
    "TrackerSpec",
    "UsageError",
    "WeightsSpec",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mg_data.contract import runtime

    return getattr(runtime, name)


def __dir__() -> list[str]:
    return sorted(__all__)
