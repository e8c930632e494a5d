"""The best of all grid settings, found exactly without trying most of them.

Whether one class beats another in the vote is a linear function of the weights, so over a box of weights it
lies within a radius of its value in the middle. Clips whose outcome is the same all over the box are counted
once; a box that could not reach the best value found so far, even if all its other clips went its way, is
dropped whole; the rest are halved until they are single settings. What is dropped is never among the best,
so the set of best settings is the one that trying everything finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mg_fusion.search.objective import IntArray, Metric, VoteObjective
from mg_fusion.vote import BoolArray, FloatArray

# Metrics are counts divided by N, or means of such: closer than this is equal.
TOLERANCE = 1e-9
# Radii are widened by this much against rounding.
SLACK = 1e-12
# The first boxes are so many steps wide, or more if there are too many; powers of two, so that halving ends.
_FIRST_WIDTH = 4
_MOST_FIRST_BOXES = 500
# Pairs of (box, clip) judged at a time: bounds the memory at a few hundred megabytes.
_MOST_ENTRIES = 1_000_000
# Judges of all temperatures are kept between two looks if they have so few elements in all.
_MOST_KEPT = 16_000_000
# Fewer settings than this are simply tried.
_FEW_SETTINGS = 2_000


class Boxes:
    """Boxes of the first M-1 whole steps of weight; the last model takes the rest.

    Args:
        steps: (S, M) all settings, rows share one sum.
    """

    def __init__(self, steps: IntArray) -> None:
        self.steps = steps
        self.total = int(steps[0].sum())
        self._place = (self.total + 1) ** np.arange(steps.shape[1] - 1, dtype=np.int64)
        codes = steps[:, :-1] @ self._place
        self._order = np.argsort(codes)
        self._codes = codes[self._order]
        self._corners = np.array(list(np.ndindex(*(2,) * (steps.shape[1] - 1))), dtype=np.int64)

    def first(self) -> tuple[IntArray, int]:
        """Return (B, M-1) lowest corners that cover all settings, and the width of the boxes in steps."""
        width = _FIRST_WIDTH
        while True:
            corners = np.unique(self.steps[:, :-1] // width * width, axis=0)
            if len(corners) <= _MOST_FIRST_BOXES or width > self.total:
                return corners, width
            width *= 2

    def halves(self, width: int) -> IntArray:
        """Return (C, M-1): where the halves of a box of this width begin in it."""
        return self._corners * (width // 2)

    def weights(self, first: NDArray[Any]) -> FloatArray:
        """Return (B, M) weights of the first M-1 steps; the last may be negative at the simplex's edge."""
        return np.concatenate([first, self.total - first.sum(axis=1, keepdims=True)], axis=1) / self.total

    def samples(self, corners: IntArray, width: int) -> IntArray:
        """Return the rows of settings, one for each box, near its middle where there is one."""
        wanted = corners + width // 2
        outside = wanted.sum(axis=1) > self.total
        wanted[outside] = corners[outside]
        return np.unique(self.rows(wanted))

    def rows(self, first: IntArray) -> IntArray:
        """Return the rows of settings given by their first M-1 steps."""
        return np.asarray(self._order[np.searchsorted(self._codes, first @ self._place)])


@dataclass(frozen=True)
class Entries:
    """Open clips of parent boxes, sorted by clip; each is judged for every child of its parent.

    Args:
        box, clip: (E,) parent box and open clip. base: (B, M) weights of the parents.
        shifts: (C, M) what a child's middle differs from its parent's. half: of the children's width, in
            weight; 0 means that children are single settings.
        counts: (B, F) what the decided clips of the parents add up to.
    """

    box: IntArray
    clip: IntArray
    base: FloatArray
    shifts: FloatArray
    half: float
    counts: IntArray

    def cells(self) -> IntArray:
        """Return (E, C) numbers of the children."""
        size = len(self.shifts)
        return np.asarray((self.box * size)[:, None] + np.arange(size))

    def scores(self, gaps: FloatArray) -> FloatArray:
        """Return (R, C) w . gap for the entries of the first clips; ``gaps`` is (n, M) of the first n."""
        end = int(np.searchsorted(self.clip, len(gaps)))
        who = self.clip[:end]
        shifted = gaps @ self.shifts.T
        if len(self.base) == 1:
            return np.asarray(shifted[who] + (gaps @ self.base[0])[who, None])
        own = np.einsum("em,em->e", gaps[who], self.base[self.box[:end]])
        return np.asarray(shifted[who] + own[:, None])


