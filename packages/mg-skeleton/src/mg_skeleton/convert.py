"""``mg models convert``: a public checkpoint becomes a safetensors file of one of our models.

pyskl and mmaction2 (which took pyskl's models over) name their tensors alike. A checkpoint is a pickle; it
is read by torch's restricted unpickler, and whatever its author put in beside tensors (histories,
configurations) becomes an empty object of our own: no code of the file, and none it names, runs.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.plugins import registry
from mg_skeleton.graph import bones, spatial_partition
from mg_skeleton.heatmaps import HeatmapRenderer
from mg_skeleton.posec3d import PoseC3D, SlowOnly
from mg_skeleton.stgcn import STGCN
from mg_skeleton.weights import check_fit, write_weights

SOURCES = ("pyskl", "mmaction2")
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
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise DataError(f"{path}: a compressed archive, which torch never writes; refused unread")
            foreign = tuple(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path))))
        with torch.serialization.safe_globals([(_Ignored, name) for name in foreign]):
            value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        lines = str(error).splitlines() or ["an object of another kind"]
        reason = next((line.strip() for line in lines if "unsupported" in line.lower()), lines[0])
        if "operand" in reason:  # not a pickle at all
            raise DataError(f"{path}: no readable torch checkpoint ({reason})") from error
        raise DataError(
            f"{path}: cannot be read without running what it holds, so it was refused ({reason}); save its "
            "state_dict alone and convert that"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError,
            zipfile.BadZipFile) as error:  # fmt: skip
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


# Public name -> ours, in this order; what no pattern matches has no place with us.
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_BLOCK, _OUR_BLOCK = r"backbone\.layer(\d+)\.(\d+)", r"backbone.stages.\1.res_blocks.\2"
_POSEC3D = (
    (r"backbone\.conv1\.conv\.weight", r"backbone.stem.conv.weight"),
    (rf"backbone\.conv1\.bn\.{_NORM}", r"backbone.stem.norm.\1"),
    (rf"{_BLOCK}\.conv([123])\.conv\.weight", rf"{_OUR_BLOCK}.branch2.conv_\3.weight"),
    (rf"{_BLOCK}\.conv([123])\.bn\.{_NORM}", rf"{_OUR_BLOCK}.branch2.norm_\3.\4"),
    (rf"{_BLOCK}\.downsample\.conv\.weight", rf"{_OUR_BLOCK}.branch1_conv.weight"),
    (rf"{_BLOCK}\.downsample\.bn\.{_NORM}", rf"{_OUR_BLOCK}.branch1_norm.\3"),
    (r"cls_head\.fc_cls\.(weight|bias)", r"classifier.\1"),
)
_STGCN = (
    (rf"backbone\.data_bn\.{_NORM}", r"normalise.\1"),
    (r"backbone\.gcn\.(\d+)\.gcn\.PA", r"blocks.\1.graph.importance"),
    (r"backbone\.gcn\.(\d+)\.gcn\.conv\.(weight|bias)", r"blocks.\1.graph.project.\2"),
    (rf"backbone\.gcn\.(\d+)\.gcn\.bn\.{_NORM}", r"blocks.\1.graph.norm.\2"),
    (r"backbone\.gcn\.(\d+)\.tcn\.conv\.(weight|bias)", r"blocks.\1.temporal.0.\2"),
    (rf"backbone\.gcn\.(\d+)\.tcn\.bn\.{_NORM}", r"blocks.\1.temporal.1.\2"),
    (r"backbone\.gcn\.(\d+)\.residual\.conv\.(weight|bias)", r"blocks.\1.shortcut.0.\2"),
    (rf"backbone\.gcn\.(\d+)\.residual\.bn\.{_NORM}", r"blocks.\1.shortcut.1.\2"),
    (r"cls_head\.fc\.(weight|bias)", r"classifier.\1"),
)
_ADJACENCY = re.compile(r"backbone\.gcn\.\d+\.gcn\.A")


def posec3d_name(name: str) -> str | None:
    """Return our name of a public one.

    >>> posec3d_name("backbone.layer2.0.conv3.conv.weight")
    'backbone.stages.1.res_blocks.0.branch2.conv_c.weight'
    """
    ours = _rename(name, _POSEC3D)
    if ours is None:
        return None
    ours = re.sub(r"stages\.(\d+)", lambda found: f"stages.{int(found[1]) - 1}", ours)
    return re.sub(r"(conv|norm)_([123])", lambda found: f"{found[1]}_{'abc'[int(found[2]) - 1]}", ours)


def stgcn_name(name: str) -> str | None:
    """Return our name of a public one.

    >>> stgcn_name("backbone.gcn.3.gcn.PA")
    'blocks.3.graph.importance'
    """
    return _rename(name, _STGCN)


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, ours in rules:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(ours)
    return None


def _place(path: Path, tensors: Tensors, name_of: Callable[[str], str | None], model: str) -> dict[str, str]:
    """Return public name -> ours for all tensors; DataError if one has no place."""
    names = {name: name_of(name) for name in tensors if not _ADJACENCY.fullmatch(name)}
    lost = [name for name, ours in names.items() if ours is None]
    if lost:
        raise DataError(
            f"{path}: {len(lost)} of {len(names)} tensors have no place in {model}, such as {lost[0]!r}; "
            "want a PoseC3D SlowOnly (--model posec3d) or an ST-GCN (--model st-gcn) checkpoint"
        )
    return {name: ours for name, ours in names.items() if ours is not None}


def convert_posec3d(path: Path, tensors: Tensors, layout: str) -> Converted:
    """Read the network's options off the shapes and fill it."""
    mapping = _place(path, tensors, posec3d_name, "posec3d")
    state = {ours: tensors[name] for name, ours in mapping.items()}
    stem = _tensor(path, state, "backbone.stem.conv.weight", 5)
    classes = len(_tensor(path, state, "classifier.weight", 2))
    stages: dict[int, set[int]] = {}
    for name in state:
        found = re.match(r"backbone\.stages\.(\d+)\.res_blocks\.(\d+)\.", name)
        if found:
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    if sorted(stages) != list(range(len(stages))) or len(stages) > 8 or max(map(len, stages.values())) > 64:
        raise DataError(f"{path}: stages {sorted(stages)} of blocks make no PoseC3D")
    options: dict[str, Any] = {
        "base_channels": len(stem),
        "depths": [len(stages[stage]) for stage in sorted(stages)],
        "inflate": [
            int(
                _tensor(path, state, f"backbone.stages.{stage}.res_blocks.0.branch2.conv_a.weight", 5).shape[
                    2
                ]
                > 1
            )
            for stage in sorted(stages)
        ],
        "spatial_strides": [2] * len(stages),
        "temporal_strides": [1, *[2 if stage == 2 else 1 for stage in range(1, len(stages))]],
    }
    with torch.device("meta"):  # shapes alone, until they are known to fit
        backbone = SlowOnly(stem.shape[1], **options)
        network = PoseC3D(classes, HeatmapRenderer(stem.shape[1], ()), backbone)
    facts = {"model_options": options, "num_classes": classes, "channels": stem.shape[1], "mapping": mapping}
    return Converted(network, state, facts)


