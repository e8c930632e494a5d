"""``mg models export``: the ONNX file computes what torch computes and says what it is."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from math import inf, nan
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mg_data.contract import (
    DataError,
    InputSpec,
    ModelOutput,
    ModelSpec,
    PluginError,
    UsageError,
)
from mg_data.keypoints.layouts import find_layout
from mg_data.plugins import registry, resolve
from mg_skeleton import export as export_module
from mg_skeleton.dense_heatmaps import DenseRenderer
from mg_skeleton.export import export
from mg_skeleton.heatmaps import HeatmapRenderer
from mg_skeleton.weights import write_weights

CLASSES = ("nod", "wave", "größer")


class Silent:
    """A console that keeps quiet."""

    quiet = True

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Any]:
        return nullcontext()


def write_checkpoint(
    path: Path, model: nn.Module, name: str, given: InputSpec, options: Mapping[str, Any], **more: Any
) -> None:
    """Write a checkpoint of the form that ``mg train`` writes."""
    tensors = {"model." + key: value for key, value in model.state_dict().items()}
    tensors["taint.trained_on"] = torch.zeros(3, dtype=torch.int64)
    header = {
        "format": "mg-checkpoint",
        "version": 1,
        "model": name,
        "modality": registry().models[name].modalities[0] if name in registry().models else "joint",
        "preset": "tiny",
        "model_options": dict(options),
        "modality_options": {"frames": 8},
        "input": given.to_json(),
        "class_names": list(CLASSES),
        **more,
    }
    write_weights(path, tensors, header)


def trained(name: str, folder: Path, **more: Any) -> tuple[Path, nn.Module, InputSpec]:
    """Train the preset ``tiny`` for a few steps; return its checkpoint, the model and its input."""
    spec = registry().models[name]
    layout = find_layout("kinect-20")
    given = InputSpec(kind="keypoints", shape=(3, 16, 20), layout="kinect-20")
    if spec.modalities[0] == "heatmap":
        extra = {"edges": [list(edge) for edge in layout.edges], "size": 14}
        given = InputSpec(kind="people", shape=(2, 8, 20, 3), layout="kinect-20", extra=extra)
    options = {**spec.options, **spec.presets["tiny"], **more}
    torch.manual_seed(0)
    known = {**options, "weights": ""} if "weights" in options else options
    model: nn.Module = resolve(spec.factory)(len(CLASSES), input=given, **known)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    x, y = torch.rand(6, *given.shape), torch.arange(6) % 3
    for _ in range(5):
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(model(x).logits, y)
        torch.autograd.backward(loss)
        optimizer.step()
    path = folder / f"{name}.safetensors"
    write_checkpoint(path, model, name, given, options)
    return path, model.eval(), given


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"), [("decoupled-stcnn", {}), ("posec3d", {"with_limbs": True, "weights": "gone.file"})]
)
def test_onnxruntime_computes_what_torch_computes(tmp_path: Path, name: str, more: dict[str, Any]) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    checkpoint, model, given = trained(name, tmp_path, **more)
    out = tmp_path / "deep" / "model.onnx"
    result = export(console=Silent(), checkpoint=checkpoint, out=out)
    assert result.data["difference"] < 1e-4
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.onnx"]

    session = onnxruntime.InferenceSession(str(out))
    for size in (1, 5):  # any number of clips
        clips = torch.rand(size, *given.shape) * 1.2 - 0.1  # some outside of the image
        with torch.no_grad():
            wanted = model(clips)
        logits, feature = session.run(["logits", "feature"], {"clips": clips.numpy()})
        np.testing.assert_allclose(logits, wanted.logits.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(feature, wanted.feature.numpy(), rtol=1e-4, atol=1e-4)

    facts = {
        item.key: json.loads(item.value) for item in onnx.load(out).metadata_props if item.key[:3] == "mg."
    }
    assert facts["mg.class_names"] == list(CLASSES)
    assert facts["mg.model"] == name
    assert InputSpec.from_json(facts["mg.input"]) == given
    assert facts["mg.layout"]["names"] == list(find_layout("kinect-20").names)
    assert facts["mg.modality_options"] == {"frames": 8}


def test_dense_heatmaps_are_those_that_models_draw() -> None:
    torch.manual_seed(0)
    for size, limbs in ((14, True), (56, True), (14, False)):
        renderer = HeatmapRenderer(
            5, [(0, 1), (1, 2), (3, 4)], size=size, with_limbs=limbs, with_joints=True
        ).eval()
        people = torch.rand(3, 2, 4, 5, 3) * 1.4 - 0.2
        people[..., 2].clamp_(0, 1)
        people[0, 0, 0, 1] = people[0, 0, 0, 0]  # a limb without length
        people[1, :, :, 2, 2] = 0  # a keypoint that was not found
        people[2, 0, 0, 0, 0], people[2, 0, 1, 3, 1], people[2, 1, 2, 1, 2] = nan, inf, nan  # or told so
        torch.testing.assert_close(DenseRenderer(renderer)(people), renderer(people), rtol=1e-4, atol=1e-5)


class _Odd(nn.Module):
    """A model that no graph can express: it asks a value of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> ModelOutput:
        f = x.mean(dim=(2, 3))
        if f.sum().item() > 1e9:
            f = f + 1
        return ModelOutput(logits=self.layer(f), feature=f)


