"""Equal to the public reference (mmaction2 1.2.0): its outputs were kept by tools/parity.py."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mg_data.contract import InputSpec
from mg_data.keypoints.layouts import find_layout, flip_permutation
from mg_data.keypoints.transform import flip_people
from mg_skeleton.convert import posec3d_name, stgcn_name
from mg_skeleton.folding import fold_batchnorm
from mg_skeleton.graph import bones, directed_partition, spatial_partition
from mg_skeleton.heatmaps import HeatmapRenderer, render, render_joints, render_limbs
from mg_skeleton.models.posec3d import PoseC3D, SlowOnly
from mg_skeleton.models.stgcn import STGCN, build

GOLDEN = Path(__file__).parent / "golden"
# The reference's skeleton of COCO's keypoints, and the cases of tools/parity.py.
COCO_LIMBS = ((0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (5, 7), (7, 9), (0, 6), (6, 8), (8, 10), (5, 11),
              (11, 13), (13, 15), (6, 12), (12, 14), (14, 16), (11, 12))  # fmt: skip
CASES: dict[str, tuple[tuple[int, int, int], tuple[int, int], float]] = {
    "square": ((2, 1, 17), (56, 56), 0.6),
    "oblong": ((3, 1, 17), (32, 48), 1.0),
    "small": ((1, 2, 17), (24, 20), 0.6),
}


def _rule() -> Any:
    spec = importlib.util.spec_from_file_location("golden_rule", GOLDEN / "rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RULE = _rule()


def _golden_maps(name: str) -> NDArray[np.float32]:
    """Return the reference's (T, C, H, W)."""
    with np.load(GOLDEN / "heatmaps.npz") as kept:
        maps = np.zeros(kept[f"{name}/shape"], np.float32)
        places = np.cumsum(kept[f"{name}/gaps"].astype(np.int64))
        maps.reshape(-1)[places] = kept[f"{name}/values"]
    return maps


