"""Layouts of the Kinect skeletons: x, y, z in metres, y upwards, z away from the sensor."""

from __future__ import annotations

from mg_data.keypoints._figure import figure_of
from mg_data.keypoints._graph import chain, layout

_ARM = ("shoulder", "elbow", "wrist", "hand")
_LEG = ("hip", "knee", "ankle", "foot")

_KINECT_20_NAMES = (
    *("head", "shoulder_centre", "spine", "hip_centre"),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _ARM),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _LEG),
)

KINECT_20 = layout(
    "kinect-20",
    "Kinect v1 skeleton as UTD-MHAD stores it",
    names=_KINECT_20_NAMES,
    bones=(
        *chain(3, 2, 1, 0),
        *chain(1, 4, 5, 6, 7),
        *chain(1, 8, 9, 10, 11),
        *chain(3, 12, 13, 14, 15),
        *chain(3, 16, 17, 18, 19),
    ),
    pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
    centre=3,
    dims="xyz",
    figure=figure_of(_KINECT_20_NAMES),
)

_NTU_25_NAMES = (
    *("hip_centre", "spine", "neck", "head"),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _ARM),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _LEG),
    *("shoulder_centre", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb"),
)

NTU_25 = layout(
    "ntu-25",
    "Kinect v2 skeleton in the order of NTU RGB+D",
    names=_NTU_25_NAMES,
    bones=(
        *chain(0, 1, 20, 2, 3),
        *chain(20, 4, 5, 6, 7, 21),
        *chain(20, 8, 9, 10, 11, 23),
        *((7, 22), (11, 24)),
        *chain(0, 12, 13, 14, 15),
        *chain(0, 16, 17, 18, 19),
    ),
    pairs=(
        *((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
        *((21, 23), (22, 24)),
    ),
    centre=0,
    dims="xyz",
    figure=figure_of(_NTU_25_NAMES),
)

KINECT_LAYOUTS = (KINECT_20, NTU_25)
