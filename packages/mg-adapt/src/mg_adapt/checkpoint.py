"""Checkpoints: one safetensors file that says what it holds, and with what it can be used.

Its header names model, options, modality, input, classes, data digests, recipe and versions; its tensors
are the weights (``model.``), the losses' buffers (``loss.``) and the taint. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mg_adapt.tensor_file import HEADER, read_tensors, write_tensors
from mg_data.contract import InputSpec, StoreError
from mg_data.store import Taint

FORMAT, VERSION = "mg-checkpoint", 1
_MODEL, _LOSS, _TAINT = "model.", "loss.", "taint."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained branch.

    Args:
        model, model_options, preset: the registered model and all of its options.
        modality, modality_options, input: what it reads, and the shape of one sample.
        branch: name of its own, or "" (then ``model/modality`` identifies it).
        class_names, vocabulary, dataset: of the split it was trained on.
        mirror_classes: pairs of classes that swap under a horizontal flip.
        recipe: resolved training settings. seed: of weights, order and augmentation.
        epochs: epochs done. epoch: the one whose weights these are (they differ for ``select = best``).
        round: 1 without pseudo-labels, one more than the pseudo-labels' round with them.
        parameters: trainable parameters of the model.
        inputs: name -> content digest of every store read. versions: of the packages.
        taint: clips trained on and selected on. digest: of the file, "" before it is written.
        model_state, loss_state: tensors by name.
    """

    model: str
    modality: str
    input: InputSpec
    class_names: tuple[str, ...]
    model_state: Mapping[str, Tensor]
    taint: Taint
    model_options: Mapping[str, Any] = field(default_factory=dict)
    modality_options: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""
    branch: str = ""
    vocabulary: str = ""
    dataset: str = ""
    mirror_classes: tuple[tuple[int, int], ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    epochs: int = 0
    epoch: int = 0
    round: int = 1
    parameters: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    loss_state: Mapping[str, Tensor] = field(default_factory=dict)
    digest: str = ""

    @property
    def key(self) -> str:
        """Name of the branch in fusion parameters and tables."""
        return self.branch or f"{self.model}/{self.modality}"


_TEXTS = ("model", "modality", "preset", "branch", "vocabulary", "dataset")
_NUMBERS = ("seed", "epochs", "epoch", "round", "parameters")
_TABLES = ("model_options", "modality_options", "recipe", "inputs", "versions")
_PLAIN = (*_TEXTS, *_NUMBERS, *_TABLES)


def _as_tensor(keys: NDArray[np.uint64]) -> Tensor:
    # safetensors of older torch versions know no uint64: the same bits, read as int64.
    return torch.from_numpy(np.ascontiguousarray(keys).view(np.int64).copy())


def _as_keys(tensor: Tensor) -> NDArray[np.uint64]:
    return tensor.numpy().view(np.uint64).copy()


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> str:
    """Write the checkpoint atomically and return its digest.

    Raises:
        StoreError: it cannot be written; a file of that name is left as it was.
    """
    header: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    header |= {name: getattr(checkpoint, name) for name in _PLAIN}
    header["input"] = checkpoint.input.to_json()
    header["class_names"] = list(checkpoint.class_names)
    header["mirror_classes"] = [list(pair) for pair in checkpoint.mirror_classes]
    header["taint_known"] = checkpoint.taint.known
    tensors = {_MODEL + name: tensor for name, tensor in checkpoint.model_state.items()}
    tensors |= {_LOSS + name: tensor for name, tensor in checkpoint.loss_state.items()}
    tensors[_TAINT + "trained_on"] = _as_tensor(checkpoint.taint.trained_on)
    tensors[_TAINT + "selected_on"] = _as_tensor(checkpoint.taint.selected_on)
    return write_tensors(path, tensors, header)


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Return whether a file says of itself that it is one, and no other weights; it may still be damaged."""
    try:
        with safe_open(os.fspath(path), framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {})[HEADER])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("format") == FORMAT


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        StoreError: missing, damaged, no checkpoint of mg, or of a newer version.
    """
    header, tensors, digest = read_tensors(path)
    if header.get("format") != FORMAT:
        raise StoreError(
            path, f"is no checkpoint: found format {header.get('format')!r}", f"wanted '{FORMAT}'"
        )
    found = header.get("version", 0)
    if not isinstance(found, int) or found > VERSION:
        raise StoreError(path, f"has version {found}, this mg-adapt reads {VERSION}", "upgrade mg-adapt")
    kinds = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_NUMBERS, int), **dict.fromkeys(_TABLES, dict)}
    for name, kind in {**kinds, "class_names": list}.items():
        if name in header and not isinstance(header[name], kind):
            raise StoreError(path, f"is damaged: its header misstates '{name}'")
    if not all(isinstance(name, str) for name in header.get("class_names", ())):
        raise StoreError(path, "is damaged: its header misstates 'class_names'")
    try:
        return Checkpoint(
            **{name: header[name] for name in _PLAIN},
            input=InputSpec.from_json(header["input"]),
            class_names=tuple(header["class_names"]),
            mirror_classes=tuple((int(a), int(b)) for a, b in header["mirror_classes"]),
            taint=Taint.of(
                _as_keys(tensors[_TAINT + "trained_on"]),
                _as_keys(tensors[_TAINT + "selected_on"]),
                bool(header["taint_known"]),
            ),
            model_state=_section(tensors, _MODEL),
            loss_state=_section(tensors, _LOSS),
            digest=digest,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(path, f"is damaged: its header lacks or misstates {error}") from error


def _section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