class Verdict(NamedTuple):
    """What :meth:`Judge.judge` says of C children of B boxes.

    Args:
        upper: (B, C) most that any setting of a child can be worth. open: (E, C) clips still undecided.
        counts: (B, C, F) what the decided clips of each child add up to.
    """

    upper: FloatArray
    open: BoolArray
    counts: IntArray


class Judge(Protocol):
    """Says what boxes of settings are worth at one temperature.

    ``open_clips`` are to be decided, ``start`` (F,) is what the others add up to, ``size`` how
    many elements it holds.
    """

    open_clips: int
    start: IntArray
    size: int

    def judge(self, entries: Entries) -> Verdict:
        """Decide what can be decided; where ``half`` is 0, everything."""


def _reach(gaps: FloatArray) -> FloatArray:
    """Return how much w . gap grows at most for each unit of half the box's width."""
    return np.asarray(np.abs(gaps[:, :-1] - gaps[:, -1:]).sum(axis=1))


class AccuracyJudge:
    """Counts the clips whose truth beats each of its rivals."""

    def __init__(self, objective: VoteObjective, probs: FloatArray) -> None:
        self._clips = objective.clips
        self.open_clips = objective.open_clips
        self.start = np.array([objective.always_right])
        self._ranks = []
        for pair in objective.truth_pairs:
            gaps = (probs[:, pair.rows, pair.one] - probs[:, pair.rows, pair.other]).T
            self._ranks.append((np.ascontiguousarray(gaps), _reach(gaps), pair.other > pair.one))
        self.size = sum(gaps.size for gaps, _, _ in self._ranks)

    def judge(self, entries: Entries) -> Verdict:
        """Decide a clip as right if its truth wins all over the box, as wrong if one rival does."""
        cells = entries.cells()
        won, lost = np.ones(cells.shape, dtype=np.bool_), np.zeros(cells.shape, dtype=np.bool_)
        for gaps, reach, later in self._ranks:
            margin = entries.scores(gaps)
            end = len(margin)
            who = entries.clip[:end]
            if entries.half:
                radius = (reach[who] * entries.half + SLACK)[:, None]
                won[:end] &= margin > radius
                lost[:end] |= margin < -radius
            else:
                won[:end] &= (margin > 0) | ((margin == 0) & later[who, None])
        undecided = ~(won | lost) if entries.half else np.zeros_like(won)
        shape = (len(entries.base), len(entries.shifts))
        size = shape[0] * shape[1]
        right = entries.counts + np.bincount(cells[won], minlength=size).reshape(shape)
        hope = np.bincount(cells[undecided], minlength=size).reshape(shape)
        return Verdict((right + hope) / self._clips, undecided, right[:, :, None])


