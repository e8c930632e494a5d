"""Rendered heatmaps against the reference's rule, written out one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mg_skeleton.heatmaps import (
    HeatmapRenderer,
    KeypointHeatmap,
    LimbHeatmap,
    heatmap_array,
    render,
    render_joints,
    render_limbs,
    tensors,
)

SIGMA = 0.6
EDGES = ((0, 1), (1, 2), (2, 3), (3, 3))


@pytest.fixture(autouse=True, params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Draw with numba, and as where it is not installed."""
    if request.param == "compiled":
        pytest.importorskip("numba")
        assert render.compiled() is not None
    else:
        monkeypatch.setattr(render, "compiled", lambda: None)
    name: str = request.param
    return name


def _patch(low: float, high: float, size: int) -> range:
    return range(max(int(low - 3 * SIGMA), 0), min(int(high + 3 * SIGMA) + 1, size))


def _draw_joint(image: NDArray[np.float64], x: float, y: float, score: float) -> None:
    for row in _patch(y, y, image.shape[0]):
        for column in _patch(x, x, image.shape[1]):
            value = np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * SIGMA**2)) * score
            image[row, column] = max(image[row, column], value)


def _draw_limb(image: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    score, along = min(a[2], b[2]), b[:2] - a[:2]
    if score < 1e-4:
        return
    if along @ along < 1:
        _draw_joint(image, a[0], a[1], a[2])
        return
    for row in _patch(min(a[1], b[1]), max(a[1], b[1]), image.shape[0]):
        for column in _patch(min(a[0], b[0]), max(a[0], b[0]), image.shape[1]):
            point = np.array([column, row])
            share = np.clip((point - a[:2]) @ along / (along @ along), 0, 1)
            squared = ((point - a[:2] - share * along) ** 2).sum()
            image[row, column] = max(image[row, column], np.exp(-squared / (2 * SIGMA**2)) * score)


def _people(seed: int = 0) -> NDArray[np.float32]:
    """(1, 2, 3, 4, 3): some points outside the image, some without a score, two closer than a pixel."""
    rng = np.random.default_rng(seed)
    people = rng.uniform(-0.15, 1.15, (1, 2, 3, 4, 3)).astype(np.float32)
    people[..., 2] = rng.uniform(0, 1, people.shape[:-1])
    people[0, 0, 0, 2, 2] = 0.00005
    people[0, 0, 1, 1] = people[0, 0, 1, 0] + np.array([0.01, 0.01, 0.1], np.float32)
    return people


@pytest.mark.parametrize("size", [(56, 56), (20, 28)])
@pytest.mark.parametrize("seed", [0, 1])
def test_heatmaps_equal_the_reference_pixel_by_pixel(size: tuple[int, int], seed: int) -> None:
    people = _people(seed)
    joints = render_joints(torch.from_numpy(people), size, SIGMA).numpy()
    limbs = render_limbs(torch.from_numpy(people), EDGES, size, SIGMA).numpy()
    height, width = size
    pixels = people * np.array([width, height, 1], np.float32)
    assert joints.shape == (1, 4, 3, height, width)
    for t in range(3):
        for v in range(4):
            image = np.zeros(size)
            for x, y, score in pixels[0, :, t, v].astype(np.float64):
                if score >= 1e-4:
                    _draw_joint(image, x, y, score)
            assert np.abs(joints[0, v, t] - image).max() < 1e-5
        for e, (a, b) in enumerate(EDGES):
            image = np.zeros(size)
            for person in pixels[0, :, t].astype(np.float64):
                _draw_limb(image, person[a], person[b])
            assert np.abs(limbs[0, e, t] - image).max() < 1e-5


def test_the_peak_is_the_score_at_the_keypoint() -> None:
    people = torch.tensor([[[[[0.5, 0.25, 0.8]]]]])
    maps = render_joints(people, (56, 56))
    assert maps.max() == pytest.approx(0.8)
    assert maps[0, 0, 0, 14, 28] == maps.max()


def test_a_missing_person_changes_nothing() -> None:
    people = torch.from_numpy(_people())
    padded = torch.cat([people, torch.zeros_like(people[:, :1])], dim=1)
    assert torch.equal(render_joints(people, (32, 32)), render_joints(padded, (32, 32)))
    assert torch.equal(render_limbs(people, EDGES, (32, 32)), render_limbs(padded, EDGES, (32, 32)))


def test_the_renderer_gives_joints_then_limbs_and_the_test_size_in_evaluation() -> None:
    renderer = HeatmapRenderer(4, EDGES, size=20, eval_size=24, with_joints=True, with_limbs=True)
    people = torch.from_numpy(_people())
    assert renderer.channels == 8
    assert renderer(people).shape == (1, 8, 3, 20, 20)
    renderer.eval()
    assert renderer(people).shape == (1, 8, 3, 24, 24)
    assert torch.equal(renderer(people)[:, :4], render_joints(people, (24, 24)))
    assert next(renderer.parameters(), None) is None


def test_heatmaps_keep_the_dtype_of_the_keypoints() -> None:
    people = torch.from_numpy(_people()).double()
    assert render_joints(people, (16, 16)).dtype == torch.float64
    assert render_limbs(people, EDGES, (16, 16)).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_of_half_precision_are_those_of_full_precision_rounded(dtype: torch.dtype) -> None:
    people = torch.from_numpy(_people())
    for module in (KeypointHeatmap(4, size=40), LimbHeatmap(4, EDGES, size=40)):
        exact, rounded = module(people), module(people, dtype)
        assert rounded.dtype == dtype
        assert (rounded.float() - exact).abs().max() <= torch.finfo(dtype).eps


def test_maps_lie_in_memory_with_channels_last() -> None:
    people = torch.from_numpy(_people())
    renderer = HeatmapRenderer(4, EDGES, size=32, with_limbs=True)
    assert renderer(people).is_contiguous(memory_format=torch.channels_last_3d)


def test_the_numpy_entry_gives_one_clip_frame_by_frame() -> None:
    people = _people()
    joints, limbs = heatmap_array(people[0], (30, 40)), heatmap_array(people[0], (30, 40), edges=EDGES)
    assert joints.shape == (3, 4, 30, 40)
    assert limbs.shape == (3, len(EDGES), 30, 40)
    assert np.array_equal(joints[1], render_joints(torch.from_numpy(people), (30, 40))[0, :, 1].numpy())


def test_long_limbs_are_drawn_on_a_processor_as_on_a_gpu() -> None:
    rng = np.random.default_rng(3)
    people = rng.uniform(-0.2, 1.2, (2, 1, 4, 6, 3)).astype(np.float32)
    people[..., 2] = rng.uniform(0.1, 1, people.shape[:-1])
    edges = [(a, b) for a in range(6) for b in range(a)]
    sparse = render_limbs(torch.from_numpy(people), edges, (64, 48))
    # (2, B, T, E) of the one person, whose limbs are all longer than a pixel
    ends = [torch.from_numpy(people[:, 0][:, :, [edge[end] for edge in edges]]) for end in (0, 1)]
    places = [torch.stack([end[..., 0] * 48, end[..., 1] * 64]) for end in ends]
    dense = torch.zeros(2, 4, 64, 48, len(edges))
    tensors.draw_limbs_densely(dense, *places, torch.minimum(ends[0][..., 2], ends[1][..., 2]), SIGMA)
    assert (sparse - dense.permute(0, 4, 1, 2, 3)).abs().max() < 1e-5
    assert dense.max() > 0.5


@pytest.mark.parametrize("size", [(8, 8), (1, 40)])
def test_images_smaller_than_a_patch_show_a_part_of_larger_ones(size: tuple[int, int]) -> None:
    people = torch.from_numpy(_people(3))
    large = render_limbs(people, EDGES, (64, 64))
    people[..., 0] *= 64 / size[1]
    people[..., 1] *= 64 / size[0]
    small = render_limbs(people, EDGES, size)
    assert (small - large[..., : size[0], : size[1]]).abs().max() < 1e-5


def test_several_threads_draw_what_one_draws() -> None:
    people = torch.rand(2, 2, 16, 4, 3, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    renderer = HeatmapRenderer(4, EDGES, size=24, with_limbs=True)
    try:
        torch.set_num_threads(1)
        alone = renderer(people).clone()
        torch.set_num_threads(3)
        assert torch.equal(renderer(people), alone)
    finally:
        torch.set_num_threads(threads)


def test_points_that_are_nowhere_leave_no_trace() -> None:
    people = torch.from_numpy(_people())
    lost = people.clone()
    people[0, :, 1, 2, 2] = 0
    lost[0, :, 1, 2] = torch.tensor([[np.nan, 0.5, 0.9], [np.inf, 0.5, 0.9]])
    assert torch.equal(render_joints(people, (32, 32)), render_joints(lost, (32, 32)))
    assert torch.equal(render_limbs(people, EDGES, (32, 32)), render_limbs(lost, EDGES, (32, 32)))
    far = torch.tensor([[[[[-1e30, 1e30, 1.0], [1e30, 0.5, 1.0]]]]])
    assert render_joints(far, (32, 32)).max() == 0
    assert render_limbs(far, [(0, 1)], (32, 32)).isfinite().all()


def test_keypoints_of_another_layout_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"heatmaps: found keypoints of shape \(1, 2, 3, 4, 3\), want .* 5, 3"
    ):
        KeypointHeatmap(5)(torch.from_numpy(_people()))
