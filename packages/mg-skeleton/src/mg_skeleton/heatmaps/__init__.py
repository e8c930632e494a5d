"""Heatmaps of keypoints and limbs, rendered in batches on the device of the keypoints (PoseC3D; paper 4.2).

They are never stored and never made by the loader: a clip of 68 x 48 x 56 x 56 values is 41 MB, its
keypoints 40 kB. The patch rule, the peak and the treatment of short limbs are those of the reference
(mmaction2's ``GeneratePoseTarget``), so that its results are met to the last digits of float32. Two
conventions differ: keypoints and limbs together are 2 blocks of channels here, where the reference draws the
limbs over the first keypoints; and channels come before time.

One rule, three ways to draw, which agree within 1e-5: :mod:`.compiled` on a processor (extra ``fast``),
:mod:`.slices` on a processor without numba, :mod:`.tensors` on a GPU.
"""

from __future__ import annotations

from mg_skeleton.heatmaps.render import (
    HeatmapRenderer,
    KeypointHeatmap,
    LimbHeatmap,
    heatmap_array,
    render_joints,
    render_limbs,
)
from mg_skeleton.heatmaps.rule import MIN_SCORE

__all__ = [
    "MIN_SCORE",
    "HeatmapRenderer",
    "KeypointHeatmap",
    "LimbHeatmap",
    "heatmap_array",
    "render_joints",
    "render_limbs",
]
