"""Bayesian model averaging: a model's weight is the probability that it is the one that made the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.calibration import check_labels, fit_temperature
from mg_fusion.checks import fitted_array, fitted_table, positive, whole
from mg_fusion.fusers.votes import shares_of
from mg_fusion.vote import BoolArray, FloatArray, check_scores, check_temperature, softmax

NAME = "bayesian-average"


def bayesian_average(
    logits: FloatArray, present: BoolArray, *, fitted: Mapping[str, Any] | None = None
) -> FloatArray:
    """Return sum_m p(m | fit clips) softmax(L_m / tau_m), with each model's own fitted tau."""
    scores, mask = check_scores(logits, present)
    table = fitted_table(fitted, NAME)
    weights = fitted_array(table, "weights", (len(scores),), NAME)
    taus = fitted_array(table, "temperatures", (len(scores),), NAME)
    # A model of next to no weight still answers where no other does.
    shares = shares_of(np.maximum(weights, 1e-100).tolist(), mask)
    return np.asarray(
        sum(
            share[:, None] * softmax(values, check_temperature(tau))
            for share, values, tau in zip(shares, scores, taus, strict=True)
        )
    )


def fit_bayesian_average(
    logits: FloatArray,
    labels: ArrayLike,
    present: BoolArray,
    *,
    power: float = 1.0,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Weigh each model by its likelihood on the fit clips, all models being equally likely beforehand.

    With power 1 and some hundred clips nearly all weight goes to the best model: averaging over models asks
    which one is true, not which mixture is best. A power below 1 counts the clips as fewer, as clips of one
    video are. With ``bootstrap`` the weights are averaged over that many Bayesian bootstraps of the clips
    (Yao et al. 2018, "pseudo-BMA+"), which says how sure the comparison is. A clip that a model does not
    answer counts as uniform.

    Args:
        power: exponent of the likelihood, >= 0; 0 gives equal weights.
        bootstrap: number of resamples, 0 for none. seed: of the generator made here.
    """
    scores, mask = check_scores(logits, present)
    _, rows, classes = scores.shape
    truth = check_labels(labels, rows, classes)
    exponent, rounds = positive(power, "power", zero=True), whole(bootstrap, "bootstrap", 0)
    taus, densities = [], []
    for values, known in zip(scores, mask, strict=True):
        tau = fit_temperature(values[known], truth[known]) if known.any() else 1.0
        right = softmax(values, tau)[np.arange(rows), truth]
        taus.append(tau)
        densities.append(np.log(np.maximum(np.where(known, right, 1 / classes), 1e-300)))
    density = np.stack(densities)
    if rounds:
        drawn = np.random.default_rng(whole(seed, "seed", 0)).dirichlet(np.ones(rows), size=rounds) * rows
        weights = softmax(exponent * (drawn @ density.T)).mean(axis=0)
    else:
        weights = softmax(exponent * density.sum(axis=1))
    return {
        "weights": weights.tolist(),
        "temperatures": taus,
        "log_likelihood": density.sum(axis=1).tolist(),
        "power": exponent,
        "bootstrap": rounds,
    }
