"""How the scene ``press`` looks: patterned clothes that move with the body, a table, boards, motion."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.render import Painter, _dim, _fixed, background
from mg_data.datasets.synthetic.shot import Mover, Shot, Thing
from mg_data.datasets.synthetic.style import Colour, Style, Wardrobe

# The shirt's picture: pixels a shoulder width, and its extent about the neck in shoulder widths.
_GRAIN = 96
_LEFT, _TOP, _RIGHT, _BOTTOM = -0.9, -0.3, 0.9, 2.6
# Where shoulders and hips are in that picture; an affine map takes them to where they are in the image.
_ANCHORS = np.array([[-0.5, 0.04], [0.5, 0.04], [0.0, 1.32]])


def shirt_picture(style: Style, wardrobe: Wardrobe) -> NDArray[np.uint8]:
    """Return the front of the shirt, (H, W, 3) RGB: pattern, folds, shade towards the sides."""
    x = np.linspace(_LEFT, _RIGHT, round((_RIGHT - _LEFT) * _GRAIN))[None, :]
    y = np.linspace(_TOP, _BOTTOM, round((_BOTTOM - _TOP) * _GRAIN))[:, None]
    u, v = (x - _LEFT) / wardrobe.period, (y - _TOP) / wardrobe.period
    rng = np.random.default_rng(wardrobe.seed)
    size = (y.shape[0], x.shape[1])
    if wardrobe.pattern == "stripes":
        mask = np.broadcast_to(u % 1 < 0.5, size)
    elif wardrobe.pattern == "hoops":
        mask = np.broadcast_to(v % 1 < 0.5, size)
    elif wardrobe.pattern == "checks":
        mask = (u % 1 < 0.5) ^ (v % 1 < 0.5)
    elif wardrobe.pattern == "dots":
        mask = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.08
    elif wardrobe.pattern == "weave":
        cells = rng.random((int(v.max()) * 2 + 2, int(u.max()) * 2 + 2)) < 0.4
        mask = cells[(2 * v).astype(int), (2 * u).astype(int)]
    else:
        mask = np.zeros(size, bool)
    picture = np.where(mask[..., None], wardrobe.second, style.shirt).astype(np.float64)
    if wardrobe.jacket:
        opening = np.clip(0.26 - 0.12 * y, 0.05, 0.26)
        picture[np.broadcast_to(np.abs(x) > opening, size)] = wardrobe.second
        picture[np.broadcast_to(np.abs(np.abs(x) - opening) < 0.025, size)] = _dim(wardrobe.second, 5)
    folds = np.asarray(cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), 0.07 * _GRAIN), np.float64)
    shade = (1.0 - 0.35 * (x / 0.6) ** 2).clip(0.55, 1.0) * (1.0 + 0.8 * folds)
    return np.asarray(np.clip(picture * shade[..., None], 0, 255), np.uint8)


class PressPainter(Painter):
    """Draws one video of the scene ``press``."""

    def __init__(self, style: Style, shot: Shot, height: int, width: int, rng: np.random.Generator) -> None:
        assert style.wardrobe is not None
        self._wardrobe = wardrobe = style.wardrobe
        wall = background(rng, height, width)
        if rng.random() < 0.6:
            _boards(wall, rng)
        super().__init__(wall, style, shot.scale)
        self._shot = shot
        self._shirt = shirt_picture(style, wardrobe)
        self._table = _table(rng, height, width, round(shot.table_y))

    def paint_frame(
        self, frame: int, points: NDArray[np.floating], hidden: NDArray[np.floating]
    ) -> NDArray[np.uint8]:
        """Return frame number ``frame`` of the video, (H, W, 3) RGB; arguments as of :meth:`paint`."""
        image = self._wall.copy()
        for mover in self._shot.movers:
            _DRAW[mover.kind](image, mover, frame)
        self._figure(image, points, hidden)
        edge = max(0, round(self._shot.table_y))
        image[edge:] = self._table[edge:]
        for thing in self._shot.things:
            if thing.start <= frame < thing.stop:
                self._thing(image, thing, frame)
        return np.asarray(cv2.convertScaleAbs(image, alpha=float(self._shot.light[frame])), np.uint8)

    def _torso(self, image: NDArray[np.uint8], body: NDArray[np.floating]) -> None:
        style, scale = self._style, self._scale
        neck, right, left, hips = body[1], body[2], body[5], body[8]
        if self._wardrobe.hair == "long":
            centre = 0.5 * (body[17] + body[18])
            half = np.array([style.head_width * 1.25 * scale, 0.0])
            down, up = np.array([0.0, 0.5 * scale]), np.array([0.0, -0.12 * scale])
            outline = [centre - half + up, centre + half + up, centre + half * 1.15 + down]
            self._polygon(image, np.array([*outline, centre - half * 1.15 + down]), _dim(style.hair, 8))
        down, armpit = np.array([0.0, 1.1 * scale]), np.array([0.0, 0.24 * scale])
        waist, slope = np.array([0.43 * scale, 0.0]), np.array([0.0, -0.1 * scale])
        out = np.array([0.05 * scale, 0.0])
        outline = [neck + slope, right + slope * 0.5, right - out, right + armpit, hips - waist]
        outline += [hips - waist + down, hips + waist + down, hips + waist, left + armpit, left + out]
        polygon = np.array([*outline, left + slope * 0.5])
        x0, y0 = np.maximum(np.floor(polygon.min(axis=0)).astype(int) - 1, 0)
        x1, y1 = np.ceil(polygon.max(axis=0)).astype(int) + 2
        window = image[y0:y1, x0:x1]
        if not window.size:
            return
        offset = np.array([x0, y0])
        source = ((_ANCHORS - [_LEFT, _TOP]) * _GRAIN).astype(np.float32)
        goal = (np.array([right, left, hips]) - offset).astype(np.float32)
        size = (window.shape[1], window.shape[0])
        shirt = cv2.warpAffine(
            self._shirt, cv2.getAffineTransform(source, goal), size, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros(window.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_fixed(polygon - offset)], 255, cv2.LINE_8, 4)
        cv2.copyTo(shirt, mask, window)
        throat, across = neck + np.array([0.0, 0.22 * scale]), np.array([0.12 * scale, 0])
        self._line(image, np.array([neck - across, throat, neck + across]), _dim(style.shirt, 5), 0.04)
        if style.tie:
            tie = (255 - style.shirt[0], 120, 255 - style.shirt[2])
            self._line(image, np.array([throat, 0.3 * neck + 0.7 * hips]), tie, 0.09)

    def _arm(
        self, image: NDArray[np.uint8], body: NDArray[np.floating], hand: NDArray[np.floating], joint: int
    ) -> None:
        style, wardrobe = self._style, self._wardrobe
        arm = body[joint : joint + 3]
        self._line(image, arm, _dim(style.skin, 5), 0.19)
        self._line(image, arm, style.skin, 0.16)
        self._hand(image, hand)
        colour = wardrobe.second if wardrobe.jacket else style.shirt
        sleeve = 0.95 if wardrobe.jacket else wardrobe.sleeve
        lengths = np.linalg.norm(np.diff(arm, axis=0), axis=1)
        covered = sleeve * lengths.sum()
        if covered <= 0 or not lengths.all():
            return
        end = _along(arm, lengths, covered)
        path = np.array([arm[0], end] if covered <= lengths[0] else [arm[0], arm[1], end])
        self._line(image, path, _dim(colour, 5), 0.23)
        self._line(image, path, colour, 0.2)
        if wardrobe.jacket or wardrobe.pattern == "plain":
            return
        # The pattern goes along the arm: rings across it, or spots.
        period = wardrobe.period * self._scale
        for place in np.arange(0.5 * period, covered, period):
            centre = _along(arm, lengths, place)
            bone = arm[1] - arm[0] if place <= lengths[0] else arm[2] - arm[1]
            across = np.array([-bone[1], bone[0]]) / np.linalg.norm(bone) * 0.085 * self._scale
            if wardrobe.pattern in ("dots", "weave"):
                across = across * 0.3
            line = np.array([centre - across, centre + across])
            self._line(image, line, wardrobe.second, 0.45 * wardrobe.period)

    def _head(self, image: NDArray[np.uint8], body: NDArray[np.floating], face: NDArray[np.floating]) -> None:
        style, wardrobe, scale = self._style, self._wardrobe, self._scale
        if wardrobe.hair == "bald":
            self._style = replace(style, hair=_dim(style.skin, 9))
        super()._head(image, body, face)
        self._style = style
        if wardrobe.beard:
            jaw = np.concatenate([face[2:15], [0.5 * (face[33] + face[51]) + [0.0, 0.01 * scale]]])
            self._polygon(image, jaw, _dim(style.hair, 9))
            self._polygon(image, face[48:60], (178, 72, 78))
            self._polygon(image, face[60:68], (70, 22, 26))
        if wardrobe.glasses:
            for pupil in (face[68], face[69]):
                radius = round(0.075 * scale * 16)
                line = max(1, round(0.018 * scale))
                cv2.circle(image, tuple(_fixed(pupil).tolist()), radius, (25, 25, 30), line, cv2.LINE_AA, 4)
            bridge = np.array([[0.7, 0.3], [0.3, 0.7]]) @ face[68:70]
            self._line(image, bridge, (25, 25, 30), 0.018)
        if wardrobe.hair == "cap":
            centre = 0.5 * (body[17] + body[18]) - [0.0, 0.16 * scale]
            axes = _fixed(np.array([style.head_width * 1.1, 0.2]) * scale)
            where = tuple(_fixed(centre).tolist())
            cv2.ellipse(image, where, tuple(axes.tolist()), 0, 180, 360, wardrobe.cap, -1, cv2.LINE_AA, 4)
            brim = np.array([style.head_width * 1.25 * scale, 0.0])
            self._line(image, np.array([centre - brim, centre + brim]), _dim(wardrobe.cap, 6), 0.05)

    def _thing(self, image: NDArray[np.uint8], thing: Thing, frame: int) -> None:
        x, y = thing.path[frame - thing.start]
        where = tuple(_fixed(np.array([x, y])).tolist())
        axes = tuple(_fixed(np.array(thing.half)).tolist())
        if thing.kind == "microphone":
            foot = np.array([x, self._shot.table_y + 0.1 * self._scale])
            self._line(image, np.array([[x, y], foot]), (30, 30, 32), 0.035)
        if thing.kind == "bottle":
            corner, other = (_fixed(thing.path[frame] + np.array(thing.half) * sign) for sign in (-1, 1))
            cv2.rectangle(image, corner.tolist(), other.tolist(), thing.colour, -1, cv2.LINE_AA, 4)
            return
        cv2.ellipse(image, where, axes, 0, 0, 360, thing.colour, -1, cv2.LINE_AA, 4)


def _along(arm: NDArray[np.floating], lengths: NDArray[np.floating], distance: float) -> NDArray[np.floating]:
    """Return the point at a distance from the shoulder along the arm."""
    if distance <= lengths[0]:
        return np.asarray(arm[0] + (arm[1] - arm[0]) * distance / lengths[0])
    return np.asarray(arm[1] + (arm[2] - arm[1]) * (distance - lengths[0]) / lengths[1])


def _random_colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _boards(wall: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Draw the sponsors' board over a part of the wall: a grid of signs."""
    height, width = wall.shape[:2]
    ground, left, right = _random_colour(rng, 20, 230), rng.uniform(0, 0.3), rng.uniform(0.7, 1.0)
    top, bottom = rng.uniform(0, 0.25), rng.uniform(0.6, 1.0)
    corner = (round(left * width), round(top * height))
    cv2.rectangle(wall, corner, (round(right * width), round(bottom * height)), ground, -1)
    step = rng.uniform(0.13, 0.22) * min(height, width)
    signs = [(_random_colour(rng, 0, 255), "".join(rng.choice(list("ACEHKLMNORSTVX"), 4))) for _ in range(3)]
    for row, y in enumerate(np.arange(corner[1] + step * 0.6, bottom * height, step)):
        for column, x in enumerate(np.arange(corner[0] + step * 0.2, right * width - step * 0.6, step * 1.3)):
            colour, word = signs[(row + column) % 3]
            thick = max(1, round(step / 30))
            cv2.putText(wall, word, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, step / 90, colour, thick)


