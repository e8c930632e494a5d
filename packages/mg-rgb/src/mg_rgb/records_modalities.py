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
    "crops": 1,
    "temporal_crop": 0.85,
    "scale_jitter": 0.15,
    "aspect_jitter": 0.05,
    "shift_jitter": 0.08,
    "rotation_degrees": 8.0,
    "crop_area": 0.0,
    "crop_aspect": 4 / 3,
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
        factory="mg_rgb.modalities.colour:Rgb",
        store_kind="streams",
        options={
            **_FRAME_OPTIONS,
            "colour_jitter": 0.2,
            "hue_jitter": 0.0,
            "rand_augment": 0,
            "rand_magnitude": 9,
        },
    ),
    ModalitySpec(
        name="flow",
        summary="optical flow, x and y (2, T, H, W), in sides of the sample a frame",
        factory="mg_rgb.modalities.flow:Flow",
        store_kind="streams",
        options={**_FRAME_OPTIONS, "stream": "flow"},
    ),
    ModalitySpec(
        name="taylor",
        summary="Taylor frames: displacement, velocity, acceleration of brightness (3, T, H, W), uint8",
        factory="mg_rgb.modalities.taylor:Taylor",
        store_kind="streams",
        options={**_FRAME_OPTIONS, "stream": "taylor"},
    ),
    ModalitySpec(
        name="depth",
        summary="nearness of the person (1, T, H, W), background and holes 0",
        factory="mg_rgb.modalities.depth:Depth",
        store_kind="streams",
        options=_DEPTH_OPTIONS,
    ),
    ModalitySpec(
        name="depth-motion",
        summary="nearness of the person and its change from frame to frame (2, T, H, W)",
        factory="mg_rgb.modalities.depth:DepthMotion",
        store_kind="streams",
        options=_DEPTH_OPTIONS,
    ),
    ModalitySpec(
        name="frame-difference",
        summary="change of brightness, or of nearness in depth maps, from frame to frame (1, T, H, W)",
        factory="mg_rgb.modalities.difference:FrameDifference",
        store_kind="streams",
        options={**_FRAME_OPTIONS, "range_metres": 0.6},
    ),
    ModalitySpec(
        name="features",
        summary="stored features of a frozen backbone (D,)",
        factory="mg_rgb.modalities.features:Features",
        store_kind="features",
        options={"feature": "", "unit_length": False, "noise": 0.0},
    ),
)
