"""The modalities that mg-rgb registers, with the defaults of their options. Imports the contract alone.

Every default stands here once; factories get all of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import ModalitySpec

_FRAME_OPTIONS: Mapping[str, Any] = {
    "stream": "rgb",
    "frames": 16,
    "stride": 0,
    "size": 112,
    "zoom": 1.0,
    "clips": 1,
    "temporal_crop": 0.85,
    "scale_jitter": 0.15,
    "aspect_jitter": 0.05,
    "shift_jitter": 0.08,
    "rotation_degrees": 8.0,
    "erase": 0.0,
}
_DEPTH_OPTIONS = {
    **_FRAME_OPTIONS,
    "stream": "depth",
    "size": 48,
    # The saliency crop leaves a fifth of the person's extent on each side, which small samples cannot spare.
    "zoom": 1.15,
    "range_metres": 0.6,
    "depth_jitter": 0.05,
}

MODALITIES = (
    ModalitySpec(
        name="rgb",
        summary="colour video (3, T, H, W), uint8",
        factory="mg_rgb.modalities:Rgb",
        store_kind="streams",
        options={**_FRAME_OPTIONS, "colour_jitter": 0.2},
    ),
    ModalitySpec(
        name="depth",
        summary="nearness of the person (1, T, H, W), background and holes 0",
        factory="mg_rgb.modalities:Depth",
        store_kind="streams",
        options=_DEPTH_OPTIONS,
    ),
    ModalitySpec(
        name="depth-motion",
        summary="nearness of the person and its change from frame to frame (2, T, H, W)",
        factory="mg_rgb.modalities:DepthMotion",
        store_kind="streams",
        options=_DEPTH_OPTIONS,
    ),
    ModalitySpec(
        name="frame-difference",
        summary="change of brightness from frame to frame (1, T, H, W)",
        factory="mg_rgb.modalities:FrameDifference",
        store_kind="streams",
        options=_FRAME_OPTIONS,
    ),
)