def _table(rng: np.random.Generator, height: int, width: int, edge: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) of which the rows below ``edge`` are the table's cloth."""
    colour = np.array(_random_colour(rng, 25, 200), np.float64)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), 3.0) * 60
    image = np.clip(colour + grain[..., None], 0, 255).astype(np.uint8)
    rim = max(2, round(0.012 * height))
    image[max(0, edge) : max(0, edge + rim)] = np.clip(colour * 1.3, 0, 255).astype(np.uint8)
    return image


def _walker(image: NDArray[np.uint8], mover: Mover, frame: int) -> None:
    """Draw a passer-by: head, striped coat, swinging arms and legs."""
    x, y = mover.position[frame]
    size, swing = mover.size, float(np.sin(mover.phase[frame]))
    if not -2 * size < x < image.shape[1] + 2 * size:
        return
    coat, stripe, trousers, skin, hair, _ = mover.colours
    wide = max(1, round(0.2 * size))

    def line(points: list[tuple[float, float]], colour: Colour, thick: int) -> None:
        path = np.array([[x + a * size, y + b * size] for a, b in points])
        cv2.polylines(image, [_fixed(path)], False, colour, thick, cv2.LINE_AA, 4)

    for sign in (-1.0, 1.0):
        line([(0.0, 1.1), (0.35 * swing * sign, 1.7), (0.5 * swing * sign, 2.4)], trousers, wide)
    line([(0.0, 0.0), (-0.3 * swing, 0.55), (-0.45 * swing, 1.0)], _dim(coat, 7), wide)
    line([(0.0, 0.05), (0.0, 1.1)], coat, max(1, round(0.6 * size)))
    for part in (0.15, 0.45, 0.75, 1.05):
        line([(-0.28, part), (0.28, part)], stripe, max(1, round(0.08 * size)))
    line([(0.0, 0.0), (0.3 * swing, 0.55), (0.45 * swing, 1.0)], _dim(stripe, 8), wide)
    centre = (round(x), round(y - 0.5 * size))
    cv2.ellipse(image, centre, (round(0.22 * size), round(0.28 * size)), 0, 0, 360, skin, -1, cv2.LINE_AA)
    cv2.ellipse(image, centre, (round(0.23 * size), round(0.29 * size)), 0, 180, 360, hair, -1, cv2.LINE_AA)