def _as_reference(maps: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = maps[0].transpose(0, 1).numpy()
    return array


@pytest.fixture(params=["compiled", "numpy"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with numba, and as where it is not installed."""
    if request.param == "numpy":
        monkeypatch.setattr(render, "compiled", lambda: None)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("case", list(CASES))
def test_joint_heatmaps_are_the_reference_s(case: str) -> None:
    shape, size, sigma = CASES[case]
    people = torch.from_numpy(RULE.people(case, shape))[None]
    ours, theirs = _as_reference(render_joints(people, size, sigma)), _golden_maps(f"{case}/joints")
    assert theirs.max() > 0.5
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("case", list(CASES))
def test_limb_heatmaps_are_the_reference_s(case: str) -> None:
    shape, size, sigma = CASES[case]
    people = torch.from_numpy(RULE.people(case, shape))[None]
    ours = _as_reference(render_limbs(people, COCO_LIMBS, size, sigma))
    theirs = _golden_maps(f"{case}/limbs")
    assert theirs.max() > 0.5
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_mirrored_half_of_double_is_the_flipped_sample_but_for_a_pixel() -> None:
    """The reference mirrors the image, column c to W - 1 - c; the flip of a sample mirrors its box, x to
    1 - x, that is to W - x in pixels. Mirrored as the reference does, ours is equal to it."""
    (shape, size, sigma), layout = CASES["small"], find_layout("coco-17")
    sample = RULE.people("small", shape)
    original, theirs = np.split(_golden_maps("small/double"), 2)
    ours = _as_reference(render_joints(torch.from_numpy(sample)[None], size, sigma))
    assert np.abs(ours - original).max() < 1e-5
    assert np.abs(ours[:, flip_permutation(layout)][..., ::-1] - theirs).max() < 1e-5

    flipped = torch.from_numpy(flip_people(sample, flip_permutation(layout)))[None]
    by_box = _as_reference(render_joints(flipped, size, sigma))
    assert np.abs(by_box - theirs).max() > 1e-2
    flipped[..., 0] -= 1 / size[1]
    seen = _as_reference(render_joints(flipped, size, sigma))
    # Away from the edge of the patches, which int() cuts towards zero and a mirror does not.
    inside = (seen > 0.05) & (theirs > 0.05)
    assert np.abs(seen - theirs)[inside].max() < 1e-5


def test_scores_between_the_two_thresholds_are_drawn_as_mmaction2_does_or_left_out_as_pyskl_does() -> None:
    shape, size, sigma = CASES["square"]
    people = torch.from_numpy(RULE.people("square", shape))[None]
    as_pyskl = _as_reference(render_joints(people, size, sigma, min_score=1e-3))
    theirs = _golden_maps("square/joints")
    assert 1e-5 < np.abs(as_pyskl - theirs).max() < 1e-3


def _numpy_state() -> NDArray[np.uint32]:
    state: NDArray[np.uint32] = np.random.get_state()[1].copy()  # noqa: NPY002 -- the global one
    return state


def test_rendering_leaves_its_input_and_the_random_state_as_they_were() -> None:
    people = torch.from_numpy(RULE.people("square", (2, 3, 17)))[None]
    before = people.clone()
    states = torch.get_rng_state(), _numpy_state(), random.getstate()
    HeatmapRenderer(17, COCO_LIMBS, with_limbs=True)(people)
    assert torch.equal(people, before)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(_numpy_state(), states[1])
    assert random.getstate() == states[2]


def _fill(model: torch.nn.Module, public_names: dict[str, str]) -> None:
    """Set weights by the rule of golden/rule.py; ``public_names``: the reference's name of each of ours."""
    state = model.state_dict()
    values = RULE.weights({public_names[name]: tuple(state[name].shape) for name in public_names})
    filled = {
        name: torch.from_numpy(values[public]) for name, public in public_names.items() if public in values
    }
    model.load_state_dict(state | filled)
    model.eval()


def _public_posec3d(depths: tuple[int, ...]) -> dict[str, str]:
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    units = ["backbone.conv1"]
    for stage, depth in enumerate(depths):
        for block in range(depth):
            prefix = f"backbone.layer{stage + 1}.{block}"
            units += [f"{prefix}.conv{number}" for number in (1, 2, 3)]
            units += [f"{prefix}.downsample"] if block == 0 else []
    names = [f"{unit}.conv.weight" for unit in units]
    names += [f"{unit}.bn.{entry}" for unit in units for entry in entries]
    names += ["cls_head.fc_cls.weight", "cls_head.fc_cls.bias"]
    return {str(posec3d_name(name)): name for name in names}


def _posec3d() -> PoseC3D:
    model = PoseC3D(60, HeatmapRenderer(17, ()), SlowOnly(17))
    _fill(model, _public_posec3d((4, 6, 3)))
    return model


def _network(name: str) -> NDArray[np.float32]:
    with np.load(GOLDEN / "networks.npz") as kept:
        array: NDArray[np.float32] = kept[name]
    return array


@torch.no_grad()
def test_posec3d_gives_the_reference_s_logits_also_with_folded_normalisation() -> None:
    model = _posec3d()
    maps = torch.from_numpy(RULE.clips("maps", (2, 17, 8, 32, 32)))
    theirs, their_feature = _network("full/posec3d"), _network("full/posec3d/feature")
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3
    for backbone, layout in (
        (model.backbone, torch.contiguous_format),
        (model.backbone, torch.channels_last_3d),
        (fold_batchnorm(model.backbone), torch.channels_last_3d),
    ):
        feature = backbone(maps.contiguous(memory_format=layout)).mean(dim=(2, 3, 4))
        assert np.abs(feature.numpy() - their_feature).max() < 1e-5
        assert np.abs(model.classifier(feature).numpy() - theirs).max() < 1e-5


def _stgcn() -> STGCN:
    """The reference's network over its own graph of COCO's keypoints."""
    model = build(60, input=InputSpec(kind="keypoints", shape=(3, 16, 17), layout="coco-17"), reach=1)
    model.adjacency.copy_(torch.from_numpy(_network("adjacency/coco/stgcn_spatial")))
    units = {"conv": ("weight", "bias")}
    units["bn"] = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = [f"backbone.data_bn.{entry}" for entry in units["bn"]]
    for block in range(10):
        parts = ("gcn", "tcn", "residual") if block in (4, 7) else ("gcn", "tcn")
        names += [
            f"backbone.gcn.{block}.{part}.{unit}.{entry}"
            for part in parts
            for unit in units
            for entry in units[unit]
        ]
        names.append(f"backbone.gcn.{block}.gcn.PA")
    names += ["cls_head.fc.weight", "cls_head.fc.bias"]
    _fill(model, {str(stgcn_name(name)): name for name in names})
    return model


@torch.no_grad()
def test_stgcn_gives_the_reference_s_logits() -> None:
    points = torch.from_numpy(RULE.clips("points", (2, 1, 16, 17, 3), -1.0))
    logits = _stgcn()(points[:, 0].permute(0, 3, 1, 2)).logits.numpy()
    theirs = _network("full/st-gcn")
    assert np.abs(theirs[0] - theirs[1]).max() > 1e-3
    assert np.abs(logits - theirs).max() < 1e-5


def test_the_reference_s_graphs_are_ours_seen_from_its_centre_without_distances_above_one() -> None:
    coco, ntu = find_layout("coco-17"), find_layout("ntu-25")
    ours = spatial_partition(coco, edges=bones(coco), reach=1)
    assert np.abs(ours - _network("adjacency/coco/stgcn_spatial")).max() < 1e-6
    # Its centre is the keypoint between the shoulders, ours the hips' (the layout's).
    assert ntu.names[20] == "shoulder_centre"
    ours = spatial_partition(ntu, centre=20, reach=1)
    assert np.abs(ours - _network("adjacency/nturgb+d/stgcn_spatial")).max() < 1e-6
    ours = directed_partition(coco, edges=bones(coco))
    assert np.abs(ours - _network("adjacency/coco/spatial")).max() < 1e-6


def test_true_distances_tell_neighbours_apart_where_the_reference_does_not() -> None:
    coco = find_layout("coco-17")
    theirs, ours = (spatial_partition(coco, edges=bones(coco), reach=reach) for reach in (1, np.inf))
    assert np.allclose(ours.sum(0), theirs.sum(0))
    wrist, elbow = coco.names.index("left_wrist"), coco.names.index("left_elbow")
    assert ours[2, elbow, wrist] > 0  # the elbow is nearer to the centre than the wrist
    assert theirs[2, elbow, wrist] == 0
    assert (ours[2] > 0).sum() == 16  # every keypoint but the centre has one parent
    assert (theirs[2] > 0).sum() == 10
