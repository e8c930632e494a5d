"""Training a part of a backbone, and recomputing activations instead of keeping them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mg_data.contract import UsageError


def frozen_modules(backbone: nn.Module, stages: Iterable[tuple[str, ...]], freeze: int) -> list[nn.Module]:
    """Return the modules that the option ``freeze`` keeps as they are, their parameters without gradient.

    Args:
        stages: names of modules of the backbone, from its input on, stage by stage.
        freeze: 0 for none, n for the first n stages, -1 for the whole backbone.

    Raises:
        UsageError: there are not so many stages.
    """
    groups = list(stages)
    if freeze == 0:
        return []
    if not -1 <= freeze <= len(groups):
        raise UsageError(
            f"video model: freeze is {freeze}, wanted 0 (nothing), 1 to {len(groups)} (first stages of the "
            "backbone) or -1 (all of it)"
        )
    names = [name for group in groups[:freeze] for name in group]
    chosen = [backbone] if freeze == -1 else [backbone.get_submodule(name) for name in names]
    for module in chosen:
        module.requires_grad_(False)
    return chosen


def recompute_blocks(backbone: nn.Module, kinds: tuple[type[nn.Module], ...]) -> int:
    """Let every module of these classes forget its activations and compute them again in the backward pass.

    Memory then grows with the number of blocks rather than layers, for one more forward pass. Gradients and
    the running statistics of BatchNorm are those of plain training. Returns the number of modules.
    """
    blocks = [module for module in backbone.modules() if isinstance(module, kinds)]
    for block in blocks:
        block.forward = partial(_recomputed, block, block.forward)
    return len(blocks)


def _recomputed(block: nn.Module, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **named)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, block), **named)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _without_statistics(block)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Leave the running statistics as they are: the first forward pass has already counted this batch."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # The layer must see its statistics, or it would keep other tensors than in the first pass.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count
