"""The further models against their formulas: each module equals the equation of its publication."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mg_data.contract import InputSpec, LayoutSpec, UsageError
from mg_data.keypoints.layouts import find_layout, flip_permutation
from mg_data.plugins import registry, resolve
from mg_skeleton.body_parts import body_parts
from mg_skeleton.hops import adjacency, disentangled, hop_distances
from mg_skeleton.models.ctrgcn import RefinedGraphConvolution
from mg_skeleton.models.dgstgcn import DynamicGroupGraph, DynamicGroupTemporal
from mg_skeleton.models.hyperformer import HypergraphAttention
from mg_skeleton.models.msg3d import MultiScaleGraph, WindowedGraph
from mg_skeleton.models.res2net3d import Res2Bottleneck
from mg_skeleton.models.skateformer import KINDS, PartitionAttention, SkateFormer
from mg_skeleton.temporal import MultiScaleTemporal

FURTHER = ("ctr-gcn", "ms-g3d", "dg-stgcn", "hyperformer", "skateformer", "res2net3d")
# Parameters in millions as published, one modality of NTU RGB+D 60 (25 keypoints, 60 classes).
PUBLISHED = {"ctr-gcn": 1.46, "ms-g3d": 3.2, "dg-stgcn": 1.69, "hyperformer": 2.7}


def given(name: str, preset: str = "full", layout: str = "ntu-25") -> InputSpec:
    """Return the input of three channels that a preset is made for."""
    spec, chosen = registry().models[name], find_layout(layout)
    options, points = spec.modality_options[preset], len(find_layout(layout).names)
    if spec.modalities[0] != "heatmap":
        return InputSpec(kind="keypoints", shape=(3, options["frames"], points), layout=layout)
    extra = {"edges": [list(edge) for edge in chosen.edges], "size": options["size"]}
    return InputSpec(kind="people", shape=(1, options["frames"], points, 3), layout=layout, extra=extra)


def build(name: str, classes: int, spec: InputSpec, preset: str = "full", **options: Any) -> nn.Module:
    """Build a preset."""
    record = registry().models[name]
    model: nn.Module = resolve(record.factory)(classes, input=spec, **{**record.presets[preset], **options})
    return model


def shaken(module: Any) -> Any:
    """Give every parameter, those that start at 0 included, a random value; evaluation mode, float64."""
    generator = torch.Generator().manual_seed(0)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return module


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_full_preset_has_the_published_size(name: str) -> None:
    model = build(name, 60, given(name))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PUBLISHED[name], rel=0.015)


@pytest.mark.parametrize("name", FURTHER)
def test_the_small_preset_stays_below_a_million_parameters(name: str) -> None:
    model = build(name, 32, given(name, "small", "openpose-68"), "small")
    assert sum(p.numel() for p in model.parameters()) < 1_000_000


@pytest.mark.parametrize("name", FURTHER)
def test_the_default_options_are_those_of_the_factory(name: str) -> None:
    record, spec = registry().models[name], given(name)
    torch.manual_seed(0)
    plain = resolve(record.factory)(5, input=spec)
    torch.manual_seed(0)
    spelled = resolve(record.factory)(5, input=spec, **record.options)
    for a, b in zip(plain.parameters(), spelled.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", FURTHER)
def test_twenty_steps_of_the_small_recipe_lower_the_loss(name: str) -> None:
    torch.manual_seed(0)
    recipe, spec = registry().models[name].recipe, given(name, "small", "kinect-20")
    model = build(name, 4, spec, "small").train()
    rate, decay = recipe["lr"], recipe["weight_decay"]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
    if recipe["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), rate, recipe["momentum"], weight_decay=decay)
    x, y, losses = torch.rand(8, *spec.shape), torch.arange(8) % 4, []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x).logits, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.get("clip_norm") or math.inf)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < losses[0]


def test_hop_distances_of_a_square_with_a_tail_and_a_lonely_point() -> None:
    near = np.zeros((6, 6))
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0), (3, 4)):
        near[a, b] = near[b, a] = 1
    assert hop_distances(near)[0].tolist() == [0, 1, 2, 1, 2, 6]


def test_disentangled_neighbourhoods_share_only_the_keypoint_itself() -> None:
    near = adjacency(find_layout("ntu-25"))
    scales = disentangled(near, 4)
    assert np.array_equal(scales[0], np.eye(25, dtype=np.float32))
    assert ((scales[1:] > 0).sum(axis=0) - 3 * np.eye(25) <= 1).all()
    assert np.allclose(scales, scales.transpose(0, 2, 1))
    assert np.abs(np.linalg.eigvalsh(scales[2].astype(float))).max() == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(registry().layouts))
def test_body_parts_cover_each_keypoint_once_and_mirror_to_parts(name: str) -> None:
    layout = registry().layouts[name]
    parts = body_parts(layout)
    assert sorted(point for part in parts for point in part) == list(range(len(layout.names)))
    flip = flip_permutation(layout)
    assert {frozenset(part) for part in parts} == {
        frozenset(int(flip[point]) for point in part) for part in parts
    }
    near = adjacency(layout)
    for part in parts:
        assert (hop_distances(near[np.ix_(part, part)]) < len(part)).all()  # in one piece


def test_body_parts_of_kinect_are_trunk_and_limbs() -> None:
    layout = find_layout("kinect-20")
    assert [layout.names[part[0]] for part in body_parts(layout)] == [
        "hip_centre",
        "left_hip",
        "right_hip",
        "left_shoulder",
        "right_shoulder",
    ]
    assert {len(part) for part in body_parts(layout)} == {4}


def test_multi_scale_temporal_branches_reach_as_far_as_their_dilations() -> None:
    module = MultiScaleTemporal(2, 12, dilations=(1, 2, 3, 4)).double().eval()
    nn.init.ones_(module.enter[0].weight)
    x = torch.zeros(1, 2, 17, 3, dtype=torch.float64)
    before = module(x)
    x[0, :, 8, 1] = 1
    touched = (module(x) != before)[0]  # (12, T, V)
    assert not touched[:, :, [0, 2]].any()
    moments = touched[:, :, 1].reshape(6, 2, 17).any(dim=1)
    reach = [branch.nonzero().flatten().tolist() for branch in moments]
    assert reach == [[7, 8, 9], [6, 8, 10], [5, 8, 11], [4, 8, 12], [7, 8, 9], [8]]


def test_refined_graphs_are_those_of_the_equation() -> None:
    graphs = rows(3, 4, 4)
    module = shaken(RefinedGraphConvolution(6, 5, graphs))
    x = rows(2, 6, 7, 4)
    mean = x.mean(dim=2)
    phi, psi = (layer(mean).reshape(2, 3, 8, 4) for layer in (module.phi, module.psi))
    values = module.values(x).reshape(2, 3, 5, 7, 4)
    weight, bias = module.xi.weight.reshape(3, 5, 8), module.xi_bias.reshape(3, 5)
    total = torch.zeros(2, 5, 7, 4, dtype=torch.float64)
    for s in range(3):
        for u in range(4):
            for v in range(4):
                q = torch.tanh(phi[:, s, :, u] - psi[:, s, :, v])  # (N, R)
                r = module.graphs[s, u, v] + module.alpha * (q @ weight[s].T + bias[s])  # (N, C)
                total[..., u] += r[:, :, None] * values[:, s, :, :, v]
    wanted = torch.relu(module.norm(total) + module.shortcut(x))
    torch.testing.assert_close(module(x), wanted)


def test_windows_hold_neighbouring_frames_and_zeros_beyond_the_clip() -> None:
    near = adjacency(find_layout("kinect-20"))
    module = WindowedGraph(3, 4, near, scales=2, window=5, stride=2, first=True).double().eval()
    seen: list[Tensor] = []
    module.graph.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = rows(1, 3, 9, 20)
    assert module(x).shape == (1, 4, 5, 20)
    windows = seen[0].reshape(1, 3, 5, 5, 20)
    assert torch.equal(windows[:, :, 1], x[:, :, 0:5])
    assert torch.equal(windows[:, :, 2], x[:, :, 2:7])
    assert torch.equal(windows[:, :, 0, 2:], x[:, :, :3])
    assert not windows[:, :, 0, :2].any()


def test_neighbourhoods_are_mixed_with_weights_of_their_own() -> None:
    near = adjacency(find_layout("kinect-20"))
    module = shaken(MultiScaleGraph(3, 4, near, 3))
    x = rows(2, 3, 5, 20)
    weights = module.mix.weight.reshape(4, 3, 3)  # (out, scale, in)
    graphs = module.graphs + module.residual
    total = torch.einsum("oki,kvu,nitu->notv", weights, graphs, x)
    torch.testing.assert_close(module(x), torch.relu(module.norm(total)))


def test_dynamic_graphs_are_those_of_the_equation() -> None:
    module = shaken(DynamicGroupGraph(3, 8, 5, groups=2))
    x = rows(2, 3, 6, 5)
    mean = x.mean(dim=2)
    phi, psi = module.phi(mean).reshape(2, 2, 4, 5), module.psi(mean).reshape(2, 2, 4, 5)
    entered = module.enter(x).reshape(2, 2, 4, 6, 5)
    out = torch.zeros_like(entered)
    for g in range(2):
        score = torch.einsum("ncu,ncv->nuv", phi[:, g], psi[:, g]).softmax(dim=1)
        for c in range(4):
            own = torch.tanh(phi[:, g, c, :, None] - psi[:, g, c, None, :])
            graph = module.graphs[g] + module.alpha[g] * own + module.beta[g] * score
            out[:, g, c] = entered[:, g, c] @ graph
    wanted = torch.relu(module.norm(module.leave(out.reshape(2, 8, 6, 5))) + module.shortcut(x))
    torch.testing.assert_close(module(x), wanted)


def test_keypoints_hear_of_the_whole_body_only_through_their_share() -> None:
    module = DynamicGroupTemporal(12, 5, stride=1).double().eval()
    x, other = rows(1, 12, 6, 5), rows(1, 12, 6, 5)
    other[..., 1:] = rows(1, 12, 6, 4) * 3
    other[..., 0] = x[..., 0]
    torch.testing.assert_close(module(x)[..., 0], module(other)[..., 0])
    nn.init.ones_(module.share)
    assert not torch.allclose(module(x)[..., 0], module(other)[..., 0])


def test_hypergraph_attention_is_that_of_the_equation() -> None:
    layout = find_layout("kinect-20")
    hops = torch.from_numpy(hop_distances(adjacency(layout)))
    parts = body_parts(layout)
    members = torch.zeros(len(parts), 20)
    for edge, part in enumerate(parts):
        members[edge, list(part)] = 1 / len(part)
    module = shaken(HypergraphAttention(5, 8, 2, hops, members))
    x = rows(1, 5, 1, 20)
    edge_of = {point: list(part) for part in parts for point in part}
    means = torch.stack([x[0, :, 0, edge_of[v]].mean(dim=1) for v in range(20)])  # (V, C)
    e = means @ module.hyperedge.weight[:, :, 0, 0].T
    z = module.norm(x[0, :, 0].T)  # (V, C)
    q = z @ module.query.weight[:, :, 0, 0].T
    k, values = (z @ module.key_value.weight[:, :, 0, 0].T).chunk(2, dim=1)
    heads = []
    for h in range(2):
        c = slice(4 * h, 4 * h + 4)
        r = module.hop_embedding[hops][..., c]  # (V, V, c)
        score = q[:, c] @ k[:, c].T + torch.einsum("ic,ijc->ij", q[:, c], r) + q[:, c] @ e[:, c].T
        score = score + (e[:, c] @ module.hyperedge_bias[h])[None]
        heads.append((module.outer[h] + module.alpha * (score / 2).softmax(dim=1)) @ values[:, c])
    wanted = module.leave(torch.cat(heads, dim=1).T[None, :, None])
    torch.testing.assert_close(module(x), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_partitions_hold_what_their_kind_says_and_are_put_back(kind: Any) -> None:
    real = torch.ones(12, dtype=torch.bool)
    module = PartitionAttention(2, kind, frames=2, parts=3, part_size=4, real=real, dropout=0.0)
    places = torch.arange(8 * 12).reshape(1, 1, 8, 12).float()
    groups = module._split(places)
    assert torch.equal(module._join(groups), places)
    first = groups[0, 0, 0, ..., 0]  # (frames, points) of the first partition
    frames, points = (first // 12).long(), (first % 12).long()
    assert frames[:, 0].tolist() == ([0, 1] if kind[1] == "near" else [0, 4])
    assert points[0].tolist() == ([0, 1, 2, 3] if kind[0] == "near" else [0, 4, 8])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_attends_to_empty_places(kind: Any) -> None:
    real = torch.arange(12) < 10
    module = shaken(PartitionAttention(2, kind, frames=2, parts=3, part_size=4, real=real, dropout=0.0))
    x = rows(1, 3 * 8, 4, 12)
    changed = x.clone()
    changed[..., 10:] = 7
    torch.testing.assert_close(module(x)[..., :10], module(changed)[..., :10])
    assert module(changed).isfinite().all()


def test_keypoints_that_fill_no_part_still_count() -> None:
    layout = find_layout("ntu-25")  # 25 keypoints, parts of 4: three empty places
    model = SkateFormer(3, 3, 8, layout, widths=(16,), depths=(1,), heads=8, window=4).eval()
    x = torch.rand(1, 3, 8, 25)
    with torch.no_grad():
        before = model(x).logits
        for point in range(25):
            moved = x.clone()
            moved[:, :, :, point] += 1
            assert not torch.equal(model(moved).logits, before)


def test_a_part_of_a_res2net_block_sees_what_the_parts_before_it_saw() -> None:
    def reach(first: bool) -> list[int]:
        block = Res2Bottleneck(20, 5, scale=4, span=1, spatial=1, temporal=1, first=first).double().eval()
        for parameter in block.parameters():
            nn.init.ones_(parameter)
        x = torch.zeros(1, 20, 1, 1, 15, dtype=torch.float64)
        before = [one.clone() for one in _cascade(block, x)]
        x[..., 7] = 1
        return [int((a != b).any(dim=1).sum()) for a, b in zip(_cascade(block, x), before)]

    assert reach(first=False) == [3, 5, 7]
    assert reach(first=True) == [3, 3, 3]


def _cascade(block: Res2Bottleneck, x: Tensor) -> list[Tensor]:
    results: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *args: results.append(args[2])) for layer in block.cascade]
    block(x)
    for hook in hooks:
        hook.remove()
    return results


def _refused(name: str, match: str, spec: InputSpec | None = None, **options: Any) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        resolve(registry().models[name].factory)(3, input=spec or given(name), **options)
    assert str(caught.value).startswith(f"{name}: found ")


def test_options_that_do_not_fit_are_named() -> None:
    for name in ("ctr-gcn", "dg-stgcn"):
        _refused(name, "found 2 widths and 1 strides, want one of each", widths=(64, 64), strides=(1,))
        _refused(name, r"strides = \(0,\), want 1 or more", widths=(64,), strides=(0,))
    _refused("dg-stgcn", r"widths = \(12,\), want multiples of 8 \(the", widths=(12,), strides=(1,))
    _refused("ms-g3d", r"windows = \(3, 4\), want odd numbers of frames", windows=(3, 4))
    _refused("ms-g3d", "scales = 0, want 1 or more", scales=0)
    _refused("hyperformer", "head_channels = 6, want multiples of 4", head_channels=6)
    _refused("skateformer", "64 frames, want a multiple of 72", window=9)
    _refused("skateformer", r"widths = \(40, 64\), want multiples of 32", widths=(40, 64), depths=(1, 1))
    _refused("skateformer", "kernel = 4, want an odd number", kernel=4)
    _refused("res2net3d", "with_joints and with_limbs both false", with_joints=False)
    _refused("res2net3d", "scale = 1, want 2 or more", scale=1)
    _refused("res2net3d", "3 depths and 2 inflate", inflate=(0, 1))


def test_the_layout_must_be_named_and_fit() -> None:
    bare = InputSpec(kind="keypoints", shape=(3, 64, 25))
    other = InputSpec(kind="keypoints", shape=(3, 64, 25), layout="kinect-20")
    for name in ("ctr-gcn", "ms-g3d", "hyperformer", "skateformer"):
        _refused(name, "an input without a layout", bare)
        _refused(name, "25 keypoints and the layout kinect-20, want the 20", other)


def test_a_layout_of_two_keypoints_is_enough() -> None:
    layout = LayoutSpec(
        name="pair", summary="", names=("a", "b"), edges=((0, 1),), pairs=(), centre=0, parents=(0, 0)
    )
    assert body_parts(layout) == ((0, 1),)
    assert hop_distances(adjacency(layout)).tolist() == [[0, 1], [1, 0]]
