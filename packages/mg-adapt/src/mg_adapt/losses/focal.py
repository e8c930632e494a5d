"""Focal loss with smoothed class weights (paper 3.2), and the cross-entropy as its special case."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from mg_adapt.losses.targets import checked_smoothing, is_soft
from mg_adapt.losses.weights import class_weights
from mg_data.contract import ModelOutput, UsageError


def focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, label_smoothing: float
) -> Tensor:
    """Return the mean over the batch of ``w_y (1 - p_y)^gamma CE(q, p)``, in float32.

    Args:
        logits: (N, K). target: (N,) int64 classes, or (N, K) probabilities: then the expectation over them.
        weight: (K,) w_c. gamma: at least 0.
        label_smoothing: eps of ``q = (1 - eps) onehot + eps / K``; p_y is that of the class itself.
    """
    log_probs = functional.log_softmax(logits.float(), dim=1)
    # Of probabilities all K classes take part, of classes the one.
    log_p_t = log_probs if is_soft(target) else log_probs.gather(1, target[:, None]).squeeze(1)
    entropy = -log_p_t
    if label_smoothing:
        mean = log_probs.mean(dim=1, keepdim=is_soft(target))
        entropy = (1 - label_smoothing) * entropy - label_smoothing * mean
    if gamma:
        # 1 - p_t without cancellation; the floor keeps the gradient finite for gamma < 1 at p_t = 1.
        entropy = entropy * (-torch.expm1(log_p_t)).clamp_min(1e-12) ** gamma
    if is_soft(target):
        return (target.to(entropy.dtype) * weight * entropy).sum(dim=1).mean()
    return (weight[target] * entropy).mean()


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

    soft_targets = True

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
        self.gamma = gamma
        self.label_smoothing = checked_smoothing(label_smoothing)
        weights = class_weights(class_counts, weighting)
        self.weight: Tensor
        self.register_buffer("weight", torch.tensor(weights, dtype=torch.float32))

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (N, K) and targets (N,) int64 or (N, K), in float32."""
        return focal_loss(output.logits, target, self.weight, self.gamma, self.label_smoothing)


def cross_entropy(*, class_counts: ArrayLike, weighting: str = "none", label_smoothing: float = 0.0) -> Focal:
    """Build the cross-entropy, unweighted unless ``weighting`` says otherwise (record ``cross-entropy``)."""
    return Focal(class_counts=class_counts, gamma=0.0, weighting=weighting, label_smoothing=label_smoothing)
