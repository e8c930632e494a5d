"""``mg models export``: a checkpoint of any registered model becomes an ONNX file that says what it is.

The file takes a batch of any size and gives logits and feature. It gets its name only after onnxruntime has
computed the same from it as torch, for one clip and for three.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_data.contract import Console, DataError, InputSpec, PluginError, StageResult, UsageError
from mg_data.plugins import registry, resolve
from mg_data.store import publish
from mg_skeleton.dense_heatmaps import densely_drawn
from mg_skeleton.weights import read_weights

TOLERANCE = 1e-4  # of logits and features, relative to their largest value where that exceeds 1
OPSET = 18
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class _Outputs(nn.Module):
    """A model whose outputs are a plain tuple, which the exporter can name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        out = self.model(clips)
        return out.logits, out.feature


def export(*, console: Console, checkpoint: Path, out: Path) -> StageResult:
    """Write ``out`` and return its facts.

    Raises:
        UsageError: the packages of the extra ``onnx`` are missing, or the file is no checkpoint.
        DataError: the checkpoint is missing or damaged, or does not fit its model.
        PluginError: the model is not registered, does not export, or its graph computes something else.
        StoreError: ``out`` cannot be written.
    """
    _require_packages()
    header, tensors = read_weights(checkpoint)
    if "class_names" not in header or "input" not in header:
        raise UsageError(
            f"{checkpoint}: found initial weights, want a checkpoint of 'mg train', which knows its classes "
            "and its input"
        )
    model, given = _rebuild(checkpoint, header, tensors)
    name = f"model '{header['model']}'"
    console.say(f"exporting {name}, checking it with onnxruntime")
    samples = [_random(given, size) for size in (2, 1, 3)]
    with torch.no_grad():
        wanted = [tuple(value.numpy() for value in model(clips)) for clips in samples]
    densely_drawn(model)
    graph = _graph(name, model, samples[0])
    for key, value in _facts(header, given).items():
        graph.metadata_props.add(key=key, value=value)
    graph.producer_name = "mg"
    with publish(out) as temporary:
        temporary.write_bytes(graph.SerializeToString())
        difference = _compare(name, temporary, samples, wanted)
        size = temporary.stat().st_size
    data = {
        "file": str(out),
        "bytes": size,
        "model": header["model"],
        "modality": header.get("modality", ""),
        "input": ["batch", *given.shape],
        "classes": len(header["class_names"]),
        "opset": OPSET,
        "difference": difference,
    }
    text = (
        f"{out}: {header['model']} over {header.get('modality', '?')}, input (batch, "
        f"{', '.join(map(str, given.shape))}) {given.dtype}, {len(header['class_names'])} classes, "
        f"{size / 1e6:.1f} MB; onnxruntime differs from torch by at most {difference:.1e}"
    )
    return StageResult(data=data, text=text)


def _require_packages() -> None:
    missing = []
    for package in _PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise UsageError(
            f"models export: found no {' and no '.join(missing)}, want the packages of the extra onnx; "
            "install mg-skeleton[onnx]"
        )


def _rebuild(
    path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[_Outputs, InputSpec]:
    """Return the checkpoint's model in evaluation mode, and what one sample looks like."""
    try:
        spec = registry().get("models", header["model"])
        given = InputSpec.from_json(header["input"])
        options = dict(header["model_options"])
        num_classes = len(header["class_names"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its header lacks or misstates {error}; write it again") from error
    if "weights" in options:  # the file they once came from need not exist: the checkpoint has them all
        options["weights"] = spec.options.get("weights", "")
    try:
        model = resolve(spec.factory)(num_classes, input=given, **options)
    except TypeError as error:
        raise PluginError(f"model '{spec.name}' does not take the checkpoint's options: {error}") from error
    try:
        model.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: does not fit model '{spec.name}' of this version: {reason}") from error
    outputs = _Outputs(model)
    outputs.eval()
    return outputs, given


def _random(given: InputSpec, size: int) -> Tensor:
    """Return random samples of the model's kind of input: in [0, 1), or 0 to 255 for whole numbers."""
    generator = torch.Generator().manual_seed(size)
    dtype = getattr(torch, given.dtype)
    if dtype.is_floating_point:
        return torch.rand(size, *given.shape, generator=generator).to(dtype)
    return torch.randint(0, 256, (size, *given.shape), generator=generator).to(dtype)


def _graph(name: str, model: nn.Module, clips: Tensor) -> Any:
    """Return the ONNX ModelProto of ``model`` for any number of clips."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the exporter's notes to its developers
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (clips,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["clips"],
                output_names=["logits", "feature"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # of whatever kind the exporter raises
        raise PluginError(f"{name} does not export to ONNX: {_root(error)}") from error
    finally:
        logging.disable(level)
    if program is None:
        raise PluginError(f"{name} does not export to ONNX: the exporter returned nothing")
    return program.model_proto


def _root(error: BaseException) -> str:
    """Return the first line of what lies at the root of an error, with its type."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _facts(header: Mapping[str, Any], given: InputSpec) -> dict[str, str]:
    """Return what a user of the file must know, JSON texts by name."""
    facts = {
        "mg.model": header["model"],
        "mg.preset": header.get("preset", ""),
        "mg.model_options": header["model_options"],
        "mg.modality": header.get("modality", ""),
        "mg.modality_options": header.get("modality_options", {}),
        "mg.input": given.to_json(),
        "mg.class_names": list(header["class_names"]),
        "mg.vocabulary": header.get("vocabulary", ""),
        "mg.dataset": header.get("dataset", ""),
        "mg.mirror_classes": header.get("mirror_classes", []),
        "mg.versions": header.get("versions", {}),
    }
    if given.layout:
        layout = registry().layouts.get(given.layout)
        facts["mg.layout"] = {"name": given.layout, "names": list(layout.names) if layout else []}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}


def _compare(name: str, path: Path, samples: list[Tensor], wanted: Sequence[Sequence[NDArray[Any]]]) -> float:
    """Return how far onnxruntime is from torch at most; PluginError if that is too far."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = [session.run(["logits", "feature"], {"clips": clips.numpy()}) for clips in samples]
    except Exception as error:  # onnxruntime has no common class of its errors
        raise PluginError(f"{name}: onnxruntime does not run the exported graph: {_root(error)}") from error
    worst = 0.0
    for ours, theirs in zip(wanted, found):
        for expected, got in zip(ours, theirs):
            if expected.shape != got.shape:
                raise PluginError(
                    f"{name}: the exported graph gives shape {got.shape}, torch gives {expected.shape}"
                )
            scale = max(1.0, float(np.abs(expected).max()))
            worst = max(worst, float(np.abs(expected - got).max()) / scale)
    if not worst <= TOLERANCE:
        raise PluginError(
            f"{name}: the exported graph differs from torch by {worst:.1e}, want at most {TOLERANCE:.0e}; "
            "nothing was written"
        )
    return worst
