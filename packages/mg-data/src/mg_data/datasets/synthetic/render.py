"""A clothed figure before a cluttered wall, drawn from keypoints, and the mp4 it is kept in."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.skeleton import BODY, FACE, LEFT_HAND, RIGHT_HAND
from mg_data.datasets.synthetic.style import Colour, Style

_SHIFT = 4  # fractional bits of drawing coordinates
_FINGERS = [np.array([0, *range(first, first + 4)]) for first in (1, 5, 9, 13, 17)]
_PALM = np.array([0, 1, 5, 9, 13, 17])


def _fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.asarray(np.rint(points * float(1 << _SHIFT)), np.int32)


def _dim(colour: Colour, tenths: int) -> Colour:
    return colour[0] * tenths // 10, colour[1] * tenths // 10, colour[2] * tenths // 10


def background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB clutter: boards with patches and lines of writing, in every colour."""
    image = np.empty((height, width, 3), np.uint8)
    top, bottom = rng.uniform(40, 210, (2, 3))
    ramp = np.linspace(0, 1, height)[:, None, None]
    image[:] = (top * (1 - ramp) + bottom * ramp).astype(np.uint8)
    unit = min(height, width)
    for _ in range(28):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        half_width, half_height = rng.uniform(0.03, 0.16, 2) * unit
        colour = tuple(int(value) for value in rng.integers(10, 245, 3))
        corner = (
            (round(x - half_width), round(y - half_height)),
            (round(x + half_width), round(y + half_height)),
        )
        if rng.random() < 0.6:
            cv2.rectangle(image, *corner, colour, -1)
        else:
            axes = (round(half_width), round(half_height))
            cv2.ellipse(image, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, colour, -1)
        for line in range(int(rng.integers(0, 4))):
            row = corner[0][1] + round((line + 1) * 0.025 * unit)
            ends = (corner[0][0] + 3, row), (corner[1][0] - 3, row)
            cv2.line(image, *ends, tuple(255 - value for value in colour), max(1, round(0.006 * unit)))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.004 * unit + 0.3), np.uint8)


