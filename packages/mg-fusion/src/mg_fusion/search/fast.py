"""The judges of ``bounds`` compiled by numba: the extra ``fast``. Imported only when used.

They decide what numpy's decide, entry by entry: a clip's rivals are left as soon as its outcome is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from mg_fusion.search.bounds import SLACK, AccuracyJudge, Entries, MacroF1Judge, Verdict
from mg_fusion.search.objective import IntArray, Metric, VoteObjective
from mg_fusion.vote import BoolArray, FloatArray


def judge_of(metric: Metric) -> type[FastAccuracyJudge] | type[FastMacroF1Judge]:
    """Return the compiled judge for a metric that has one."""
    return FastAccuracyJudge if metric == "accuracy" else FastMacroF1Judge


def _by_clip(columns: Sequence[NDArray[np.generic]], clips: int) -> tuple[IntArray, IntArray]:
    """Return (n + 1,) where each clip's classes begin, and the order that puts ranks clip by clip."""
    clip = np.concatenate([np.arange(len(column)) for column in columns] or [np.empty(0, np.int64)])
    order = np.argsort(clip, kind="stable")
    return np.searchsorted(clip[order], np.arange(clips + 1)).astype(np.int64), order


class FastAccuracyJudge(AccuracyJudge):
    """:class:`~mg_fusion.search.bounds.AccuracyJudge`, compiled."""

    def __init__(self, objective: VoteObjective, probs: FloatArray) -> None:
        super().__init__(objective, probs)
        self._begin, order = _by_clip([later for _, _, later in self._ranks], self.open_clips)
        if self._ranks:
            self._gaps, self._reach, self._later = (np.concatenate(part)[order] for part in zip(*self._ranks))

    def judge(self, entries: Entries) -> Verdict:
        """As numpy's."""
        shape = (len(entries.base), len(entries.shifts))
        right, hope = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        undecided = np.zeros((len(entries.clip), shape[1]), np.bool_)
        if self._ranks:
            _accuracy(
                self._begin,
                self._gaps,
                _spread(self._gaps, entries.shifts),
                self._reach * entries.half + SLACK,
                self._later,
                entries.box,
                entries.clip,
                entries.base,
                entries.half == 0,
                right,
                hope,
                undecided,
            )
        right += entries.counts
        return Verdict((right + hope) / self._clips, undecided, right[:, :, None])


class FastMacroF1Judge(MacroF1Judge):
    """:class:`~mg_fusion.search.bounds.MacroF1Judge`, compiled."""

    def __init__(self, objective: VoteObjective, probs: FloatArray) -> None:
        super().__init__(objective, probs)
        self._begin, order = _by_clip([names for _, _, names in self._ranks], self.open_clips)
        self._gaps, self._reach, self._names = (np.concatenate(part)[order] for part in zip(*self._ranks))

    def judge(self, entries: Entries) -> Verdict:
        """As numpy's."""
        shape = (len(entries.base), len(entries.shifts))
        counts = np.repeat(entries.counts[:, None, :], shape[1], axis=1)
        hope = np.zeros((*shape, self._classes), np.int64)
        undecided = np.zeros((len(entries.clip), shape[1]), np.bool_)
        _macro_f1(
            self._begin,
            self._gaps,
            _spread(self._gaps, entries.shifts),
            self._reach * entries.half + SLACK,
            self._names,
            self._truth,
            entries.box,
            entries.clip,
            entries.base,
            entries.half == 0,
            counts,
            hope,
            undecided,
        )
        return Verdict(self._f1(counts, None if entries.half == 0 else hope), undecided, counts)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _spread(gaps: FloatArray, shifts: FloatArray) -> FloatArray:
    """Return (P, C) gap . shift; the matrix product of a BLAS is several times slower for so few models."""
    table = np.zeros((len(gaps), len(shifts)))
    for pair in range(len(gaps)):
        for model in range(gaps.shape[1]):
            gap = gaps[pair, model]
            for child in range(len(shifts)):
                table[pair, child] += gap * shifts[child, model]
    return table


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _accuracy(
    begin: IntArray,
    gaps: FloatArray,
    shifted: FloatArray,
    radius: FloatArray,
    later: BoolArray,
    box: IntArray,
    clip: IntArray,
    base: FloatArray,
    exact: bool,
    right: IntArray,
    hope: IntArray,
    undecided: BoolArray,
) -> None:
    children = shifted.shape[1]
    won, lost = np.empty(children, np.bool_), np.empty(children, np.bool_)
    for entry in range(len(clip)):
        where, who = box[entry], clip[entry]
        won[:] = True
        lost[:] = False
        for pair in range(begin[who], begin[who + 1]):
            own = 0.0
            for model in range(base.shape[1]):
                own += base[where, model] * gaps[pair, model]
            if exact:
                for child in range(children):
                    margin = own + shifted[pair, child]
                    lost[child] |= (margin < 0) | ((margin == 0) & (not later[pair]))
            else:
                for child in range(children):
                    margin = own + shifted[pair, child]
                    lost[child] |= margin < -radius[pair]
                    won[child] &= margin > radius[pair]
        for child in range(children):
            if lost[child]:
                continue
            if won[child]:
                right[where, child] += 1
            else:
                hope[where, child] += 1
                undecided[entry, child] = True


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _macro_f1(
    begin: IntArray,
    gaps: FloatArray,
    shifted: FloatArray,
    radius: FloatArray,
    names: IntArray,
    truths: IntArray,
    box: IntArray,
    clip: IntArray,
    base: FloatArray,
    exact: bool,
    counts: IntArray,
    hope: IntArray,
    undecided: BoolArray,
) -> None:
    children = shifted.shape[1]
    classes = counts.shape[2] // 2
    leader, highest = np.empty(children, np.int64), np.empty(children, np.int64)
    lowest, high = np.empty(children), np.empty(children)
    second, hopeful = np.empty(children), np.empty(children)
    for entry in range(len(clip)):
        where, who = box[entry], clip[entry]
        truth = truths[who]
        lowest[:] = -np.inf
        high[:] = -np.inf
        second[:] = -np.inf
        hopeful[:] = -np.inf
        for one in range(begin[who], begin[who + 1]):
            name = names[one]
            own = 0.0
            for model in range(base.shape[1]):
                own += base[where, model] * gaps[one, model]
            if exact:
                for child in range(children):
                    score = own + shifted[one, child]
                    better = score > lowest[child]
                    leader[child] = name if better else leader[child]
                    lowest[child] = score if better else lowest[child]
                continue
            for child in range(children):
                score = own + shifted[one, child]
                low, up = score - radius[one], score + radius[one]
                leader[child] = name if low > lowest[child] else leader[child]
                lowest[child] = max(low, lowest[child])
                highest[child] = name if up > high[child] else highest[child]
                second[child] = max(second[child], min(up, high[child]))
                high[child] = max(up, high[child])
            if name == truth:
                for child in range(children):
                    hopeful[child] = own + shifted[one, child] + radius[one]
        for child in range(children):
            if exact or (leader[child] == highest[child] and lowest[child] > second[child]):
                answer = leader[child]
                counts[where, child, answer if answer == truth else answer + classes] += 1
            else:
                undecided[entry, child] = True
                if hopeful[child] >= lowest[child]:
                    hope[where, child, truth] += 1
