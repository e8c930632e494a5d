"""Losses for a long tail (paper 3.2), registered through ``mg_register_losses``.

A loss is built once a training with the class counts of the training samples and is called as
``loss(output: ModelOutput, target (N,) int64) -> scalar``. It is an ``nn.Module``: its buffers go into the
checkpoint. A loss that declares the option ``feature_dim`` is told the model's d when the option is 0.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from mg_data.contract import ModelOutput, UsageError

Weighting = Literal["sqrt", "none", "inverse"]


def class_weights(class_counts: ArrayLike, weighting: str = "sqrt") -> NDArray[np.float64]:
    """Return the (K,) weights w_c, scaled so that their mean over the training samples is 1.

    ``sqrt``: 1/sqrt(N_c + 1) (paper 3.2). ``inverse``: 1/(N_c + 1). ``none``: 1. The scale
    ``sum(N) / sum(N_c w_c)`` keeps the loss, and with it the learning rate, comparable between the three.
    A class without a sample gets the largest weight; it meets no target, so it changes nothing.

    >>> class_weights([3, 0, 8]).round(4).tolist()
    [1.32, 2.64, 0.88]
    """
    counts = np.asarray(class_counts, np.float64)
    if counts.ndim != 1 or counts.size == 0 or counts.min() < 0 or counts.sum() == 0:
        raise UsageError(
            f"class counts must be K numbers >= 0 with at least one sample, found {counts.tolist()}"
        )
    if weighting not in get_args(Weighting):
        raise UsageError(f"weighting '{weighting}' is unknown (known: {', '.join(get_args(Weighting))})")
    raw = {"sqrt": 1 / np.sqrt(counts + 1), "inverse": 1 / (counts + 1), "none": np.ones_like(counts)}[
        weighting
    ]
    return np.asarray(raw * (counts.sum() / (counts * raw).sum()), np.float64)


class Focal(nn.Module):
    """Focal loss with smoothed class weights: mean over the batch of ``w_y (1 - p_y)^gamma CE(q, p)``.

    p is the softmax of the unweighted logits: the weights scale the loss and never enter p_t. q is the
    one-hot target, or with ``label_smoothing`` eps the vector ``(1 - eps) onehot + eps / K``. With gamma 0
    and weighting ``none`` it is the plain cross-entropy. The mean is the plain one over N, because w_c has
    mean 1 already.

    Args:
        class_counts: (K,) training samples of each class.
        gamma: focusing exponent, at least 0.
        weighting: see :func:`class_weights`.
        label_smoothing: eps in [0, 1).
    """

    def __init__(
        self,
        *,
        class_counts: ArrayLike,
        gamma: float = 2.0,
        weighting: str = "sqrt",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise UsageError(f"focal loss: gamma must be at least 0, found {gamma}")
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing must lie in [0, 1), found {label_smoothing}")
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        weights = class_weights(class_counts, weighting)
        self.weight: Tensor
        self.register_buffer("weight", torch.tensor(weights, dtype=torch.float32))

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (N, K) and targets (N,) int64, in float32."""
        log_probs = functional.log_softmax(output.logits.float(), dim=1)
        log_p_t = log_probs.gather(1, target[:, None]).squeeze(1)
        entropy = -log_p_t
        if self.label_smoothing:
            entropy = (1 - self.label_smoothing) * entropy - self.label_smoothing * log_probs.mean(dim=1)
        if self.gamma:
            # 1 - p_t without cancellation; the floor keeps the gradient finite for gamma < 1 at p_t = 1.
            entropy = entropy * (-torch.expm1(log_p_t)).clamp_min(1e-12) ** self.gamma
        return (self.weight[target] * entropy).mean()


def focal(*, class_counts: ArrayLike, **options: Any) -> Focal:
    """Build the focal loss (factory of the record ``focal``)."""
    return Focal(class_counts=class_counts, **options)


def cross_entropy(*, class_counts: ArrayLike, weighting: str = "none", label_smoothing: float = 0.0) -> Focal:
    """Build the cross-entropy, unweighted unless ``weighting`` says otherwise (record ``cross-entropy``)."""
    return Focal(class_counts=class_counts, gamma=0.0, weighting=weighting, label_smoothing=label_smoothing)


REFERENCE_NORM, REFERENCE_DIM = 4.0, 256


def orthogonal_anchors(
    num_classes: int, feature_dim: int, norm: float | None = None, seed: int = 0
) -> Tensor:
    """Return the fixed matrix M (K, d) of paper Eq. 1: mutually orthogonal rows of equal norm.

    Rows come from the QR decomposition of a seeded Gaussian (d, K) matrix. ``norm`` is their length; None
    takes ``4 sqrt(d / 256)``, which keeps the size of single components, and so of the loss, equal for
    every d.

    Raises:
        UsageError: K > d, since no K orthogonal anchors exist then.
    """
    if num_classes > feature_dim:
        raise UsageError(
            f"orthogonal-semantic: {num_classes} classes need as many orthogonal anchors, but the model's "
            f"feature has only d = {feature_dim} dimensions; take a model with d >= {num_classes} or drop it"
        )
    if norm is not None and norm <= 0:
        raise UsageError(f"orthogonal-semantic: norm must be positive, found {norm}")
    random = np.random.default_rng(seed).standard_normal((feature_dim, num_classes))
    basis, triangle = np.linalg.qr(random)
    # Signs fixed by the diagonal: the decomposition is unique, whichever LAPACK computed it.
    basis = basis * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    length = REFERENCE_NORM * math.sqrt(feature_dim / REFERENCE_DIM) if norm is None else norm
    return torch.tensor(np.ascontiguousarray(basis.T) * length, dtype=torch.float32)


class OrthogonalSemantic(nn.Module):
    """Orthogonal semantic embedding loss, paper Eq. 1: mean over the batch of MSE(f, M_y).

    The anchors are a buffer, so a checkpoint keeps the very matrix it was trained with.
    """

    def __init__(
        self, *, class_counts: ArrayLike, feature_dim: int, norm: float | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.anchors: Tensor
        self.register_buffer(
            "anchors", orthogonal_anchors(len(np.asarray(class_counts)), feature_dim, norm, seed)
        )

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of features (N, d) and targets (N,) int64, in float32."""
        return functional.mse_loss(output.feature.float(), self.anchors[target])


def orthogonal_semantic(*, class_counts: ArrayLike, **options: Any) -> OrthogonalSemantic:
    """Build the orthogonal semantic loss (factory of the record ``orthogonal-semantic``)."""
    return OrthogonalSemantic(class_counts=class_counts, **options)
