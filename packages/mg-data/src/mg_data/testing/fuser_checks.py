"""Checks of a fuser: probabilities come out, and neither order nor what is missing decides them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import FuserSpec
from mg_data.plugins import resolve
from mg_data.testing.checks import CheckFailed, DoesNotApply, require

MODELS, CLIPS, CLASSES = 3, 40, 5
TOLERANCE = 1e-6
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FuserBench:
    """A fuser, and the scores of three models for clips that a fourth of is missing here and there.

    ``options`` hold what was fitted, if there is something to fit.
    """

    spec: FuserSpec
    logits: Floats
    present: Bools
    labels: NDArray[np.int64]
    options: dict[str, Any]

    def fuse(self, logits: Floats, present: Bools) -> Floats:
        """Return (N, K) of the fuser."""
        return np.asarray(resolve(self.spec.factory)(logits, present, **self.options))


def open_bench(spec: FuserSpec) -> FuserBench:
    """Draw scores and fit what is to be fitted."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(CLIPS) % CLASSES)
    skill = np.array([1.5, 1.0, 0.5])[:, None, None]
    logits = rng.normal(size=(MODELS, CLIPS, CLASSES)) + skill * np.eye(CLASSES)[labels]
    present = rng.random((MODELS, CLIPS)) > 0.2
    present[0] |= ~present.any(axis=0)  # somebody answers every clip
    options = dict(spec.options)
    if spec.fit:
        fitted = resolve(spec.fit)(logits, labels, present)
        try:
            options["fitted"] = json.loads(json.dumps(fitted))
        except TypeError as error:
            raise CheckFailed(f"{spec.fit} returned what is no JSON value: {error}") from error
    return FuserBench(spec=spec, logits=logits, present=present, labels=labels, options=options)


def _same(found: Floats, wanted: Floats, why: str) -> None:
    require(found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}: {why}")
    difference = float(np.abs(found - wanted).max())
    require(difference <= TOLERANCE, f"probabilities differ by up to {difference:.2g}: {why}")


def check_rows_are_probabilities(bench: FuserBench) -> str:
    """The result is (N, K), finite, at least 0, with rows of sum 1."""
    found = bench.fuse(bench.logits, bench.present)
    require(found.shape == (CLIPS, CLASSES), f"shape {found.shape}, wanted {(CLIPS, CLASSES)}")
    require(np.isfinite(found).all() and (found >= 0).all(), "holds NaN, infinity or numbers below 0")
    off = float(np.abs(found.sum(axis=1) - 1).max())
    require(off <= 1e-5, f"a row's sum is off 1 by {off:.2g}")
    return "fitted first" if bench.spec.fit else ""


def check_order_of_clips_does_not_matter(bench: FuserBench) -> None:
    """Shuffled clips get the probabilities they had before."""
    order = np.random.default_rng(1).permutation(CLIPS)
    found = bench.fuse(bench.logits[:, order], bench.present[:, order])
    _same(
        found,
        bench.fuse(bench.logits, bench.present)[order],
        "a clip's answer depends on other clips' places",
    )


def check_a_clip_alone_gets_its_answer(bench: FuserBench) -> None:
    """A clip that is fused alone gets the probabilities it gets among others."""
    whole = bench.fuse(bench.logits, bench.present)
    for row in range(3):
        part = slice(row, row + 1)
        found = bench.fuse(bench.logits[:, part], bench.present[:, part])
        _same(found, whole[part], f"clip {row} alone")


def check_order_of_models_does_not_matter(bench: FuserBench) -> None:
    """With default options, shuffled models give the same probabilities."""
    if bench.spec.fit:
        raise DoesNotApply("what was fitted belongs to the models in their order")
    order = [2, 0, 1]
    found = bench.fuse(bench.logits[order], bench.present[order])
    _same(found, bench.fuse(bench.logits, bench.present), "the models' order decides")


def check_order_of_classes_does_not_matter(bench: FuserBench) -> None:
    """With default options, shuffled classes get the probabilities they had before."""
    if bench.spec.fit:
        raise DoesNotApply("what was fitted belongs to the classes in their order")
    order = np.random.default_rng(2).permutation(CLASSES)
    found = bench.fuse(bench.logits[..., order], bench.present)
    _same(found, bench.fuse(bench.logits, bench.present)[:, order], "the classes' order decides")


def check_missing_scores_are_not_read(bench: FuserBench) -> None:
    """What stands where a model has no answer changes nothing."""
    poisoned = np.where(bench.present[..., None], bench.logits, 50.0)
    _same(
        bench.fuse(poisoned, bench.present), bench.fuse(bench.logits, bench.present), "absent scores are read"
    )


def check_scores_stay_as_they_were(bench: FuserBench) -> None:
    """The arrays that it is given are not changed."""
    logits, present = bench.logits.copy(), bench.present.copy()
    bench.fuse(logits, present)
    same = np.array_equal(logits, bench.logits) and np.array_equal(present, bench.present)
    require(same, "its arguments were changed in place: work on a copy")


def check_fit_can_be_repeated(bench: FuserBench) -> None:
    """Fitting twice on one set of clips gives one result."""
    if not bench.spec.fit:
        raise DoesNotApply("there is nothing to fit")
    again = resolve(bench.spec.fit)(bench.logits, bench.labels, bench.present)
    require(
        json.dumps(again, sort_keys=True) == json.dumps(bench.options["fitted"], sort_keys=True),
        "two fits differ: draw from a generator with a seed of its own",
    )


def check_fit_is_worth_its_clips(bench: FuserBench) -> str:
    """Fitted parameters answer the clips they were fitted on better than chance."""
    if not bench.spec.fit:
        raise DoesNotApply("there is nothing to fit")
    right = float((bench.fuse(bench.logits, bench.present).argmax(axis=1) == bench.labels).mean())
    require(right > 1 / CLASSES, f"{right:.0%} right, chance is {1 / CLASSES:.0%}")
    return f"{right:.0%} right on the clips of the fit"


API = (
    check_rows_are_probabilities,
    check_order_of_clips_does_not_matter,
    check_a_clip_alone_gets_its_answer,
    check_order_of_models_does_not_matter,
    check_order_of_classes_does_not_matter,
    check_missing_scores_are_not_read,
    check_scores_stay_as_they_were,
    check_fit_can_be_repeated,
)
QUALITY = (check_fit_is_worth_its_clips,)
