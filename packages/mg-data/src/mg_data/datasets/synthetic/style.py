"""What stays the same for one person, and for one video of that person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]
_SKIN = np.array([(241, 205, 180), (224, 180, 150), (198, 146, 112), (150, 103, 74), (104, 70, 50)])


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
    """

    scale: float
    head_width: float
    head_height: float
    hand_length: float
    hip_width: float
    speed: float
    amplitude: float
    right_handed: float
    rest: np.ndarray
    bias: np.ndarray
    sway: float
    talk: float
    jitter: float
    dropout: float
    skin: Colour
    shirt: Colour
    sleeve: Colour
    hair: Colour
    tie: bool


def _colour(values: np.ndarray) -> Colour:
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
