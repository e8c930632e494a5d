"""Balanced softmax (Ren et al. 2020)."""

from __future__ import annotations

from numpy.typing import ArrayLike

from mg_adapt.losses.logit_adjustment import LogitAdjustment


class BalancedSoftmax(LogitAdjustment):
    """Mean of ``-log(n_y e^{z_y} / sum_c n_c e^{z_c})`` (Ren et al. 2020).

    Since a factor common to all n_c cancels, this is the logit-adjusted loss at tau = 1, under the name by
    which it is known; the two give the same training. Its meta sampler is not part of it.

    Args:
        class_counts: (K,) training samples of each class; none counts as one.
    """

    def __init__(self, *, class_counts: ArrayLike, label_smoothing: float = 0.0) -> None:
        super().__init__(class_counts=class_counts, tau=1.0, label_smoothing=label_smoothing)
