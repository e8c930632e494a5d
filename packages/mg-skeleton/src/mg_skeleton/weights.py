"""Weights as files: safetensors with a JSON header, written by ``mg models convert``, initial for training.

The form is that of the checkpoints of ``mg train`` (one entry of metadata, ``mg``, that holds the header and
a checksum), so these are read too. Nothing is ever unpickled.
"""

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
from torch import Tensor, nn

from mg_data.contract import DataError
from mg_data.store import publish

FORMAT, VERSION = "mg-weights", 1
_CHECKPOINT, _MODEL = "mg-checkpoint", "model."
_HEADER, _CHECKSUM = "mg", "sha256"


def write_weights(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> str:
    """Write tensors and header (JSON values) in one atomic step; return ``sha256:`` and the checksum.

    Raises:
        StoreError: it cannot be written; an older file is left as it was.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {"format": FORMAT, "version": VERSION, **header}
    checksum = _checksum(_canonical(header), plain)
    content = save(plain, metadata={_HEADER: _canonical({**header, _CHECKSUM: checksum})})
    with publish(path) as temporary:
        temporary.write_bytes(content)
    return f"sha256:{checksum}"


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and model tensors of a file of ``mg models convert`` or ``mg train``.

    Raises:
        DataError: missing, damaged, or something else.
    """
    name = Path(path).expanduser()
    if not name.is_file():
        raise DataError(f"weights {path}: no such file; name one that 'mg models convert' wrote")
    try:
        with safe_open(name, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"weights {path}: not a readable safetensors file ({reason}); for a public checkpoint run "
            "'mg models convert' first"
        ) from error
    try:
        header = json.loads(metadata[_HEADER])
        checksum = header.pop(_CHECKSUM)
        kind = header["format"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"weights {path}: a safetensors file without the header of mg; convert the original checkpoint "
            "with 'mg models convert'"
        ) from error
    if _checksum(_canonical(header), tensors) != checksum:
        raise DataError(f"weights {path}: damaged, its checksum differs; write or copy it again")
    if kind == _CHECKPOINT:
        tensors = {key[len(_MODEL) :]: value for key, value in tensors.items() if key.startswith(_MODEL)}
    elif kind != FORMAT:
        raise DataError(f"weights {path}: found format {kind!r}, want {FORMAT!r} or {_CHECKPOINT!r}")
    return header, tensors


def load_weights(model: nn.Module, path: str | os.PathLike[str], *, model_name: str) -> tuple[str, ...]:
    """Load a file into a model that is to be trained; return the names of tensors that stay as they are.

    The classifier is taken over only if it fits: another number of classes starts afresh, and so does a
    linear layer ``feature`` that the file has not, with the classifier that reads it.

    Raises:
        DataError: another model's weights, or ones of another shape; the message names the first.
    """
    header, found = read_weights(path)
    if header.get("model", model_name) != model_name:
        raise DataError(f"weights {path}: found those of model {header['model']!r}, want {model_name!r}")
    wanted = model.state_dict()
    new = tuple(name for name in wanted if _part(name) == "feature" and name not in found)
    classifier = [name for name in wanted if _part(name) == "classifier"]
    if new or any(name not in found or found[name].shape != wanted[name].shape for name in classifier):
        new += tuple(classifier)
    dropped = {name for name in found if _part(name) in ("classifier", "feature") and name not in wanted}
    taken = {name: value for name, value in found.items() if name not in new and name not in dropped}
    check_fit(path, taken, {name: value for name, value in wanted.items() if name not in new})
    model.load_state_dict(taken, strict=False)
    return new


def check_fit(
    path: str | os.PathLike[str], found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Raise DataError unless both have the same names and shapes."""
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    if missing or extra:
        raise DataError(
            f"weights {path}: {len(missing)} of {len(wanted)} tensors missing and {len(extra)} without a "
            f"place, such as {(missing + extra)[0]!r}; choose the options of the model that was trained"
        )
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            raise DataError(
                f"weights {path}: {name!r} has shape {tuple(tensor.shape)}, want "
                f"{tuple(wanted[name].shape)}; choose the layout and options of the model that was trained"
            )


def _part(name: str) -> str:
    """Return the model's part a tensor belongs to; what stands in a ``head`` counts by its own name."""
    return name.removeprefix("head.").split(".", 1)[0]


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, ensure_ascii=False, sort_keys=True)


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return sha256 over the header text and the tensors in order of name (type, shape, bytes)."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
