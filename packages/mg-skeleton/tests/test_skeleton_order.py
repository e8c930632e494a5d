"""Orders of keypoints that decoupled-stcnn may meet: what each is, and that a checkpoint keeps its own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from mg_data.contract import InputSpec, UsageError
from mg_data.keypoints.layouts import find_layout
from mg_skeleton.models.decoupled_stcnn import DecoupledSTCNN, build
from mg_skeleton.order import ORDERS, shuffled, walk

POINTS = InputSpec(kind="keypoints", shape=(3, 8, 20), layout="kinect-20")


def _build(**options: Any) -> DecoupledSTCNN:
    torch.manual_seed(0)
    return build(4, input=POINTS, widths=(8, 8), strides=(1, 2), **options).eval()


@pytest.mark.parametrize("name", ["kinect-20", "openpose-68", "coco-17"])
def test_a_walk_goes_along_each_bone_there_and_back(name: str) -> None:
    layout = find_layout(name)
    way = walk(layout).tolist()
    bones = {frozenset((point, parent)) for point, parent in enumerate(layout.parents) if point != parent}
    steps = [frozenset(step) for step in itertools.pairwise(way)]
    assert set(steps) == bones
    assert all(steps.count(bone) == 2 for bone in bones)
    assert set(way) == set(range(len(layout.names)))


def test_a_shuffled_order_is_a_permutation_that_its_seed_decides() -> None:
    first = shuffled(20, 0)
    assert sorted(first) == list(range(20))
    assert (first == shuffled(20, 0)).all()
    assert (first != shuffled(20, 1)).any()


@pytest.mark.parametrize("order", ORDERS)
def test_only_another_order_than_the_layout_s_adds_to_the_weights(order: str) -> None:
    plain, ordered = _build().state_dict(), _build(order=order).state_dict()
    added = {name.split(".")[0] for name in ordered} - {name.split(".")[0] for name in plain}
    assert set(plain) <= set(ordered)
    assert added == {"layout": set(), "attend": {"attention"}}.get(order, {"order"})


@torch.no_grad()
def test_blocks_meet_the_keypoints_in_the_order_of_the_checkpoint() -> None:
    x = torch.rand(2, *POINTS.shape, generator=torch.Generator().manual_seed(1))
    written, read = _build(order="shuffled", order_seed=3), _build(order="shuffled", order_seed=4)
    wanted = written(x).logits
    assert (read(x).logits - wanted).abs().max() > 1e-6
    read.load_state_dict(written.state_dict())
    assert torch.equal(read(x).logits, wanted)


@torch.no_grad()
def test_attention_starts_as_if_it_were_not_there_and_sees_all_keypoints() -> None:
    x = torch.rand(2, *POINTS.shape, generator=torch.Generator().manual_seed(1))
    model = _build(order="attend")
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("attention")}
    plain = _build()
    plain.load_state_dict(state)
    assert torch.equal(model(x).logits, plain(x).logits)
    layer = model.attention
    assert layer is not None
    layer.gate.fill_(1.0)
    clip = torch.zeros(1, 8, 5, 20)
    moved = clip.clone()
    moved[..., 7] = 1
    assert ((layer(moved) - layer(clip)).abs().amax(dim=(0, 1, 2)) > 0).all()


def test_unknown_orders_and_missing_layouts_are_named() -> None:
    with pytest.raises(UsageError, match="found the order 'random', want one of layout, shuffled, walk, att"):
        _build(order="random")
    nowhere = InputSpec(kind="keypoints", shape=(3, 8, 20))
    with pytest.raises(UsageError, match="found an input without a layout"):
        build(4, input=nowhere, order="walk")
