"""Parameters, samples and features of every model and preset: ``python -m benchmarks.model_sizes``.

Counted on the models themselves, built for the 27 classes and 20 keypoints of UTD-MHAD over their first
modality. Nothing is trained, and where the model allows it nothing is computed either: torch's device
``meta`` knows shapes alone. Needs all packages with their extras.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.record_run import RESULTS, commit
from mg_data.contract import InputSpec, ModalitySpec, ModelSpec
from mg_data.plugins import registry, resolve
from mg_data.testing.fakes import write_fake_clips
from mg_data.testing.inputs import Workplace

CLASSES = 27
LAYOUT = "kinect-20"
PACKAGES = ("mg-skeleton", "mg-rgb")


def models() -> dict[str, tuple[str, ModelSpec]]:
    """Return name -> package and record of every model that this project registers, sorted."""
    known = registry()
    found = {name: (known.owners["models", name], spec) for name, spec in known.models.items()}
    return {name: found[name] for name in sorted(found) if found[name][0] in PACKAGES}


def _inputs(folder: Path) -> Any:
    """Return a function that says what one sample of a modality looks like under some options."""
    place = Workplace()
    clips = write_fake_clips(folder / "clips.h5", layout=LAYOUT)

    def look(reads: ModalitySpec, options: Mapping[str, Any]) -> InputSpec:
        if reads.store_kind == "clips":
            opened = resolve(reads.factory)(clips, **{**reads.options, **options})
        else:
            opened = place.open(reads, options)
        found: InputSpec = opened.input
        return found

    return look


def _feature(model: torch.nn.Module, sample: InputSpec) -> int:
    with torch.no_grad():
        made = torch.zeros((1, *sample.shape), dtype=getattr(torch, sample.dtype))
        output = model.eval()(made.to(next(model.parameters()).device))
    return int(output.feature.shape[1])


def size(spec: ModelSpec, preset: str, sample: InputSpec) -> dict[str, Any]:
    """Return the number of parameters and the dimension of the feature that the losses see."""
    options = {**spec.options, **spec.presets.get(preset, {})}
    if "weights" in options:
        options["weights"] = ""  # a checkpoint changes neither

    def build() -> torch.nn.Module:
        made: torch.nn.Module = resolve(spec.factory)(CLASSES, input=sample, **options)
        return made

    try:
        with torch.device("meta"):
            model = build()
            feature = _feature(model, sample)
    except (NotImplementedError, RuntimeError):  # reads its own numbers, or asks for a kind of device
        model = build()
        feature = _feature(model, sample)
    return {"parameters": sum(weight.numel() for weight in model.parameters()), "feature": feature}


def measure() -> dict[str, dict[str, Any]]:
    """Return model -> preset -> sample's kind and shape, parameters, feature."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        look = _inputs(Path(folder))
        for name, (_, spec) in models().items():
            reads = registry().get("modalities", spec.modalities[0])
            found[name] = {}
            for preset in spec.presets:
                sample = look(reads, spec.modality_options.get(preset, {}))
                row = {"kind": sample.kind, "sample": list(sample.shape), **size(spec, preset, sample)}
                found[name][preset] = row
    return found


def main() -> None:
    """Write results/model-sizes.json."""
    result: dict[str, Any] = {
        "kind": "model-sizes",
        "command": "python -m benchmarks.model_sizes",
        "commit": commit(),
        "classes": CLASSES,
        "layout": LAYOUT,
        "models": measure(),
    }
    (RESULTS / "model-sizes.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{len(result['models'])} models")


if __name__ == "__main__":
    main()
