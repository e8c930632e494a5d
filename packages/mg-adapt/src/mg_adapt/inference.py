"""Logits of clips: averaged over a modality's views and, with flips, over each view and its mirror image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mg_data.contract import DataError, Modality, Progress


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
) -> NDArray[np.float32]:
    """Return (N, K) logits of the clips, in their order.

    Args:
        mirror: (K,) permutation of classes under a flip; if given, the logits of the mirrored views are
            permuted and averaged with those of the views (paper 4.2: logits, not probabilities).
        batch_size: samples (not clips) in one forward pass.

    Raises:
        DataError: logits that are not finite, naming the clip.
    """
    target = device or torch.device("cpu")
    model.to(target).eval()
    totals = np.zeros((len(clip_ids), num_classes))
    counts = np.zeros(len(clip_ids), np.int64)
    with torch.inference_mode():
        for samples, rows, flipped in _batches(modality, clip_ids, mirror is not None, batch_size, progress):
            logits = (
                model(torch.from_numpy(samples).to(target)).logits.float().cpu().numpy().astype(np.float64)
            )
            if mirror is not None:
                logits = np.where(flipped[:, None], logits[:, mirror], logits)
            np.add.at(totals, rows, logits)
            np.add.at(counts, rows, 1)
    values = totals / np.maximum(counts, 1)[:, None]
    broken = clip_ids[~np.isfinite(values).all(axis=1)]
    if len(broken):
        raise DataError(
            f"the model's answer is not finite for {len(broken)} clip(s), the first is '{broken[0]}'"
        )
    return values.astype(np.float32)


def _batches(
    modality: Modality,
    clip_ids: NDArray[np.str_],
    flip: bool,
    batch_size: int,
    progress: Progress | None,
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield samples, the row of the clip each belongs to, and whether it is mirrored."""
    samples: list[NDArray[Any]] = []
    rows: list[int] = []
    flipped: list[bool] = []
    for row, clip_id in enumerate(clip_ids):
        for view in modality.views(str(clip_id)):
            for mirrored in (False, True) if flip else (False,):
                samples.append(modality.flip(view) if mirrored else view)
                rows.append(row)
                flipped.append(mirrored)
                if len(samples) == batch_size:
                    yield np.stack(samples), np.array(rows), np.array(flipped)
                    samples, rows, flipped = [], [], []
        if progress is not None:
            progress.advance(1)
    if samples:
        yield np.stack(samples), np.array(rows), np.array(flipped)
