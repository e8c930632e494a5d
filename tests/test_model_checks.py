"""The checks of models and losses find the fault they are made for: one planted fault, one failed check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, LossSpec, ModelOutput, ModelSpec, hookimpl
from mg_data.plugins import use_plugins
from mg_data.testing import checks_of, run_checks

NAME = "planted_model_faults"
Register = Callable[..., dict[str, str]]


class Net(nn.Module):
    """A network without a fault; subclasses plant one."""

    def __init__(self, num_classes: int, input: InputSpec) -> None:
        super().__init__()
        self.shape = tuple(input.shape)
        self.stem = nn.Conv2d(self.shape[0], 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> ModelOutput:
        self.check(x)
        feature = torch.relu(self.norm(self.stem(x))).mean(dim=(2, 3))
        return ModelOutput(self.head(feature), feature)

    def check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"net: found a batch of shape {tuple(x.shape)}, wanted (batch, {self.shape})")


class Unchecked(Net):
    def check(self, x: Tensor) -> None:
        return


class OnlyAxes(Net):
    def check(self, x: Tensor) -> None:
        if x.ndim != 4:
            raise ValueError(f"found {tuple(x.shape)}")


class Silent(Net):
    def check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError("wrong shape")


class OverBatch(Net):
    def forward(self, x: Tensor) -> ModelOutput:
        return super().forward(x - x.mean(dim=0, keepdim=True))


class AlwaysDropping(Net):
    def forward(self, x: Tensor) -> ModelOutput:
        return super().forward(nn.functional.dropout(x, 0.5, training=True))


class Unused(Net):
    def __init__(self, num_classes: int, input: InputSpec) -> None:
        super().__init__(num_classes, input)
        self.spare = nn.Linear(3, 3)


class Hidden(Net):
    """Draws a number that is neither a parameter nor a buffer."""

    def __init__(self, num_classes: int, input: InputSpec) -> None:
        super().__init__(num_classes, input)
        self.scale = float(torch.rand(1))

    def forward(self, x: Tensor) -> ModelOutput:
        return super().forward(x * self.scale)


class InPlace(Net):
    def forward(self, x: Tensor) -> ModelOutput:
        self.check(x)
        return super().forward(x.sub_(1.0))


class Plain(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).logits


class TwoClasses(Net):
    def __init__(self, num_classes: int, input: InputSpec) -> None:
        super().__init__(2, input)


class RootOfZero(Net):
    """Its values are finite, its gradient is not."""

    def forward(self, x: Tensor) -> ModelOutput:
        logits, feature = super().forward(x)
        return ModelOutput(logits + (0 * feature).abs().sqrt().sum(), feature)


@pytest.fixture
def faults() -> Iterator[Register]:
    """Register records of a made-up plugin; return the failed checks of it with their texts."""
    module = ModuleType(NAME)
    sys.modules[NAME] = module

    def register(kind: str, record: Any, **members: Any) -> dict[str, str]:
        for name, member in members.items():
            setattr(module, name, member)
        setattr(module, f"mg_register_{kind}", hookimpl(lambda: [record]))
        use_plugins(module)
        checks = [check for check in checks_of(NAME) if check.name != "loads-without-heavy-libraries"]
        return {o.check.name: o.message for o in run_checks(checks) if not o.good}

    yield register
    del sys.modules[NAME]
    use_plugins()


MODEL = ModelSpec(
    name="net", summary="a network", factory=f"{NAME}:build", modalities=("joint", "joint-motion")
)


def test_a_good_model_has_no_fault(faults: Register) -> None:
    assert faults("models", MODEL, build=lambda num_classes, *, input: Net(num_classes, input)) == {}


@pytest.mark.parametrize(
    ("fault", "check", "text"),
    [
        (Unchecked, "wrong-shape-is-refused", "with no batch axis does not tell its shape (3, 64, 17)"),
        (OnlyAxes, "wrong-shape-is-refused", "a batch with twice the channels, shape (3, 6, 64, 17), raised"),
        (Silent, "wrong-shape-is-refused", "does not tell its shape (3, 64, 17): wrong shape"),
        (OverBatch, "batch-of-one-equals-row", "something is averaged over the batch in eval mode"),
        (AlwaysDropping, "same-seed-same-model", "dropout or another draw goes on in eval mode"),
        (
            Unused,
            "gradient-reaches-every-parameter",
            "2 of 8 trainable parameters got no gradient: spare.bias",
        ),
        (Hidden, "state-round-trip", "neither a parameter nor a buffer"),
        (InPlace, "input-stays-as-it-was", "the batch was changed in place: work on a copy"),
        (
            Plain,
            "shapes-are-those-announced",
            "the model returned Tensor, wanted mg_data.contract.ModelOutput",
        ),
        (TwoClasses, "shapes-are-those-announced", "logits of shape (3, 2) for 32 classes and a batch of 3"),
        (RootOfZero, "gradient-reaches-every-parameter", "numbers that are NaN or infinite"),
    ],
)
def test_faults_of_models(faults: Register, fault: type[Net], check: str, text: str) -> None:
    found = faults("models", MODEL, build=lambda num_classes, *, input: fault(num_classes, input))
    assert text in found[check]


def test_a_modality_that_the_model_only_claims_to_read(faults: Register) -> None:
    def build(num_classes: int, *, input: InputSpec) -> Net:
        if input.shape[0] != 3:
            raise ValueError("three channels only")
        return Net(num_classes, input)

    found = faults("models", MODEL, build=build)
    assert (
        "modality 'joint-motion' (samples (6, 64, 17)) is named by the record"
        in found["every-modality-is-accepted"]
    )


def test_the_smallest_preset_is_checked_and_large_video_is_made_smaller(faults: Register) -> None:
    seen = []

    def build(num_classes: int, *, input: InputSpec, width: int = 1) -> Net:
        seen.append((width, tuple(input.shape)))
        return Net(num_classes, input)

    spec = ModelSpec(
        name="net",
        summary="a network",
        factory=f"{NAME}:build",
        modalities=("rgb",),
        options={"width": 1},
        presets={"huge": {"width": 900}, "little": {"width": 2}},
        modality_options={"huge": {"frames": 32, "size": 224}, "little": {"frames": 16, "size": 112}},
    )
    faults("models", spec, build=build)
    assert {shape for width, shape in seen if width == 2} == {(3, 16, 112, 112), (3, 8, 64, 64)}
    # The other preset is built once, to learn how many parameters it has.
    assert sum(width == 900 for width, _ in seen) == 1


def test_faults_of_losses(faults: Register) -> None:
    spec = LossSpec(name="loss", summary="a loss", factory=f"{NAME}:build")

    def loss_of(function: Callable[[ModelOutput, Tensor], Tensor]) -> dict[str, str]:
        return faults("losses", spec, build=lambda *, class_counts: function)

    cross_entropy = nn.functional.cross_entropy
    assert loss_of(lambda output, target: cross_entropy(output.logits, target)) == {}
    found = loss_of(lambda output, target: cross_entropy(output.logits, target, reduction="none"))
    assert "a tensor of shape (12,), wanted a single number" in found["value-is-a-finite-number"]
    found = loss_of(lambda output, target: -output.logits.exp().gather(1, target[:, None]).mean())
    assert "is -inf for 2 classes, logits about 1000" in found["value-is-a-finite-number"]
    found = loss_of(lambda output, target: -cross_entropy(output.logits, target))
    assert "right answers cost" in found["right-answers-cost-less"]
    found = loss_of(lambda output, target: cross_entropy(output.logits[:4], target[:4]))
    assert "became" in found["order-of-clips-does-not-matter"]
