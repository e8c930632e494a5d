"""Samplers: shares of classes, repeatability, the length of an epoch, and repeated clips augmented anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mg_adapt.training.data import EpochBatches, TrainingSamples, mirror_permutation, select_training_clips
from mg_adapt.training.sampler import class_shares, order_of, samples_of
from mg_data.contract import UsageError
from mg_data.store import read_split

LABELS = np.array([0] * 64 + [1] * 16 + [3] * 4)


def test_shares_are_counts_roots_and_equal_parts() -> None:
    assert class_shares(LABELS, "uniform").tolist() == pytest.approx([64 / 84, 16 / 84, 0, 4 / 84])
    assert class_shares(LABELS, "square-root").tolist() == pytest.approx([8 / 14, 4 / 14, 0, 2 / 14])
    assert class_shares(LABELS, "class-balanced").tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    with pytest.raises(UsageError, match="'sqrt' is unknown"):
        class_shares(LABELS, "sqrt")


def test_uniform_is_each_clip_once_in_the_order_that_trainings_always_had() -> None:
    drawn, earlier = samples_of(LABELS, "uniform", seed=3, epoch=2)
    generator = np.random.default_rng(np.random.SeedSequence([3, 2], spawn_key=(1,)))
    assert drawn.tolist() == generator.permutation(len(LABELS)).tolist() == order_of(3, 2, 84).tolist()
    assert not earlier.any()


@pytest.mark.parametrize("sampler", ["square-root", "class-balanced"])
def test_over_many_epochs_classes_get_their_shares_and_clips_of_a_class_are_met_alike(sampler: str) -> None:
    epochs = 400
    drawn = np.concatenate([samples_of(LABELS, sampler, 0, epoch)[0] for epoch in range(epochs)])
    share = np.bincount(LABELS[drawn], minlength=4) / len(drawn)
    assert share == pytest.approx(class_shares(LABELS, sampler), abs=2e-3)
    met = np.bincount(drawn, minlength=len(LABELS))
    for label in (0, 1, 3):
        own = met[label == LABELS]
        assert own.std() / own.mean() < 0.1


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=80),
    sampler=st.sampled_from(["uniform", "square-root", "class-balanced"]),
    seed=st.integers(0, 99),
)
def test_an_epoch_is_as_long_as_the_clips_and_even_within_classes(
    labels: list[int], sampler: str, seed: int
) -> None:
    classes = np.array(labels)
    drawn, earlier = samples_of(classes, sampler, seed, 1)
    assert len(drawn) == len(earlier) == len(classes)
    met = np.bincount(drawn, minlength=len(classes))
    for label in set(labels):
        own = met[classes == label]
        assert own.max() - own.min() <= 1
        assert abs(own.sum() - class_shares(classes, sampler)[label] * len(classes)) < 1
    seen: dict[int, int] = {}
    for clip, times in zip(drawn.tolist(), earlier.tolist()):
        assert times == seen.get(clip, 0)
        seen[clip] = times + 1
    again, _ = samples_of(classes, sampler, seed, 1)
    assert drawn.tolist() == again.tolist()


def test_a_clip_met_again_in_an_epoch_is_augmented_anew(toy: tuple[Path, Path]) -> None:
    from mg_adapt_toy import Drift

    modality = Drift(toy[0])
    clips = select_training_clips(read_split(toy[1]), ("train",), modality.clip_ids)
    samples = TrainingSamples(modality, clips, seed=0, flip=False, mirror=mirror_permutation([], 3))
    assert np.array_equal(samples[1, 5][0], samples[1, 5, 0][0])
    assert not np.array_equal(samples[1, 5, 0][0], samples[1, 5, 1][0])


def test_batches_can_begin_in_the_middle() -> None:
    batches = EpochBatches(LABELS, 8, 0, "class-balanced")
    batches.epoch = 3
    whole = list(batches)
    batches.first = 4
    assert list(batches) == whole[4:]
    assert sum(len(batch) for batch in whole) == len(LABELS)