def convert_stgcn(path: Path, tensors: Tensors, layout: str) -> Converted:
    """Read the network's options off the shapes, find the layout of its adjacency, and fill it."""
    mapping = _place(path, tensors, stgcn_name, "st-gcn")
    state = {ours: tensors[name] for name, ours in mapping.items()}
    matrices = [tensor for name, tensor in tensors.items() if _ADJACENCY.fullmatch(name)]
    if not matrices or any(not torch.equal(matrix, matrices[0]) for matrix in matrices):
        raise DataError(
            f"{path}: want one adjacency 'A' that all blocks share, found {len(matrices)} of them"
        )
    adjacency = matrices[0].float()
    if adjacency.ndim != 3 or adjacency.shape[1] != adjacency.shape[2]:
        raise DataError(f"{path}: its adjacency has shape {tuple(adjacency.shape)}, want (subsets, V, V)")
    state["adjacency"] = adjacency
    num_points = adjacency.shape[1]
    in_channels = len(_tensor(path, state, "normalise.weight", 1)) // num_points
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    widths = [len(_tensor(path, state, f"blocks.{block}.graph.norm.weight", 1)) for block in range(depth)]
    # Strides leave no trace in the weights. The reference halves time where it widens, and only there does
    # a shortcut have weights; for a network of another plan give the option strides when training.
    strides = [2 if block and f"blocks.{block}.shortcut.0.weight" in state else 1 for block in range(depth)]
    classes = len(_tensor(path, state, "classifier.weight", 2))
    options: dict[str, Any] = {"widths": widths, "strides": strides}
    with torch.device("meta"):
        network = STGCN(classes, in_channels, np.zeros(adjacency.shape, np.float32), **options)
    facts = {
        "model_options": options,
        "num_classes": classes,
        "in_channels": in_channels,
        "layout": _find_layout(path, adjacency.numpy(), layout),
        "mapping": mapping,
    }
    return Converted(network, state, facts)


