"""Clips, labels and batches: what a training sees, the same however many loader processes there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mg_data.contract import DataError, Modality, UsageError
from mg_data.store import PseudoStore, SplitStore, Taint, clip_keys

# Streams of random numbers that share (seed, epoch) and must differ.
_ORDER, _TORCH = 1, 2


@dataclass(frozen=True, kw_only=True)
class TrainingClips:
    """The clips of a training, in order of clip id.

    Args:
        clip_ids: (N,) text. labels: (N,) int64, all of them class indices.
        sources: name -> number of clips (``train``, ``val``, ``pseudo``).
        taint: what a model trained on them has seen.
        passed_over: pseudo-labelled clips that the data store does not hold.
    """

    clip_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    sources: dict[str, int]
    taint: Taint
    passed_over: int = 0


def _some(clip_ids: Sequence[str] | NDArray[np.str_]) -> str:
    text = ", ".join(f"'{clip_id}'" for clip_id in list(clip_ids)[:3])
    return text + (" ..." if len(clip_ids) > 3 else "")


def select_training_clips(
    split: SplitStore, use: Sequence[str], available: NDArray[np.str_], pseudo: PseudoStore | None = None
) -> TrainingClips:
    """Join the used parts of the split and the pseudo-labels: D_aug of paper 3.3 if all three are given.

    Args:
        use: parts of the split, such as ``("train", "val")``. available: ids that the data store holds.

    Raises:
        UsageError: the target is named as a part to use.
        DataError: no clip, a clip without label, a clip missing in the data store, or pseudo-labels that
            belong to another split.
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
    if pseudo is not None:
        _check_pseudo(pseudo, split)
        held = np.isin(pseudo.clip_ids, available)
        passed_over = int((~held).sum())
        own = Taint.of(clip_keys(split.dataset, pseudo.clip_ids[held]))
        taint = Taint.union_all([taint, own, pseudo.taint])
        ids = np.concatenate([ids, pseudo.clip_ids[held]])
        labels = np.concatenate([labels, pseudo.labels[held]])
        sources["pseudo"] = int(held.sum())
    order = np.argsort(ids)
    return TrainingClips(
        clip_ids=ids[order],
        labels=labels[order].astype(np.int64),
        sources=sources,
        taint=taint,
        passed_over=passed_over,
    )


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


def order_of(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the (N,) order of samples in an epoch."""
    generator = np.random.default_rng(np.random.SeedSequence([seed, epoch], spawn_key=(_ORDER,)))
    return generator.permutation(count)


def torch_seed(seed: int, epoch: int) -> int:
    """Return the seed of torch's generator (dropout and the like) for an epoch."""
    return int(
        np.random.SeedSequence([seed, epoch], spawn_key=(_TORCH,)).generate_state(1, np.uint64)[0] >> 1
    )


def batch_count(count: int, batch_size: int) -> int:
    """Return the batches of an epoch; a last batch of one sample is left out, as BatchNorm cannot use it."""
    batches = math.ceil(count / batch_size)
    return batches - 1 if batches > 1 and count % batch_size == 1 else batches


class TrainingSamples(Dataset[tuple[NDArray[Any], int, int]]):
    """Samples by (epoch, index): augmentation and flip depend on (seed, epoch, index) and nothing else."""

    def __init__(
        self, modality: Modality, clips: TrainingClips, *, seed: int, flip: bool, mirror: NDArray[np.int64]
    ) -> None:
        self.modality = modality
        self.clips = clips
        self.seed = seed
        self.flip = flip
        self.mirror = mirror

    def __getitem__(self, place: tuple[int, int]) -> tuple[NDArray[Any], int, int]:
        epoch, index = place
        rng = np.random.default_rng([self.seed, epoch, index])
        # Drawn first, so that the flips do not depend on what the modality draws.
        mirrored = self.flip and rng.random() < 0.5
        sample = self.modality.sample(str(self.clips.clip_ids[index]), rng)
        label = int(self.clips.labels[index])
        if mirrored:
            sample, label = self.modality.flip(sample), int(self.mirror[label])
        return sample, label, index


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
        return self.modality.sample(str(self.clip_ids[index]), None), int(self.labels[index]), index


class EpochBatches:
    """Yields the batches of the epoch it is set to, as lists of (epoch, index), from ``first`` on."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        return batch_count(self.count, self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = self.epoch, order_of(self.seed, self.epoch, self.count)
        for number in range(self.first, len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield [(epoch, int(index)) for index in chosen]


Batch = tuple[Tensor, Tensor, NDArray[np.int64]]


def collate(samples: Sequence[tuple[NDArray[Any], int, int]]) -> Batch:
    """Stack samples to x (N, ...), y (N,) int64 and the samples' indices."""
    arrays, labels, indices = zip(*samples)
    try:
        stacked = np.stack(arrays)
    except ValueError as error:
        shapes = sorted({array.shape for array in arrays})
        raise DataError(f"the modality returns samples of unequal shapes: {shapes}") from error
    return torch.from_numpy(stacked), torch.tensor(labels, dtype=torch.int64), np.array(indices, np.int64)


def training_loader(samples: TrainingSamples, batches: EpochBatches, workers: int) -> DataLoader[Batch]:
    """Return the loader of a training; set ``batches.epoch`` before each iteration."""
    return DataLoader(
        samples,  # type: ignore[arg-type]  # collate makes batches of samples
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        # A generator of its own: the loader draws a base seed and must not disturb the model's dropout.
        generator=torch.Generator(),
    )


def test_loader(samples: TestSamples, batch_size: int, workers: int) -> DataLoader[Batch]:
    """Return a loader over all clips in order."""
    return DataLoader(
        samples,  # type: ignore[arg-type]
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator(),
    )


test_loader.__test__ = False  # type: ignore[attr-defined]
