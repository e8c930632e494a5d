"""A safetensors file with a JSON header and a checksum, published atomically. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mg_data.contract import StoreError
from mg_data.store import publish

PathLike = str | os.PathLike[str]
_HEADER, _CHECKSUM = "mg", "mg_sha256"


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return sha256 over the header text and the tensors in order of name (type, shape, bytes)."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: PathLike, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Write tensors and header under ``path`` in one atomic step; return ``sha256:`` + the checksum.

    Tensors on any device are accepted; ones that share memory are written twice.

    Raises:
        StoreError: the folder cannot be written or the disk is full; an older file is left as it was.
    """
    text = json.dumps(header, ensure_ascii=False, sort_keys=True)
    plain = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    checksum = _checksum(text, plain)
    with publish(path) as temporary:
        try:
            save_file(plain, temporary, metadata={_HEADER: text, _CHECKSUM: checksum})
        except SafetensorError as error:
            raise StoreError(path, f"cannot be written: {error}", "nothing was changed") from error
    return f"sha256:{checksum}"


def read_tensors(path: PathLike, verify: bool = True) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Return header, tensors (on the CPU) and digest of a file that :func:`write_tensors` wrote.

    Raises:
        StoreError: missing, truncated, no safetensors file, not written by mg, or its checksum differs.
    """
    name = Path(path)
    if not name.is_file():
        raise StoreError(path, "is a folder, not a file" if name.is_dir() else "does not exist")
    try:
        with safe_open(name, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(
            path, f"is no readable safetensors file: {reason}", "write or copy it again"
        ) from error
    if _HEADER not in metadata or _CHECKSUM not in metadata:
        raise StoreError(path, "is a safetensors file without the header of mg", "wanted one from 'mg train'")
    text, checksum = metadata[_HEADER], metadata[_CHECKSUM]
    if verify and _checksum(text, tensors) != checksum:
        raise StoreError(path, "is damaged: its checksum differs", "write or copy it again")
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(path, f"is damaged: its header is no JSON ({error})") from error
    return header, tensors, f"sha256:{checksum}"
