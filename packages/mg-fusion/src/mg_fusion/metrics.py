"""What a set of probabilities is worth against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError
from mg_fusion.calibration import check_labels, check_probs, expected_calibration_error
from mg_fusion.vote import FloatArray

# A probability below this counts as this in the NLL, as when stores of probabilities are read.
SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationMetrics:
    """Result of :func:`classification_metrics`; shares are in [0, 1].

    Args:
        n: number of clips.
        accuracy: top-1; with one label a clip this is the micro-averaged F1.
        macro_f1: mean F1 over the classes that occur in the truth.
        mean_class_accuracy: mean recall over the classes that occur in the truth.
        nll: mean -log p(truth), natural logarithm. brier: mean sum_c (p_c - [c = truth])^2, in [0, 2].
        ece: expected calibration error, 15 equal bins.
        f1, precision, recall: (K,), 0 where undefined. support, predicted: (K,) clips of that truth, of
            that answer.
        confusion: (K, K) int64, rows are the truth, columns the answer.
    """

    n: int
    accuracy: float
    macro_f1: float
    mean_class_accuracy: float
    nll: float
    brier: float
    ece: float
    f1: FloatArray
    precision: FloatArray
    recall: FloatArray
    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confusion: NDArray[np.int64]

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """Return a JSON value; ``per_class`` has one object a class, by index and name.

        Raises:
            DataError: the number of names is not the number of classes.
        """
        names = list(class_names) or [str(index) for index in range(len(self.f1))]
        if len(names) != len(self.f1):
            raise DataError(f"class names: found {len(names)}, wanted {len(self.f1)}")
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "micro_f1": self.accuracy,
            "macro_f1": self.macro_f1,
            "mean_class_accuracy": self.mean_class_accuracy,
            "nll": self.nll,
            "brier": self.brier,
            "ece": self.ece,
            "per_class": [
                {
                    "index": index,
                    "name": name,
                    "f1": float(self.f1[index]),
                    "precision": float(self.precision[index]),
                    "recall": float(self.recall[index]),
                    "support": int(self.support[index]),
                    "predicted": int(self.predicted[index]),
                }
                for index, name in enumerate(names)
            ],
            "confusion": self.confusion.tolist(),
        }


def classification_metrics(probs: ArrayLike, labels: ArrayLike) -> ClassificationMetrics:
    """Measure probabilities against the truth (paper section 4.1: top-1 accuracy = micro F1).

    Macro-F1 and mean class accuracy average over the classes that occur in the truth: a class without a clip
    has no recall, and counting its F1 as 0 would let the choice of test clips change the number. (An answer
    of such a class still counts against the precision of nothing and the recall of the true class.)

    Args:
        probs: (N, K), rows sum to 1. labels: (N,) in 0..K-1.

    Raises:
        DataError: wrong shapes, no clip, values that are no probabilities, labels out of range.
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    rows, classes = values.shape
    answer = values.argmax(axis=1)
    confusion = np.bincount(truth * classes + answer, minlength=classes * classes).reshape(classes, classes)
    right = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = support > 0
    f1 = 2 * right / np.maximum(support + predicted, 1)
    recall = right / np.maximum(support, 1)
    target = values[np.arange(rows), truth]
    return ClassificationMetrics(
        n=rows,
        accuracy=float(right.sum() / rows),
        macro_f1=float(f1[seen].mean()),
        mean_class_accuracy=float(recall[seen].mean()),
        nll=float(-np.log(np.maximum(target, SMALLEST_PROBABILITY)).mean()),
        brier=float(((values**2).sum(axis=1) - 2 * target + 1).mean()),
        ece=expected_calibration_error(values, truth),
        f1=f1,
        precision=right / np.maximum(predicted, 1),
        recall=recall,
        support=support.astype(np.int64),
        predicted=predicted.astype(np.int64),
        confusion=confusion.astype(np.int64),
    )
