"""Finding a checkpoint and loading it into a branch. Files are never unpickled beyond plain tensors."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mg_data.contract import DataError, UsageError, WeightsSpec
from mg_rgb.models.branch import Backbone, VideoBranch
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
    found = [folder / record.filename for folder in ([Path(own)] if own else []) + [cache]]
    for path in (*found, *_hugging_face_cache(record)):
        if path.is_file():
            _check_digest(path, record)
            return path
    try:
        cache.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            record.url, str(cache / record.filename), record.sha256 or None, progress=False
        )
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"weights '{record.name}': {record.filename} is neither in {WEIGHTS_FOLDER_VARIABLE} "
            f"({own or 'not set'}) nor in {cache}, and {record.url} cannot be fetched ({error}): "
            f"put the file {record.filename} into one of these folders, or set weights to a local path or ''"
        ) from error
    return cache / record.filename


def _hugging_face_cache(record: WeightsSpec) -> Iterator[Path]:
    """Yield the file in the cache of Hugging Face's tools, if it is theirs and they are installed."""
    host, _, rest = record.url.partition("huggingface.co/")
    repository, _, filename = rest.partition("/resolve/main/")
    if host != "https://" or not filename or find_spec("huggingface_hub") is None:
        return
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, filename)
    if isinstance(found, str):
        yield Path(found)


def _check_digest(path: Path, record: WeightsSpec) -> None:
    if not record.sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(record.sha256):
        raise DataError(
            f"{path}: its sha256 begins with {found[: len(record.sha256)]}, that of weights '{record.name}' "
            f"with {record.sha256}: the file is damaged or another one, fetch {record.url} again"
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file or a torch checkpoint, without running what it holds.

    Wrappers (``state_dict``, ``model``, ``model_state``) and the prefix ``module.`` of parallel training are
    taken off.

    Raises:
        DataError: not a readable checkpoint, or one that holds more than tensors (refused, not executed).
    """
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        # Bytes, not a file, for the old format: a file takes the memory of a claimed length before it looks.
        source: Any = path if zipfile.is_zipfile(path) else io.BytesIO(path.read_bytes())
        if source is path:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise DataError(f"{path}: a compressed archive, which torch never writes; refused unread")
        value: Any = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if isinstance(source, io.BytesIO) and not source.getvalue().startswith(pickle.PROTO):
            start = source.getvalue()[:16]  # of a page that says "not found", or of a pointer to the file
            raise DataError(
                f"{path}: not a torch checkpoint, it begins with {start!r}: fetch or copy the file again"
            ) from error
        raise DataError(
            f"{path}: holds Python objects besides tensors and was refused, nothing in it was executed: "
            "save its state dict alone, best as .safetensors"
        ) from error
    except DataError:
        raise
    except Exception as error:  # torch's reader of the old format raises whatever the bytes make it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a readable torch checkpoint ({reason})") from error
    for wrapper in ("state_dict", "model", "model_state"):
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if not isinstance(value, Mapping) or not all(
        isinstance(v, Tensor) and v.layout == torch.strided for v in value.values()
    ):
        raise DataError(f"{path}: holds {type(value).__name__}, wanted a state dict (names -> tensors)")
    return {str(key).removeprefix("module."): tensor for key, tensor in value.items()}


def trained_sample(path: Path) -> tuple[int, ...] | None:
    """Return (T, H, W) of what a checkpoint of ``mg train`` was trained on; None for other files."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    try:
        _, frames, rows, columns = json.loads(metadata["mg"])["input"]["shape"]
        return int(frames), int(rows), int(columns)
    except (KeyError, TypeError, ValueError):
        return None


def load_weights(
    branch: VideoBranch, backbone: Backbone, weights: str, *, known: Sequence[WeightsSpec]
) -> None:
    """Load a checkpoint with the library's names, or a branch's own, into ``branch``.

    The classifier is taken over only if it fits the branch (as many classes, the same projection or none);
    otherwise the new one stays. First convolutions are inflated or averaged to the branch's input channels.

    Args:
        backbone: what ``branch`` was made of. weights: name of a record or a path, see :func:`find_weights`.

    Raises:
        UsageError, DataError: see :func:`find_weights`, :func:`read_state`; or the checkpoint is another
            network's: missing names are listed with the closest match in the file.
    """
    path = find_weights(weights, known)
    state, projection, classifier = _split(read_state(path), backbone.classifier)
    wanted = branch.backbone.state_dict()
    if backbone.rename is not None:
        state = {key if key in wanted else backbone.rename(key): tensor for key, tensor in state.items()}
    for name in backbone.first:
        if name in state and state[name].ndim == wanted[name].ndim:
            state[name] = inflate_channels(state[name], wanted[name].shape[1])
    if backbone.resize is not None:
        sample = trained_sample(path)
        state = {
            key: backbone.resize(key, tensor, tuple(wanted[key].shape), sample) if key in wanted else tensor
            for key, tensor in state.items()
        }
    # Older files do not count the batches that BatchNorm saw.
    state |= {k: v for k, v in wanted.items() if k.endswith(".num_batches_tracked") and k not in state}
    _check_names(path, state, wanted)
    branch.backbone.load_state_dict(state)
    # A classifier is worth nothing behind a projection that it was not trained with.
    if _fits(projection, branch.projection):
        branch.projection.load_state_dict(projection)
        if _fits(classifier, branch.head):
            branch.head.load_state_dict(classifier)


def _split(
    state: dict[str, Tensor], classifier: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of backbone, projection and classifier, each under its own names."""
    if any(key.startswith("model.backbone.") for key in state):  # a checkpoint of mg train
        state = _below("model.", state)
    if any(key.startswith("backbone.") for key in state):  # a branch's own names
        return _below("backbone.", state), _below("projection.", state), _below("head.", state)
    head = {key: tensor for key, tensor in state.items() if key.startswith(f"{classifier}.")}
    rest = {key: tensor for key, tensor in state.items() if key not in head}
    # Classifiers that are convolutions over one point have kernels (K, d, 1, 1, 1).
    return rest, {}, {
        key: tensor.flatten(1) if tensor.ndim > 2 else tensor
        for key, tensor in _below(f"{classifier}.", head).items()
    }  # fmt: skip


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: tensor for key, tensor in state.items() if key.startswith(prefix)}


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
