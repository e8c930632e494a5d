"""What stays the same for one person, and for one video of that person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
_SKIN = np.array([(241, 205, 180), (224, 180, 150), (198, 146, 112), (150, 103, 74), (104, 70, 50)])


#: Patterns of shirts; see clothes.py.
PATTERNS = ("stripes", "hoops", "checks", "dots", "weave", "plain")
HAIR = ("short", "long", "bald", "cap")
_NUM_CLASSES = 32


@dataclass(frozen=True)
class Wardrobe:
    """What a person wears in front of the press.

    Args:
        pattern: one of :data:`PATTERNS`, in ``second`` on the shirt's colour. period: its size in shoulder
            widths. sleeve: share of the arm that is covered. hair: one of :data:`HAIR`.
        jacket: an open jacket over the shirt, in ``second``.
    """

    pattern: str
    second: Colour
    period: float
    sleeve: float
    hair: str
    cap: Colour
    glasses: bool
    beard: bool
    jacket: bool
    seed: int


@dataclass(frozen=True)
class Manner:
    """A person's own way with every class: (32, 2) shift of targets, (32,) factors of pace and of size."""

    shift: NDArray[np.float64]
    pace: NDArray[np.float64]
    size: NDArray[np.float64]


@dataclass(frozen=True)
class Style:
    """A person: proportions in shoulder widths, habits, colours (RGB), and how well they are tracked.

    Args:
        scale: size in the image, as a share of the largest that fits.
        speed: how fast gestures go, 1 = average. amplitude: how large they are.
        right_handed: probability that a one-handed gesture uses the right hand.
        rest: (2, 2) where the finger tips rest, right hand first.
        bias: (2,) by how much this person misses every target.
        sway: size of idle motion. talk: how much the mouth moves.
        jitter: standard deviation of keypoint noise. dropout: probability that a point is not found.
        upper_arm, forearm: lengths, the second one at most. lean: tilt of the seated body in radians.
    """

    scale: float
    head_width: float
    head_height: float
    hand_length: float
    hip_width: float
    speed: float
    amplitude: float
    right_handed: float
    rest: NDArray[np.float64]
    bias: NDArray[np.float64]
    sway: float
    talk: float
    jitter: float
    dropout: float
    skin: Colour
    shirt: Colour
    sleeve: Colour
    hair: Colour
    tie: bool
    upper_arm: float = 0.7
    forearm: float = 0.68
    lean: float = 0.0
    manner: Manner | None = None
    wardrobe: Wardrobe | None = None


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def draw_style(rng: np.random.Generator) -> Style:
    """Draw a person."""
    shirt = rng.uniform(25, 230, 3)
    bare_arms = rng.random() < 0.3
    skin = _SKIN[rng.integers(len(_SKIN))] + rng.normal(0, 6, 3)
    rest_width, rest_height = rng.uniform(0.05, 0.3), rng.uniform(1.0, 1.25)
    return Style(
        scale=rng.uniform(0.72, 1.0),
        head_width=rng.uniform(0.19, 0.23),
        head_height=rng.uniform(0.27, 0.32),
        hand_length=rng.uniform(0.38, 0.45),
        hip_width=rng.uniform(0.26, 0.36),
        speed=rng.uniform(0.8, 1.25),
        amplitude=rng.uniform(0.75, 1.25),
        right_handed=rng.uniform(0.6, 0.95) if rng.random() < 0.85 else rng.uniform(0.05, 0.4),
        rest=np.array([[-rest_width, rest_height], [rest_width, rest_height + rng.normal(0, 0.03)]]),
        bias=rng.normal(0, 0.03, 2),
        sway=rng.uniform(0.006, 0.02),
        talk=rng.uniform(0.0, 0.8),
        jitter=rng.uniform(0.004, 0.012),
        dropout=rng.uniform(0.003, 0.02),
        skin=_colour(skin),
        shirt=_colour(shirt),
        sleeve=_colour(skin if bare_arms else shirt * 0.88),
        hair=_colour(np.array([60, 45, 35]) * rng.uniform(0.3, 2.6)),
        tie=bool(rng.random() < 0.4),
    )


def dress(style: Style, rng: np.random.Generator) -> Style:
    """Return the person with clothes, a build, a preferred hand and manners of their own (scene ``press``).

    A gesture of one hand is nearly always done with the preferred hand: the mirror image of a right-handed
    person is a left-handed one, so that a horizontal flip makes a person who could be in the corpus.
    """
    shirt = np.array(style.shirt, np.float64)
    second = np.where(shirt.mean() > 128, shirt * 0.35, 255 - (255 - shirt) * 0.4) + rng.normal(0, 15, 3)
    wardrobe = Wardrobe(
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        second=_colour(second),
        period=rng.uniform(0.1, 0.24),
        sleeve=(0.0, 0.4, 0.95, 0.95)[rng.integers(4)],
        hair=HAIR[rng.choice(4, p=(0.45, 0.3, 0.1, 0.15))],
        cap=_colour(rng.uniform(20, 235, 3)),
        glasses=bool(rng.random() < 0.3),
        beard=bool(rng.random() < 0.3),
        jacket=bool(rng.random() < 0.3),
        seed=int(rng.integers(1 << 31)),
    )
    manner = Manner(
        shift=rng.normal(0, 0.02, (_NUM_CLASSES, 2)),
        pace=np.exp(rng.normal(0, 0.12, _NUM_CLASSES)),
        size=np.exp(rng.normal(0, 0.12, _NUM_CLASSES)),
    )
    return replace(
        style,
        right_handed=0.97 if rng.random() < 0.85 else 0.03,
        upper_arm=rng.uniform(0.64, 0.76),
        forearm=rng.uniform(0.62, 0.72),
        lean=float(np.clip(rng.normal(0, 0.03), -0.06, 0.06)),
        manner=manner,
        wardrobe=wardrobe,
    )
