"""Checks of a loss: a finite number with a gradient, also for classes without a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mg_data.contract import LossSpec, ModelOutput
from mg_data.plugins import resolve
from mg_data.testing.checks import DoesNotApply, require
from mg_data.testing.torch_tools import not_finite, seeded, the_torch

BATCH, WIDTH = 12, 48
# Training clips of each class, one class without any.
COUNTS = {2: (30, 4), 32: tuple([90, 1, 0, 7] * 8)}


@dataclass(frozen=True, kw_only=True)
class LossBench:
    """A loss."""

    spec: LossSpec

    def build(self, num_classes: int) -> Any:
        """Build the loss as a trainer does: class counts, and the feature's width if it asks for it."""
        options = dict(self.spec.options)
        if options.get("feature_dim") == 0:
            options["feature_dim"] = WIDTH
        loss = resolve(self.spec.factory)(class_counts=np.array(COUNTS[num_classes]), **options)
        require(callable(loss), f"{self.spec.factory} returned {type(loss).__name__}, no callable")
        return loss

    def batch(self, num_classes: int, scale: float = 1.0) -> tuple[ModelOutput, Any]:
        """Return an output with gradients, and classes that have training clips."""
        classes = np.flatnonzero(np.array(COUNTS[num_classes]))
        with seeded(0) as torch:
            logits = (scale * torch.randn(BATCH, num_classes)).requires_grad_()
            feature = torch.randn(BATCH, WIDTH).requires_grad_()
        return ModelOutput(logits, feature), torch.from_numpy(classes[np.arange(BATCH) % len(classes)])


def open_bench(spec: LossSpec) -> LossBench:
    """Ask for torch first."""
    the_torch()
    return LossBench(spec=spec)


def _number(value: Any) -> float:
    return float(value.detach())


def check_value_is_a_finite_number(bench: LossBench) -> None:
    """For 2 and 32 classes, and for logits of the size 1000, the loss is one finite number."""
    for num_classes in COUNTS:
        loss = bench.build(num_classes)
        for scale in (1.0, 1000.0):
            value = loss(*bench.batch(num_classes, scale))
            require(
                value.ndim == 0, f"returned a tensor of shape {tuple(value.shape)}, wanted a single number"
            )
            require(
                not not_finite(value), f"is {value.item()} for {num_classes} classes, logits about {scale:g}"
            )


def check_gradient_is_finite(bench: LossBench) -> None:
    """The output it reads gets a finite gradient that is not zero."""
    for num_classes in COUNTS:
        output, target = bench.batch(num_classes)
        bench.build(num_classes)(output, target).backward()
        reads = output.logits if bench.spec.kind == "classification" else output.feature
        name = "logits" if bench.spec.kind == "classification" else "feature"
        require(reads.grad is not None and bool(reads.grad.any()), f"the {name} get no gradient")
        for gradient in (output.logits.grad, output.feature.grad):
            require(gradient is None or not not_finite(gradient), "a gradient holds NaN or infinity")


def check_order_of_clips_does_not_matter(bench: LossBench) -> None:
    """A shuffled batch has the same loss."""
    output, target = bench.batch(32)
    loss = bench.build(32)
    order = the_torch().arange(BATCH).flip(0)
    value = _number(loss(output, target))
    shuffled = _number(loss(ModelOutput(output.logits[order], output.feature[order]), target[order]))
    require(abs(shuffled - value) <= 1e-5 * max(1.0, abs(value)), f"{value:.6g} became {shuffled:.6g}")


def check_right_answers_cost_less(bench: LossBench) -> None:
    """A classification loss is lower where the answers are right than where they are wrong."""
    if bench.spec.kind != "classification":
        raise DoesNotApply("an auxiliary loss reads the feature")
    torch = the_torch()
    for num_classes in COUNTS:
        _, target = bench.batch(num_classes)
        loss, feature = bench.build(num_classes), torch.zeros(BATCH, WIDTH)
        values = [
            float(
                loss(
                    ModelOutput(4.0 * torch.nn.functional.one_hot(answer, num_classes).float(), feature),
                    target,
                )
            )
            for answer in (target, target.roll(1))
        ]
        require(values[0] < values[1], f"right answers cost {values[0]:.4g}, wrong ones {values[1]:.4g}")


def check_soft_targets_are_expectations(bench: LossBench) -> str:
    """A loss that says it takes probabilities gives for one-hot ones what it gives for the classes."""
    loss = bench.build(32)
    if not getattr(loss, "soft_targets", False):
        raise DoesNotApply("it takes classes only")
    output, target = bench.batch(32)
    hot = the_torch().nn.functional.one_hot(target, 32).float()
    hard, soft = _number(loss(output, target)), _number(loss(output, hot))
    require(
        abs(hard - soft) <= 1e-5 * max(1.0, abs(hard)), f"{hard:.6g} for classes, {soft:.6g} for one-hot rows"
    )
    return "soft targets"


API = (
    check_value_is_a_finite_number,
    check_gradient_is_finite,
    check_order_of_clips_does_not_matter,
    check_right_answers_cost_less,
    check_soft_targets_are_expectations,
)
