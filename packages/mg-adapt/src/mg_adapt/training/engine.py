"""Where a training runs: in this process alone, or in several that torchrun started.

The trainer speaks to an :class:`Engine` and does not know which. A batch is always the whole batch of the
recipe: several processes compute parts of it, and losses are taken over all of it. Without torchrun nothing
of Lightning Fabric is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mg_data.contract import Console, UsageError

Value = TypeVar("Value")


def share(count: int, rank: int, world: int) -> slice:
    """Return the rows of a batch that a process computes: as equal as can be, in order.

    A batch that would leave a process with fewer than two samples is not divided: every process computes the
    whole of it (BatchNorm cannot use a single sample), which gives the same gradient.

    >>> [share(11, rank, 3) for rank in range(3)]
    [slice(0, 4, None), slice(4, 8, None), slice(8, 11, None)]
    >>> share(5, 2, 3)
    slice(0, 5, None)
    """
    if count < 2 * world:
        return slice(0, count)
    size, more = divmod(count, world)
    first = rank * size + min(rank, more)
    return slice(first, first + size + (rank < more))


class Engine:
    """One process on one device.

    Attributes: ``rank`` of this process (from 0) among ``world``; ``device``.
    """

    rank, world = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def first(self) -> bool:
        """Return whether this process writes and speaks."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return this process's rows of a batch of ``count``."""
        return share(count, self.rank, self.world)

    def synchronised(self, model: nn.Module) -> nn.Module:
        """Return the model with BatchNorm over the whole batch, on the same parameters."""
        return model

    def prepare(self, model: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called for a forward pass whose gradients all processes share."""
        return model

    def begin(self, count: int) -> None:
        """Say how large the batch is whose forward pass comes next."""

    def backward(self, loss: Tensor, count: int) -> None:
        """Add the gradients of a loss over a whole batch of ``count``."""
        loss.backward()  # type: ignore[no-untyped-call]

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Return (count, ...) all rows of a batch; gradients flow to this process's own."""
        return rows

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, which are those that are published."""

    def total(self, number: int) -> int:
        """Return the sum of every process's number."""
        return number

    def from_first(self, value: Callable[[], Value]) -> Value:
        """Return the first process's value, which is computed there alone."""
        return value()

    def console(self, console: Console) -> Console:
        """Return the console of this process: the first one speaks."""
        return console


def launched_by_torchrun() -> bool:
    """Return whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def one_process(what: str, instead: str = "") -> None:
    """Raise UsageError if torchrun started several processes for a command that is made for one."""
    if launched_by_torchrun():
        raise UsageError(f"{what} runs in one process, not under torchrun{instead}")


def open_engine(device: torch.device, name: str) -> Engine:
    """Return the engine for this process; under torchrun it joins the others.

    Args:
        device: what :func:`mg_adapt.branch.choose_device` chose for ``name``, the user's words.

    Raises:
        UsageError: the extra is not installed, or one device is named for several processes.
    """
    if not launched_by_torchrun():
        return Engine(device)
    if device.index is not None:
        raise UsageError(f"--device {name}: under torchrun each process has its own, use --device cuda")
    try:
        from mg_adapt.training.fabric_engine import FabricEngine
    except ModuleNotFoundError as error:
        if error.name != "lightning_fabric":
            raise
        raise UsageError(
            "training in several processes needs lightning-fabric: pip install 'mg-adapt[fabric]'"
        ) from error
    return FabricEngine(device)