class MacroF1Judge:
    """Counts, for each class, answers that are right and answers that are wrong.

    F1 = 2 TP / (support + TP + FP) grows with TP and falls with FP, so a box is worth at most what it has
    with every TP that is possible and only the FP that are sure.
    """

    def __init__(self, objective: VoteObjective, probs: FloatArray) -> None:
        self.open_clips = objective.contested_clips
        self.start = objective.settled
        self._classes, self._support = objective.classes, objective.support
        rows = objective.contested
        self._truth = objective.labels[rows]
        # Scores are measured from the class that leads at equal weights, which makes radii small.
        base = probs[:, rows, objective.leader(probs)]
        self._ranks = []
        for classes in objective.contested_candidates:
            holders = len(classes)
            gaps = (probs[:, rows[:holders], classes] - base[:, :holders]).T
            self._ranks.append((np.ascontiguousarray(gaps), _reach(gaps), classes))
        self.size = sum(gaps.size for gaps, _, _ in self._ranks)

    def judge(self, entries: Entries) -> Verdict:
        """Decide a clip if one class wins all over the box."""
        return self._exact(entries) if entries.half == 0 else self._bound(entries)

    def _exact(self, entries: Entries) -> Verdict:
        shape = (len(entries.clip), len(entries.shifts))
        answer, best = np.zeros(shape, dtype=np.int64), np.full(shape, -np.inf)
        for gaps, _, names in self._ranks:
            score = entries.scores(gaps)
            end = len(score)
            better = score > best[:end]
            np.copyto(answer[:end], names[entries.clip[:end], None], where=better)
            np.maximum(best[:end], score, out=best[:end])
        counts = self._count(entries, answer, None)
        return Verdict(self._f1(counts), np.zeros(shape, dtype=np.bool_), counts)

    def _bound(self, entries: Entries) -> Verdict:
        shape = (len(entries.clip), len(entries.shifts))
        truth = self._truth[entries.clip]
        # The class of highest lower end, and that of highest upper end: if they are one, and no other
        # reaches as high as its lower end, that class wins all over the box.
        leader, highest = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        lowest, high, second, own = (np.full(shape, -np.inf) for _ in range(4))
        for gaps, reach, names in self._ranks:
            score = entries.scores(gaps)
            end = len(score)
            who = entries.clip[:end]
            name = names[who]
            radius = (reach[who] * entries.half + SLACK)[:, None]
            low = score - radius
            np.copyto(leader[:end], name[:, None], where=low > lowest[:end])
            np.maximum(lowest[:end], low, out=lowest[:end])
            score += radius
            np.copyto(highest[:end], name[:, None], where=score > high[:end])
            np.maximum(second[:end], np.minimum(score, high[:end]), out=second[:end])
            np.maximum(high[:end], score, out=high[:end])
            mine = np.flatnonzero(name == truth[:end])
            own[mine] = score[mine]
        sure = (leader == highest) & (lowest > second)
        counts = self._count(entries, leader, sure)
        hopeful = ~sure & (own >= lowest)
        size = counts.shape[0] * counts.shape[1] * self._classes
        cell = entries.cells() * self._classes + truth[:, None]
        hope = np.bincount(cell[hopeful], minlength=size).reshape(*counts.shape[:2], self._classes)
        return Verdict(self._f1(counts, hope), ~sure, counts)

    def _count(self, entries: Entries, answer: IntArray, sure: BoolArray | None) -> IntArray:
        """Return (B, C, 2 K): the parents' counts and the sure answers, right ones and then wrong ones."""
        width = 2 * self._classes
        wrong = np.where(answer == self._truth[entries.clip, None], 0, self._classes)
        cell = entries.cells() * width + answer + wrong
        shape = (len(entries.base), len(entries.shifts), width)
        cell = cell.ravel() if sure is None else cell[sure]
        found = np.bincount(cell, minlength=shape[0] * shape[1] * width).reshape(shape)
        return np.asarray(found + entries.counts[:, None, :])

    def _f1(self, counts: IntArray, hope: IntArray | None = None) -> FloatArray:
        seen = np.flatnonzero(self._support)
        right, wrong = counts[:, :, seen], counts[:, :, self._classes + seen]
        if hope is not None:
            right = right + hope[:, :, seen]
        return np.asarray((2 * right / (self._support[seen] + right + wrong)).mean(axis=2))


