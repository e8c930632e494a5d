"""Answers of a model: averaged over a modality's views and, with flips, over their mirror images too.

Every forward pass has the same number of samples: what is missing in the last one is filled up, and the
filler's answers are dropped. Libraries of linear algebra add numbers up in another order for another batch
size; this makes a clip's logits the same bits whichever clips are predicted beside it, in any shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mg_adapt.blame import blamed
from mg_adapt.training.loading import Carrying, raised, views_of
from mg_data.contract import DataError, Modality, Progress


@dataclass(frozen=True)
class Answers:
    """``logits`` (N, K) and ``features`` (N, d), or None if they were not asked for; float32."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None = None


def predict_logits(
    model: nn.Module,
    modality: Modality,
    clip_ids: NDArray[np.str_],
    *,
    num_classes: int,
    mirror: NDArray[np.int64] | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
    progress: Progress | None = None,
    workers: int = 0,
    who: str = "the model",
) -> NDArray[np.float32]:
    """Return (N, K) logits of the clips, in their order; see :func:`predict_answers`."""
    return predict_answers(
        model,
        modality,
        clip_ids,
        num_classes=num_classes,
        mirror=mirror,
        batch_size=batch_size,
        device=device,
        progress=progress,
        workers=workers,
        who=who,
    ).logits


def predict_answers(
    model: nn.Module,
    modality: Modality,
    clip_ids: NDArray[np.str_],
    *,
    num_classes: int,
    mirror: NDArray[np.int64] | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
    progress: Progress | None = None,
    workers: int = 0,
    features: bool = False,
    who: str = "the model",
) -> Answers:
    """Return the logits of the clips and, if asked for, their features, in the clips' order.

    Args:
        mirror: (K,) permutation of classes under a flip; if given, the logits of the mirrored views are
            permuted and averaged with those of the views (paper 4.2: logits, not probabilities).
        batch_size: samples (not clips) in one forward pass; views of several clips share it.
        workers: loader processes; 0 loads in this one. They have no influence on the result.
        features: also return what the classifier reads, averaged over the views and never over mirrored ones:
            a direction's mirror image is another class's feature.
        who: how messages call the model.

    Raises:
        DataError: logits or features that are not finite, naming the clip.
        PluginError: the model or the modality raises. UsageError: the device's memory does not suffice.
    """
    target = device or torch.device("cpu")
    model.to(target).eval()
    logits = _Mean(len(clip_ids))
    pooled = _Mean(len(clip_ids))
    with torch.inference_mode():
        for batch in _batches(modality, clip_ids, mirror is not None, batch_size, progress, workers):
            with blamed(who, lambda: "prediction", batch="--batch-size"):
                output = model(torch.from_numpy(_filled(batch.samples, batch_size)).to(target))
            count = len(batch.rows)
            values = _as_numpy(output.logits[:count])
            if mirror is not None:
                values = np.where(batch.flipped[:, None], values[:, mirror], values)
            logits.add(batch.rows, values)
            if features:
                plain = ~batch.flipped
                pooled.add(batch.rows[plain], _as_numpy(output.feature[:count])[plain])
    return Answers(
        logits.result(clip_ids, num_classes, "answer"),
        pooled.result(clip_ids, 0, "feature") if features else None,
    )


def _as_numpy(values: torch.Tensor) -> NDArray[np.float64]:
    return values.float().cpu().numpy().astype(np.float64)


class _Mean:
    """The mean of the rows that are added to each of N clips."""

    def __init__(self, count: int) -> None:
        self._totals: NDArray[np.float64] | None = None
        self._counts = np.zeros(count, np.int64)

    def add(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        if self._totals is None:
            self._totals = np.zeros((len(self._counts), values.shape[1]))
        np.add.at(self._totals, rows, values)
        np.add.at(self._counts, rows, 1)

    def result(self, clip_ids: NDArray[np.str_], width: int, what: str) -> NDArray[np.float32]:
        totals = np.zeros((len(self._counts), width)) if self._totals is None else self._totals
        values = totals / np.maximum(self._counts, 1)[:, None]
        broken = clip_ids[~np.isfinite(values).all(axis=1)]
        if len(broken):
            raise DataError(
                f"the model's {what} is not finite for {len(broken)} clip(s), the first is '{broken[0]}'"
            )
        return values.astype(np.float32)


def _filled(samples: NDArray[Any], batch_size: int) -> NDArray[Any]:
    missing = batch_size - len(samples)
    return np.concatenate([samples, np.repeat(samples[-1:], missing, axis=0)]) if missing else samples


class _Views(Dataset[tuple[NDArray[Any], NDArray[np.bool_]]]):
    """All views of a clip, by row: (V, ...) samples and whether each is mirrored."""

    def __init__(self, modality: Modality, clip_ids: NDArray[np.str_], flip: bool) -> None:
        self.modality, self.clip_ids, self.flip = modality, clip_ids, flip

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, row: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return views_of(self.modality, str(self.clip_ids[row]), self.flip)


@dataclass(frozen=True)
class _Batch:
    """Samples, the row of the clip each belongs to, and whether it is mirrored."""

    samples: NDArray[Any]
    rows: NDArray[np.int64]
    flipped: NDArray[np.bool_]


def _unchanged(item: Any) -> Any:
    return item


def _batches(
    modality: Modality,
    clip_ids: NDArray[np.str_],
    flip: bool,
    batch_size: int,
    progress: Progress | None,
    workers: int,
) -> Iterator[_Batch]:
    """Yield the views of all clips in batches of ``batch_size``, the last one smaller."""
    loader: DataLoader[Any] = DataLoader(
        Carrying(_Views(modality, clip_ids, flip)),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,  # arrays, and not tensors as by default
        generator=torch.Generator(),
    )
    samples: list[NDArray[Any]] = []
    rows: list[int] = []
    flipped: list[bool] = []
    for row, (views, mirrored) in enumerate(raised(loader)):
        for view, is_mirrored in zip(views, mirrored):
            samples.append(view)
            rows.append(row)
            flipped.append(bool(is_mirrored))
            if len(samples) == batch_size:
                yield _Batch(np.stack(samples), np.array(rows), np.array(flipped))
                samples, rows, flipped = [], [], []
        if progress is not None:
            progress.advance(1)
    if samples:
        yield _Batch(np.stack(samples), np.array(rows), np.array(flipped))