class Painter:
    """Draws one person before one wall. ``scale`` is pixels a shoulder width."""

    def __init__(self, wall: NDArray[np.uint8], style: Style, scale: float) -> None:
        self._wall = wall
        self._style = style
        self._scale = scale

    def _width(self, lengths: float) -> int:
        return max(1, round(lengths * self._scale))

    def _polygon(self, image: NDArray[np.uint8], points: NDArray[np.floating], colour: Colour) -> None:
        cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def _line(
        self, image: NDArray[np.uint8], points: NDArray[np.floating], colour: Colour, width: float
    ) -> None:
        cv2.polylines(image, [_fixed(points)], False, colour, self._width(width), cv2.LINE_AA, _SHIFT)

    def paint(self, points: NDArray[np.floating], hidden: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return an (H, W, 3) RGB frame.

        Args:
            points: (137, 2) pixels. hidden: (2,) the right and left hand behind the body above 0.5.
        """
        image = self._wall.copy()
        self._figure(image, points, hidden)
        return image

    def _figure(
        self, image: NDArray[np.uint8], points: NDArray[np.floating], hidden: NDArray[np.floating]
    ) -> None:
        body, face = points[BODY], points[FACE]
        for hand, joint, block in ((0, 2, RIGHT_HAND), (1, 5, LEFT_HAND)):
            if hidden[hand] > 0.5:
                self._arm(image, body, points[block], joint)
        self._torso(image, body)
        self._head(image, body, face)
        for hand, joint, block in ((0, 2, RIGHT_HAND), (1, 5, LEFT_HAND)):
            if hidden[hand] <= 0.5:
                self._arm(image, body, points[block], joint)

    def _torso(self, image: NDArray[np.uint8], body: NDArray[np.floating]) -> None:
        style, scale = self._style, self._scale
        neck, right, left, hips = body[1], body[2], body[5], body[8]
        down, armpit = np.array([0.0, 1.1 * scale]), np.array([0.0, 0.2 * scale])
        waist = np.array([style.hip_width * 1.2 * scale, 0])
        slope = np.array([0.0, -0.1 * scale])
        right_side = [neck + slope, right + slope * 0.4, right + armpit, hips - waist, hips - waist + down]
        left_side = [hips + waist + down, hips + waist, left + armpit, left + slope * 0.4]
        self._polygon(image, np.array(right_side + left_side), style.shirt)
        dark = _dim(style.shirt, 7)
        across, throat = np.array([0.12 * scale, 0]), neck + np.array([0.0, 0.22 * scale])
        self._line(image, np.array([neck - across, throat, neck + across]), dark, 0.03)
        if style.tie:
            tie = (255 - style.shirt[0], 120, 255 - style.shirt[2])
            self._line(image, np.array([neck + armpit * 0.5, 0.35 * neck + 0.65 * hips]), tie, 0.09)
        else:
            self._line(image, np.array([throat, hips]), dark, 0.02)

    def _head(self, image: NDArray[np.uint8], body: NDArray[np.floating], face: NDArray[np.floating]) -> None:
        style, scale = self._style, self._scale
        shade = _dim(style.skin, 8)
        chin = face[8]
        self._line(
            image,
            np.array([body[1] + [0, 0.02 * scale], 0.5 * (body[1] + chin), chin - [0, 0.1 * scale]]),
            shade,
            0.22,
        )
        centre = 0.5 * (body[17] + body[18])
        axes = _fixed(np.array([style.head_width * 1.08, style.head_height * 1.05]) * scale)
        crown = _fixed(centre - [0, 0.07 * scale])
        cv2.ellipse(
            image, tuple(crown.tolist()), tuple(axes.tolist()), 0, 0, 360, style.hair, -1, cv2.LINE_AA, _SHIFT
        )
        for ear in (body[17], body[18]):
            cv2.circle(
                image,
                tuple(_fixed(ear).tolist()),
                int(0.05 * scale * (1 << _SHIFT)),
                shade,
                -1,
                cv2.LINE_AA,
                _SHIFT,
            )
        brow = 0.5 * (face[17:22].mean(0) + face[22:27].mean(0)) - [0, 0.07 * scale]
        half = np.array([style.head_width * 0.85 * scale, 0])
        self._polygon(image, np.concatenate([face[0:17], [brow + half, brow - half]]), style.skin)
        for eye in (face[36:42], face[42:48]):
            self._polygon(image, eye, (250, 250, 250))
        for pupil in (face[68], face[69]):
            radius = max(1, int(0.022 * scale * (1 << _SHIFT)))
            cv2.circle(image, tuple(_fixed(pupil).tolist()), radius, (35, 25, 20), -1, cv2.LINE_AA, _SHIFT)
        self._line(image, face[17:22], style.hair, 0.02)
        self._line(image, face[22:27], style.hair, 0.02)
        self._line(image, face[27:31], shade, 0.02)
        self._line(image, face[31:36], shade, 0.02)
        self._polygon(image, face[48:60], (178, 72, 78))
        self._polygon(image, face[60:68], (70, 22, 26))

    def _arm(
        self, image: NDArray[np.uint8], body: NDArray[np.floating], hand: NDArray[np.floating], joint: int
    ) -> None:
        style = self._style
        arm = body[joint : joint + 3]
        self._line(image, arm, _dim(style.sleeve, 6), 0.2)
        self._line(image, arm, style.sleeve, 0.17)
        self._hand(image, hand)

    def _hand(self, image: NDArray[np.uint8], hand: NDArray[np.floating]) -> None:
        style = self._style
        shade = _dim(style.skin, 8)
        self._polygon(image, hand[_PALM], style.skin)
        for finger in _FINGERS:
            self._line(image, hand[finger], shade, 0.06)
            self._line(image, hand[finger], style.skin, 0.042)


def write_mp4(path: Path, frames: Iterable[NDArray[np.uint8]], height: int, width: int, fps: float) -> None:
    """Write (H, W, 3) RGB frames as H.264; one thread, so that the bytes depend on the frames alone."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "22"}
        stream.codec_context.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
