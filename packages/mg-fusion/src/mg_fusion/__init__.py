"""Calibration, temperature-scaled voting, search, metrics, submission and report.

The public names are those of ``__all__``: within a major version they are added to, never changed or taken
away. Modules and everything else in them are the package's own business. Public names are loaded on first
use, so that importing the package brings neither numpy nor h5py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mg_fusion.calibration import (
        classwise_calibration_error,
        expected_calibration_error,
        fit_temperature,
        reliability,
    )
    from mg_fusion.calibrators import Calibrator, fit_calibrator
    from mg_fusion.compare import compare_results, mcnemar
    from mg_fusion.convert.names import NameMatch, match_names
    from mg_fusion.convert.read import ScoreFile, read_score_file
    from mg_fusion.convert.write import write_score_file
    from mg_fusion.errors import ScoresError, SettingError
    from mg_fusion.fusers.fitting import FittedFuser, fit_fuser
    from mg_fusion.intervals import metric_intervals
    from mg_fusion.metrics import ClassificationMetrics, classification_metrics, top_k_accuracy
    from mg_fusion.search.fit import fit_soft_vote
    from mg_fusion.stores import FusedScores, JoinedScores, fuse_stores, join_stores
    from mg_fusion.streaming import StreamedFusion, fuse_to_store
    from mg_fusion.submission import Submission, check_submission, read_submission, write_submission
    from mg_fusion.table import results_table
    from mg_fusion.veto import Vetoes, find_vetoes
    from mg_fusion.vote import SoftVote, soft_vote

__version__ = "1.0.0"

_HOMES = {
    "calibration": (
        "classwise_calibration_error",
        "expected_calibration_error",
        "fit_temperature",
        "reliability",
    ),
    "calibrators": ("Calibrator", "fit_calibrator"),
    "compare": ("compare_results", "mcnemar"),
    "convert.names": ("NameMatch", "match_names"),
    "convert.read": ("ScoreFile", "read_score_file"),
    "convert.write": ("write_score_file",),
    "errors": ("ScoresError", "SettingError"),
    "fusers.fitting": ("FittedFuser", "fit_fuser"),
    "intervals": ("metric_intervals",),
    "metrics": ("ClassificationMetrics", "classification_metrics", "top_k_accuracy"),
    "search.fit": ("fit_soft_vote",),
    "stores": ("FusedScores", "JoinedScores", "fuse_stores", "join_stores"),
    "streaming": ("StreamedFusion", "fuse_to_store"),
    "submission": ("Submission", "check_submission", "read_submission", "write_submission"),
    "table": ("results_table",),
    "veto": ("Vetoes", "find_vetoes"),
    "vote": ("SoftVote", "soft_vote"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Calibrator",
    "ClassificationMetrics",
    "FittedFuser",
    "FusedScores",
    "JoinedScores",
    "NameMatch",
    "ScoreFile",
    "ScoresError",
    "SettingError",
    "SoftVote",
    "StreamedFusion",
    "Submission",
    "Vetoes",
    "check_submission",
    "classification_metrics",
    "classwise_calibration_error",
    "compare_results",
    "expected_calibration_error",
    "find_vetoes",
    "fit_calibrator",
    "fit_fuser",
    "fit_soft_vote",
    "fit_temperature",
    "fuse_stores",
    "fuse_to_store",
    "join_stores",
    "match_names",
    "mcnemar",
    "metric_intervals",
    "read_score_file",
    "read_submission",
    "reliability",
    "results_table",
    "soft_vote",
    "top_k_accuracy",
    "write_score_file",
    "write_submission",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mg_fusion' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mg_fusion.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
