"""Several processes as one: DDP through Lightning Fabric. Imported under torchrun only.

Every process computes its rows of the batch, gets everybody's logits and features, and takes the loss over
all of them; gradients flow to its own rows, and their sum over the processes is the gradient of the whole
batch. So any loss is exact, also one that is no mean over samples, and parts may be of unequal size.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from mg_adapt.training.engine import Engine, Value
from mg_adapt.training.whole_batch_norm import over_all_processes, set_divided
from mg_data.contract import Console, Progress


class FabricEngine(Engine):
    """One process of a group that torchrun started, on one or several nodes.

    The group lasts as long as the process: a second training in it uses the same.
    """

    def __init__(self, device: torch.device) -> None:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        world = int(os.environ["WORLD_SIZE"])
        self.fabric = Fabric(
            accelerator=device.type,
            devices=local,
            num_nodes=world // local,
            # A model may have parameters that its loss does not reach: left alone, as in one process.
            strategy=DDPStrategy(find_unused_parameters=True),
        )
        self.fabric.launch()
        super().__init__(self.fabric.device)
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size
        self._model: nn.Module | None = None

    def _divides(self, count: int) -> bool:
        return count >= 2 * self.world

    def synchronised(self, model: nn.Module) -> nn.Module:
        """Return the model with BatchNorm over all processes' rows."""
        if self.device.type == "cuda":
            convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
            converted: nn.Module = convert(model)
            return converted
        # torch's own layer wants a GPU.
        return over_all_processes(model)

    def prepare(self, model: Any) -> Callable[..., Any]:
        """Wrap the model in DDP."""
        self._model = model
        wrapped: Callable[..., Any] = self.fabric.setup_module(model)
        return wrapped

    def begin(self, count: int) -> None:
        """Tell the layers that look at the whole batch whether it is divided."""
        assert self._model is not None
        set_divided(self._model, self._divides(count))

    def backward(self, loss: Tensor, count: int) -> None:
        """Add gradients; DDP averages them over processes, and of a divided batch the sum is wanted."""
        self.fabric.backward(loss * self.world if self._divides(count) else loss)

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Return the rows of all processes in order."""
        if not self._divides(count):
            return rows
        largest = -(-count // self.world)
        padded = rows.detach().new_zeros((largest, *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        # Not Fabric's all_gather, which records a graph: gradients flow to the own rows only.
        everyone = [torch.empty_like(padded) for _ in range(self.world)]
        torch.distributed.all_gather(everyone, padded)
        size, more = divmod(count, self.world)
        parts = [found[: size + (rank < more)] for rank, found in enumerate(everyone)]
        parts[self.rank] = rows
        return torch.cat(parts)

    def share_buffers(self, model: nn.Module) -> None:
        """Send the first process's buffers to all: DDP does so before a forward pass, not after the last."""
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)

    def total(self, number: int) -> int:
        """Return the sum over processes."""
        tensor = torch.tensor(number, dtype=torch.int64, device=self.device)
        total: Any = self.fabric.all_reduce(tensor, reduce_op="sum")
        return int(total)

    def from_first(self, value: Callable[[], Value]) -> Value:
        """Send the first process's value to all (to nodes with disks of their own, too)."""
        sent: Any = self.fabric.broadcast(value() if self.first else None)
        found: Value = sent
        return found

    def console(self, console: Console) -> Console:
        """Return a console that says nothing in all but the first process."""
        return console if self.first else _Silent()


class _Silent:
    quiet = True

    def say(self, text: str) -> None:
        return None

    def warn(self, text: str) -> None:
        return None

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]:
        return nullcontext(self)

    def advance(self, steps: int = 1, note: str = "") -> None:
        return None
