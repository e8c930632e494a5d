"""A video model whose backbone is frozen in part, under the trainer's own optimizer and averages."""

from __future__ import annotations

import torch
from torch import nn

from mg_adapt.recipe import resolve_recipe
from mg_adapt.training.optim import AveragedWeights, build_optimizer
from mg_data.contract import InputSpec
from mg_data.plugins import registry, resolve


def test_what_is_frozen_is_neither_optimized_nor_decayed_nor_averaged_away() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = registry().get("models", "r3d-18")
    options = {**spec.options, **spec.presets["small"], "freeze": 3, "checkpointing": True}
    model = resolve(spec.factory)(3, input=InputSpec(kind="video", shape=(3, 8, 32, 32)), **options)
    recipe = resolve_recipe(spec.recipe, {"weight_decay": 0.5, "lr": 0.1})
    optimizer = build_optimizer(model, nn.ModuleDict(), recipe)
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"stem", "layer1", "layer2"}
    assert optimized == {id(p) for p in model.parameters()} - {id(p) for p in frozen.values()}
    assert {group["scale"] for group in optimizer.param_groups} == {0.1, 1.0}, "the head learns faster"

    average = AveragedWeights(model, decay=0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    model.train()  # as between the epochs of a training that validates
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 8, 32, 32)).logits.square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        average.update()
    kept = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert kept >= {name for name in before if name.startswith(("backbone.stem.", "backbone.layer1."))}
    assert not {name for name in kept if name.startswith(("backbone.layer4.", "head.", "projection."))}
    for name, value in frozen.items():
        assert torch.equal(average.values[name], value), name
