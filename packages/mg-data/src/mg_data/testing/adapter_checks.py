"""Checks of an adapter: labels out of scores alone, whatever order they come in and whatever lies around."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mg_data.contract import AdapterSpec, PseudoLabels, TargetScores
from mg_data.labels import write_labels
from mg_data.plugins import resolve
from mg_data.store import write_probs
from mg_data.testing.checks import require
from mg_data.testing.inputs import Workplace

CLIPS, CLASSES = 60, 4
MODELS = ("joint", "rgb", "depth")
# Code and its caches may be read: a factory imports what it needs when it is called.
_CODE = (".py", ".pyc", ".so", ".pyd", ".pth")


@dataclass(frozen=True, kw_only=True)
class AdapterBench:
    """An adapter and the scores of a target that nobody labelled."""

    spec: AdapterSpec
    place: Workplace
    scores: TargetScores

    def adapt(self, scores: TargetScores | None = None) -> PseudoLabels:
        """Return the labels that it gives."""
        found = resolve(self.spec.factory)(scores or self.scores, **self.spec.options)
        require(isinstance(found, PseudoLabels), f"returned {type(found).__name__}, wanted PseudoLabels")
        labels: PseudoLabels = found
        return labels


def open_bench(spec: AdapterSpec, place: Workplace) -> AdapterBench:
    """Draw scores: some clips are clear, some are not, one model lacks a few."""
    rng = np.random.default_rng(0)
    answer = rng.integers(0, CLASSES, CLIPS)
    sharp = rng.uniform(0.5, 5.0, (1, CLIPS, 1))
    logits = rng.normal(size=(len(MODELS), CLIPS, CLASSES)) + sharp * np.eye(CLASSES)[answer]
    probs = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    present = np.ones((len(MODELS), CLIPS), bool)
    present[2, ::7] = False
    probs *= present[..., None]
    scores = TargetScores(
        clip_ids=np.array([f"c{number:02d}" for number in range(CLIPS)]),
        class_names=tuple("abcd"),
        probs=probs.sum(axis=0) / present.sum(axis=0)[:, None],
        model_probs=probs,
        present=present,
        model_names=MODELS,
        prior=np.full(CLASSES, 1 / CLASSES),
    )
    return AdapterBench(spec=spec, place=place, scores=scores)


def _by_clip(scores: TargetScores, found: PseudoLabels) -> dict[str, tuple[int, float]]:
    ids = scores.clip_ids[found.rows]
    return {
        str(clip_id): (int(label), round(float(confidence), 5))
        for clip_id, label, confidence in zip(ids, found.labels, found.confidence)
    }


def check_labels_are_valid(bench: AdapterBench) -> str:
    """Rows are clips, each once; labels are classes; confidences lie in [0, 1]."""
    found = bench.adapt()
    require(
        len(found.rows) == len(found.labels) == len(found.confidence),
        f"{len(found.rows)} rows, {len(found.labels)} labels and {len(found.confidence)} confidences",
    )
    rows = np.asarray(found.rows)
    require(len(np.unique(rows)) == len(rows), "a clip is labelled twice")
    require(((rows >= 0) & (rows < CLIPS)).all(), f"a row lies outside 0..{CLIPS - 1}")
    labels = np.asarray(found.labels)
    require(((labels >= 0) & (labels < CLASSES)).all(), f"a label lies outside 0..{CLASSES - 1}")
    confidence = np.asarray(found.confidence, np.float64)
    inside = np.isfinite(confidence).all() and ((confidence >= 0) & (confidence <= 1)).all()
    require(inside, "a confidence lies outside [0, 1]")
    require(
        found.probs is None or found.probs.shape == (len(rows), CLASSES),
        f"probs have shape {getattr(found.probs, 'shape', None)}, wanted {(len(rows), CLASSES)}",
    )
    return f"{len(rows)} of {CLIPS} clips labelled"


def check_order_of_clips_does_not_matter(bench: AdapterBench) -> None:
    """Shuffled clips get the labels they had before."""
    scores = bench.scores
    order = np.random.default_rng(1).permutation(CLIPS)
    shuffled = dataclasses.replace(
        scores,
        clip_ids=scores.clip_ids[order],
        probs=scores.probs[order],
        model_probs=scores.model_probs[:, order],
        present=scores.present[:, order],
    )
    found, wanted = _by_clip(shuffled, bench.adapt(shuffled)), _by_clip(scores, bench.adapt())
    changed = sorted(
        clip_id for clip_id in set(found) | set(wanted) if found.get(clip_id) != wanted.get(clip_id)
    )
    require(not changed, f"{len(changed)} clips get another label in another order, such as {changed[:3]}")


def check_target_labels_are_not_read(bench: AdapterBench) -> None:
    """True and poisoned labels that lie in the working folder change nothing, and no file is opened."""
    answer = bench.scores.probs.argmax(axis=1)
    results = []
    for shift in (0, 1):
        folder = bench.place.new_folder()
        labels = ((answer + shift) % CLASSES).tolist()
        ids, names = bench.scores.clip_ids.tolist(), bench.scores.class_names
        write_labels(folder / "labels.csv", ids, labels, names)
        write_probs(
            folder / "truth.h5",
            clip_ids=ids,
            values=np.eye(CLASSES)[labels],
            class_names=names,
            labels=np.asarray(labels),
        )
        with contextlib.chdir(folder), opened_files() as opened:
            results.append(_by_clip(bench.scores, bench.adapt()))
        require(
            not opened,
            f"opened {opened[0] if opened else ''}: an adapter sees nothing but the scores it is given",
        )
    require(results[0] == results[1], "labels of the target that lie in the working folder change the result")


def check_result_can_be_repeated(bench: AdapterBench) -> None:
    """Two calls give the same labels."""
    same = _by_clip(bench.scores, bench.adapt()) == _by_clip(bench.scores, bench.adapt())
    require(same, "two calls differ: draw from a generator with a seed of its own")


def check_scores_stay_as_they_were(bench: AdapterBench) -> None:
    """The scores that it is given are not changed."""
    before = {
        name: getattr(bench.scores, name).copy() for name in ("probs", "model_probs", "present", "prior")
    }
    bench.adapt()
    for name, value in before.items():
        require(
            np.array_equal(getattr(bench.scores, name), value), f"{name} was changed in place: work on a copy"
        )


class _Watch:
    """Remembers the files that are opened while it is on; an audit hook, once added, stays for good."""

    added = False
    names: list[str] | None = None

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or cls.names is None or not isinstance(arguments[0], str | bytes | Path):
            return
        name = arguments[0].decode(errors="replace") if isinstance(arguments[0], bytes) else str(arguments[0])
        own = not Path(name).is_absolute() or not name.startswith(
            (sys.prefix, sys.base_prefix, "/dev", "/proc", "/sys")
        )
        if own and not name.endswith(_CODE):
            cls.names.append(name)


@contextlib.contextmanager
def opened_files() -> Iterator[list[str]]:
    """List the files that Python opens in the block, but for its own code and libraries."""
    if not _Watch.added:
        sys.addaudithook(_Watch.hook)
        _Watch.added = True
    names: list[str] = []
    _Watch.names = names
    try:
        yield names
    finally:
        _Watch.names = None


API = (
    check_labels_are_valid,
    check_order_of_clips_does_not_matter,
    check_target_labels_are_not_read,
    check_result_can_be_repeated,
    check_scores_stay_as_they_were,
)
