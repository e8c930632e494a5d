"""Both models: shapes, the published size, and that their records can be built and trained."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from mg_data.contract import InputSpec, ModelOutput, ModelSpec, UsageError
from mg_data.keypoints.layouts import find_layout
from mg_skeleton.models.decoupled_stcnn import DecoupledBlock
from mg_skeleton.models.posec3d import SlowOnly
from mg_skeleton.plugin import mg_register_models

# The further models have tests of their own (test_skeleton_further_models.py).
MODELS = {spec.name: spec for spec in mg_register_models() if "tiny" in spec.presets}
PRESETS = [(name, preset) for name, spec in MODELS.items() for preset in spec.presets]


def _input(name: str, *, frames: int = 8, size: int = 16, layout: str = "kinect-20") -> InputSpec:
    chosen = find_layout(layout)
    points = len(chosen.names)
    if MODELS[name].modalities[0] != "heatmap":
        return InputSpec(kind="keypoints", shape=(6, frames, points), layout=layout)
    extra = {"edges": [list(edge) for edge in chosen.edges], "size": size}
    return InputSpec(kind="people", shape=(1, frames, points, 3), layout=layout, extra=extra)


def _build(spec: ModelSpec, num_classes: int, given: InputSpec, **options: Any) -> torch.nn.Module:
    module, name = spec.factory.split(":")
    built = getattr(importlib.import_module(module), name)(num_classes, input=given, **options)
    assert isinstance(built, torch.nn.Module)
    return built


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_gives_logits_and_a_feature_that_holds_32_anchors(name: str, preset: str) -> None:
    torch.manual_seed(0)
    given = _input(name)
    model = _build(MODELS[name], 32, given, **MODELS[name].presets[preset]).eval()
    with torch.no_grad():
        out = model(torch.rand(2, *given.shape))
    assert isinstance(out, ModelOutput)
    assert out.logits.shape == (2, 32)
    assert out.feature.shape[0] == 2
    assert out.feature.shape[1] >= 32


@pytest.mark.parametrize("name", list(MODELS))
def test_defaults_of_the_record_are_those_of_the_factory(name: str) -> None:
    given = _input(name)
    torch.manual_seed(0)
    plain = _build(MODELS[name], 5, given)
    torch.manual_seed(0)
    spelled = _build(MODELS[name], 5, given, **MODELS[name].options)
    for a, b in zip(plain.parameters(), spelled.parameters(), strict=True):
        assert torch.equal(a, b)
    known = set(MODELS[name].options)
    assert all(set(preset) <= known for preset in MODELS[name].presets.values())


@pytest.mark.parametrize("name", list(MODELS))
def test_a_few_steps_learn_two_clips_by_heart(name: str) -> None:
    torch.manual_seed(0)
    given = _input(name)
    model = _build(MODELS[name], 2, given, **MODELS[name].presets["tiny"])
    x, y = torch.rand(4, *given.shape), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(model(x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_the_slowonly_backbone_has_the_published_number_of_parameters() -> None:
    backbone = SlowOnly(68)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 2_074_048


def test_the_slowonly_backbone_strides_time_in_the_second_convolution() -> None:
    backbone = SlowOnly(68)
    first = backbone.stages[2].res_blocks[0].branch2
    assert first.conv_a.stride == (1, 1, 1)
    assert first.conv_b.stride == (2, 2, 2)


@pytest.mark.slow
def test_the_slowonly_backbone_gives_the_published_shape() -> None:
    with torch.no_grad():
        assert SlowOnly(68).eval()(torch.zeros(1, 68, 48, 56, 56)).shape == (1, 512, 24, 7, 7)


def test_a_decoupled_block_mixes_three_keypoints_and_five_frames() -> None:
    block = DecoupledBlock(1, 1, 1, 0.0).double().eval()
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 1.0)
    x = torch.zeros(1, 1, 11, 9, dtype=torch.float64)
    before = block(x)
    x[0, 0, 5, 4] = 1
    touched = (block(x) != before)[0, 0]
    assert touched.any(dim=1).nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert touched.any(dim=0).nonzero().flatten().tolist() == [3, 4, 5]


def test_wrong_inputs_are_named() -> None:
    people, points = _input("posec3d"), _input("decoupled-stcnn")
    with pytest.raises(UsageError, match="decoupled-stcnn: found an input of kind 'people'"):
        _build(MODELS["decoupled-stcnn"], 3, people)
    nobody = InputSpec(kind="keypoints", shape=(3, 8, 0))
    with pytest.raises(UsageError, match=r"decoupled-stcnn: found .* shape \(3, 8, 0\), want keypoints"):
        _build(MODELS["decoupled-stcnn"], 3, nobody)
    with pytest.raises(UsageError, match="posec3d: found an input of kind 'keypoints'"):
        _build(MODELS["posec3d"], 3, points)
    with pytest.raises(UsageError, match="with_joints and with_limbs both false"):
        _build(MODELS["posec3d"], 3, people, with_joints=False)
    with pytest.raises(UsageError, match="found 2 widths and 1 strides"):
        _build(MODELS["decoupled-stcnn"], 3, points, widths=(8, 8), strides=(1,))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("posec3d", {"depths": (1, 1, 1, 1)}, "posec3d: found 4 depths and 3 inflate and 3 spatial_strides"),
        ("posec3d", {"depths": (1, 0, 1)}, r"posec3d: found depths = \(1, 0, 1\), want 1 or more"),
        ("posec3d", {"base_channels": 0}, "posec3d: found base_channels = 0, want 1 or more"),
        ("posec3d", {"sigma": -1.0}, "heatmaps: found sigma = -1.0, want more than 0"),
        ("posec3d", {"size": -1}, "heatmaps: found size = -1 and eval_size = "),
        ("decoupled-stcnn", {"widths": (8, -1, 8), "strides": (1, 1, 1)}, "widths = .*, want 1 or more"),
        ("decoupled-stcnn", {"feature_dim": -5}, "found feature_dim = -5, want 0 or more"),
        ("st-gcn", {"widths": (8, 8), "strides": (0, 1)}, r"found strides = \(0, 1\), want 1 or more"),
        ("st-gcn", {"reach": -1}, "found reach = -1, want 0 or more"),
    ],
)
def test_options_out_of_range_are_named(name: str, options: dict[str, object], message: str) -> None:
    given = _input("posec3d" if name == "posec3d" else "decoupled-stcnn")
    with pytest.raises(UsageError, match=message):
        _build(MODELS[name], 3, given, **options)
