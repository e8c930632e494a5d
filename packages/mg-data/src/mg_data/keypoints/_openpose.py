"""Layouts of the OpenPose family: 25 body, 70 face and twice 21 hand keypoints, and selections of them."""

from __future__ import annotations

from mg_data.keypoints._figure import FACE_68_NAMES, HAND_NAMES, figure_of
from mg_data.keypoints._graph import Edge, chain, layout, picked, shift

# Columns of the parts in openpose-137.
FACE, LEFT_HAND, RIGHT_HAND = 25, 95, 116

_BODY = [
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "mid_hip",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
]
_BODY_BONES = (
    *chain(1, 0, 15, 17),
    *chain(0, 16, 18),
    *chain(1, 2, 3, 4),
    *chain(1, 5, 6, 7),
    *chain(1, 8, 9, 10, 11),
    *chain(8, 12, 13, 14),
    *chain(11, 22, 23),
    *chain(14, 19, 20),
    (11, 24),
    (14, 21),
)
_BODY_PAIRS = (
    *((2, 5), (3, 6), (4, 7), (9, 12), (10, 13), (11, 14)),
    *((15, 16), (17, 18), (22, 19), (23, 20), (24, 21)),
)

HAND_BONES = tuple(
    edge for base in (1, 5, 9, 13, 17) for edge in chain(0, base, base + 1, base + 2, base + 3)
)

# The 68 landmarks and two pupils.
_FACE = (*FACE_68_NAMES, "face_pupil_0", "face_pupil_1")
FACE_BONES = (
    *chain(30, 29, 28, 27),
    *chain(27, 21, 20, 19, 18, 17),
    *chain(27, 22, 23, 24, 25, 26),
    *chain(27, 39, 38, 37, 36),
    *chain(27, 42, 43, 44, 45),
    *chain(39, 40, 41),
    *chain(42, 47, 46),
    *((39, 68), (42, 69)),
    *chain(30, 33, 32, 31),
    *chain(33, 34, 35),
    *chain(33, 51, 62, 66, 57, 8),
    *chain(51, 50, 49, 48, 59, 58),
    *chain(51, 52, 53, 54, 55, 56),
    *chain(62, 61, 60, 67),
    *chain(62, 63, 64, 65),
    *chain(8, 7, 6, 5, 4, 3, 2, 1, 0),
    *chain(8, 9, 10, 11, 12, 13, 14, 15, 16),
)
FACE_CLOSING = ((36, 41), (45, 46), (57, 58), (56, 57), (66, 67), (65, 66))
FACE_PAIRS = (
    *((point, 16 - point) for point in range(8)),
    *((17 + point, 26 - point) for point in range(5)),
    *((31, 35), (32, 34)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65), (68, 69)),
)

_NAMES = (
    *_BODY,
    *_FACE,
    *(f"{side}_hand_{name}" for side in ("left", "right") for name in HAND_NAMES),
)

OPENPOSE_137 = layout(
    "openpose-137",
    "OpenPose body 25, face 70, left hand 21, right hand 21",
    names=_NAMES,
    bones=(
        *_BODY_BONES,
        (0, FACE + 30),
        *shift(FACE_BONES, FACE),
        (7, LEFT_HAND),
        *shift(HAND_BONES, LEFT_HAND),
        (4, RIGHT_HAND),
        *shift(HAND_BONES, RIGHT_HAND),
    ),
    closing=shift(FACE_CLOSING, FACE),
    pairs=(
        *_BODY_PAIRS,
        *shift(FACE_PAIRS, FACE),
        *((LEFT_HAND + point, RIGHT_HAND + point) for point in range(21)),
    ),
    centre=1,
    figure=figure_of(_NAMES),
)

BODY_25 = picked(
    "body-25",
    "OpenPose BODY_25",
    source=OPENPOSE_137,
    columns=range(25),
    bones=_BODY_BONES,
    centre=1,
)

