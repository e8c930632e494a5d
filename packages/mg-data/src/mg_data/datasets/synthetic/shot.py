"""One video of the scene ``press`` before it is drawn: camera, things in front, motion behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.motion import Pose
from mg_data.datasets.synthetic.plan import CorpusPlan
from mg_data.datasets.synthetic.skeleton import LEFT_HAND, RIGHT_HAND
from mg_data.datasets.synthetic.style import Colour, Style

# Hands on the hat, at the ears and in the hair may be behind the head.
_BEHIND_HEAD = (2, 8, 12)
_HIPS_Y = 1.32


MoverKind = Literal["walker", "screen", "fan"]


@dataclass(frozen=True)
class Thing:
    """Something in front of the person, standing for the whole video or passing by.

    Args:
        kind: ``microphone`` (stands on the table, hides with its head), ``bottle`` or ``passer``.
        start, stop: frames in which it is there, half-open.
        path: (stop - start, 2) pixels of its centre. half: half its width and height in pixels.
    """

    kind: Literal["microphone", "bottle", "passer"]
    start: int
    stop: int
    path: NDArray[np.float64]
    half: tuple[float, float]
    colour: Colour


@dataclass(frozen=True)
class Mover:
    """Motion behind the person.

    Args:
        kind: ``walker`` crosses the picture, ``screen`` shows running bars, ``fan`` turns on the wall.
        position: (F, 2) pixels of its centre. phase: (F,) its own motion in radians.
        size: pixels. colours: of its parts.
    """

    kind: MoverKind
    position: NDArray[np.float64]
    phase: NDArray[np.float64]
    size: float
    colours: tuple[Colour, ...]


@dataclass(frozen=True)
class Shot:
    """The camera and the surroundings of one video.

    Args:
        scale: pixels a shoulder width. neck: (2,) pixels at rest. angle: how the body is turned in the
            image, in radians. table_y: row of the table's edge. light: (F,) brightness.
        lost: (F, 2) the right and the left hand are not found at all.
    """

    scale: float
    neck: NDArray[np.float64]
    angle: float
    table_y: float
    light: NDArray[np.float64]
    things: tuple[Thing, ...]
    movers: tuple[Mover, ...]
    lost: NDArray[np.bool_]

    def place(self, relative: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (F, 137, 2) pixels of points in shoulder widths: turned about the hips, then placed."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        hips = np.array([0.0, _HIPS_Y])
        turned: NDArray[np.float64] = (relative - hips) @ np.array([[cos, sin], [-sin, cos]])
        placed: NDArray[np.float64] = (turned + hips) * self.scale + self.neck
        return placed

    def hide(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (F, 137) factors of visibility: what is under the table, behind a thing, or lost."""
        factor = np.where(points[..., 1] > self.table_y, 0.3, 1.0)
        for thing in self.things:
            span = slice(thing.start, thing.stop)
            offset = (points[span] - thing.path[:, None]) / np.array(thing.half)
            inside = (offset**2).sum(axis=-1) < 1.0
            factor[span] = np.where(inside, factor[span] * 0.2, factor[span])
        for hand, block in ((0, RIGHT_HAND), (1, LEFT_HAND)):
            factor[self.lost[:, hand], block] = 0.0
        return factor


def _colour(rng: np.random.Generator, low: int = 15, high: int = 240) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _passer(
    start: int, stop: int, scale: float, neck: NDArray[np.float64], fps: float, rng: np.random.Generator
) -> Thing:
    """Return somebody's shoulder or camera that crosses in front, out of focus."""
    length = max(6, round(rng.uniform(0.5, 0.9) * fps))
    begin = int(rng.integers(start, max(start + 1, stop - length)))
    ways = np.linspace(-1.5, 1.5, length) * (1 if rng.random() < 0.5 else -1)
    path = neck + scale * np.stack([ways, np.full(length, rng.uniform(0.2, 1.1))], axis=1)
    half = (rng.uniform(0.18, 0.32) * scale, rng.uniform(0.3, 0.55) * scale)
    end = min(stop, begin + length)
    return Thing("passer", begin, end, path[: end - begin], half, _colour(rng, 15, 90))


