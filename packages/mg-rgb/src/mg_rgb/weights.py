"""Finding a checkpoint and loading it into a branch. Files are never unpickled beyond plain tensors."""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mg_data.contract import DataError, UsageError, WeightsSpec
from mg_rgb.models.branch import VideoBranch
from mg_rgb.models.convolution import inflate_channels

WEIGHTS_FOLDER_VARIABLE = "MG_WEIGHTS_DIR"


def find_weights(weights: str, known: Sequence[WeightsSpec]) -> Path:
    """Return the file that ``weights`` stands for: a record's name, or a path.

    A record's file is looked for in the folder of ``MG_WEIGHTS_DIR``, then in torch hub's cache, then fetched
    into that cache.

    Raises:
        UsageError: neither a known name nor an existing file.
        DataError: the record's file is nowhere and cannot be fetched; says which file to put where.
    """
    for record in known:
        if record.name == weights:
            return _find_record(record)
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    names = ", ".join(record.name for record in known) or "none"
    raise UsageError(f"weights '{weights}': no such file, and no known name (known for this model: {names})")


def _find_record(record: WeightsSpec) -> Path:
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    own = os.environ.get(WEIGHTS_FOLDER_VARIABLE, "")
    for folder in ([Path(own)] if own else []) + [cache]:
        if (folder / record.filename).is_file():
            return folder / record.filename
    try:
        cache.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            record.url, str(cache / record.filename), _hash_prefix(record.filename), progress=False
        )
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"weights '{record.name}': {record.filename} is neither in {WEIGHTS_FOLDER_VARIABLE} "
            f"({own or 'not set'}) nor in {cache}, and {record.url} cannot be fetched ({error}): "
            f"put the file {record.filename} into one of these folders, or set weights to a local path or ''"
        ) from error
    return cache / record.filename


def _hash_prefix(filename: str) -> str:
    """Return the start of the sha256 that torchvision writes at the end of its file names."""
    return Path(filename).stem.rpartition("-")[2]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file or a torch checkpoint, without running what it holds.

    Wrappers (``state_dict``, ``model``) and the prefix ``module.`` of parallel training are taken off.

    Raises:
        DataError: not a readable checkpoint, or one that holds more than tensors (refused, not executed).
    """
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: holds Python objects besides tensors and was refused, nothing in it was executed: "
            "save its state dict alone, best as .safetensors"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a readable torch checkpoint ({reason})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if not isinstance(value, Mapping) or not all(isinstance(v, Tensor) for v in value.values()):
        raise DataError(f"{path}: holds {type(value).__name__}, wanted a state dict (names -> tensors)")
    return {str(key).removeprefix("module."): tensor for key, tensor in value.items()}


def load_weights(
    branch: VideoBranch, weights: str, *, known: Sequence[WeightsSpec], head: str, first: str
) -> None:
    """Load a checkpoint with the library's names, or a branch's own, into ``branch``.

    The classifier is taken over only if it fits the branch (as many classes, the same projection or none);
    otherwise the new one stays. The first convolution is inflated or averaged to the branch's input channels.

    Args:
        weights: name of a record or a path, see :func:`find_weights`.
        head: the library's name of the classifier. first: its name of the first convolution's kernels.

    Raises:
        UsageError, DataError: see :func:`find_weights`, :func:`read_state`; or the checkpoint is another
            network's: missing names are listed with the closest match in the file.
    """
    path = find_weights(weights, known)
    state = read_state(path)
    projection: dict[str, Tensor] = {}
    if any(key.startswith("backbone.") for key in state):  # a branch's own checkpoint
        projection = {key[11:]: tensor for key, tensor in state.items() if key.startswith("projection.")}
        own_head = {f"{head}.{key[5:]}": tensor for key, tensor in state.items() if key.startswith("head.")}
        state = {key[9:]: tensor for key, tensor in state.items() if key.startswith("backbone.")} | own_head
    classifier = {key: state.pop(f"{head}.{key}") for key in ("weight", "bias") if f"{head}.{key}" in state}
    wanted = branch.backbone.state_dict()
    if first in state and state[first].ndim == wanted[first].ndim:
        state[first] = inflate_channels(state[first], wanted[first].shape[1])
    _check_names(path, state, wanted)
    branch.backbone.load_state_dict(state)
    # A classifier is worth nothing behind a projection that it was not trained with.
    if _fits(projection, branch.projection):
        branch.projection.load_state_dict(projection)
        if _fits(classifier, branch.head):
            branch.head.load_state_dict(classifier)


def _fits(state: Mapping[str, Tensor], module: torch.nn.Module) -> bool:
    wanted = module.state_dict()
    return set(state) == set(wanted) and all(state[key].shape == wanted[key].shape for key in wanted)


def _check_names(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    if missing or extra:
        lines = []
        for key in missing[:4]:
            close = difflib.get_close_matches(key, extra or found, n=1, cutoff=0.0)
            lines.append(f"'{key}' (closest in the file: {repr(close[0]) if close else 'nothing'})")
        for key in extra[: 4 - len(lines)]:
            close = difflib.get_close_matches(key, wanted, n=1, cutoff=0.0)
            lines.append(
                f"unexpected '{key}' (closest in the model: {repr(close[0]) if close else 'nothing'})"
            )
        raise DataError(
            f"{path}: is a checkpoint of another network: {len(missing)} of {len(wanted)} names missing, "
            f"{len(extra)} unexpected, such as {'; '.join(lines)}"
        )
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise DataError(
                f"{path}: is a checkpoint of another network: '{key}' has shape {tuple(tensor.shape)}, "
                f"wanted {tuple(wanted[key].shape)}"
            )
