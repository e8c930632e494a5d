"""Clips, labels and batches: what a training sees, the same however many loader processes there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mg_adapt.training.loading import Carrying, CarryingCollate, sample_of
from mg_adapt.training.sampler import TORCH, samples_of
from mg_adapt.training.worker_batches import stack_samples
from mg_data.contract import DataError, Modality, UsageError
from mg_data.store import PseudoStore, SplitStore, Taint, clip_keys


@dataclass(frozen=True, kw_only=True)
class TrainingClips:
    """The clips of a training, in order of clip id.

    Args:
        clip_ids: (N,) text. labels: (N,) int64, all of them class indices.
        sources: name -> number of clips (``train``, ``val``, ``pseudo``).
        taint: what a model trained on them has seen.
        passed_over: pseudo-labelled clips that the data store does not hold.
        probs: (N, K) float32 what is learnt instead of ``labels``, or None; a labelled clip's row is one-hot.
    """

    clip_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    sources: dict[str, int]
    taint: Taint
    passed_over: int = 0
    probs: NDArray[np.float32] | None = None


def _some(clip_ids: Sequence[str] | NDArray[np.str_]) -> str:
    text = ", ".join(f"'{clip_id}'" for clip_id in list(clip_ids)[:3])
    return text + (" ..." if len(clip_ids) > 3 else "")


def select_training_clips(
    split: SplitStore,
    use: Sequence[str],
    available: NDArray[np.str_],
    pseudo: PseudoStore | None = None,
    soft: bool = False,
) -> TrainingClips:
    """Join the used parts of the split and the pseudo-labels: D_aug of paper 3.3 if all three are given.

    Args:
        use: parts of the split, such as ``("train", "val")``. available: ids that the data store holds.
        soft: learn the probabilities of the pseudo-labels instead of their classes.

    Raises:
        UsageError: the target is named as a part to use.
        DataError: no clip, a clip without label, a clip missing in the data store, or pseudo-labels that
            belong to another split or lack the probabilities that are wanted.
    """
    if "target" in use:
        raise UsageError("--use target: the target has no labels; give its pseudo-labels with --pseudo")
    ids, labels = split.select(*use)
    if not len(ids):
        raise DataError(f"{split.path}: no clip in {', '.join(use)}")
    unlabelled = ids[labels < 0]
    if len(unlabelled):
        raise DataError(
            f"{split.path}: {len(unlabelled)} training clip(s) have no label: {_some(unlabelled)}"
        )
    absent = ids[~np.isin(ids, available)]
    if len(absent):
        raise DataError(
            f"{len(absent)} of {len(ids)} training clip(s) of {split.path} are missing in the data store: "
            f"{_some(absent)}"
        )
    sources = {
        name: int(np.isin(ids, split.clip_ids[split.names == name]).sum()) for name in dict.fromkeys(use)
    }
    taint = Taint.of(clip_keys(split.dataset, ids))
    passed_over = 0
    probs = np.eye(len(split.class_names), dtype=np.float32)[labels] if soft and pseudo is not None else None
    if pseudo is not None:
        _check_pseudo(pseudo, split)
        held = np.isin(pseudo.clip_ids, available)
        passed_over = int((~held).sum())
        own = Taint.of(clip_keys(split.dataset, pseudo.clip_ids[held]))
        taint = Taint.union_all([taint, own, pseudo.taint])
        ids = np.concatenate([ids, pseudo.clip_ids[held]])
        labels = np.concatenate([labels, pseudo.labels[held]])
        if probs is not None:
            probs = np.concatenate([probs, _pseudo_probs(pseudo)[held]])
        sources["pseudo"] = int(held.sum())
    order = np.argsort(ids)
    return TrainingClips(
        clip_ids=ids[order],
        labels=labels[order].astype(np.int64),
        sources=sources,
        taint=taint,
        passed_over=passed_over,
        probs=None if probs is None else probs[order],
    )


def _pseudo_probs(pseudo: PseudoStore) -> NDArray[np.float32]:
    """Return the (S, K) probabilities of the pseudo-labels, rows of sum 1."""
    if pseudo.probs is None:
        raise DataError(
            f"{pseudo.path}: has no probabilities, as recipe.pseudo_targets = 'soft' wants; take 'hard' or "
            "an adapter that stores them"
        )
    probs = np.asarray(pseudo.probs, np.float64)
    wanted = (len(pseudo.clip_ids), len(pseudo.class_names))
    if probs.shape != wanted or not np.isfinite(probs).all() or (probs < 0).any():
        raise DataError(f"{pseudo.path}: its probabilities must be {wanted} finite numbers >= 0")
    total = probs.sum(axis=1, keepdims=True)
    if np.any(np.abs(total - 1) > 1e-3):
        raise DataError(f"{pseudo.path}: a row of its probabilities does not sum to 1")
    return np.asarray(probs / total, np.float32)


def _check_pseudo(pseudo: PseudoStore, split: SplitStore) -> None:
    if pseudo.class_names != split.class_names:
        raise DataError(f"{pseudo.path}: its {len(pseudo.class_names)} classes are not those of {split.path}")
    if pseudo.dataset and pseudo.dataset != split.dataset:
        raise DataError(f"{pseudo.path}: is of data set '{pseudo.dataset}', the split of '{split.dataset}'")
    strangers = pseudo.clip_ids[~np.isin(pseudo.clip_ids, split.clip_ids[split.names == "target"])]
    if len(strangers):
        raise DataError(
            f"{pseudo.path}: {len(strangers)} pseudo-labelled clip(s) are no target clips of {split.path}: "
            f"{_some(strangers)}"
        )


def mirror_permutation(pairs: Sequence[tuple[int, int]], num_classes: int) -> NDArray[np.int64]:
    """Return the (K,) permutation of classes under a horizontal flip.

    >>> mirror_permutation([(0, 2)], 4).tolist()
    [2, 1, 0, 3]
    """
    permutation = np.arange(num_classes)
    for left, right in pairs:
        if not (0 <= left < num_classes and 0 <= right < num_classes):
            raise DataError(f"mirrored classes {left} and {right} lie outside 0..{num_classes - 1}")
        permutation[left], permutation[right] = right, left
    return permutation


def torch_seed(seed: int, epoch: int, *more: int) -> int:
    """Return the seed of torch's generator (dropout and the like) for an epoch, or a smaller part of one."""
    sequence = np.random.SeedSequence([seed, epoch, *more], spawn_key=(TORCH,))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def batch_count(count: int, batch_size: int) -> int:
    """Return the batches of an epoch; a last batch of one sample is left out, as BatchNorm cannot use it."""
    batches = math.ceil(count / batch_size)
    return batches - 1 if batches > 1 and count % batch_size == 1 else batches


