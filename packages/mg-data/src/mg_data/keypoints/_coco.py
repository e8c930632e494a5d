"""COCO-WholeBody: 17 body, 6 foot, 68 face and twice 21 hand keypoints, in the order of its annotations."""

from __future__ import annotations

from mg_data.keypoints._figure import FACE_68_NAMES, HAND_NAMES, figure_of
from mg_data.keypoints._graph import Edge, chain, layout, shift
from mg_data.keypoints._openpose import (
    COCO_17,
    FACE_BONES,
    FACE_CLOSING,
    FACE_PAIRS,
    HAND_BONES,
    OPENPOSE_137,
)

# Columns of the parts.
FACE, LEFT_HAND, RIGHT_HAND = 23, 91, 112

_NAMES = (
    *COCO_17.names,
    *(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")),
    *FACE_68_NAMES,
    *(f"{side}_hand_{name}" for side in ("left", "right") for name in HAND_NAMES),
)
_BODY_BONES: tuple[Edge, ...] = tuple(
    (parent, point) for point, parent in enumerate(COCO_17.parents) if point != parent
)


def _landmarks(edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
    """Return the edges of OpenPose's face without its two pupils."""
    return shift([edge for edge in edges if max(edge) < len(FACE_68_NAMES)], FACE)


COCO_WHOLEBODY_133 = layout(
    "coco-wholebody-133",
    "COCO-WholeBody: body 17, feet 6, face 68, left hand 21, right hand 21",
    names=_NAMES,
    bones=(
        *_BODY_BONES,
        *(*chain(15, 17, 18), *chain(16, 20, 21)),
        *((15, 19), (16, 22)),
        (0, FACE + 30),
        *_landmarks(FACE_BONES),
        (9, LEFT_HAND),
        *shift(HAND_BONES, LEFT_HAND),
        (10, RIGHT_HAND),
        *shift(HAND_BONES, RIGHT_HAND),
    ),
    closing=((5, 6), (11, 12), *_landmarks(FACE_CLOSING)),
    pairs=(
        *COCO_17.pairs,
        *((17, 20), (18, 21), (19, 22)),
        *_landmarks(FACE_PAIRS),
        *((LEFT_HAND + point, RIGHT_HAND + point) for point in range(21)),
    ),
    centre=0,
    source="openpose-137",
    columns=tuple(OPENPOSE_137.names.index(name) for name in _NAMES),
    figure=figure_of(_NAMES),
)

COCO_LAYOUTS = (COCO_WHOLEBODY_133,)
