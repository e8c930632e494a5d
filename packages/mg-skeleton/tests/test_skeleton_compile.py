"""Every model under torch.compile computes what it computes without.

The backend is the one that needs no compiler for C++: what may go wrong here is the tracing of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec
from mg_data.keypoints.layouts import find_layout
from mg_data.plugins import registry, resolve

SPECS = {name: spec for name, spec in registry().models.items() if spec.factory.startswith("mg_skeleton.")}
SHRUNK: dict[str, dict[str, Any]] = {
    "decoupled-stcnn": {"widths": (8, 16), "strides": (1, 2)},
    "st-gcn": {"widths": (8, 16), "strides": (1, 2)},
    "ctr-gcn": {"widths": (16, 24), "strides": (1, 2)},
    "ms-g3d": {"base_channels": 12, "strides": (2,), "scales": 3, "window_scales": 2, "windows": (3,)},
    "dg-stgcn": {"widths": (16, 24), "strides": (1, 2)},
    "hyperformer": {"heads": 2, "head_channels": 12, "strides": (2,)},
    "skateformer": {"widths": (32,), "depths": (1,), "heads": 8, "window": 4, "mlp_ratio": 2},
    "posec3d": {"base_channels": 8, "depths": (1,), "inflate": (1,), "spatial_strides": (2,)}
    | {"temporal_strides": (1,), "with_limbs": True},
    "res2net3d": {"base_channels": 10, "depths": (1,), "inflate": (1,), "spatial_strides": (2,)}
    | {"temporal_strides": (1,)},
}


def _model_and_clips(name: str) -> tuple[nn.Module, Tensor]:
    layout = find_layout("kinect-20")
    given = InputSpec(kind="keypoints", shape=(6, 16, 20), layout=layout.name)
    if SPECS[name].modalities[0] == "heatmap":
        extra = {"edges": [list(edge) for edge in layout.edges], "size": 14}
        given = InputSpec(kind="people", shape=(1, 8, 20, 3), layout=layout.name, extra=extra)
    torch.manual_seed(0)
    options = {"dropout": 0.0, **SHRUNK[name]}
    if "attention_dropout" in SPECS[name].options:  # chance differs between the two
        options |= {"attention_dropout": 0.0, "path_dropout": 0.0}
    model = resolve(SPECS[name].factory)(5, input=given, **options)
    return model, torch.rand(4, *given.shape, generator=torch.Generator().manual_seed(1))


def _step(forward: Any, model: nn.Module, clips: Tensor) -> dict[str, Tensor]:
    """Return logits, and gradients of a training step."""
    model.zero_grad()
    logits = forward(clips).logits
    nn.functional.cross_entropy(logits, torch.arange(len(clips)) % 5).backward()
    gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    return {"logits": logits.detach(), **{key: value.clone() for key, value in gradients.items()}}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    torch.compiler.reset()


# Tracing takes half a minute for some: two of them stand for all in each run.
QUICK = ("decoupled-stcnn", "st-gcn")


def _all_of(names: Iterable[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.extended) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", _all_of(SPECS))
def test_a_compiled_model_takes_the_step_of_the_model(name: str) -> None:
    model, clips = _model_and_clips(name)
    wanted = _step(model, model, clips)
    found = _step(torch.compile(model, backend="aot_eager"), model, clips)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", _all_of(["decoupled-stcnn", "posec3d"]))
def test_a_compiled_model_goes_along_with_bfloat16_and_another_size_of_batch(name: str) -> None:
    model, clips = _model_and_clips(name)
    compiled = torch.compile(model.eval(), backend="aot_eager")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for size in (4, 3):
            wanted, found = model(clips[:size]).logits, compiled(clips[:size]).logits
            assert found.dtype == wanted.dtype
            torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2)
