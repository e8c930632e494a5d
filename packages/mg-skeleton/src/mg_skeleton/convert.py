"""``mg models convert``: a public checkpoint becomes a safetensors file of one of our models.

pyskl and mmaction2 (which took pyskl's models over) name their tensors alike; those of CTR-GCN's own
repository are put into place by :mod:`mg_skeleton.convert_ctrgcn`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.plugins import registry
from mg_skeleton.convert_ctrgcn import convert_ctrgcn
from mg_skeleton.foreign import Converted, Tensors, read_checkpoint, tensor_of
from mg_skeleton.graph import bones, spatial_partition
from mg_skeleton.heatmaps import HeatmapRenderer
from mg_skeleton.models.posec3d import PoseC3D, SlowOnly
from mg_skeleton.models.stgcn import STGCN
from mg_skeleton.weights import check_fit, write_weights

# Source -> the models its checkpoints are of.
SOURCES: dict[str, tuple[str, ...]] = {
    "pyskl": ("posec3d", "st-gcn"),
    "mmaction2": ("posec3d", "st-gcn"),
    "ctr-gcn": ("ctr-gcn",),
}

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
    stem = tensor_of(path, state, "backbone.stem.conv.weight", 5)
    classes = len(tensor_of(path, state, "classifier.weight", 2))
    stages: dict[int, set[int]] = {}
    for name in state:
        found = re.match(r"backbone\.stages\.(\d+)\.res_blocks\.(\d+)\.", name)
        if found:
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    depths = [len(blocks) for blocks in stages.values()]
    if sorted(stages) != list(range(len(stages))) or not 1 <= len(stages) <= 8 or max(depths) > 64:
        raise DataError(f"{path}: stages {sorted(stages)} of blocks make no PoseC3D")
    options: dict[str, Any] = {
        "base_channels": len(stem),
        "depths": [len(stages[stage]) for stage in sorted(stages)],
        "inflate": [
            int(
                tensor_of(
                    path, state, f"backbone.stages.{stage}.res_blocks.0.branch2.conv_a.weight", 5
                ).shape[2]
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
    if adjacency.ndim != 3 or adjacency.shape[1] != adjacency.shape[2] or not adjacency.numel():
        raise DataError(f"{path}: its adjacency has shape {tuple(adjacency.shape)}, want (subsets, V, V)")
    state["adjacency"] = adjacency
    num_points = adjacency.shape[1]
    in_channels = len(tensor_of(path, state, "normalise.weight", 1)) // num_points
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    widths = [len(tensor_of(path, state, f"blocks.{block}.graph.norm.weight", 1)) for block in range(depth)]
    # Strides leave no trace in the weights. The reference halves time where it widens, and only there does
    # a shortcut have weights; for a network of another plan give the option strides when training.
    strides = [2 if block and f"blocks.{block}.shortcut.0.weight" in state else 1 for block in range(depth)]
    classes = len(tensor_of(path, state, "classifier.weight", 2))
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


_CONVERTERS: dict[str, Callable[[Path, Tensors, str], Converted]] = {
    "posec3d": convert_posec3d,
    "st-gcn": convert_stgcn,
    "ctr-gcn": convert_ctrgcn,
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
    models = SOURCES[source]
    if not model:
        of_graphs = any(name.startswith("backbone.gcn.") for name in tensors)
        model = "st-gcn" if of_graphs and "st-gcn" in models else models[0]
    if model not in models:
        raise UsageError(
            f"--model {model!r} cannot be converted from {source}; choose one of {', '.join(models)}"
        )
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
