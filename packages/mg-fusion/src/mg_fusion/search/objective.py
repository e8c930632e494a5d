"""What a vote is worth for many weights at once, computed exactly on the few classes that can win.

A class that every model ranks below another one cannot win the vote, whatever the weights, and the order of
two classes within one model does not depend on the temperature. So the rivals of a clip are found once, and
for a typical clip there are two or three instead of K-1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mg_fusion.metrics import SMALLEST_PROBABILITY
from mg_fusion.vote import BoolArray, FloatArray, softmax

Metric = Literal["accuracy", "macro_f1", "nll"]
METRICS: tuple[Metric, ...] = ("accuracy", "macro_f1", "nll")
IntArray = NDArray[np.int64]

# Elements of the largest temporary array; keeps the search within some tens of megabytes.
_BLOCK = 4_000_000


def undominated(logits: FloatArray, present: BoolArray) -> BoolArray:
    """Return (N, K) bool: the classes that can win a vote for some weights >= 0.

    Class a rules class b out if every answering model scores a strictly higher, or none scores it lower and
    a has the smaller index (the answer is the first maximum).

    Args:
        logits: (M, N, K). present: (M, N).
    """
    models, clips, classes = logits.shape
    possible = np.ones((clips, classes), dtype=np.bool_)
    earlier = np.arange(classes)[:, None] < np.arange(classes)[None, :]
    step = max(1, _BLOCK // (classes * classes))
    for start in range(0, clips, step):
        rows = slice(start, start + step)
        above = np.ones((len(possible[rows]), classes, classes), dtype=np.bool_)
        not_below = above.copy()
        for model in range(models):
            block = logits[model, rows]
            silent = np.asarray(~present[model, rows])[:, None, None]
            above &= (block[:, :, None] > block[:, None, :]) | silent
            not_below &= (block[:, :, None] >= block[:, None, :]) | silent
        # ruled[n, a, b]: a rules b out. A clip that no model answers keeps its first class alone.
        answered = np.asarray(present[:, rows].any(axis=0))[:, None, None]
        ruled = (above & answered) | (not_below & earlier)
        possible[rows] = np.logical_not(ruled.any(axis=1))
    return np.asarray(possible)


@dataclass(frozen=True)
class Pairs:
    """Classes to compare, one pair a clip, for the first clips of an order.

    Args:
        rows: (R,) clips. one, other: (R,) classes.
    """

    rows: IntArray
    one: IntArray
    other: IntArray


class VoteObjective:
    """Metrics of the soft vote on labelled clips for (S, M) weights at one temperature.

    Args:
        logits: (M, N, K) finite, 0 where absent. labels: (N,) in 0..K-1. present: (M, N).
    """

    def __init__(self, logits: FloatArray, labels: IntArray, present: BoolArray) -> None:
        self.logits = logits
        self.labels = labels
        self.present = present
        self.models, self.clips, self.classes = logits.shape
        self.complete = bool(present.all())
        self.support = np.bincount(labels, minlength=self.classes)
        possible = undominated(logits, present)
        rows = np.arange(self.clips)
        # Clips with most candidates first: the r-th candidates are then those of the first clips, one block.
        self._order = np.argsort(-possible.sum(axis=1), kind="stable")
        self._candidates = _listed(possible[self._order])
        # Only clips whose truth can win, with another class that can win too, have to be counted.
        truth_possible = possible[rows, labels]
        alone = truth_possible & (possible.sum(axis=1) == 1)
        self.always_right = int(alone.sum())
        open_rows = np.flatnonzero(truth_possible & ~alone)
        rivals = possible[open_rows]
        rivals[np.arange(len(open_rows)), labels[open_rows]] = False
        sort = np.argsort(-rivals.sum(axis=1), kind="stable")
        self._open = open_rows[sort]
        self.open_clips = len(open_rows)
        self.truth_pairs = [
            Pairs(self._open[: len(column)], labels[self._open[: len(column)]], column)
            for column in _listed(rivals[sort])
        ]
        # Clips that more than one class can win, most classes first; the others' answer never changes.
        self.contested_clips = len(self._candidates[1]) if len(self._candidates) > 1 else 0
        self.contested = self._order[: self.contested_clips]
        self.contested_candidates = [column[: self.contested_clips] for column in self._candidates]

    @functools.cached_property
    def settled(self) -> IntArray:
        """(2 K,) right, then wrong answers by class of the clips that only one class can win."""
        rows = self._order[self.contested_clips :]
        answer = self._candidates[0][self.contested_clips :]
        cell = answer + np.where(answer == self.labels[rows], 0, self.classes)
        return np.bincount(cell, minlength=2 * self.classes).astype(np.int64)

    def leader(self, probs: FloatArray) -> IntArray:
        """Return the answer of equal weights for each contested clip."""
        return np.asarray(probs[:, self.contested].sum(axis=0).argmax(axis=1))

    @property
    def rival_share(self) -> float:
        """Share of the N (K-1) comparisons that are left."""
        left = sum(len(pairs.rows) for pairs in self.truth_pairs)
        return float(left / max(1, self.clips * (self.classes - 1)))

    def probabilities(self, temperature: float) -> FloatArray:
        """Return (M, N, K) probabilities at tau, 0 where absent."""
        probs = softmax(self.logits, temperature)
        return probs if self.complete else np.where(self.present[:, :, None], probs, 0.0)

    def truths(self, probs: FloatArray) -> FloatArray:
        """Return (M, N) the probability that each model gives the truth."""
        return np.asarray(probs[:, np.arange(self.clips), self.labels])

    def usable(self, weights: FloatArray) -> BoolArray:
        """Return (S,) bool: every clip is answered by a model of positive weight."""
        if self.complete:
            return np.ones(len(weights), dtype=np.bool_)
        return np.asarray(((weights @ np.unique(self.present, axis=1)) > 0).all(axis=1))

    def evaluate(self, metric: Metric, probs: FloatArray, weights: FloatArray) -> FloatArray:
        """Return (S,) values, larger is better (``nll`` negated); -inf where a clip is left unanswered.

        Args:
            probs: (M, N, K) of :meth:`probabilities`. weights: (S, M) >= 0, rows sum to 1.
        """
        values = np.empty(len(weights))
        # Columns of 256 settings keep the running arrays of all clips inside the processor's cache.
        step = min(256, max(1, _BLOCK // max(1, self.clips)))
        compute = {"accuracy": self._accuracy, "macro_f1": self._macro_f1, "nll": self._negative_nll}[metric]
        for start in range(0, len(weights), step):
            block = weights[start : start + step]
            values[start : start + step] = compute(probs, block)
        return np.where(self.usable(weights), values, -np.inf)

    def _accuracy(self, probs: FloatArray, weights: FloatArray) -> FloatArray:
        """Share of clips whose truth beats each rival: w . (P_y - P_c) > 0, or >= 0 if c comes later."""
        right = np.ones((self.open_clips, len(weights)), dtype=np.bool_)
        for pairs in self.truth_pairs:
            margin = (probs[:, pairs.rows, pairs.one] - probs[:, pairs.rows, pairs.other]).T @ weights.T
            later = pairs.other > pairs.one
            right[: len(later)] &= (margin > 0) | ((margin == 0) & later[:, None])
        return np.asarray((self.always_right + right.sum(axis=0)) / self.clips)

    def answers(self, probs: FloatArray, weights: FloatArray) -> IntArray:
        """Return (N, S) class indices."""
        answer = np.zeros((self.clips, len(weights)), dtype=np.int64)
        best = np.full((self.clips, len(weights)), -np.inf)
        for candidates in self._candidates:
            holders = len(candidates)
            score = probs[:, self._order[:holders], candidates].T @ weights.T
            better = score > best[:holders]
            best[:holders] = np.where(better, score, best[:holders])
            answer[:holders] = np.where(better, candidates[:, None], answer[:holders])
        unsorted = np.empty_like(answer)
        unsorted[self._order] = answer
        return unsorted

    def _macro_f1(self, probs: FloatArray, weights: FloatArray) -> FloatArray:
        answer = self.answers(probs, weights)
        settings = len(weights)
        columns = np.arange(settings)
        counted = np.bincount((answer * settings + columns).ravel(), minlength=self.classes * settings)
        predicted = counted.reshape(self.classes, settings)
        hit = answer == self.labels[:, None]
        cells = (answer * settings + columns)[hit]
        right = np.bincount(cells, minlength=self.classes * settings).reshape(self.classes, settings)
        support = self.support
        seen = support > 0
        f1 = 2 * right[seen] / np.maximum(predicted[seen] + support[seen, None], 1)
        return np.asarray(f1.mean(axis=0))

    def _negative_nll(self, probs: FloatArray, weights: FloatArray) -> FloatArray:
        score = weights @ self.truths(probs)
        if not self.complete:
            mass = weights @ self.present
            score = np.divide(score, mass, out=np.zeros_like(score), where=mass > 0)
        return np.asarray(np.log(np.maximum(score, SMALLEST_PROBABILITY)).mean(axis=1))


def _listed(chosen: BoolArray) -> list[IntArray]:
    """Return the first chosen class of each row, the second ... as far as rows have one.

    Args:
        chosen: (N, K), rows with most chosen classes first.
    """
    rank = np.cumsum(chosen, axis=1)
    columns = []
    for place in range(1, int(rank.max(initial=0)) + 1):
        holders = int((rank[:, -1] >= place).sum())
        columns.append((rank[:holders] >= place).argmax(axis=1).astype(np.int64))
    return columns


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to share ``total`` steps among ``parts`` models, in lexicographic order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in compositions(total - first, parts - 1):
            yield (first, *rest)