def _odd(num_classes: int, *, input: InputSpec) -> _Odd:
    return _Odd()


class _Registry:
    models: ClassVar = {"odd": ModelSpec(name="odd", summary="", factory="odd:odd", modalities=("joint",))}
    layouts = registry().layouts

    def get(self, kind: str, name: str) -> ModelSpec:
        return self.models[name]


@pytest.mark.slow
def test_a_model_that_does_not_export_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    given = InputSpec(kind="keypoints", shape=(3, 4, 5))
    write_checkpoint(tmp_path / "odd.safetensors", _Odd(), "odd", given, {})
    monkeypatch.setattr(export_module, "registry", _Registry)
    monkeypatch.setattr(export_module, "resolve", lambda factory: _odd)
    with pytest.raises(PluginError, match="model 'odd' does not export to ONNX: "):
        export(console=Silent(), checkpoint=tmp_path / "odd.safetensors", out=tmp_path / "odd.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.safetensors"]


def test_a_graph_that_computes_something_else_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    class Session:
        def __init__(self, *args: Any, **named: Any) -> None: ...

        def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
            return [np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    clips = [torch.zeros(2, 1)]
    wanted = [(np.ones((2, 3), np.float32), np.full((2, 4), 1.01, np.float32))]
    with pytest.raises(PluginError, match=r"differs from torch by 9\.9e-03, want at most 1e-04"):
        export_module._compare("model 'm'", tmp_path, clips, wanted)
    with pytest.raises(PluginError, match=r"gives shape \(2, 4\), torch gives \(2, 7\)"):
        export_module._compare("model 'm'", tmp_path, clips, [(wanted[0][0], np.ones((2, 7)))])


def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "_require_packages", lambda: None)

    def refused(kind: type[Exception], match: str, path: Path) -> None:
        with pytest.raises(kind, match=match) as caught:
            export(console=Silent(), checkpoint=path, out=tmp_path / "out.onnx")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out.onnx").exists()

    refused(DataError, "no such file", tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    refused(DataError, "not a readable safetensors file", tmp_path / "text.safetensors")
    write_weights(tmp_path / "plain.safetensors", {"a": torch.zeros(1)}, {"model": "posec3d"})
    refused(UsageError, "found initial weights, want a checkpoint", tmp_path / "plain.safetensors")

    given = InputSpec(kind="keypoints", shape=(3, 8, 20), layout="kinect-20")
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, nn.Linear(1, 1), "decoupled-stcnn", given, {})
    refused(DataError, "does not fit model 'decoupled-stcnn'", path)
    write_checkpoint(path, nn.Linear(1, 1), "decoupled-stcnn", given, {"wings": 2})
    refused(PluginError, "does not take the checkpoint's options", path)
    write_checkpoint(path, nn.Linear(1, 1), "decoupled-stcn", given, {})
    refused(PluginError, "decoupled-stcn", path)
    write_checkpoint(path, nn.Linear(1, 1), "decoupled-stcnn", given, {}, input={"kind": "keypoints"})
    refused(DataError, "its header lacks or misstates 'shape'", path)


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *args: Any, **named: Any) -> Any:
        if name in ("onnx", "onnxscript", "onnxruntime"):
            raise ImportError(name)
        return builtins.__import__(name)

    monkeypatch.setattr("mg_skeleton.export.importlib.import_module", without)
    with pytest.raises(UsageError, match="found no onnx and no onnxscript and no onnxruntime"):
        export(console=Silent(), checkpoint=tmp_path / "a", out=tmp_path / "b")
