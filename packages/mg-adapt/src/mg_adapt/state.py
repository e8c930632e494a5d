"""The state of a training under way, from which a killed run goes on bit for bit.

Two generations lie in ``<checkpoint>.state/``; a new state overwrites the older one, so that one is whole at
any moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mg_adapt.tensor_file import read_tensors, write_tensors
from mg_data.contract import Console, StoreError

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
        """Remove the folder, after the checkpoint is published."""
        shutil.rmtree(self.folder, ignore_errors=True)


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
