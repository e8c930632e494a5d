"""ST-GCN and the graphs it is built on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mg_data.contract import InputSpec, UsageError
from mg_data.keypoints.layouts import LAYOUTS, find_layout, flip_permutation
from mg_skeleton.folding import fold_batchnorm
from mg_skeleton.graph import bones, directed_partition, hop_distances, spatial_partition
from mg_skeleton.models.stgcn import build

INPUT = InputSpec(kind="keypoints", shape=(3, 16, 20), layout="kinect-20")


@pytest.mark.parametrize("name", [layout.name for layout in LAYOUTS])
def test_each_keypoint_gathers_shares_that_add_up_to_one_from_itself_and_its_neighbours(name: str) -> None:
    layout = find_layout(name)
    subsets = spatial_partition(layout)
    size = len(layout.names)
    assert subsets.shape == (3, size, size)
    assert np.allclose(subsets.sum(axis=(0, 1)), 1)
    linked = (subsets.sum(0) > 0) & ~np.eye(size, dtype=bool)
    assert {frozenset(pair) for pair in np.argwhere(linked).tolist()} == set(map(frozenset, layout.edges))
    assert ((subsets > 0).sum(0) <= 1).all()  # each neighbour in one subset


@pytest.mark.parametrize("name", [layout.name for layout in LAYOUTS])
def test_a_mirrored_skeleton_has_the_same_graph(name: str) -> None:
    layout = find_layout(name)
    flip = flip_permutation(layout)
    subsets = spatial_partition(layout)
    assert np.array_equal(subsets[:, flip][:, :, flip], subsets)


def test_without_closed_loops_the_nearer_neighbour_is_the_parent() -> None:
    layout = find_layout("kinect-20")
    itself, nearer, farther = directed_partition(layout, edges=bones(layout))
    assert np.array_equal(itself, np.eye(20))
    for parent, point in bones(layout):
        assert nearer[parent, point] == 1
        assert farther[point, parent] > 0
    hops = hop_distances(20, layout.edges, layout.centre)
    assert hops[layout.centre] == 0
    assert np.isfinite(hops).all()


def test_the_full_preset_has_ten_blocks_and_the_known_number_of_parameters() -> None:
    """3.1 million in the public implementation for NTU's 25 keypoints and 60 classes."""
    model = build(60, input=InputSpec(kind="keypoints", shape=(3, 16, 25), layout="ntu-25"))
    assert len(model.blocks) == 10
    assert 3.05e6 < sum(parameter.numel() for parameter in model.parameters()) < 3.15e6
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, 3, 16, 25)).feature.shape == (1, 256)


@torch.no_grad()
def test_a_folded_network_gives_the_same_logits() -> None:
    torch.manual_seed(0)
    model = build(5, input=INPUT, widths=(8, 16), strides=(1, 2))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.eval()
    x = torch.randn(2, 3, 16, 20)
    folded = fold_batchnorm(model)
    assert (folded(x).logits - model(x).logits).abs().max() < 1e-5
    assert isinstance(folded.blocks[0].temporal[1], torch.nn.Identity)
    assert isinstance(model.blocks[0].temporal[1], torch.nn.BatchNorm2d)


def test_wrong_inputs_and_options_are_named() -> None:
    with pytest.raises(UsageError, match="st-gcn: found an input of kind 'people'"):
        build(5, input=InputSpec(kind="people", shape=(1, 16, 20, 3)))
    with pytest.raises(UsageError, match="st-gcn: found 1 widths and 2 strides"):
        build(5, input=INPUT, widths=(8,), strides=(1, 2))
    model = build(5, input=INPUT, widths=(8,), strides=(1,))
    with pytest.raises(ValueError, match=r"st-gcn: found a batch of shape \(1, 3, 16, 25\)"):
        model(torch.zeros(1, 3, 16, 25))
