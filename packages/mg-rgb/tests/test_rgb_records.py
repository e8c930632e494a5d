"""Records: factories resolve, presets name real options, listing imports nothing heavy."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import get_type_hints

import pytest
import torch

from mg_data.contract import InputSpec, ModelOutput
from mg_rgb.models.build import BranchOptions
from mg_rgb.records_modalities import MODALITIES
from mg_rgb.records_models import MODELS
from mg_rgb.records_probes import PROBES

SMALL = [
    (model, preset) for model in MODELS if model.name in ("r2plus1d", "swin3d") for preset in model.presets
]


def resolved(factory: str):
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("model", [*MODELS, *PROBES], ids=lambda model: model.name)
def test_options_of_the_record_are_those_of_the_factory(model) -> None:
    parameters = dict(inspect.signature(resolved(model.factory)).parameters)
    common = set()
    if parameters.pop("options", None) is not None:  # a video model: what VideoBranch takes, and weights
        common = set(get_type_hints(BranchOptions)) & set(model.options)
        assert common >= set(get_type_hints(BranchOptions)) - {"channels_last"}
    assert set(model.options) - common == set(parameters) - {"num_classes", "input"}
    for name in set(model.options) - common:
        assert model.options[name] == parameters[name].default, name
    modality_names = {spec.name for spec in MODALITIES}
    assert set(model.modalities) <= modality_names
    for preset, options in model.presets.items():
        assert set(options) <= set(model.options)
        assert preset in model.modality_options
        for spec in MODALITIES:
            if spec.name in model.modalities:
                assert set(model.modality_options[preset]) <= set(spec.options)


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda spec: spec.name)
def test_modalities_take_the_options_of_their_record(modality) -> None:
    taken: dict[str, inspect.Parameter] = {}
    for cls in reversed(resolved(modality.factory).__mro__):
        taken |= inspect.signature(cls.__init__).parameters
    own = {
        name: parameter.default
        for name, parameter in taken.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert set(modality.options) == set(own)


@pytest.mark.parametrize(("model", "preset"), SMALL, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize(
    "modality", [spec for spec in MODALITIES if spec.store_kind == "streams"], ids=lambda spec: spec.name
)
def test_small_presets_run_on_what_their_modality_gives(model, preset: str, modality) -> None:
    torch.set_num_threads(1)
    options = {**modality.options, **model.modality_options[preset]}
    channels = resolved(modality.factory).channels
    shape = (channels, options["frames"], options["size"], options["size"])
    branch = resolved(model.factory)(
        32, input=InputSpec(kind="video", shape=shape), **{**model.options, **model.presets[preset]}
    )
    output = branch(torch.rand(1, *shape))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (1, 32)
    assert output.feature.shape[1] >= 32, "the semantic loss needs K <= d"


def test_listing_records_imports_nothing_heavy() -> None:
    code = (
        "import sys, mg_rgb.plugin as p; list(p.mg_register_models()); list(p.mg_register_modalities());"
        "heavy = ('torch', 'torchvision', 'pytorchvideo', 'transformers', 'cv2', 'numpy', 'h5py');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("model", [model for model in MODELS if model.weights], ids=lambda model: model.name)
def test_weights_are_tied_to_what_the_model_does_with_colours(model) -> None:
    shape = {"kind": "video", "shape": (3, 16, 64, 64)}
    branch = resolved(model.factory)(
        2, input=InputSpec(**shape), **{**model.options, **model.presets["small"]}
    )
    for record in model.weights:
        assert branch.mean.flatten().tolist() == pytest.approx(list(record.preprocessing["mean"]))
        assert branch.std.flatten().tolist() == pytest.approx(list(record.preprocessing["std"]))
        assert {"size", "frames", "stride"} <= set(record.preprocessing)
        assert record.licence
        assert record.url.startswith("https://")
        assert "/" not in record.filename
