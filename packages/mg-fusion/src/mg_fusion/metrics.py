"""What a set of probabilities is worth against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_fusion.calibration import (
    check_labels,
    check_probs,
    classwise_calibration_error,
    confidence_gap,
)
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.vote import BoolArray, FloatArray, as_numbers

# A probability below this counts as this in the NLL, as when stores of probabilities are read.
SMALLEST_PROBABILITY = 1e-12
# The k of top-k accuracy.
TOP_K = (1, 3, 5)
GROUPS = ("head", "medium", "tail", "empty")


def class_groups(counts: ArrayLike) -> NDArray[np.str_]:
    """Return (K,) the group of each class by its number of clips: head, medium, tail, or empty.

    With n the largest class's count, a class of the head has at least n / 5 clips, one of the tail fewer than
    n / 50, an empty one none: the thresholds of ``mg data stats``.

    Args:
        counts: (K,) clips of each class, usually of the training part.

    >>> class_groups([100, 20, 19, 2, 1, 0]).tolist()
    ['head', 'head', 'medium', 'medium', 'tail', 'empty']
    """
    from mg_data.labels import HEAD_SHARE, TAIL_SHARE

    values = np.asarray(counts, dtype=np.int64)
    largest = values.max(initial=0)
    return np.select(
        [values == 0, values >= HEAD_SHARE * largest, values < TAIL_SHARE * largest],
        ["empty", "head", "tail"],
        "medium",
    )


def top_k_accuracy(probs: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Return the share of clips whose truth is among the k most probable classes.

    Of equal probabilities the class of smaller index is more probable, as for the answer itself.

    >>> top_k_accuracy([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2], 2)
    0.5
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    if k < 1:
        raise SettingError(f"top-k: found k = {k}, wanted at least 1")
    return float((_more_probable(values, truth) < k).mean())


def _more_probable(values: FloatArray, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) how many classes are more probable than the truth."""
    own = values[np.arange(len(truth)), truth][:, None]
    before = values == own
    before &= np.arange(values.shape[1]) < truth[:, None]
    before |= values > own
    return np.asarray(np.count_nonzero(before, axis=1), dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassificationMetrics:
    """Result of :func:`classification_metrics`; shares are in [0, 1].

    Args:
        n: number of clips.
        accuracy: top-1; with one label a clip this is the micro-averaged F1.
        macro_f1: mean F1 over the classes that occur in the truth.
        macro_f1_all: mean F1 over all K classes, 0 for a class that neither occurs nor is answered.
        mean_class_accuracy: mean recall over the classes that occur in the truth.
        mean_class_accuracy_all: mean recall over all K classes, 0 for one that does not occur.
        top_k: k -> share of clips whose truth is among the k most probable classes.
        nll: mean -log p(truth), natural logarithm. brier: mean sum_c (p_c - [c = truth])^2, in [0, 2].
        ece: expected calibration error, 15 bins of equal width; ece_mass: of equally many clips.
        classwise_ece: mean over all K classes of the gap of that class, 15 bins of equal width.
        f1, precision, recall: (K,), 0 where undefined. support, predicted: (K,) clips of that truth, of
            that answer.
        confusion: (K, K) int64, rows are the truth, columns the answer.
        groups: head, medium, tail -> classes, clips, accuracy and means of the group's classes and clips.
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
    macro_f1_all: float
    mean_class_accuracy_all: float
    ece_mass: float
    classwise_ece: float
    top_k: Mapping[int, float]
    groups: Mapping[str, Mapping[str, Any]]

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """Return a JSON value; ``per_class`` has one object a class, by index and name.

        Raises:
            ScoresError: the number of names is not the number of classes.
        """
        names = list(class_names) or [str(index) for index in range(len(self.f1))]
        if len(names) != len(self.f1):
            raise ScoresError(f"class names: found {len(names)}, wanted {len(self.f1)}")
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "micro_f1": self.accuracy,
            "macro_f1": self.macro_f1,
            "macro_f1_all": self.macro_f1_all,
            "mean_class_accuracy": self.mean_class_accuracy,
            "mean_class_accuracy_all": self.mean_class_accuracy_all,
            "top_k": {str(k): value for k, value in self.top_k.items()},
            "nll": self.nll,
            "brier": self.brier,
            "ece": self.ece,
            "ece_mass": self.ece_mass,
            "classwise_ece": self.classwise_ece,
            "groups": {name: dict(row) for name, row in self.groups.items()},
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


def _nll(target: FloatArray) -> float:
    """Return the mean -log p of (N,) probabilities of the truth: 0, and not -0, where all are 1."""
    return float(0.0 - np.log(np.maximum(target, SMALLEST_PROBABILITY)).mean())


def _group_rows(
    truth: NDArray[np.int64],
    target: FloatArray,
    confidence: FloatArray,
    right: BoolArray,
    groups: NDArray[np.str_],
    by_class: Mapping[str, FloatArray],
) -> dict[str, dict[str, Any]]:
    """Return the metrics of each group of classes that has a class: of its clips and of its classes.

    Args:
        truth, target, confidence, right: (N,) of each clip: its class, the probability of that, the highest
            probability, and whether the answer is right.
        groups: (K,). by_class: (K,) ``f1``, ``recall`` and ``classwise``, the calibration error.
    """
    rows: dict[str, dict[str, Any]] = {}
    seen = np.bincount(truth, minlength=len(groups)) > 0
    for name in GROUPS:
        members = groups == name
        if not members.any():
            continue
        clips = members[truth]
        both = members & seen
        rows[name] = {
            "classes": int(members.sum()),
            "n": int(clips.sum()),
            "accuracy": float(right[clips].mean()) if clips.any() else None,
            "macro_f1": float(by_class["f1"][both].mean()) if both.any() else None,
            "mean_class_accuracy": float(by_class["recall"][both].mean()) if both.any() else None,
            "nll": _nll(target[clips]) if clips.any() else None,
            "ece": confidence_gap(confidence[clips], right[clips]) if clips.any() else None,
            "classwise_ece": float(by_class["classwise"][members].mean()),
        }
    return rows


def _check_counts(class_counts: ArrayLike, classes: int) -> FloatArray:
    """Return (K,) whole numbers of at least 0."""
    sizes = as_numbers(class_counts, "class counts")
    if sizes.shape != (classes,):
        raise ScoresError(f"class counts: found shape {sizes.shape}, wanted ({classes},)")
    wrong = sizes[~((sizes >= 0) & (sizes < 2**53) & (sizes % 1 == 0))]
    if len(wrong):
        raise ScoresError(f"class counts: found {wrong[0]:g}, wanted numbers of clips, whole and at least 0")
    return sizes


def classification_metrics(
    probs: ArrayLike, labels: ArrayLike, *, class_counts: ArrayLike | None = None
) -> ClassificationMetrics:
    """Measure probabilities against the truth (paper section 4.1: top-1 accuracy = micro F1).

    Macro-F1 and mean class accuracy average over the classes that occur in the truth: a class without a clip
    has no recall, and counting its F1 as 0 would let the choice of test clips change the number. (An answer
    of such a class still counts against the precision of nothing and the recall of the true class.) The other
    convention, over all K classes, is there under names that end in ``_all``.

    Args:
        probs: (N, K), rows sum to 1. labels: (N,) in 0..K-1.
        class_counts: (K,) training clips of each class, which decide what is head, medium and tail; by
            default the clips measured here do.

    Raises:
        ScoresError: wrong shapes, no clip, values that are no probabilities, labels out of range, counts that
            are none.
    """
    values = check_probs(probs)
    truth = check_labels(labels, *values.shape)
    rows, classes = values.shape
    answer = values.argmax(axis=1)
    confusion = np.bincount(truth * classes + answer, minlength=classes * classes).reshape(classes, classes)
    hits = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    seen = support > 0
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    recall = hits / np.maximum(support, 1)
    target, confidence, right = values[np.arange(rows), truth], values.max(axis=1), answer == truth
    classwise = classwise_calibration_error(values, truth)
    before = _more_probable(values, truth)
    by_class = {"f1": f1, "recall": recall, "classwise": classwise}
    sizes = support if class_counts is None else _check_counts(class_counts, classes)
    return ClassificationMetrics(
        n=rows,
        accuracy=float(hits.sum() / rows),
        macro_f1=float(f1[seen].mean()),
        mean_class_accuracy=float(recall[seen].mean()),
        nll=_nll(target),
        brier=float((np.einsum("nk,nk->n", values, values) - 2 * target + 1).mean()),
        ece=confidence_gap(confidence, right),
        ece_mass=confidence_gap(confidence, right, scheme="mass"),
        classwise_ece=float(classwise.mean()),
        macro_f1_all=float(f1.mean()),
        mean_class_accuracy_all=float(recall.mean()),
        top_k={k: float((before < k).mean()) for k in TOP_K if k == 1 or k < classes},
        groups=_group_rows(truth, target, confidence, right, class_groups(sizes), by_class),
        f1=f1,
        precision=hits / np.maximum(predicted, 1),
        recall=recall,
        support=support.astype(np.int64),
        predicted=predicted.astype(np.int64),
        confusion=confusion.astype(np.int64),
    )
