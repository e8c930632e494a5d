"""Built-in fusers: several models' logits -> probabilities. Registered through the hook like anyone's.

Each takes logits (M, N, K), present (M, N) and returns (N, K) rows that sum to 1. ``votes`` holds those that
need no labelled clips; the others have a ``fit_...`` beside them, whose result they take as ``fitted``.
"""

from mg_fusion.fusers.averaging import bayesian_average, fit_bayesian_average
from mg_fusion.fusers.classwise import class_weights, fit_class_weights
from mg_fusion.fusers.loglinear import fit_log_linear, log_linear
from mg_fusion.fusers.stacking import (
    fit_stacking_lightgbm,
    fit_stacking_logistic,
    stacking_lightgbm,
    stacking_logistic,
)
from mg_fusion.fusers.votes import log_mean, majority, rank, soft_vote

__all__ = [
    "bayesian_average",
    "class_weights",
    "fit_bayesian_average",
    "fit_class_weights",
    "fit_log_linear",
    "fit_stacking_lightgbm",
    "fit_stacking_logistic",
    "log_linear",
    "log_mean",
    "majority",
    "rank",
    "soft_vote",
    "stacking_lightgbm",
    "stacking_logistic",
]
