"""Adapters on scores written out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mg_adapt.adapters import (
    agreement,
    balanced_top_k,
    distribution_alignment,
    flexmatch,
    freematch,
    threshold,
)
from mg_adapt.adapters.adaptive import flexmatch_thresholds, freematch_thresholds
from mg_adapt.adapters.alignment import aligned
from mg_adapt.adapters.top_k import quotas
from mg_data.contract import PseudoLabels, TargetScores, UsageError


def scores(
    probs: Sequence[Sequence[float]],
    models: Sequence[Sequence[Sequence[float]]] | None = None,
    prior: Sequence[float] | None = None,
    present: Sequence[Sequence[bool]] | None = None,
) -> TargetScores:
    fused = np.array(probs)
    each = fused[None] if models is None else np.array(models)
    count, classes = fused.shape
    return TargetScores(
        clip_ids=np.array([f"c{n:02d}" for n in range(count)]),
        class_names=tuple("abcdef"[:classes]),
        probs=fused,
        model_probs=each,
        present=np.ones(each.shape[:2], bool) if present is None else np.array(present),
        model_names=tuple(f"m{n}" for n in range(len(each))),
        prior=np.full(classes, 1 / classes) if prior is None else np.array(prior),
    )


def two(values: Sequence[float], **options: object) -> TargetScores:
    """Return scores of two classes by the probability of the first."""
    return scores([[p, 1 - p] for p in values], **options)  # type: ignore[arg-type]


def rows(found: PseudoLabels) -> list[int]:
    assert found.probs is not None
    assert np.allclose(found.probs.max(axis=1), found.confidence)
    assert (found.probs.argmax(axis=1) == found.labels).all()
    return found.rows.tolist()


def test_agreement_counts_the_votes_of_models_that_answer() -> None:
    fused = two(
        [0.9, 0.9, 0.9, 0.9],
        models=[
            [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]],
            [[0.9, 0.1], [0.4, 0.6], [0.0, 0.0], [0.0, 0.0]],
            [[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.0, 0.0]],
        ],
        present=[[True] * 4, [True, True, False, False], [True, True, True, False]],
    )
    assert rows(agreement(fused, models=1)) == [0, 1, 2, 3]
    assert rows(agreement(fused, models=2)) == [0, 1]
    assert rows(agreement(fused, models=3)) == [0]
    # 0: all that answer, and a single answer is no agreement.
    assert rows(agreement(fused, models=0)) == [0]
    with pytest.raises(UsageError, match=r"models must lie in 0\.\.3, found 4"):
        agreement(fused, models=4)


def test_flexmatch_lowers_alpha_for_the_class_of_which_little_exceeds_it() -> None:
    # Above 0.8: four clips of class 0, two of class 1; two clips below, so beta = (1, 1/2), M = (1, 1/3).
    fused = two([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.7, 0.4])
    assert flexmatch_thresholds(fused, 0.8, 0.1) == pytest.approx([0.8, 0.8 / 3])
    assert rows(flexmatch(fused, threshold=0.8, floor=0.1)) == [0, 1, 2, 3, 4, 5, 7]
    assert rows(threshold(fused, threshold=0.8)) == [0, 1, 2, 3, 4, 5]
    # The floor holds where M would go below it.
    assert flexmatch_thresholds(fused, 0.8, 0.65) == pytest.approx([0.8, 0.65])
    assert rows(flexmatch(fused, threshold=0.8, floor=0.65)) == [0, 1, 2, 3, 4, 5]


def test_flexmatch_is_cautious_while_little_exceeds_alpha() -> None:
    # One of five clips exceeds: beta_0 = 1 / max(1, 4); without the warm-up it would be 1.
    fused = two([0.9, 0.6, 0.6, 0.6, 0.4])
    assert flexmatch_thresholds(fused, 0.8, 0.0) == pytest.approx([0.8 * 0.25 / 1.75, 0.0])


def test_freematch_takes_its_threshold_from_the_targets_confidence() -> None:
    fused = two([0.9, 0.8, 0.7, 0.4])
    # Mean of the largest: (.9 + .8 + .7 + .6) / 4; class means .7 and .3.
    assert freematch_thresholds(fused, 0.0) == pytest.approx([0.75, 0.75 * 3 / 7])
    assert rows(freematch(fused, floor=0.0)) == [0, 1, 3]
    assert rows(freematch(fused, floor=0.7)) == [0, 1]
    with pytest.raises(UsageError, match=r"floor must lie in \[0, 1\)"):
        freematch(fused, floor=1.0)


def test_top_k_takes_the_most_confident_of_each_class_by_a_prior() -> None:
    fused = two([0.95, 0.9, 0.85, 0.8, 0.2, 0.3, 0.7, 0.6], prior=[0.75, 0.25])
    # Half of eight clips: three of class 0, one of class 1.
    assert rows(balanced_top_k(fused)) == [0, 1, 2, 4]
    assert rows(balanced_top_k(fused, prior="uniform")) == [0, 1, 4, 5]
    # Four of each are wanted, class 1 has two: nobody takes the place of the others.
    assert rows(balanced_top_k(fused, share=1.0, prior="uniform")) == [0, 1, 2, 3, 4, 5]
    assert rows(balanced_top_k(fused, share=1.0, prior="uniform", least=0.75)) == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match=r"share must lie in \(0, 1\], found 0"):
        balanced_top_k(fused, share=0.0)
    with pytest.raises(UsageError, match=r"prior 'target' is unknown \(known: source, uniform\)"):
        balanced_top_k(fused, prior="target")


def test_equally_confident_clips_are_taken_in_order_of_their_ids() -> None:
    # Half of six clips; the quota of the class that nobody is of stays unused.
    assert rows(balanced_top_k(two([0.8] * 6), prior="uniform")) == [0, 1]


def test_quotas_sum_up_and_follow_the_prior() -> None:
    prior = np.array([0.5, 0.26, 0.24, 0.0])
    for total in range(12):
        found = quotas(prior, total)
        assert found.sum() == total
        assert np.abs(found - prior * total).max() < 1
        assert found[3] == 0


def test_alignment_moves_the_least_certain_clip_of_a_class_that_is_called_too_often() -> None:
    # Odds 9 and 3/2 scaled by 1/r sum up to one clip of each class where r = sqrt(9 * 3/2).
    odds = np.array([9.0, 1.5]) / np.sqrt(13.5)
    found = distribution_alignment(two([0.9, 0.6]), threshold=0.6)
    assert rows(found) == [0, 1]
    assert found.labels.tolist() == [0, 1]
    assert found.confidence == pytest.approx([odds[0] / (1 + odds[0]), 1 / (1 + odds[1])], rel=1e-5)
    assert rows(distribution_alignment(two([0.9, 0.6]), threshold=0.75)) == []


def test_aligned_columns_have_the_priors_frequencies_and_the_votes_order() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(5, 0.3), size=200)
    prior = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    found = aligned(probs, prior, 1.0)
    assert found.sum(axis=0) == pytest.approx(200 * prior, rel=1e-3)
    assert found.sum(axis=1) == pytest.approx(np.ones(200))
    # One factor a class: between two classes the clips keep their order.
    assert (found[:, 0] / found[:, 1]).argsort().tolist() == (probs[:, 0] / probs[:, 1]).argsort().tolist()
    # What already has the prior's frequencies stays.
    assert aligned(found, prior, 1.0) == pytest.approx(found, abs=1e-4)


def test_strength_leads_from_the_vote_to_the_prior() -> None:
    fused = two([0.95, 0.9, 0.8, 0.7, 0.6, 0.3])
    assert rows(distribution_alignment(fused, strength=0.0)) == rows(threshold(fused))
    prior = np.array([0.5, 0.5])
    shares = [aligned(fused.probs, prior, strength)[:, 0].mean() for strength in (0.0, 0.3, 0.6, 1.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(fused.probs[:, 0].mean())
    assert shares[-1] == pytest.approx(0.5, abs=1e-4)
    # The fixed point that the docstring states, by its own words.
    found = aligned(fused.probs, prior, 0.6)
    columns = (found / fused.probs)[0] / (found / fused.probs)[0].max()
    rows_ = 1 / (fused.probs @ columns)
    wanted = (6 * prior / (rows_ @ fused.probs)) ** 0.6
    assert columns == pytest.approx(wanted / wanted.max(), rel=1e-4)


def test_alignment_follows_the_source_or_no_prior_at_all() -> None:
    fused = two([0.9, 0.8, 0.7, 0.6], prior=[1.0, 0.0])
    assert distribution_alignment(fused).labels.tolist() == [0, 0, 0, 0]
    assert distribution_alignment(fused, prior="uniform", threshold=0.0).labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(UsageError, match=r"strength must lie in \[0, 1\], found 2"):
        distribution_alignment(fused, strength=2.0)
    with pytest.raises(UsageError, match=r"prior 'target' is unknown \(known: source, uniform\)"):
        distribution_alignment(fused, prior="target")
    with pytest.raises(UsageError, match="no labelled clip, take prior 'uniform'"):
        distribution_alignment(two([0.9], prior=[0.0, 0.0]))


@pytest.mark.parametrize(
    "adapter", [threshold, agreement, flexmatch, freematch, balanced_top_k, distribution_alignment]
)
def test_a_clip_without_any_answer_is_never_labelled(adapter: object) -> None:
    nobody = scores([[0.0, 0.0], [0.0, 0.0]])
    assert rows(adapter(nobody)) == []  # type: ignore[operator]
    if adapter is not agreement:
        assert 1 not in rows(adapter(scores([[0.99, 0.01], [0.0, 0.0]])))  # type: ignore[operator]
