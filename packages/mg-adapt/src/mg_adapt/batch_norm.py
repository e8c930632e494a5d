"""BatchNorm statistics of the clips to predict instead of the training clips' (AdaBN, Li et al. 2016)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mg_adapt.blame import blamed
from mg_adapt.training.loading import sample_of
from mg_data.contract import DataError, Modality, Progress, UsageError


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers that keep running statistics."""
    return [
        layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]


def adapt_batch_norm(
    model: nn.Module,
    modality: Modality,
    clip_ids: NDArray[np.str_],
    *,
    flip: bool,
    batch_size: int,
    device: torch.device,
    progress: Progress | None = None,
    who: str = "the model",
) -> None:
    """Estimate the running statistics of every BatchNorm layer anew, in place; no weight changes.

    Each layer's mean and variance become the plain averages over batches of the clips' test samples, in an
    order that is drawn once and for all (clips of one person, which are neighbours by id, must not share a
    batch). Everything but BatchNorm is in evaluation mode.

    Args:
        flip: let every other sample be mirrored, as in a training with flips.
        batch_size: clips in a batch; the result depends on it. who: how messages call the model.

    Raises:
        UsageError: the model has no BatchNorm layer.
        DataError: fewer than two clips, or statistics that are not finite.
        PluginError: the model or the modality raises.
    """
    layers = batch_norms(model)
    if not layers:
        raise UsageError("--bn-adapt: the model has no BatchNorm layer, so there is nothing to adapt")
    if len(clip_ids) < 2:
        raise DataError(f"--bn-adapt: statistics need at least 2 clips, found {len(clip_ids)}")
    if batch_size < 2:
        raise UsageError(f"--bn-batch must be at least 2, found {batch_size}")
    model.to(device).eval()
    kept = [(layer, layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the average over all batches instead of a moving one
        layer.train()
    order = np.random.default_rng(0).permutation(clip_ids)
    # As equal as can be: a small last batch would weigh as much as the others. A single clip has no variance.
    parts = np.array_split(order, max(1, min(round(len(order) / batch_size), len(order) // 2)))
    with torch.no_grad():
        for part in parts:
            samples = [sample_of(modality, str(clip_id), None) for clip_id in part]
            if flip:
                samples = [
                    modality.flip(sample) if place % 2 else sample for place, sample in enumerate(samples)
                ]
            stacked = np.stack(samples)
            with blamed(who, lambda: "--bn-adapt", batch="--bn-batch"):
                model(torch.from_numpy(stacked).to(device))
            if progress is not None:
                progress.advance(len(part))
    for layer, momentum in kept:
        layer.momentum = momentum
    model.eval()
    for layer in layers:
        for statistic in (layer.running_mean, layer.running_var):
            if statistic is not None and not bool(torch.isfinite(statistic).all()):
                raise DataError("--bn-adapt: a BatchNorm statistic of these clips is not finite")
