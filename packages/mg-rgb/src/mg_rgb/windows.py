"""Which part of a frame a sample shows: the test's windows, the training's random ones, and their matrix.

A window is drawn once for a clip, so all of its frames move together. numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Where windows of the test lie in the room around them, x and y in -1..1, by the number of crops.
CROPS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    3: ((-1, 0), (0, 0), (1, 0)),
    5: ((-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)),
}


@dataclass(frozen=True)
class Window:
    """A rectangle of a frame; lengths are shares of the frame's sides.

    Args:
        x, y: its centre, 0.5 is the middle of the frame. width, height: its sides, 1 is all of the frame.
        angle: how far it is turned, in radians.
    """

    x: float = 0.5
    y: float = 0.5
    width: float = 1.0
    height: float = 1.0
    angle: float = 0.0

    def matrix(self, side: int, size: int) -> NDArray[np.float32]:
        """Return the (2, 3) matrix that maps pixels of a (size, size) sample into a (side, side) frame."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        linear = side / size * turn * np.array([[self.width, self.height]])
        # Pixel n covers n - 0.5 .. n + 0.5, so the middle of a side is at (side - 1) / 2.
        centre = np.array([self.x, self.y]) * side - 0.5 - linear @ np.full(2, (size - 1) / 2)
        return np.concatenate([linear, centre[:, None]], axis=1).astype(np.float32)

    def rectangle(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Return left, top, right, bottom in whole pixels, or None if the window is turned or sticks out.

        Its sides in pixels do not depend on where it lies: one as large as the sample is cut, not resized.
        """
        if self.angle:
            return None
        (left, right), (top, bottom) = (
            _whole_pixels(centre, part, side)
            for centre, part, side in ((self.x, self.width, width), (self.y, self.height, height))
        )
        inside = 0 <= left < right <= width and 0 <= top < bottom <= height
        return (left, top, right, bottom) if inside else None


def _whole_pixels(centre: float, part: float, side: int) -> tuple[int, int]:
    """Return where a part of a side begins and ends; half a pixel beyond the end counts as inside."""
    length, end = round(part * side), round((centre + part / 2) * side)
    begin = round((centre - part / 2) * side)
    if end <= side:
        begin = min(begin, side - length)
    return begin, begin + length


def crop_windows(count: int, zoom: float) -> list[Window]:
    """Return the windows of the test: ``count`` (1, 3 or 5) squares of 1/zoom of the frame.

    One lies in the middle, three in a row from left to right, five in the corners and the middle.

    >>> [window.x for window in crop_windows(3, 1.25)]
    [0.4, 0.5, 0.6]
    """
    part = 1 / zoom
    room = max(0.0, (1 - part) / 2)
    return [Window(0.5 + x * room, 0.5 + y * room, part, part) for x, y in CROPS[count]]


def jittered_window(
    rng: np.random.Generator,
    *,
    zoom: float,
    scale: float,
    aspect: float,
    shift: float,
    rotation_degrees: float,
) -> Window:
    """Draw a window around the middle one: a person in a crop is moved little.

    Its sides are 1/zoom times exp(U(-scale, scale)), the width also times exp(U(-aspect, aspect)); the centre
    moves by U(-shift, shift) of the frame, the window turns by U(-rotation_degrees, rotation_degrees).
    """
    angle = np.deg2rad(rng.uniform(-rotation_degrees, rotation_degrees))
    height = float(np.exp(rng.uniform(-scale, scale))) / zoom
    width = height * float(np.exp(rng.uniform(-aspect, aspect)))
    x, y = 0.5 + rng.uniform(-shift, shift, 2)
    return Window(float(x), float(y), width, height, float(angle))


def resized_window(
    rng: np.random.Generator, *, area: float, aspect: float, rotation_degrees: float
) -> Window:
    """Draw RandomResizedCrop's window: a share U(area, 1) of the frame, anywhere inside it.

    Its ratio of width to height is log-uniform in 1/aspect .. aspect. As in torchvision, ten windows are
    tried for one that fits into the frame, and the whole frame is taken if none does.
    """
    angle = float(np.deg2rad(rng.uniform(-rotation_degrees, rotation_degrees)))
    for _ in range(10):
        part, ratio = rng.uniform(area, 1), np.exp(rng.uniform(-np.log(aspect), np.log(aspect)))
        width, height = float(np.sqrt(part * ratio)), float(np.sqrt(part / ratio))
        if width <= 1 and height <= 1:
            x, y = rng.uniform(width / 2, 1 - width / 2), rng.uniform(height / 2, 1 - height / 2)
            return Window(float(x), float(y), width, height, angle)
    return Window(angle=angle)
