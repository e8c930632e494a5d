"""What losses have in common: targets that are classes or probabilities, and smoothed labels."""

from __future__ import annotations

from torch import Tensor

from mg_data.contract import UsageError


def checked_smoothing(label_smoothing: float) -> float:
    """Return eps; UsageError unless it lies in [0, 1)."""
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"label_smoothing must lie in [0, 1), found {label_smoothing}")
    return label_smoothing


def is_soft(target: Tensor) -> bool:
    """Return whether the target is (N, K) probabilities; (N,) classes otherwise."""
    return target.ndim == 2


def smoothed_entropy(log_probs: Tensor, target: Tensor, label_smoothing: float) -> Tensor:
    """Return (N,) cross-entropy of log-probabilities (N, K) with ``(1 - eps) target + eps / K``.

    Args:
        target: (N,) int64 classes or (N, K) probabilities.
    """
    if is_soft(target):
        entropy = -(target.to(log_probs.dtype) * log_probs).sum(dim=1)
    else:
        entropy = -log_probs.gather(1, target[:, None]).squeeze(1)
    if label_smoothing:
        entropy = (1 - label_smoothing) * entropy - label_smoothing * log_probs.mean(dim=1)
    return entropy
