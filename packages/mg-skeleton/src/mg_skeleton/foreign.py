"""Checkpoints that others trained, read without running anything of them.

A checkpoint is a pickle; it is read by torch's restricted unpickler, and whatever its author put in beside
tensors (histories, configurations) becomes an empty object of our own: no code of the file, and none it
names, runs.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mg_data.contract import DataError

Tensors = dict[str, Tensor]


class _Ignored:
    """Stands for any object of a checkpoint that is no tensor: takes everything, does nothing."""

    def __new__(cls, *args: Any, **named: Any) -> _Ignored:
        return object.__new__(cls)

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(path: Path) -> tuple[Tensors, tuple[str, ...]]:
    """Return the state dict of a torch checkpoint, and the names of classes that were passed over.

    Raises:
        DataError: no checkpoint, no tensors in it, or tensors that claim more than the file holds.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; name a checkpoint (.pth)")
    foreign: tuple[str, ...] = ()
    try:
        # Bytes, not a file, for the old format: a file takes the memory of a claimed length before it looks.
        source: Any = path if zipfile.is_zipfile(path) else io.BytesIO(path.read_bytes())
        if source is path:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise DataError(f"{path}: a compressed archive, which torch never writes; refused unread")
            foreign = tuple(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path))))
        with torch.serialization.safe_globals([(_Ignored, name) for name in foreign]):
            value: Any = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        lines = str(error).splitlines() or ["an object of another kind"]
        reason = next((line.strip() for line in lines if "unsupported" in line.lower()), lines[0])
        if "operand" in reason:  # not a pickle at all
            raise DataError(f"{path}: no readable torch checkpoint ({reason})") from error
        raise DataError(
            f"{path}: cannot be read without running what it holds, so it was refused ({reason}); save its "
            "state_dict alone and convert that"
        ) from error
    except DataError:
        raise
    except Exception as error:  # torch's reader of the old format raises whatever the bytes make it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no readable torch checkpoint ({reason})") from error
    if isinstance(value, Mapping) and isinstance(value.get("state_dict"), Mapping):
        value = value["state_dict"]
    if not isinstance(value, Mapping) or not value:
        raise DataError(f"{path}: holds no state_dict (names -> tensors); found {type(value).__name__}")
    tensors: Tensors = {}
    for name, tensor in value.items():
        if not isinstance(tensor, Tensor):
            raise DataError(f"{path}: {name!r} of its state_dict is no tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise DataError(f"{path}: {name!r} is a sparse tensor, want plain ones")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise DataError(f"{path}: {name!r} claims {tuple(tensor.shape)}, more than the file holds")
        tensors[str(name).removeprefix("module.")] = tensor.detach()
    return tensors, foreign


@dataclass(frozen=True)
class Converted:
    """A model that holds the weights; ``facts`` go into the header."""

    network: nn.Module
    state: Tensors
    facts: dict[str, Any]


def tensor_of(path: Path, state: Tensors, name: str, ndim: int) -> Tensor:
    """Return a tensor of ``state``.

    Raises:
        DataError: it is missing, empty or has not ``ndim`` axes.
    """
    if name not in state or state[name].ndim != ndim or not state[name].numel():
        found = tuple(state[name].shape) if name in state else "none"
        raise DataError(f"{path}: want a tensor of {ndim} axes for {name!r}, found {found}")
    return state[name]
