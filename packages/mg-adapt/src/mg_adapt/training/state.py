"""The state of a training under way, from which a killed run goes on bit for bit.

Two generations lie in ``<checkpoint>.state/``; a new state overwrites the older one, so that one is whole at
any moment. A lock beside them keeps a second training of the same checkpoint out while the first lives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from mg_adapt.tensor_file import read_tensors, write_tensors
from mg_data.contract import Console, StoreError, UsageError

if sys.platform == "win32":  # no such locks there: the user is trusted to start one training at a time
    fcntl = None
else:
    import fcntl

_NAMES = ("a.safetensors", "b.safetensors")


@dataclass(frozen=True)
class TrainingState:
    """``header``: JSON values, among them ``key`` and the optimizer ``steps`` done; ``tensors`` by name."""

    header: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def section(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``name.``, without that beginning."""
        prefix = name + "."
        return {
            key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)
        }


class StateFolder:
    """Two generations of training state beside the checkpoint to be.

    Args:
        checkpoint: path of the final checkpoint.
        key: identifies the training; a state of another key is ignored.
    """

    def __init__(self, checkpoint: Path, key: str) -> None:
        self.folder = checkpoint.with_name(checkpoint.name + ".state")
        self.key = key
        self._next = 0
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Keep other processes from training this checkpoint, until :meth:`remove` or the end of this one.

        The lock is the process's own, so it goes however the process ends, and loader processes that outlive
        a killed one do not hold it.

        Raises:
            UsageError: another process holds it.
        """
        if fcntl is None:
            return
        path = self.folder / "lock"
        # On a disk without room or without locks the training goes on all the same.
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = path.open("a+", encoding="utf-8")
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                handle.seek(0)
                owner = handle.read().strip() or "another process"
                handle.close()
                raise UsageError(
                    f"{self.folder.with_suffix('')}: {owner} is training it: wait, stop that process, or "
                    "write another checkpoint"
                ) from None
            if not path.exists() or not os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                handle.close()  # its owner ended and removed it between the two lines above
                self.acquire()
                return
            self._lock = handle
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}")
            handle.flush()

    def save(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write a state over the older generation (StoreError if the disk is full)."""
        write_tensors(self.folder / _NAMES[self._next], tensors, {**header, "key": self.key})
        self._next = 1 - self._next

    def load(self, console: Console) -> TrainingState | None:
        """Return the newest whole state of this training, or None; say what is passed over and why."""
        found: list[tuple[int, int, TrainingState]] = []
        for place, name in enumerate(_NAMES):
            path = self.folder / name
            if not path.exists():
                continue
            try:
                header, tensors, _ = read_tensors(path)
            except StoreError as error:
                console.warn(f"training state passed over: {error}")
                continue
            if header.get("key") != self.key:
                console.say(f"{path}: state of another training (data or settings differ), not used")
                continue
            found.append((int(header["steps"]), place, TrainingState(header, tensors)))
        if not found:
            return None
        _, place, state = max(found, key=lambda item: item[0])
        self._next = 1 - place
        return state

    def remove(self) -> None:
        """Remove the folder, after the checkpoint is published, and let others have it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Give the lock back and keep the state."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # a disk that is still full refuses the owner's name again
                self._lock.close()
            self._lock = None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named ``<parameter number>.<entry>``."""
    tensors = {}
    for number, parameter in enumerate(_parameters(optimizer)):
        for entry, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{entry}"] = value
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` returned, in each parameter's own memory layout."""
    parameters = _parameters(optimizer)
    for name, value in tensors.items():
        number, entry = name.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape and entry != "step":
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][entry] = value


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def on_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return an optimizer's tensors where its parameters are; step counters stay on the CPU, as it does."""
    return {name: value if name.endswith(".step") else value.to(device) for name, value in tensors.items()}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what :func:`random_state` returned."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