# The order of openpose-68 is part of the schema: a (1 x 3) convolution sees a point and its two neighbours
# in the list, so the list walks along anatomical chains. Right finger tips -> right hand -> right arm ->
# neck -> left arm -> left hand -> left finger tips is one walk that reads the same, mirrored, from its
# other end. The face follows: the arch brow, eye, bridge, eye, brow; nose; the ring of the mouth; the jaw.
_FACE_19 = (*(24, 45, 42, 27, 39, 36, 19), *(31, 30, 35), *(48, 51, 54, 57, 66, 62), *(4, 8, 12))
_COLUMNS_68 = (
    *(RIGHT_HAND + point for point in reversed(range(21))),
    *(4, 3, 2, 1, 5, 6, 7),
    *(LEFT_HAND + point for point in range(21)),
    *(FACE + point for point in _FACE_19),
)
_FACE_19_BONES: tuple[Edge, ...] = (
    *chain(8, 57, 66, 62, 51, 30, 27),
    *((8, 4), (8, 12), (51, 48), (51, 54), (30, 31), (30, 35)),
    *chain(27, 39, 36, 19),
    *chain(27, 42, 45, 24),
)

OPENPOSE_68 = picked(
    "openpose-68",
    "neck, arms, 19 facial landmarks and both hands, along anatomical chains (paper 3.1)",
    source=OPENPOSE_137,
    columns=_COLUMNS_68,
    bones=(
        *chain(1, 2, 3, 4, RIGHT_HAND),
        *chain(1, 5, 6, 7, LEFT_HAND),
        *shift(HAND_BONES, RIGHT_HAND),
        *shift(HAND_BONES, LEFT_HAND),
        (1, FACE + 8),
        *shift(_FACE_19_BONES, FACE),
    ),
    closing=shift(((48, 57), (54, 57)), FACE),
    centre=1,
)

_LEFT_TIPS = tuple(LEFT_HAND + point for point in (4, 8, 12, 16, 20))
_RIGHT_TIPS = tuple(RIGHT_HAND + point for point in (4, 8, 12, 16, 20))

IMIGUE_35 = picked(
    "imigue-35",
    "iMiGUE light_hand: BODY_25, five finger tips of the left hand, five of the right",
    source=OPENPOSE_137,
    columns=(*range(25), *_LEFT_TIPS, *_RIGHT_TIPS),
    bones=(*_BODY_BONES, *((7, tip) for tip in _LEFT_TIPS), *((4, tip) for tip in _RIGHT_TIPS)),
    centre=1,
)

OPENPOSE_22 = picked(
    "openpose-22",
    "upper body and finger tips, as the challenge's baseline uses them",
    source=IMIGUE_35,
    columns=(*range(8), *range(15, 19), *range(25, 35)),
    bones=(
        *chain(1, 0, 15, 17),
        *chain(0, 16, 18),
        *chain(1, 2, 3, 4),
        *chain(1, 5, 6, 7),
        *((7, tip) for tip in range(25, 30)),
        *((4, tip) for tip in range(30, 35)),
    ),
    centre=1,
)

_COCO_BODY = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
]

COCO_17 = layout(
    "coco-17",
    "COCO body keypoints; there is no neck, the nose is the centre",
    names=_COCO_BODY,
    bones=(
        *chain(0, 1, 3),
        *chain(0, 2, 4),
        *chain(0, 5, 7, 9),
        *chain(0, 6, 8, 10),
        *chain(5, 11, 13, 15),
        *chain(6, 12, 14, 16),
    ),
    closing=((5, 6), (11, 12)),
    pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    centre=0,
    source="body-25",
    columns=(0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
    figure=figure_of(_COCO_BODY),
)

OPENPOSE_LAYOUTS = (OPENPOSE_137, OPENPOSE_68, IMIGUE_35, OPENPOSE_22, BODY_25, COCO_17)
