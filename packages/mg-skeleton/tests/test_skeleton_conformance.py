"""What every model of this package must hold beyond the contract, over 20 and 68 keypoints."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, ModelOutput, UsageError
from mg_data.keypoints.layouts import find_layout
from mg_data.plugins import registry, resolve

SPECS = {name: spec for name, spec in registry().models.items() if spec.factory.startswith("mg_skeleton.")}
# Narrower and shallower than the preset ``small``, so that all of this takes a minute. A model that is not
# named here is tested as its preset ``tiny`` or ``small`` says.
SHRUNK: dict[str, dict[str, Any]] = {
    "ctr-gcn": {"widths": (16, 24), "strides": (2, 2)},
    "ms-g3d": {"base_channels": 12, "strides": (2, 2), "scales": 4, "window_scales": 2, "windows": (3,)},
    "dg-stgcn": {"widths": (16, 24), "strides": (2, 2)},
    "hyperformer": {"heads": 2, "head_channels": 12, "strides": (2, 2)},
    "skateformer": {
        "widths": (32, 32),
        "depths": (1, 1),
        "heads": 8,
        "window": 4,
        "mlp_ratio": 2,
        "attention_dropout": 0.1,
        "path_dropout": 0.1,
    },
    "res2net3d": {"base_channels": 10, "depths": (1, 1), "inflate": (0, 1), "stem_stride": 2}
    | {"spatial_strides": (2, 2), "temporal_strides": (2, 1)},
}
LAYOUTS = ("kinect-20", "openpose-68")
every_model = pytest.mark.parametrize("name", list(SPECS))
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def given(name: str, layout: str = "kinect-20") -> InputSpec:
    """Return an input that the model takes: (6, 16, V), or one person's (1, 8, V, 3) for heatmaps."""
    chosen = find_layout(layout)
    points = len(chosen.names)
    if SPECS[name].modalities[0] != "heatmap":
        return InputSpec(kind="keypoints", shape=(6, 16, points), layout=layout)
    extra = {"edges": [list(edge) for edge in chosen.edges], "size": 14}
    return InputSpec(kind="people", shape=(1, 8, points, 3), layout=layout, extra=extra)


def build(
    name: str, num_classes: int = 5, layout: str = "kinect-20", seed: int = 0, **more: Any
) -> nn.Module:
    """Build the shrunken model with weights drawn from ``seed``."""
    spec = SPECS[name]
    preset = spec.presets.get("tiny", spec.presets.get("small", {}))
    torch.manual_seed(seed)
    options = {**spec.options, **SHRUNK.get(name, preset), **more}
    model: nn.Module = resolve(spec.factory)(num_classes, input=given(name, layout), **options)
    return model


def batch(name: str, size: int = 4, layout: str = "kinect-20") -> Tensor:
    """Return clips of random keypoints."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(size, *given(name, layout).shape, generator=generator)


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """Give batch normalisation statistics of real data, then switch to evaluation."""
    with torch.no_grad():
        for _ in range(3):
            model.train()(x)
    return model.eval()


def test_the_registry_has_the_models_of_this_package() -> None:
    assert {"decoupled-stcnn", "posec3d", "st-gcn", "res2net3d", *SHRUNK} <= set(SPECS)


@every_model
@every_layout
@pytest.mark.parametrize("num_classes", [2, 32])
def test_shapes_are_those_announced(name: str, layout: str, num_classes: int) -> None:
    model = build(name, num_classes, layout, feature_dim=40).eval()
    with torch.no_grad():
        out = model(batch(name, 2, layout))
    assert isinstance(out, ModelOutput)
    assert out.logits.shape == (2, num_classes)
    assert out.feature.shape == (2, 40)
    assert out.logits.isfinite().all()


@every_model
@every_layout
def test_a_clip_alone_gets_the_logits_it_gets_among_others(name: str, layout: str) -> None:
    x = batch(name, 3, layout)
    model = settled(build(name, layout=layout), x)
    with torch.no_grad():
        together, alone = model(x), model(x[1:2])
    torch.testing.assert_close(alone.logits[0], together.logits[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone.feature[0], together.feature[1], rtol=1e-5, atol=1e-5)


@every_model
def test_a_model_can_be_pickled_for_other_processes(name: str) -> None:
    stream = io.BytesIO()
    torch.save(build(name), stream)


@every_model
def test_the_same_seed_gives_the_same_training_step(name: str) -> None:
    def gradients() -> list[Tensor]:
        model = build(name, seed=3).train()
        torch.manual_seed(4)
        model(batch(name)).logits.square().sum().backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    first, second = gradients(), gradients()
    assert len(first) == len(second) > 0
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@every_model
def test_a_batch_of_the_wrong_shape_is_named(name: str) -> None:
    model = build(name).eval()
    x = batch(name, 2)
    columns = x[..., :-1, :] if x.ndim == 5 else x[..., :-1]  # a keypoint less
    wrong = [columns, x[0], torch.cat([x, x], dim=-1 if x.ndim == 5 else 1)]  # no batch; twice the columns
    for bad in wrong:
        with pytest.raises(ValueError, match=f"{name}: found a batch of shape") as caught:
            model(bad)
        assert str(tuple(bad.shape)) in str(caught.value)
        assert "want (batch, " in str(caught.value)


@every_model
def test_an_input_of_another_kind_is_named(name: str) -> None:
    other = next(one for one in SPECS if given(one).kind != given(name).kind)
    with pytest.raises(UsageError, match=f"{name}: found an input of kind '{given(other).kind}'"):
        resolve(SPECS[name].factory)(5, input=given(other))


@every_model
def test_training_with_the_recipe_lowers_the_loss_and_reaches_every_parameter(name: str) -> None:
    recipe = SPECS[name].recipe
    model = build(name, 2, dropout=0.0).train()
    if recipe["optimizer"] == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), recipe["lr"], momentum=recipe["momentum"], weight_decay=recipe["weight_decay"]
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), recipe["lr"], weight_decay=recipe["weight_decay"])
    x, y = batch(name, 8), torch.arange(8) % 2
    losses, reached = [], set()
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        for key, parameter in model.named_parameters():
            if parameter.grad is not None and parameter.grad.any():
                reached.add(key)
            assert parameter.grad is None or parameter.grad.isfinite().all(), key
        nn.utils.clip_grad_norm_(model.parameters(), recipe.get("clip_norm") or float("inf"))
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < losses[0]
    assert {key for key, _ in model.named_parameters()} == reached


@every_model
def test_the_order_in_memory_does_not_matter(name: str) -> None:
    x = batch(name)
    model = settled(build(name), x)
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    turned = x.transpose(1, -1).contiguous().transpose(1, -1)
    with torch.no_grad():
        wanted = model(x).logits
        torch.testing.assert_close(model(x.contiguous(memory_format=last)).logits, wanted)
        torch.testing.assert_close(model(turned).logits, wanted)


@every_model
def test_a_step_in_bfloat16_stays_finite(name: str) -> None:
    model = build(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch(name))
    out.logits.float().square().sum().backward()
    assert out.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
