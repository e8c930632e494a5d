"""The layout of MediaPipe Holistic: 33 pose points, 468 of the face mesh, 21 of each hand.

The order is that of the pose-format library's component list: pose, face, left hand, right hand.
"""

from __future__ import annotations

from mg_data.keypoints import _face_mesh as mesh
from mg_data.keypoints._figure import HAND_NAMES, figure_of
from mg_data.keypoints._graph import chain, layout, shift
from mg_data.keypoints._openpose import HAND_BONES

# Columns of the parts.
FACE, LEFT_HAND, RIGHT_HAND = 33, 501, 522

_POSE = (
    "nose",
    *(f"left_eye{part}" for part in ("_inner", "", "_outer")),
    *(f"right_eye{part}" for part in ("_inner", "", "_outer")),
    *(
        f"{side}_{part}"
        for part in (
            *("ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
            *("hip", "knee", "ankle", "heel", "foot_index"),
        )
        for side in ("left", "right")
    ),
)
# There is no neck: as in coco-17 the shoulders hang on the nose, the only point of the body in the middle.
_POSE_BONES = (
    *(*chain(0, 1, 2, 3, 7), *chain(0, 4, 5, 6, 8)),
    *((0, 9), (0, 10)),
    *(*chain(0, 11, 13, 15, 17), *chain(0, 12, 14, 16, 18)),
    *((15, 19), (15, 21), (16, 20), (16, 22)),
    *(*chain(11, 23, 25, 27, 29), *chain(12, 24, 26, 28, 30)),
    *((27, 31), (28, 32)),
)
_POSE_CLOSING = ((9, 10), (11, 12), (23, 24), (17, 19), (18, 20), (29, 31), (30, 32))
_PALM = ((5, 9), (9, 13), (13, 17))
_NAMES = (
    *_POSE,
    *(f"face_mesh_{point}" for point in range(mesh.SIZE)),
    *(f"{side}_hand_{name}" for side in ("left", "right") for name in HAND_NAMES),
)

MEDIAPIPE_HOLISTIC = layout(
    "mediapipe-holistic",
    "MediaPipe Holistic: pose 33, face mesh 468, left hand 21, right hand 21",
    names=_NAMES,
    bones=(
        *_POSE_BONES,
        (0, FACE + mesh.NOSE_TIP),
        *shift(mesh.BONES, FACE),
        (15, LEFT_HAND),
        *shift(HAND_BONES, LEFT_HAND),
        (16, RIGHT_HAND),
        *shift(HAND_BONES, RIGHT_HAND),
    ),
    closing=(
        *_POSE_CLOSING,
        *shift(mesh.CLOSING, FACE),
        *shift(_PALM, LEFT_HAND),
        *shift(_PALM, RIGHT_HAND),
    ),
    pairs=(
        *((1, 4), (2, 5), (3, 6)),
        *((point, point + 1) for point in range(7, 33, 2)),
        *shift(mesh.PAIRS, FACE),
        *((LEFT_HAND + point, RIGHT_HAND + point) for point in range(21)),
    ),
    centre=0,
    figure=figure_of(_NAMES),
)

MEDIAPIPE_LAYOUTS = (MEDIAPIPE_HOLISTIC,)