def _screen(image: NDArray[np.uint8], mover: Mover, frame: int) -> None:
    """Draw a screen on which bars run."""
    x, y = mover.position[frame]
    left, right = round(x - mover.size), round(x + mover.size)
    top, bottom = round(y - 0.6 * mover.size), round(y + 0.6 * mover.size)
    shift = float(mover.phase[frame]) / (2 * np.pi)
    bars = len(mover.colours)
    for column in range(max(0, left), min(right, image.shape[1])):
        place = ((column - left) / max(1, right - left) * bars + shift * bars) % bars
        image[max(0, top) : max(0, bottom), column] = mover.colours[int(place)]
    cv2.rectangle(image, (left, top), (right, bottom), (20, 20, 20), max(1, round(0.06 * mover.size)))


def _fan(image: NDArray[np.uint8], mover: Mover, frame: int) -> None:
    """Draw three turning blades."""
    centre = mover.position[frame]
    for blade in range(3):
        angle = float(mover.phase[frame]) + blade * 2 * np.pi / 3
        reach = np.array([np.cos(angle), np.sin(angle)]) * mover.size
        side = np.array([-reach[1], reach[0]]) * 0.25
        corners = np.array([centre, centre + reach * 0.8 + side, centre + reach, centre + reach * 0.8 - side])
        cv2.fillPoly(image, [_fixed(corners)], mover.colours[blade], cv2.LINE_AA, 4)


_DRAW = {"walker": _walker, "screen": _screen, "fan": _fan}