def _find_layout(path: Path, adjacency: np.ndarray, wanted: str) -> str:
    """Return the layout whose graph the adjacency is; "" if it is none of ours and none is wanted.

    The reference's graphs have no edges that close loops, and may have another centre.
    """
    near = []
    for name, layout in registry().layouts.items():
        if len(layout.names) != adjacency.shape[1]:
            continue
        near.append(name)
        for centre in range(len(layout.names)):
            for edges in (layout.edges, bones(layout)):
                ours = spatial_partition(layout, edges=edges, centre=centre, reach=1)
                if ours.shape == adjacency.shape and np.allclose(ours, adjacency, atol=1e-6):
                    if wanted and wanted != name:
                        raise UsageError(f"{path}: its graph is that of layout {name!r}, not {wanted!r}")
                    return name
    if wanted and wanted not in near:
        raise UsageError(
            f"{path}: its graph has {adjacency.shape[1]} keypoints, layout {wanted!r} has not; layouts of as "
            f"many: {', '.join(near) or 'none'}"
        )
    return wanted


def _tensor(path: Path, state: Tensors, name: str, ndim: int) -> Tensor:
    if name not in state or state[name].ndim != ndim or not state[name].numel():
        found = tuple(state[name].shape) if name in state else "none"
        raise DataError(f"{path}: want a tensor of {ndim} axes for {name!r}, found {found}")
    return state[name]


_CONVERTERS: dict[str, Callable[[Path, Tensors, str], Converted]] = {
    "posec3d": convert_posec3d,
    "st-gcn": convert_stgcn,
}


def convert(
    *, console: Console, checkpoint: Path, source: str, out: Path, model: str = "", layout: str = ""
) -> StageResult:
    """Convert a checkpoint; ``model`` is found by the names of its tensors unless it is given.

    Raises:
        DataError: the checkpoint cannot be read safely, or is of another network.
        UsageError: ``layout`` is not the checkpoint's. StoreError: ``out`` cannot be written.
    """
    if source not in SOURCES:
        raise UsageError(f"--from {source!r} is not known; choose one of {', '.join(SOURCES)}")
    tensors, ignored = read_checkpoint(checkpoint)
    model = model or ("st-gcn" if any(name.startswith("backbone.gcn.") for name in tensors) else "posec3d")
    if model not in _CONVERTERS:
        raise UsageError(f"--model {model!r} cannot be converted; choose one of {', '.join(_CONVERTERS)}")
    converted = _CONVERTERS[model](checkpoint, tensors, layout)
    wanted = converted.network.state_dict()
    # Counters of batches are no weights; old checkpoints lack them.
    state = converted.state | {
        name: torch.zeros((), dtype=torch.int64)
        for name in wanted
        if name.endswith("num_batches_tracked") and name not in converted.state
    }
    check_fit(checkpoint, state, wanted)
    facts = {
        "model": model,
        "from": source,
        "source": {
            "file": checkpoint.name,
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "ignored": list(ignored),
        },
        **converted.facts,
    }
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    digest = write_weights(out, state, facts)
    if ignored:
        console.say(f"{checkpoint}: passed over, not executed: {', '.join(ignored)}")
    parameters = sum(parameter.numel() for parameter in converted.network.parameters())
    described = {key: value for key, value in facts.items() if key != "mapping"}
    lines = [
        f"{out}: {model}, {parameters:,} parameters in {len(tensors)} tensors, "
        f"{facts['num_classes']} classes",
        f"options: {facts['model_options']}",
    ]
    if facts.get("layout"):
        lines.append(f"layout: {facts['layout']}")
    return StageResult(
        data={**described, "parameters": parameters, "tensors": len(tensors), "digest": digest},
        text="\n".join(lines),
    )