# (epoch, index) or, for a sample that is met again in the epoch, (epoch, index, times met before).
Place = tuple[int, int] | tuple[int, int, int]


class TrainingSamples(Dataset[tuple[NDArray[Any], Any, int]]):
    """Samples by place: augmentation and flip depend on (seed, epoch, index, repetition) and nothing else.

    A sample is (x, y, index); y is its class or, if the clips have probabilities, (K,) of them.
    """

    def __init__(
        self, modality: Modality, clips: TrainingClips, *, seed: int, flip: bool, mirror: NDArray[np.int64]
    ) -> None:
        self.modality = modality
        self.clips = clips
        self.seed = seed
        self.flip = flip
        self.mirror = mirror

    def __getitem__(self, place: Place) -> tuple[NDArray[Any], int | NDArray[np.float32], int]:
        epoch, index, *again = place
        # The first time has no fourth number (one that is 0 would change nothing: seeds are padded with 0).
        rng = np.random.default_rng([self.seed, epoch, index, *(number for number in again if number)])
        # Drawn first, so that the flips do not depend on what the modality draws.
        mirrored = self.flip and rng.random() < 0.5
        sample = sample_of(self.modality, str(self.clips.clip_ids[index]), rng)
        if mirrored:
            sample = self.modality.flip(sample)
        if self.clips.probs is not None:
            # mirror is an involution: what stood at c stands at mirror[c] afterwards.
            probs = self.clips.probs[index]
            return sample, probs[self.mirror] if mirrored else probs, index
        label = int(self.clips.labels[index])
        return sample, int(self.mirror[label]) if mirrored else label, index


class TestSamples(Dataset[tuple[NDArray[Any], int, int]]):
    """The one deterministic sample of each clip, by index."""

    __test__ = False  # no test class of pytest

    def __init__(self, modality: Modality, clip_ids: NDArray[np.str_], labels: NDArray[Any]) -> None:
        self.modality = modality
        self.clip_ids = clip_ids
        self.labels = labels

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], int, int]:
        return sample_of(self.modality, str(self.clip_ids[index]), None), int(self.labels[index]), index


class EpochBatches:
    """Yields the batches of the epoch it is set to, as lists of places, from batch ``first`` on.

    Args:
        labels: (N,) classes, which a sampler other than ``uniform`` goes by.
        rows: the part of a batch of so many samples that this process loads; all of it if not given.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        seed: int,
        sampler: str = "uniform",
        rows: Callable[[int], slice] | None = None,
    ) -> None:
        self.labels, self.batch_size, self.seed, self.sampler = labels, batch_size, seed, sampler
        self.rows = rows or slice
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        return batch_count(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        epoch = self.epoch
        order, earlier = samples_of(self.labels, self.sampler, self.seed, epoch)
        for number in range(self.first, len(self)):
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            places = [(epoch, int(index), int(times)) for index, times in zip(order[part], earlier[part])]
            yield places[self.rows(len(places))]


Batch = tuple[Tensor, Tensor, NDArray[np.int64]]


def collate(samples: Sequence[tuple[NDArray[Any], Any, int]]) -> Batch:
    """Stack samples to x (N, ...), y (N,) int64 or (N, K) float32, and the samples' indices."""
    arrays, labels, indices = zip(*samples)
    try:
        stacked = stack_samples(arrays)
    except ValueError as error:
        shapes = sorted({array.shape for array in arrays})
        raise DataError(f"the modality returns samples of unequal shapes: {shapes}") from error
    if isinstance(labels[0], np.ndarray):
        targets = torch.from_numpy(np.stack(labels))
    else:
        targets = torch.tensor(labels, dtype=torch.int64)
    return stacked, targets, np.array(indices, np.int64)


def training_loader(samples: TrainingSamples, batches: EpochBatches, workers: int) -> DataLoader[Batch]:
    """Return the loader of a training; set ``batches.epoch`` before each iteration.

    Iterate through :func:`mg_adapt.training.loading.raised`.
    """
    return DataLoader(
        Carrying(samples),
        batch_sampler=batches,
        collate_fn=CarryingCollate(collate),
        num_workers=workers,
        persistent_workers=workers > 0,
        # A generator of its own: the loader draws a base seed and must not disturb the model's dropout.
        generator=torch.Generator(),
    )


def test_loader(samples: TestSamples, batch_size: int, workers: int) -> DataLoader[Batch]:
    """Return a loader over all clips in order; iterate through :func:`mg_adapt.training.loading.raised`."""
    return DataLoader(
        Carrying(samples),
        batch_size=batch_size,
        collate_fn=CarryingCollate(collate),
        num_workers=workers,
        generator=torch.Generator(),
    )


test_loader.__test__ = False  # type: ignore[attr-defined]
