"""Optimizer, learning rate and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mg_adapt.recipe import Recipe

HEAD_NAMES = frozenset({"head", "classifier", "projection"})


def build_optimizer(model: nn.Module, losses: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW or SGD over the trainable parameters of model and losses.

    Parameters outside modules named head, classifier or projection get ``lr * backbone_lr_scale``; losses
    with parameters count as heads. Each group's own factor is kept as ``scale``.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    named = [(name, parameter, False) for name, parameter in model.named_parameters()]
    named += [(name, parameter, True) for name, parameter in losses.named_parameters()]
    for name, parameter, is_loss in named:
        if not parameter.requires_grad:
            continue
        head = is_loss or not HEAD_NAMES.isdisjoint(name.split("."))
        scale = 1.0 if head else recipe.backbone_lr_scale
        decay = recipe.weight_decay if recipe.decay_vectors or parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    settings = [
        {"params": parameters, "lr": recipe.lr * scale, "scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=recipe.lr, momentum=recipe.momentum)
    return torch.optim.AdamW(settings, lr=recipe.lr)


def learning_rate_factor(step: int, total: int, warmup: int) -> float:
    """Return the factor of step ``step`` (from 0): linear over ``warmup`` steps, then a cosine down to 0.

    >>> [round(learning_rate_factor(step, 6, 2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group ``lr`` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]


class AveragedWeights:
    """Exponential moving average of a model's parameters; buffers are the model's own.

    The decay grows as (1 + n) / (10 + n) up to ``decay``, so that early averages are not the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = dict(model.named_parameters())
        self.values = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.values.values()), list(self.parameters.values()), 1 - decay)

    def load(self, values: Iterable[tuple[str, Tensor]], updates: int) -> None:
        """Put back averages saved earlier."""
        for name, value in values:
            self.values[name].copy_(value)
        self.updates = updates

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Evaluate with the averages: they stand in the model for as long as the context lasts."""
        kept = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
