"""Calibration, temperature-scaled voting, search, metrics, submission and report.

Public names are loaded on first use, so that importing the package brings neither numpy nor h5py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mg_fusion.calibration import expected_calibration_error, fit_temperature, reliability
    from mg_fusion.errors import ScoresError, SettingError
    from mg_fusion.metrics import ClassificationMetrics, classification_metrics
    from mg_fusion.search import fit_soft_vote
    from mg_fusion.stores import FusedScores, JoinedScores, fuse_stores, join_stores
    from mg_fusion.streaming import StreamedFusion, fuse_to_store
    from mg_fusion.table import results_table
    from mg_fusion.vote import SoftVote, soft_vote

__version__ = "0.1.0"

_HOMES = {
    "calibration": ("expected_calibration_error", "fit_temperature", "reliability"),
    "errors": ("ScoresError", "SettingError"),
    "metrics": ("ClassificationMetrics", "classification_metrics"),
    "search": ("fit_soft_vote",),
    "stores": ("FusedScores", "JoinedScores", "fuse_stores", "join_stores"),
    "streaming": ("StreamedFusion", "fuse_to_store"),
    "table": ("results_table",),
    "vote": ("SoftVote", "soft_vote"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ClassificationMetrics",
    "FusedScores",
    "JoinedScores",
    "ScoresError",
    "SettingError",
    "SoftVote",
    "StreamedFusion",
    "classification_metrics",
    "expected_calibration_error",
    "fit_soft_vote",
    "fit_temperature",
    "fuse_stores",
    "fuse_to_store",
    "join_stores",
    "reliability",
    "results_table",
    "soft_vote",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mg_fusion' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mg_fusion.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
