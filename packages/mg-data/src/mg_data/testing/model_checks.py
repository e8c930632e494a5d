"""Checks of a model: shapes, single clips, files, seeds, wrong input, gradients, and that it learns."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from mg_data.contract import MgError, ModelOutput
from mg_data.testing.checks import CheckFailed, CheckSkipped, require
from mg_data.testing.model_bench import ModelBench, other_inputs, samples
from mg_data.testing.torch_tools import largest_difference, not_finite, seeded, the_torch

CLASSES = (2, 32)
TOLERANCE = 1e-4
# Rounds until every parameter must have had a gradient: the first step opens what begins at zero, and layers
# that are skipped by chance are met in another round.
GRADIENT_ROUNDS = 12
STEPS = 20
# Beyond it twenty steps take minutes on a processor.
QUALITY_PARAMETERS = 20_000_000


def _output(model: Any, batch: Any) -> ModelOutput:
    """Run the model; CheckFailed unless it returns logits and feature."""
    found = model(batch)
    require(
        isinstance(found, ModelOutput),
        f"the model returned {type(found).__name__}, wanted mg_data.contract.ModelOutput(logits, feature)",
    )
    output: ModelOutput = found
    return output


def _evaluate(model: Any, batch: Any) -> ModelOutput:
    with the_torch().no_grad():
        return _output(model.eval(), batch)


def check_shapes_are_those_announced(bench: ModelBench) -> str:
    """For 2 and 32 classes a batch of N gives logits (N, K) and a feature (N, d)."""
    widths = set()
    for num_classes in CLASSES:
        output = _evaluate(bench.model(num_classes), bench.tensor())
        rows = len(bench.batch)
        require(
            tuple(output.logits.shape) == (rows, num_classes),
            f"logits of shape {tuple(output.logits.shape)} for {num_classes} classes and a batch of {rows}, "
            f"wanted ({rows}, {num_classes})",
        )
        require(
            output.feature.ndim == 2 and len(output.feature) == rows,
            f"feature of shape {tuple(output.feature.shape)} for a batch of {rows}, wanted ({rows}, d)",
        )
        widths.add(int(output.feature.shape[1]))
    require(len(widths) == 1, f"the feature's width depends on the number of classes: {sorted(widths)}")
    return bench.note


def check_output_is_finite(bench: ModelBench) -> None:
    """Logits and feature hold no NaN and no infinity for finite clips."""
    for num_classes in CLASSES:
        output = _evaluate(bench.model(num_classes), bench.tensor())
        for name, values in (("logits", output.logits), ("feature", output.feature)):
            bad = not_finite(values)
            require(
                not bad,
                f"{name} hold {bad} of {values.numel()} numbers that are NaN or infinite, for {num_classes} "
                f"classes and a finite batch of shape {tuple(bench.batch.shape)}: look for a division by "
                "zero or the logarithm of zero",
            )


def check_batch_of_one_equals_row(bench: ModelBench) -> None:
    """A clip alone gets the logits and the feature that it gets in a batch."""
    model, batch = bench.model(2), bench.tensor()
    together, alone = _evaluate(model, batch), _evaluate(model, batch[1:2])
    for name, one, row in (
        ("logits", alone.logits[0], together.logits[1]),
        ("feature", alone.feature[0], together.feature[1]),
    ):
        difference = largest_difference(one, row)
        require(
            difference <= TOLERANCE,
            f"{name} of a clip alone and of the same clip in a batch of {len(batch)} differ by "
            f"{difference:.2g} (at most {TOLERANCE:g}): something is averaged over the batch in eval mode",
        )


def check_same_seed_same_model(bench: ModelBench) -> None:
    """Two models of one seed have equal weights, and an evaluation can be repeated."""
    first, second = bench.model(2), bench.build(2)
    weights = second.state_dict()
    for name, value in first.state_dict().items():
        same = name in weights and the_torch().equal(value, weights[name])
        require(same, f"'{name}' differs between two models built from one seed: draw weights by torch alone")
    batch = bench.tensor()
    one, two = _evaluate(first, batch), _evaluate(first, batch)
    require(
        the_torch().equal(one.logits, two.logits),
        "two evaluations of one batch differ: dropout or another draw goes on in eval mode",
    )


def check_state_round_trip(bench: ModelBench) -> None:
    """Weights written to a file and read into another model give the same logits."""
    torch = the_torch()
    model, batch = bench.model(2), bench.tensor()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    other = bench.build(2, seed=1)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    difference = largest_difference(_evaluate(other, batch).logits, _evaluate(model, batch).logits)
    require(
        difference == 0,
        f"logits differ by {difference:.2g} after the weights were written and read: something "
        "that is learnt or drawn is neither a parameter nor a buffer",
    )


def _wrong(bench: ModelBench) -> Mapping[str, Any]:
    """Return batches of a wrong shape by what is wrong with them."""
    torch, batch = the_torch(), bench.tensor()
    found = {"no batch axis": batch[0]}
    axis = {"keypoints": 1, "video": 1, "signal": 1, "people": batch.ndim - 1}.get(bench.input.kind)
    if axis is not None:
        found["twice the channels"] = torch.cat([batch, batch], dim=axis)
    return found


def check_wrong_shape_is_refused(bench: ModelBench) -> None:
    """A batch of a wrong shape raises a ValueError that tells the shape it found."""
    model = bench.model(2)
    for what, batch in _wrong(bench).items():
        shape = tuple(batch.shape)
        try:
            with the_torch().no_grad():
                model(batch)
        except ValueError as error:
            require(
                str(shape) in str(error),
                f"the ValueError for a batch with {what} does not tell its shape {shape}: {error}",
            )
        except Exception as error:  # whatever torch raises deep inside
            raise CheckFailed(
                f"a batch with {what}, shape {shape}, raised {type(error).__name__}: {error}; wanted a "
                "ValueError from the top of forward() that tells this shape and the one wanted"
            ) from error
        else:
            raise CheckFailed(f"a batch with {what}, shape {shape}, was accepted, wanted a ValueError")


def check_input_stays_as_it_was(bench: ModelBench) -> None:
    """Neither evaluation nor training changes the batch it is given."""
    batch = bench.tensor()
    before = batch.clone()
    model = bench.build(2)
    with seeded(0) as torch, torch.no_grad():
        model.eval()(batch)
        model.train()(batch)
    require(torch.equal(batch, before), "the batch was changed in place: work on a copy")


def check_gradient_reaches_every_parameter(bench: ModelBench) -> None:
    """Within a few training steps every trainable parameter gets a finite gradient that is not zero."""
    model = bench.build(2).train()
    batch = bench.tensor()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    require(trainable, "the model has no trainable parameter")
    missing = set(trainable)
    with seeded(2) as torch:
        optimizer = None
        for _ in range(GRADIENT_ROUNDS):
            output = _output(model, batch)
            # A random direction of both outputs: no symmetry may hide a parameter.
            loss = sum((part * torch.randn_like(part)).sum() for part in (output.logits, output.feature))
            model.zero_grad(set_to_none=True)
            loss.backward()
            for name, parameter in trainable.items():
                if parameter.grad is None:
                    continue
                bad = not_finite(parameter.grad)
                require(not bad, f"the gradient of '{name}' holds {bad} numbers that are NaN or infinite")
                if parameter.grad.any():
                    missing.discard(name)
            if not missing:
                return
            optimizer = optimizer or torch.optim.AdamW(trainable.values(), 1e-3)
            optimizer.step()
    names = ", ".join(sorted(missing)[:5]) + (" ..." if len(missing) > 5 else "")
    raise CheckFailed(
        f"{len(missing)} of {len(trainable)} trainable parameters got no gradient: {names}; use them in "
        "forward() or set requires_grad = False"
    )


def check_every_modality_is_accepted(bench: ModelBench) -> None:
    """Every modality that the record names and that is installed can be read."""
    for name, modality in other_inputs(bench).items():
        batch = the_torch().from_numpy(samples(modality))
        try:
            output = _evaluate(bench.build(2, input=modality.input), batch)
        except (MgError, ValueError, RuntimeError, TypeError) as error:
            raise CheckFailed(
                f"modality '{name}' (samples {tuple(modality.input.shape)}) is named by the record, but the "
                f"model fails: {type(error).__name__}: {error}"
            ) from error
        require(
            tuple(output.logits.shape) == (len(batch), 2),
            f"over modality '{name}' the logits have shape {tuple(output.logits.shape)}, wanted "
            f"({len(batch)}, 2)",
        )


def check_twenty_steps_lower_the_loss(bench: ModelBench) -> str:
    """Twenty steps with the record's recipe on one batch lower its cross-entropy."""
    model = bench.build(2).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    number = sum(p.numel() for p in parameters)
    if number > QUALITY_PARAMETERS:
        raise CheckSkipped(f"{number:,} parameters are too many for a processor: give it a smaller preset")
    recipe = bench.spec.recipe
    batch = bench.tensor()
    with seeded(3) as torch:
        target = torch.arange(len(batch)) % 2
        rate, decay = float(recipe.get("lr", 1e-3)), float(recipe.get("weight_decay", 0.0))
        if recipe.get("optimizer") == "sgd":
            optimizer = torch.optim.SGD(
                parameters, rate, momentum=recipe.get("momentum", 0.9), weight_decay=decay
            )
        else:
            optimizer = torch.optim.AdamW(parameters, rate, weight_decay=decay)
        losses = []
        for _ in range(STEPS + 1):
            loss = torch.nn.functional.cross_entropy(_output(model, batch).logits, target)
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, recipe.get("clip_norm") or float("inf"))
            optimizer.step()
    before, after = losses[0], sum(losses[-5:]) / 5
    require(
        after < before,
        f"the cross-entropy of one batch was {before:.3f} before and {after:.3f} after {STEPS} steps with "
        f"{recipe.get('optimizer', 'adamw')} at a rate of {rate:g}: is the recipe's rate too high?",
    )
    return f"loss {before:.2f} to {after:.2f} in {STEPS} steps"


API = (
    check_shapes_are_those_announced,
    check_output_is_finite,
    check_batch_of_one_equals_row,
    check_same_seed_same_model,
    check_state_round_trip,
    check_wrong_shape_is_refused,
    check_input_stays_as_it_was,
    check_gradient_reaches_every_parameter,
    check_every_modality_is_accepted,
)
QUALITY = (check_twenty_steps_lower_the_loss,)
