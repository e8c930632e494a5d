"""Stacking: a classifier on top of the models' scores, fitted on labelled clips.

The paper's comparison (section 4.4): with some hundred clips it learns them by heart and loses on others. The
cross-fitted metrics beside every fit show by how much. A class without a clip to fit on is never answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mg_fusion.calibration import check_labels
from mg_fusion.checks import fitted_array, fitted_table, positive, whole
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.minimise import fit_linear
from mg_fusion.vote import BoolArray, FloatArray, check_scores, softmax

LOGISTIC, LIGHTGBM = "stacking-logistic", "stacking-lightgbm"


def stacking_features(scores: FloatArray, mask: BoolArray, absent: float = 0.0) -> FloatArray:
    """Return (N, M K) log-probabilities of all models, centred for each model and clip.

    Centred, equal scores give 0, so 0 for a model that does not answer says: it knows nothing.
    """
    centred = scores - scores.mean(axis=2, keepdims=True)
    centred = np.where(mask[:, :, None], centred, absent)
    return np.asarray(centred.transpose(1, 0, 2).reshape(scores.shape[1], -1))


def _spread(probs: FloatArray, seen: FloatArray, classes: int, fuser: str) -> FloatArray:
    """Return (N, K) from the probabilities of the classes that were seen."""
    place = seen.astype(np.int64)
    if (
        (place != seen).any()
        or len(np.unique(place)) != len(place)
        or place.min() < 0
        or place.max() >= classes
    ):
        raise ScoresError(
            f"fuser '{fuser}': fitted 'classes' are not different indices of {classes}; fit again"
        )
    result = np.zeros((len(probs), classes))
    result[:, place] = probs
    return result


def stacking_logistic(
    logits: FloatArray, present: BoolArray, *, fitted: Mapping[str, Any] | None = None
) -> FloatArray:
    """Softmax regression over the centred log-probabilities of all models."""
    scores, mask = check_scores(logits, present)
    table = fitted_table(fitted, LOGISTIC)
    seen = fitted_array(table, "classes", (-1,), LOGISTIC)
    if not len(seen):
        raise ScoresError(f"fuser '{LOGISTIC}': fitted 'classes' is empty; fit again")
    matrix = fitted_array(table, "weights", (len(seen), scores.shape[0] * scores.shape[2]), LOGISTIC)
    bias = fitted_array(table, "bias", (len(seen),), LOGISTIC)
    probs = softmax(stacking_features(scores, mask) @ matrix.T + bias)
    return _spread(probs, seen, scores.shape[2], LOGISTIC)


def fit_stacking_logistic(
    logits: FloatArray, labels: ArrayLike, present: BoolArray, *, inverse_penalty: float = 1.0
) -> dict[str, Any]:
    """Fit the softmax regression: sum_n NLL + |W|^2 / (2 C), the intercepts free.

    The same optimum as scikit-learn's LogisticRegression of that C, without needing it.

    Args:
        inverse_penalty: C > 0.
    """
    scores, mask = check_scores(logits, present)
    truth = check_labels(labels, *scores.shape[1:])
    seen, place = np.unique(truth, return_inverse=True)
    matrix, bias = fit_linear(
        stacking_features(scores, mask),
        place,
        classes=len(seen),
        ridge=1 / positive(inverse_penalty, "inverse_penalty"),
    )
    # Only differences of intercepts matter: their mean is set to 0, so that equal fits are equal files.
    bias = bias - bias.mean()
    return {
        "classes": seen.tolist(),
        "weights": matrix.tolist(),
        "bias": bias.tolist(),
        "inverse_penalty": float(inverse_penalty),
    }


def _lightgbm() -> Any:
    if find_spec("lightgbm") is None:
        raise SettingError(
            f"fuser '{LIGHTGBM}' needs lightgbm, which is not installed: pip install 'mg-fusion[stacking]'"
        )
    import lightgbm

    return lightgbm


def stacking_lightgbm(
    logits: FloatArray, present: BoolArray, *, fitted: Mapping[str, Any] | None = None
) -> FloatArray:
    """Boosted trees over the centred log-probabilities of all models; a missing model is a missing value.

    The trees are read by LightGBM itself: take parameters from those you trust.

    Raises:
        SettingError: lightgbm is not installed. ScoresError: parameters it cannot read.
    """
    scores, mask = check_scores(logits, present)
    table = fitted_table(fitted, LIGHTGBM)
    seen = fitted_array(table, "classes", (-1,), LIGHTGBM)
    features = stacking_features(scores, mask, absent=np.nan)
    if len(seen) == 1:
        return _spread(np.ones((len(features), 1)), seen, scores.shape[2], LIGHTGBM)
    lightgbm = _lightgbm()
    text = table.get("trees")
    if not isinstance(text, str) or not text.startswith("tree\n"):
        raise ScoresError(f"fuser '{LIGHTGBM}': fitted 'trees' is no LightGBM model; fit again")
    try:
        booster = lightgbm.Booster(model_str=text)
        probs = np.asarray(booster.predict(features, num_threads=1), dtype=np.float64)
    except lightgbm.basic.LightGBMError as error:
        raise ScoresError(
            f"fuser '{LIGHTGBM}': LightGBM refuses the fitted trees: {error}; fit again"
        ) from None
    if probs.shape != (len(features), len(seen)):
        raise ScoresError(
            f"fuser '{LIGHTGBM}': the fitted trees answer with shape {probs.shape}, wanted "
            f"{(len(features), len(seen))}; fit again"
        )
    return _spread(probs / probs.sum(axis=1, keepdims=True), seen, scores.shape[2], LIGHTGBM)


def fit_stacking_lightgbm(
    logits: FloatArray,
    labels: ArrayLike,
    present: BoolArray,
    *,
    rounds: int = 100,
    learning_rate: float = 0.1,
    leaves: int = 31,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, Any]:
    """Fit boosted trees with LightGBM's defaults (100 rounds of 0.1, 31 leaves); deterministic.

    Raises:
        SettingError: lightgbm is not installed.
    """
    scores, mask = check_scores(logits, present)
    truth = check_labels(labels, *scores.shape[1:])
    settings = {
        "objective": "multiclass",
        "learning_rate": positive(learning_rate, "learning_rate"),
        "num_leaves": whole(leaves, "leaves", 2),
        "seed": whole(seed, "seed", 0),
        "num_threads": whole(threads, "threads", 1),
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    count = whole(rounds, "rounds", 1)
    lightgbm = _lightgbm()
    seen, place = np.unique(truth, return_inverse=True)
    trees = ""
    if len(seen) > 1:  # of one class there is nothing to learn
        data = lightgbm.Dataset(stacking_features(scores, mask, absent=np.nan), label=place)
        booster = lightgbm.train({**settings, "num_class": len(seen)}, data, num_boost_round=count)
        trees = booster.model_to_string()
    return {
        "classes": seen.tolist(),
        "trees": trees,
        "rounds": count,
        "learning_rate": float(learning_rate),
        "leaves": leaves,
        "lightgbm": str(lightgbm.__version__),
    }
