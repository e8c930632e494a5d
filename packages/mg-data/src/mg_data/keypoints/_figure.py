"""A standing figure seen from the front, in which every built-in layout finds the places of its points.

The figure is for drawings: face and hands are twice their natural size, so that their points can be told
apart. The arms hang, the palms face the viewer. Plain Python, no numpy: it is read whenever plugins are
listed.
"""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.keypoints._face_mesh import LANDMARKS_68, POSITIONS

Place = tuple[float, float]

FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND_NAMES = ("root", *(f"{finger}_{joint}" for finger in FINGERS for joint in range(1, 5)))
# The 68 landmarks of the face (0 = the person's right ear side).
FACE_68_NAMES = tuple(
    f"face_{part}_{number}"
    for part, count in (
        *(("jaw", 17), ("right_brow", 5), ("left_brow", 5), ("bridge", 4), ("nostril", 5)),
        *(("right_eye", 6), ("left_eye", 6), ("outer_lip", 12), ("inner_lip", 8)),
    )
    for number in range(count)
)

_FACE_CENTRE_Y, _FACE_SCALE = -48.0, 2.0

_MIDDLE: dict[str, float] = {
    "head": -48.0,
    "nose": -45.5,
    "neck": 0.0,
    "shoulder_centre": 7.0,
    "spine": 38.0,
    "mid_hip": 70.0,
    "hip_centre": 70.0,
}
# The person's left side, which is the viewer's right.
_LEFT: dict[str, Place] = {
    "eye": (6.3, -55.0),
    "eye_inner": (3.4, -55.0),
    "eye_outer": (9.2, -55.0),
    "ear": (17.5, -49.0),
    "mouth": (4.2, -38.2),
    "shoulder": (27.0, 2.0),
    "elbow": (44.0, 33.0),
    "wrist": (54.0, 64.0),
    "hand": (54.0, 82.0),
    "hand_tip": (56.0, 102.0),
    "pinky": (48.0, 78.0),
    "index": (60.0, 80.0),
    "thumb": (66.0, 74.0),
    "hip": (14.0, 72.0),
    "knee": (17.0, 116.0),
    "ankle": (18.0, 160.0),
    "foot": (22.0, 170.0),
    "heel": (14.0, 168.0),
    "big_toe": (21.0, 174.0),
    "foot_index": (21.0, 174.0),
    "small_toe": (28.0, 171.0),
}
# The left hand from its root; joints of a finger in their order.
_HAND: tuple[Place, ...] = (
    (0.0, 0.0),
    *((6.0, 4.0), (12.0, 9.0), (17.0, 14.0), (21.0, 20.0)),
    *((7.0, 18.0), (9.0, 26.0), (10.0, 31.5), (10.5, 36.0)),
    *((1.5, 19.0), (2.0, 28.5), (2.2, 34.5), (2.4, 40.0)),
    *((-3.5, 18.0), (-4.8, 26.5), (-5.5, 32.5), (-6.0, 37.0)),
    *((-8.0, 15.5), (-10.5, 21.5), (-12.0, 25.5), (-13.2, 29.5)),
)


def on_face(place: Place) -> Place:
    """Return where a place of the canonical face mesh lies in the figure."""
    return _FACE_SCALE * place[0], _FACE_SCALE * place[1] + _FACE_CENTRE_Y


def _places() -> dict[str, Place]:
    places: dict[str, Place] = {name: (0.0, y) for name, y in _MIDDLE.items()}
    for name, (x, y) in _LEFT.items():
        places[f"left_{name}"], places[f"right_{name}"] = (x, y), (-x, y)
    root_x, root_y = _LEFT["wrist"]
    for name, (x, y) in zip(HAND_NAMES, _HAND, strict=True):
        # The root lies a little off the wrist of the body, so that both can be seen.
        places[f"left_hand_{name}"] = root_x + x, root_y + y + 3.0
        places[f"right_hand_{name}"] = -root_x - x, root_y + y + 3.0
    places.update(
        (name, on_face(POSITIONS[point])) for name, point in zip(FACE_68_NAMES, LANDMARKS_68, strict=True)
    )
    places.update({"face_pupil_0": (-6.3, -53.3), "face_pupil_1": (6.3, -53.3)})
    places.update((f"face_mesh_{point}", on_face(place)) for point, place in enumerate(POSITIONS))
    return places


_PLACES = _places()


def figure_of(names: Iterable[str]) -> tuple[Place, ...]:
    """Return the place of each named point."""
    return tuple(_PLACES[name] for name in names)