class _Search:
    """The exploration of one grid: the best value so far and the settings that reach it."""

    def __init__(self, objective: VoteObjective, steps: IntArray) -> None:
        self.boxes = Boxes(steps)
        self.usable = objective.usable(steps / steps[0].sum())
        self.best = -np.inf
        self.found: list[tuple[int, IntArray, FloatArray]] = []

    def whole(self, judge: Judge, weights: FloatArray, half: float) -> FloatArray:
        """Return (B,) bounds of boxes around ``weights``, judged for all clips."""
        size = max(1, _MOST_ENTRIES // max(1, judge.open_clips))
        parts = [
            judge.judge(self._all(judge, weights[start : start + size], half)).upper[0]
            for start in range(0, len(weights), size)
        ]
        return np.concatenate(parts)

    def explore(self, row: int, judge: Judge, corners: IntArray, width: int) -> None:
        """Look into boxes at temperature ``row``, from whole boxes down to single settings."""
        size = max(1, _MOST_ENTRIES // max(1, judge.open_clips))
        half = (width - 1) / 2
        for start in range(0, len(corners), size):
            part = corners[start : start + size]
            weights = self.boxes.weights(part + half)
            self._look(row, judge, part, width, self._all(judge, weights, half / self.boxes.total))

    def _all(self, judge: Judge, weights: FloatArray, half: float) -> Entries:
        """Return every open clip, with these weights as the children of one box."""
        clip = np.arange(judge.open_clips)
        return Entries(
            np.zeros_like(clip), clip, np.zeros((1, weights.shape[1])), weights, half, judge.start[None]
        )

    def _look(self, row: int, judge: Judge, corners: IntArray, width: int, entries: Entries) -> None:
        """Judge boxes (``corners`` has a row for each parent and child), and look into the promising."""
        verdict = judge.judge(entries)
        upper = verdict.upper.ravel()
        inside = np.flatnonzero(corners.sum(axis=1) <= self.boxes.total)
        if width == 1:
            settings = self.boxes.rows(corners[inside])
            values = np.where(self.usable[settings], upper[inside], -np.inf)
            self.best = max(self.best, float(values.max(initial=-np.inf)))
            top = values >= self.best - TOLERANCE
            self.found.append((row, settings[top], values[top]))
            return
        keep = np.zeros(len(upper), dtype=np.bool_)
        keep[inside] = upper[inside] >= self.best - TOLERANCE
        if not keep.any():
            return
        number = np.cumsum(keep) - 1
        cells = entries.cells()
        place, child = np.nonzero(verdict.open & keep[cells])
        box, clip = number[cells[place, child]], entries.clip[place]
        counts = verdict.counts.reshape(len(upper), -1)[keep]
        corners = corners[keep]
        shifts = self.boxes.halves(width)
        width //= 2
        middles = self.boxes.weights(corners + (width - 1) / 2)
        last = np.concatenate([shifts, -shifts.sum(axis=1, keepdims=True)], axis=1) / self.boxes.total
        # Cut into batches whose entries stay within the memory that is meant for them.
        load = np.cumsum(np.bincount(box, minlength=len(corners))) * len(shifts) // _MOST_ENTRIES
        for part in np.unique(load):
            chosen = load == part
            begin, end = int(chosen.argmax()), int(chosen.argmax() + chosen.sum())
            mine = slice(None) if chosen.all() else (box >= begin) & (box < end)
            self._look(
                row,
                judge,
                (corners[begin:end, None, :] + shifts[None]).reshape(-1, corners.shape[1]),
                width,
                Entries(
                    box[mine] - begin,
                    clip[mine],
                    middles[begin:end],
                    last,
                    (width - 1) / 2 / self.boxes.total,
                    counts[begin:end],
                ),
            )


def best_settings(
    objective: VoteObjective,
    temperatures: FloatArray,
    steps: IntArray,
    metric: Metric,
    make_judge: Callable[[VoteObjective, FloatArray], Judge] | None = None,
) -> tuple[float, BoolArray]:
    """Return the best value on the grid, and (T, S) where it is reached.

    Args:
        temperatures: (T,). steps: (S, M) whole steps of weight, rows share one sum.
        make_judge: another judge than numpy's, from an objective and probabilities at one temperature.
    """
    weights = steps / steps[0].sum()
    models = weights.shape[1]
    # A box has 2^(M-1) halves: of many models in few steps they are more than the settings.
    plain = (
        models == 1 or len(weights) * len(temperatures) < _FEW_SETTINGS or 2 ** (models - 1) > len(weights)
    )
    if metric == "nll" or plain:
        values = np.stack(
            [objective.evaluate(metric, objective.probabilities(tau), weights) for tau in temperatures]
        )
        best = float(values.max())
        return best, values >= best - TOLERANCE
    judge_of = make_judge or (AccuracyJudge if metric == "accuracy" else MacroF1Judge)
    search = _Search(objective, steps)
    corners, width = search.boxes.first()
    samples = search.boxes.samples(corners, width)
    half = (width - 1) / 2
    middles = search.boxes.weights(corners + half)
    upper = np.empty((len(temperatures), len(corners)))
    tried = np.empty((len(temperatures), len(samples)))
    kept: list[Judge | None] = []
    for row, tau in enumerate(temperatures):
        judge = judge_of(objective, objective.probabilities(tau))
        # A judge holds little more than a row of M numbers for each pair of classes that has to be compared.
        kept.append(judge if judge.size * len(temperatures) <= _MOST_KEPT else None)
        upper[row] = search.whole(judge, middles, half / search.boxes.total)
        tried[row] = np.where(search.usable[samples], search.whole(judge, weights[samples], 0.0), -np.inf)
    search.best = float(tried.max())
    # The most promising temperatures first: the sooner the best value is known, the more can be dropped.
    for row in np.argsort(-tried.max(axis=1), kind="stable"):
        live = upper[row] >= search.best - TOLERANCE
        if live.any():
            judge = kept[row] or judge_of(objective, objective.probabilities(temperatures[row]))
            search.explore(int(row), judge, corners[live], width)
    tied = np.zeros((len(temperatures), len(steps)), dtype=np.bool_)
    for row, settings, values in search.found:
        tied[row, settings[values >= search.best - TOLERANCE]] = True
    return search.best, tied