def _standing(
    num_frames: int, scale: float, neck: NDArray[np.float64], table_y: float, rng: np.random.Generator
) -> Thing:
    """Return a microphone or a bottle on the table for the whole video."""
    x = neck[0] + rng.uniform(-0.55, 0.55) * scale
    if rng.random() < 0.6:
        y, half = neck[1] + rng.uniform(0.5, 0.95) * scale, (0.075 * scale, 0.095 * scale)
        return Thing(
            "microphone", 0, num_frames, np.tile([x, y], (num_frames, 1)), half, _colour(rng, 15, 80)
        )
    half = (0.1 * scale, rng.uniform(0.2, 0.3) * scale)
    path = np.tile([x, table_y + 0.06 * scale - half[1]], (num_frames, 1))
    return Thing("bottle", 0, num_frames, path, half, _colour(rng))


def _mover(plan: CorpusPlan, num_frames: int, scale: float, rng: np.random.Generator) -> Mover:
    """Return a passer-by, a screen or a fan behind the person."""
    kinds: tuple[MoverKind, ...] = ("walker", "walker", "screen", "fan")
    kind = kinds[rng.integers(4)]
    seconds = np.arange(num_frames) / plan.fps
    colours = tuple(_colour(rng) for _ in range(6))
    if kind == "walker":
        size = rng.uniform(0.75, 1.05) * scale
        speed = rng.uniform(0.5, 1.1) * size
        wide = plan.width + 4.0 * size
        # To and fro for ever; it is out of the picture for a while at either end.
        way = (rng.uniform(0, 2 * wide) + speed * seconds) % (2 * wide)
        x = np.where(way < wide, way, 2 * wide - way) - 2.0 * size
        y = np.full(num_frames, rng.uniform(0.3, 0.6) * plan.height)
        return Mover("walker", np.stack([x, y], 1), 2 * np.pi * seconds * speed / size * 0.8, size, colours)
    place = np.array([rng.uniform(0.08, 0.92) * plan.width, rng.uniform(0.08, 0.5) * plan.height])
    size = rng.uniform(0.3, 0.55) * scale
    rate = rng.uniform(0.3, 1.0) if kind == "screen" else rng.uniform(0.6, 1.6)
    phase = 2 * np.pi * rate * seconds
    return Mover(kind, np.tile(place, (num_frames, 1)), phase, size, colours)


def draw_shot(
    plan: CorpusPlan,
    style: Style,
    pose: Pose,
    labels: Sequence[int],
    spans: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> Shot:
    """Draw the surroundings of a video; a hand that goes behind the head is written into ``pose``."""
    num_frames = pose.num_frames
    scale = style.scale * rng.uniform(0.55, 0.85) * min(plan.width / 2.3, plan.height / 2.6)
    neck = np.array(
        [
            rng.uniform(1.05 * scale, plan.width - 1.05 * scale),
            rng.uniform(1.0 * scale, plan.height - 1.55 * scale),
        ]
    )
    angle = style.lean + float(np.clip(rng.normal(0, 0.035), -0.08, 0.08))
    table_y = float(neck[1] + rng.uniform(1.34, 1.42) * scale)
    flicker, pace = rng.uniform(0.0, 0.03), rng.uniform(0.2, 2.0)
    light = 1.0 + flicker * np.sin(2 * np.pi * pace * np.arange(num_frames) / plan.fps)
    things: list[Thing] = []
    lost = np.zeros((num_frames, 2), bool)
    if plan.occlusion and rng.random() < 0.5:
        things.append(_standing(num_frames, scale, neck, table_y, rng))
    for label, (start, stop) in zip(labels, spans):
        if rng.random() >= plan.occlusion:
            continue
        kind = rng.random()
        if label in _BEHIND_HEAD and kind < 0.7:
            span = slice(start, stop)
            pose.hidden[span] = np.maximum(pose.hidden[span], pose.on_head[span])
        elif kind < 0.6:
            things.append(_passer(start, stop, scale, neck, plan.fps, rng))
        else:
            length = max(3, round(rng.uniform(0.25, 0.6) * (stop - start)))
            begin = int(rng.integers(start, max(start + 1, stop - length)))
            lost[begin : begin + length, int(rng.integers(2))] = True
    movers = [_mover(plan, num_frames, scale, rng)] if rng.random() < plan.movers else []
    if movers and rng.random() < 0.4:
        movers.append(_mover(plan, num_frames, scale, rng))
    return Shot(scale, neck, angle, table_y, light, tuple(things), tuple(movers), lost)
