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
from safetensors.torch import save
from torch import Tensor

from mg_data.contract import StoreError
from mg_data.store import publish

PathLike = str | os.PathLike[str]
HEADER, _CHECKSUM = "mg", "sha256"


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
    text = _canonical(header)
    plain = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    checksum = _checksum(text, plain)
    # One entry of metadata only: safetensors writes several in random order, and equal content should give
    # equal bytes. Written by us and not by save_file, which hides the file from other users (mode 600).
    content = save(plain, metadata={HEADER: _canonical({**header, _CHECKSUM: checksum})})
    with publish(path) as temporary:
        temporary.write_bytes(content)
    return f"sha256:{checksum}"


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, ensure_ascii=False, sort_keys=True)


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
    try:
        header = json.loads(metadata[HEADER])
        checksum = header.pop(_CHECKSUM)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        reason = "is a safetensors file without the header of mg"
        raise StoreError(path, reason, "wanted one from 'mg train'") from error
    if verify and _checksum(_canonical(header), tensors) != checksum:
        raise StoreError(path, "is damaged: its checksum differs", "write or copy it again")
    return header, tensors, f"sha256:{checksum}"
