"""What mg-data registers about keypoints: layouts and modalities.

No numpy: it is read whenever plugins are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mg_data.contract.specs import LayoutSpec, ModalitySpec
from mg_data.keypoints._coco import COCO_LAYOUTS
from mg_data.keypoints._kinect import KINECT_LAYOUTS
from mg_data.keypoints._mediapipe import MEDIAPIPE_LAYOUTS
from mg_data.keypoints._openpose import OPENPOSE_LAYOUTS

LAYOUTS: tuple[LayoutSpec, ...] = (
    *OPENPOSE_LAYOUTS,
    *COCO_LAYOUTS,
    *MEDIAPIPE_LAYOUTS,
    *KINECT_LAYOUTS,
)

# Options of mg_data.keypoints.modality.StreamOptions and HeatmapOptions, with their defaults; -1 means "by
# the kind of data": another value for pixels with a confidence than for metres.
STREAM_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "layout": "",
        "frames": 64,
        "centre": "frame",
        "scale": "bones",
        "sampling": "linear",
        "crop": 0.9,
        "rotate": -1.0,
        "zoom": 0.1,
        "shear": -1.0,
        "bones": 0.0,
        "jitter": 0.0,
        "drop": 0.0,
        "min_confidence": 0.0,
        "clips": 1,
    }
)
HEATMAP_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "layout": "",
        "frames": 48,
        "size": 56,
        "persons": 1,
        "padding": 0.25,
        "short": "wrap",
        "crop_area": 0.56,
        "rotate": -1.0,
        "bones": 0.0,
        "jitter": 0.0,
        "drop": 0.0,
        "min_confidence": 0.0,
        "clips": 1,
    }
)


def _stream(name: str, summary: str) -> ModalitySpec:
    return ModalitySpec(
        name=name,
        summary=summary,
        factory=f"mg_data.keypoints.modality:{name.replace('-', '_')}",
        store_kind="clips",
        options=STREAM_OPTIONS,
    )


MODALITIES: tuple[ModalitySpec, ...] = (
    _stream("joint", "keypoint positions, centred (C=3: x, y, confidence or x, y, z)"),
    _stream("limb", "vectors along the bones (C=3)"),
    _stream("motion", "displacement of each keypoint from frame to frame (C=3)"),
    _stream("joint-motion", "positions and their displacement (C=6)"),
    _stream("limb-motion", "bone vectors and their change (C=6)"),
    ModalitySpec(
        name="heatmap",
        summary="keypoints in the person's box, from which the model renders heatmaps",
        factory="mg_data.keypoints.modality:heatmap",
        store_kind="clips",
        options=HEATMAP_OPTIONS,
    ),
)
