"""Partial freezing and recomputed activations: what stays, and that results are those of plain training."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mg_data.contract import InputSpec, UsageError
from mg_rgb.models.branch import VideoBranch
from mg_rgb.records_models import MODELS

# One model for each builder.
FAMILIES = (
    "r2plus1d", "r3d-18", "swin3d", "s3d", "mvit-v2-s", "i3d-r50", "x3d-s", "slowfast-r50", "videomae",
    "vivit",
)  # fmt: skip
NORMALISED_BY_BATCH = ("r3d-18", "i3d-r50", "x3d-s", "slowfast-r50")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def small(name: str, **options: object) -> VideoBranch:
    spec = next(model for model in MODELS if model.name == name)
    module, _, factory = spec.factory.partition(":")
    torch.manual_seed(0)
    branch = getattr(importlib.import_module(module), factory)(
        4,
        input=InputSpec(kind="video", shape=(3, 8, 32, 32)),
        **{**spec.options, **spec.presets["small"], **options},
    )
    for (
        m
    ) in branch.modules():  # residual branches of pytorchvideo begin at zero and would hide their gradient
        if getattr(m, "block_final_bn", False):
            torch.nn.init.ones_(m.weight)
    return branch.train()


def clips(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))


def step(branch: VideoBranch) -> None:
    """One step of plain SGD, with decay on whatever may be trained."""
    trained = [p for p in branch.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.1, weight_decay=0.1)
    output = branch(clips())
    (output.logits.square().sum() + output.feature.square().sum()).backward()
    optimizer.step()


@pytest.mark.parametrize("name", FAMILIES)
def test_recomputed_activations_change_neither_gradients_nor_statistics(name: str) -> None:
    results = []
    for checkpointing in (False, True):
        branch = small(name, checkpointing=checkpointing)
        torch.manual_seed(2)  # the same blocks and channels are dropped
        branch(clips()).logits.square().sum().backward()
        grads = {n: p.grad.clone() for n, p in branch.named_parameters() if p.grad is not None}
        results.append((grads, {n: b.clone() for n, b in branch.named_buffers()}))
    (plain, statistics), (recomputed, same) = results
    assert set(plain) == set(recomputed)
    for key, value in plain.items():
        torch.testing.assert_close(recomputed[key], value, rtol=1e-4, atol=1e-6, msg=key)
    for key, value in statistics.items():
        assert torch.equal(same[key], value), key


def test_recomputation_keeps_fewer_activations() -> None:
    kept = {}
    for checkpointing in (False, True):
        branch = small("r3d-18", layers=(2, 2, 2, 2), checkpointing=checkpointing)
        bytes_kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal bytes_kept
            bytes_kept += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            branch(clips())
        kept[checkpointing] = bytes_kept
    assert kept[True] < kept[False] / 2


def test_a_copy_of_a_recomputing_model_is_its_own() -> None:
    branch = small("r3d-18", checkpointing=True)
    twin = copy.deepcopy(branch)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin(clips()).logits.sum().backward()
    assert all(p.grad is None for p in branch.parameters())
    assert set(twin.state_dict()) == set(small("r3d-18").state_dict())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_frozen_backbone_stays_while_the_rest_learns(name: str) -> None:
    branch = small(name, freeze=-1)
    before = {key: value.clone() for key, value in branch.state_dict().items()}
    step(branch)
    changed = {key for key, value in branch.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"projection.weight", "projection.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_first_stages_stay_with_their_statistics_while_later_ones_learn(name: str) -> None:
    branch = small(name, freeze=2)
    frozen = [m for m in branch.backbone.modules() if not m.training]
    assert frozen
    before = {key: value.clone() for key, value in branch.state_dict().items()}
    step(branch)
    kept = {key for key, value in branch.state_dict().items() if torch.equal(value, before[key])}
    parameters = dict(branch.named_parameters())
    still = {key for key, p in parameters.items() if not p.requires_grad}
    assert still
    assert still <= kept
    assert {key for key in parameters if key not in still} & kept == set()
    if name in NORMALISED_BY_BATCH:
        norms = {n: m for n, m in branch.named_modules() if isinstance(m, _BatchNorm)}
        for place, norm in norms.items():
            counted = f"{place}.running_mean" not in kept
            assert counted == norm.training, place
        assert {norm.training for norm in norms.values()} == {True, False}


def test_what_is_frozen_is_evaluated_even_after_validation() -> None:
    branch = small("r3d-18", freeze=1)
    branch.eval()
    branch.train()
    assert not any(m.training for m in branch.backbone.stem.modules())
    assert all(m.training for m in branch.backbone.layer1.modules())


@pytest.mark.parametrize("freeze", [-2, 6])
def test_stages_that_are_not_there_are_refused(freeze: int) -> None:
    with pytest.raises(UsageError, match=rf"freeze is {freeze}, wanted 0 \(nothing\), 1 to 5 \(first stages"):
        small("r3d-18", freeze=freeze)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_all_stages_are_the_whole_backbone(model) -> None:
    count = 1
    while True:
        try:
            branch = small(model.name, freeze=count)
        except UsageError:
            break
        count += 1
    assert count >= 3
    assert not any(p.requires_grad for p in branch.backbone.parameters())
