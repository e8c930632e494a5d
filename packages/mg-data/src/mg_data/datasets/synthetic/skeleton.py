"""From a pose to the 137 OpenPose keypoints: body 25, face 70, left hand 21, right hand 21."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.motion import Pose
from mg_data.datasets.synthetic.style import Style

BODY, FACE, LEFT_HAND, RIGHT_HAND = slice(0, 25), slice(25, 95), slice(95, 116), slice(116, 137)
FINGER_TIPS = (4, 8, 12, 16, 20)
# The head's centre when nothing moves; the anchor of gestures at the head.
HEAD_CENTRE = np.array([0.0, -0.52])


def _arc(x0: float, x1: float, y: float, bend: float, count: int) -> NDArray[np.float64]:
    u = np.linspace(0, 1, count)
    return np.stack([x0 + (x1 - x0) * u, y - bend * 4 * u * (1 - u)], axis=1)


def _ring(x: float, y: float, width: float, height: float, count: int) -> NDArray[np.float64]:
    """Return points round an ellipse from its image-left corner over the top, as OpenPose lists them."""
    angle = np.pi - np.arange(count) * 2 * np.pi / count
    return np.stack([x + width * np.cos(angle), y - height * np.sin(angle)], axis=1)


def _face_template() -> NDArray[np.float64]:
    """Return (70, 2): x in half head widths, y in half head heights, from the head's centre."""
    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.95 * np.cos(angle), -0.05 + 1.03 * np.sin(angle) ** 0.85], axis=1)
    nose = np.stack([np.zeros(4), np.linspace(-0.22, 0.2, 4)], axis=1)
    parts = [jaw, _arc(-0.78, -0.2, -0.34, 0.1, 5), _arc(0.2, 0.78, -0.34, 0.1, 5), nose]
    parts += [
        _arc(-0.17, 0.17, 0.3, -0.04, 5),
        _ring(-0.42, -0.18, 0.17, 0.07, 6),
        _ring(0.42, -0.18, 0.17, 0.07, 6),
    ]
    parts += [_ring(0, 0, 0.34, 0.12, 12), _ring(0, 0, 0.26, 0.06, 8)]
    return np.concatenate([*parts, [[-0.42, -0.18], [0.42, -0.18]]])


_FACE = _face_template()
_MOUTH = slice(48, 68)
_MOUTH_Y = 0.57


def _hand_template() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (21, 2) along and across an open hand of length 1, and (21,) where each finger starts."""
    points, roots = [(0.0, 0.0)], [0.0]
    thumb, index, middle = (
        ((0.18, 0.16), (0.62, 0.42)),
        ((0.5, 0.16), (0.98, 0.21)),
        ((0.52, 0.05), (1.0, 0.06)),
    )
    ring, little = ((0.5, -0.06), (0.96, -0.08)), ((0.46, -0.16), (0.82, -0.22))
    fingers = (thumb, index, middle, ring, little)
    for (along0, across0), (along1, across1) in fingers:
        for u in (0.0, 0.45, 0.75, 1.0):
            points.append((along0 + (along1 - along0) * u, across0 + (across1 - across0) * u))
            roots.append(along0)
    return np.array(points), np.array(roots)


_HAND, _HAND_ROOT = _hand_template()


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector / np.maximum(length, 1e-6)


def keypoints(pose: Pose, style: Style) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points (F, 137, 2) in shoulder widths and their visibility (F, 137) in [0, 1]."""
    num_frames = len(pose.head)
    points = np.zeros((num_frames, 137, 2))
    visible = np.ones((num_frames, 137))
    body, face = points[:, BODY], points[:, FACE]
    neck = pose.torso
    head = neck + HEAD_CENTRE + pose.head
    # The head turns in the plane about the neck, and its features shift sideways as it turns away.
    turn = pose.head[:, 0] / style.head_width
    _fill_face(face, pose, style, head, turn)
    body[:, 1] = neck
    for joint, side, hand in ((2, -1.0, 0), (5, 1.0, 1)):
        shoulder = (
            neck + np.array([side * 0.5, 0.04]) - np.stack([np.zeros(num_frames), pose.shoulders[:, hand]], 1)
        )
        tip = pose.tips[:, hand] + neck * 0.5
        tip = tip + pose.on_head[:, hand, None] * (pose.head + HEAD_CENTRE + 0.5 * neck)
        elbow = shoulder + np.array([side * 0.14, style.upper_arm]) + pose.elbow_shift[:, hand]
        wrist = tip - style.hand_length * _unit(tip - elbow)
        # A raised hand takes the elbow along; a forearm is never longer than it is.
        reach = wrist - elbow
        length = np.linalg.norm(reach, axis=1, keepdims=True)
        elbow = np.where(length > style.forearm, wrist - style.forearm * _unit(reach), elbow)
        body[:, joint], body[:, joint + 1], body[:, joint + 2] = shoulder, elbow, wrist
        block = RIGHT_HAND if hand == 0 else LEFT_HAND
        _fill_hand(points[:, block], wrist, _unit(tip - wrist), pose.curl[:, hand], side, style)
        visible[:, block] *= 1 - pose.hidden[:, hand, None]
        visible[:, joint + 2] *= 1 - 0.8 * pose.hidden[:, hand]
    hips = 0.35 * neck + np.array([0.0, 1.32])
    half = np.array([style.hip_width, 0.0])
    body[:, 8], body[:, 9], body[:, 12] = hips, hips - half, hips + half
    body[:, 0] = face[:, 30]
    body[:, 15], body[:, 16] = face[:, 68], face[:, 69]
    ears = np.array([[-1.02, -0.08], [1.02, -0.08]]) * [style.head_width, style.head_height]
    body[:, 17], body[:, 18] = head + ears[0], head + ears[1]
    visible[:, [8, 9, 12]] = 0.55
    visible[:, [10, 11, 13, 14, *range(19, 25)]] = 0.0  # legs and feet are out of the picture
    return points, visible


