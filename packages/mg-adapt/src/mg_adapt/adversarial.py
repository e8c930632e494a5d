"""Domain-adversarial training (DANN, Ganin et al. 2016): source clips with labels, target clips without.

The trainer needs no second loop for it. Source and target clips are one training set in which a target clip's
label is ``UNLABELLED``; the losses of the recipe look at labelled samples only, and one more loss holds a
domain classifier that reads the feature through a gradient reversal.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mg_adapt.training.data import TrainingClips
from mg_data.contract import DataError, ModelOutput, UsageError
from mg_data.store import SplitStore, Taint, clip_keys

UNLABELLED = -1


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return feature.view_as(feature)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(feature: Tensor, strength: float) -> Tensor:
    """Return the feature as it is; its gradient comes back times ``-strength`` (their Eq. 16 and 17)."""
    result: Tensor = _Reverse.apply(feature, strength)
    return result


def reversal_strength(progress: float) -> float:
    """Return lambda at a share of the training: 2 / (1 + exp(-10 p)) - 1, from 0 to 1 (their section 5.2.2).

    >>> [round(reversal_strength(p), 3) for p in (0.0, 0.1, 0.5, 1.0)]
    [0.0, 0.462, 0.987, 1.0]
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


class DomainAdversary(nn.Module):
    """Cross-entropy of a classifier that tells source from target by the feature, and a reversed gradient.

    The classifier learns to tell them apart, the model to make that impossible. Both domains weigh the same
    in a batch, however many clips each has; a batch of one domain teaches nothing.

    Args:
        feature_dim: d. hidden: units of the classifier's one hidden layer.
    """

    def __init__(self, feature_dim: int, hidden: int = 128) -> None:
        super().__init__()
        if hidden < 1:
            raise UsageError(f"--hidden must be at least 1, found {hidden}")
        self.classifier = nn.Sequential(nn.Linear(feature_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.strength = 0.0

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Set lambda to its value in the middle of the epoch."""
        self.strength = reversal_strength((epoch + 0.5) / epochs)

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the loss. target: (N,) classes, UNLABELLED for clips of the target."""
        feature: Tensor = output.feature.float()
        source = target != UNLABELLED
        score = self.classifier(reverse_gradient(feature, self.strength)).squeeze(1)
        if bool(source.all()) or not bool(source.any()):
            nothing: Tensor = 0.0 * score.sum()
            return nothing
        errors = functional.binary_cross_entropy_with_logits(score, source.float(), reduction="none")
        loss: Tensor = 0.5 * (errors[source].mean() + errors[~source].mean())
        return loss


class LabelledOnly(nn.Module):
    """A loss over the labelled samples of a batch, weighted by their share of it.

    The mean over an epoch is that over its labelled clips, up to the constant share of these, which is taken
    out by ``scale``.
    """

    def __init__(self, loss: nn.Module, scale: float) -> None:
        super().__init__()
        self.loss = loss
        self.scale = scale

    def at_epoch(self, epoch: int, epochs: int) -> None:
        """Pass the epoch on."""
        tell: Any = getattr(self.loss, "at_epoch", None)
        if tell is not None:
            tell(epoch, epochs)

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the loss of the samples whose target is not UNLABELLED."""
        known = target != UNLABELLED
        if not bool(known.any()):
            # Still a function of the weights, so that the step is as any other.
            nothing: Tensor = 0.0 * (output.logits.float().sum() + output.feature.float().sum())
            return nothing
        part = ModelOutput(output.logits[known], output.feature[known])
        loss: Tensor = self.loss(part, target[known])
        return loss * (self.scale * float(known.float().mean()))


def join_domains(
    source: TrainingClips, split: SplitStore, available: NDArray[np.str_]
) -> tuple[TrainingClips, int]:
    """Return source and target clips as one training set, and the number of target clips in it.

    The target's clips count as *selected on*: the weights are fitted to their inputs, but no label of theirs,
    true or given by a model, has been learnt.

    Raises:
        DataError: fewer than two target clips in the data store.
    """
    ids, _ = split.select("target")
    held = ids[np.isin(ids, available)]
    if len(held) < 2:
        raise DataError(
            f"{split.path}: {len(held)} of {len(ids)} target clips are in the data store, wanted at least 2"
        )
    clip_ids = np.concatenate([source.clip_ids, held])
    labels = np.concatenate([source.labels, np.full(len(held), UNLABELLED, np.int64)])
    order = np.argsort(clip_ids)
    joined = TrainingClips(
        clip_ids=clip_ids[order],
        labels=labels[order],
        sources={**source.sources, "target": len(held)},
        taint=source.taint.union(Taint.of((), clip_keys(split.dataset, held))),
    )
    return joined, len(held)


def domain_gap(
    source: NDArray[np.float64], target: NDArray[np.float64], *, seed: int = 0, folds: int = 5
) -> float:
    """Return how well a linear classifier tells the features of two domains apart on clips left out of it.

    Mean of the two domains' accuracies: 0.5 where they cannot be told apart, 1 where always.

    Args:
        source: (N, d). target: (M, d). seed: of the folds.
    """
    points = np.concatenate([source, target]).astype(np.float64)
    points = (points - points.mean(axis=0)) / np.maximum(points.std(axis=0), 1e-9)
    points = np.hstack([points, np.ones((len(points), 1))])
    domain = np.concatenate([np.ones(len(source)), -np.ones(len(target))])
    weight = np.where(domain > 0, 0.5 / len(source), 0.5 / len(target))
    fold = np.random.default_rng(seed).permutation(len(points)) % folds
    right = np.zeros(len(points), bool)
    for number in range(folds):
        seen = fold != number
        # Least squares with a little ridge: enough to find a direction, and it needs no solver of its own.
        x, w = points[seen], weight[seen][:, None]
        normal = x.T @ (w * x) + 1e-3 * np.eye(x.shape[1])
        direction = np.linalg.solve(normal, x.T @ (w[:, 0] * domain[seen]))
        right[~seen] = np.sign(points[~seen] @ direction) == domain[~seen]
    return float(0.5 * (right[domain > 0].mean() + right[domain < 0].mean()))
