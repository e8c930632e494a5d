"""Keypoints in, heatmaps out: functions, and the module that models hold."""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mg_data.contract import UsageError
from mg_skeleton.heatmaps import slices, tensors
from mg_skeleton.heatmaps.memory import empty_maps
from mg_skeleton.heatmaps.rule import MIN_SCORE, Edges, pixels


def render_joints(
    people: Tensor,
    size: tuple[int, int],
    sigma: float = 0.6,
    *,
    min_score: float = MIN_SCORE,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Render one heatmap for each keypoint: a Gaussian whose peak is the score, the maximum over persons.

    Args:
        people: (B, P, T, V, 3), x and y in shares of the image, score. It is left as it is; coordinates are
            taken in float32 at least, as bfloat16 knows no place between pixels 32 and 32.25.
        size: (H, W) pixels. sigma: in pixels. min_score: keypoints below it leave no trace.
        dtype: of the result; that of ``people`` by default.

    Returns:
        (B, V, T, H, W), dense in memory with channels last.
    """
    return _render(people, (), size, sigma, min_score, dtype, with_joints=True)


def render_limbs(
    people: Tensor,
    edges: Edges,
    size: tuple[int, int],
    sigma: float = 0.6,
    *,
    min_score: float = MIN_SCORE,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Render one heatmap for each edge: a Gaussian of the distance to the segment, times the lower score.

    A limb shorter than one pixel is the blob of its first keypoint.

    Args:
        people, size, sigma, min_score, dtype: as for :func:`render_joints`. edges: E index pairs.

    Returns:
        (B, E, T, H, W), dense in memory with channels last, the maximum over persons.
    """
    return _render(people, edges, size, sigma, min_score, dtype, with_joints=False)


def heatmap_array(
    people: NDArray[np.floating],
    size: tuple[int, int] = (56, 56),
    *,
    edges: Edges = (),
    sigma: float = 0.6,
    min_score: float = MIN_SCORE,
) -> NDArray[np.float32]:
    """Render one clip for a plot: keypoints, or limbs if ``edges`` are given.

    Args:
        people: (P, T, V, 3), x and y in shares of the image, score. The rest as for :func:`render_limbs`.

    Returns:
        (T, V or E, H, W) float32.

    >>> heatmap_array(np.array([[[[0.5, 0.25, 0.8]]]])).shape
    (1, 1, 56, 56)
    """
    batch = torch.from_numpy(np.array(people, dtype=np.float32))[None]
    if edges:
        maps = render_limbs(batch, edges, size, sigma, min_score=min_score)
    else:
        maps = render_joints(batch, size, sigma, min_score=min_score)
    array: NDArray[np.float32] = maps[0].transpose(0, 1).contiguous().numpy()
    return array


class HeatmapRenderer(nn.Module):
    """Keypoints (B, P, T, V, 3) -> heatmaps (B, channels, T, H, W), joints first, then limbs; no
    parameters.

    Args:
        num_points: V. edges: the layout's edges, used ``with_limbs``.
        size: side in pixels while training. eval_size: side in evaluation mode, 0 for the same. The
            reference trains on random crops of 56 pixels and tests on the whole box at 64, which shows
            persons at the same scale.
        sigma: of the Gaussian, in pixels. min_score: keypoints below it leave no trace.

    Raises:
        UsageError: sigma, size or eval_size is out of range.
    """

    def __init__(
        self,
        num_points: int,
        edges: Edges,
        *,
        size: int = 56,
        eval_size: int = 0,
        sigma: float = 0.6,
        min_score: float = MIN_SCORE,
        with_joints: bool = True,
        with_limbs: bool = False,
    ) -> None:
        super().__init__()
        if not sigma > 0:
            raise UsageError(f"heatmaps: found sigma = {sigma}, want more than 0; correct the option sigma")
        if size < 1 or eval_size < 0:
            raise UsageError(
                f"heatmaps: found size = {size} and eval_size = {eval_size}, want 1 pixel or more, or an "
                "eval_size of 0 for the same; correct them"
            )
        self.num_points = num_points
        self.size, self.eval_size, self.sigma, self.min_score = size, eval_size or size, sigma, min_score
        self.edges = tuple((int(a), int(b)) for a, b in edges)
        self.with_joints, self.with_limbs = with_joints, with_limbs
        self.channels = num_points * with_joints + len(self.edges) * with_limbs

    def forward(self, people: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Render in ``dtype``, by default that of ``people``; dense in memory with channels last."""
        if people.ndim != 5 or tuple(people.shape[3:]) != (self.num_points, 3):
            raise ValueError(
                f"heatmaps: found keypoints of shape {tuple(people.shape)}, want (batch, persons, frames, "
                f"{self.num_points}, 3)"
            )
        side = self.size if self.training else self.eval_size
        edges = self.edges if self.with_limbs else ()
        return _render(
            people, edges, (side, side), self.sigma, self.min_score, dtype, with_joints=self.with_joints
        )


class KeypointHeatmap(HeatmapRenderer):
    """One heatmap for each keypoint; see :class:`HeatmapRenderer`."""

    def __init__(self, num_points: int, *, size: int = 56, eval_size: int = 0, sigma: float = 0.6) -> None:
        super().__init__(num_points, (), size=size, eval_size=eval_size, sigma=sigma)


class LimbHeatmap(HeatmapRenderer):
    """One heatmap for each edge; see :class:`HeatmapRenderer`."""

    def __init__(
        self, num_points: int, edges: Edges, *, size: int = 56, eval_size: int = 0, sigma: float = 0.6
    ) -> None:
        super().__init__(
            num_points,
            edges,
            size=size,
            eval_size=eval_size,
            sigma=sigma,
            with_joints=False,
            with_limbs=True,
        )


def _render(
    people: Tensor,
    edges: Edges,
    size: tuple[int, int],
    sigma: float,
    min_score: float,
    dtype: torch.dtype | None,
    *,
    with_joints: bool,
) -> Tensor:
    maps: Tensor = _draw_maps(people, edges, size, sigma, min_score, dtype, with_joints)
    return maps


# Writing pixels one by one is nothing that torch.compile could improve: it calls this as it is.
@torch.compiler.disable  # type: ignore[untyped-decorator,unused-ignore]
@torch.no_grad()
def _draw_maps(
    people: Tensor,
    edges: Edges,
    size: tuple[int, int],
    sigma: float,
    min_score: float,
    dtype: torch.dtype | None,
    with_joints: bool,
) -> Tensor:
    joints = people.shape[3] if with_joints else 0
    maps = empty_maps(people, joints + len(edges), size, dtype)  # (B, T, H, W, C)
    module = compiled() if maps.device.type == "cpu" else None
    if module is not None and maps.dtype in module.TYPES:
        module.draw(maps, people, edges, sigma, min_score, with_joints=with_joints)
    else:
        maps.zero_()
        if with_joints:
            tensors.draw_joints(maps[..., :joints], people, sigma, min_score)
        if edges:
            _draw_limbs(maps[..., joints:], people, edges, sigma, min_score)
    return maps.permute(0, 4, 1, 2, 3)


@functools.cache
def compiled() -> ModuleType | None:
    """Return :mod:`.compiled`, or None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from mg_skeleton.heatmaps import compiled as module
    except (ImportError, RuntimeError):  # a numba that does not fit; no folder to keep compiled code in
        return None
    return module


def _draw_limbs(maps: Tensor, people: Tensor, edges: Edges, sigma: float, min_score: float) -> None:
    """Draw limbs into zeros (B, T, H, W, E), which may be a part of a larger tensor's channels."""
    x, y, score = pixels(people, (maps.shape[2], maps.shape[3]))  # (B, P, T, V)
    first = torch.tensor([edge[0] for edge in edges], device=x.device)
    second = torch.tensor([edge[1] for edge in edges], device=x.device)
    (x, x_end), (y, y_end), (score, score_end) = (
        (facts.index_select(-1, first), facts.index_select(-1, second)) for facts in (x, y, score)
    )  # (B, P, T, E)
    lower = torch.minimum(score, score_end)
    seen = lower >= min_score
    start, end = torch.stack([x, y]), torch.stack([x_end, y_end])  # (2, B, P, T, E)
    short = ((end - start) ** 2).sum(0) < 1
    # A GPU renders limbs densely: for a list of slices it would have to wait until its length is known. For
    # the same reason it is not asked whether there are any.
    on_gpu = maps.device.type != "cpu"
    with_blobs = on_gpu or bool((seen & short).any())
    peak, weight = score * (seen & short), lower * (seen & ~short)
    begin = tensors.first_places(maps)
    for person in range(people.shape[1]):
        fresh = person == 0  # a limb is drawn as a blob or as a line: neither meets the other's pixels
        if with_blobs:
            drawn = ... if on_gpu else peak[:, person] > 0
            at_x, at_y, height = (facts[:, person][drawn] for facts in (x, y, peak))
            tensors.draw_blobs(maps, begin[drawn], at_x, at_y, height, sigma, fresh=fresh)
        limbs = (start[:, :, person], end[:, :, person], weight[:, person])
        if on_gpu:
            tensors.draw_limbs_densely(maps, *limbs, sigma)
        else:
            slices.draw_limbs(maps, *limbs, sigma, fresh=fresh)