def _fill_face(
    face: NDArray[np.float64], pose: Pose, style: Style, head: NDArray[np.float64], turn: NDArray[np.float64]
) -> None:
    shape = np.repeat(_FACE[None], len(head), axis=0)
    mouth = shape[:, _MOUTH]
    mouth[..., 0] *= (1 - 0.3 * pose.bite)[:, None]
    mouth[..., 1] *= ((0.55 + 2.0 * pose.mouth) * (1 - 0.85 * pose.bite))[:, None]
    mouth[..., 1] += (_MOUTH_Y + 0.1 * pose.mouth - 0.06 * pose.bite)[:, None]
    jaw_bottom = np.clip(shape[:, :17, 1], 0, None)
    shape[:, :17, 1] += 0.1 * pose.mouth[:, None] * jaw_bottom
    shape[..., 0] += 0.5 * turn[:, None] * (1 - np.clip(shape[..., 0], -1, 1) ** 2)
    shape[..., 1] += (
        1.2 * (pose.head[:, 1] / style.head_height)[:, None] * (1 - np.clip(shape[..., 1], -1, 1) ** 2)
    )
    shape *= [style.head_width, style.head_height]
    cos, sin = np.cos(pose.roll)[:, None], np.sin(pose.roll)[:, None]
    face[..., 0] = head[:, None, 0] + cos * shape[..., 0] - sin * shape[..., 1]
    face[..., 1] = head[:, None, 1] + sin * shape[..., 0] + cos * shape[..., 1]


def _fill_hand(
    hand: NDArray[np.float64],
    wrist: NDArray[np.float64],
    direction: NDArray[np.float64],
    curl: NDArray[np.float64],
    side: float,
    style: Style,
) -> None:
    along = _HAND_ROOT + (_HAND[:, 0] - _HAND_ROOT) * (1 - 0.7 * curl[:, None])
    across = side * _HAND[:, 1]
    normal = np.stack([direction[:, 1], -direction[:, 0]], axis=1)
    hand[:] = wrist[:, None] + style.hand_length * (
        along[..., None] * direction[:, None] + across[:, None] * normal[:, None]
    )


def light_hand(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Select the 35 points of ``light_hand``: body 25, finger tips of the left hand, of the right hand."""
    tips = np.array(FINGER_TIPS)
    columns = np.concatenate([np.arange(25), LEFT_HAND.start + tips, RIGHT_HAND.start + tips])
    return points[:, columns]
