"""Gestures as curves: each class moves hands, head, mouth, shoulders or torso in a way of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mg_data.datasets.synthetic.style import Style

Pair = tuple[float, float]


@dataclass(frozen=True)
class Gesture:
    """What a class does at full strength.

    Args:
        hands: ``none``, ``one`` (the person's habit decides which) or ``both``.
        target: where the finger tips go, for the hand on the image's right side (mirrored for the other).
        anchor: ``head`` (moves with it) or ``torso``.
        swing: amplitude of the oscillation about the target in x and y. cycles: its cycles a second.
        circle: x and y are a quarter period apart. opposed: both hands swing against each other.
        curl: fingers from 0 (straight) to 1 (fist).
        elbow: by how much the elbows move out of their usual place.
        other: where the idle hand goes, or None.
        head, torso: shift (x, y). shoulders: lift. mouth: opening; bite: lips drawn in.
        sway: torso oscillation in x. shake: shoulders oscillate by turns.
        wander: size of a random hand path. hidden: the hands are behind the body at full strength.
    """

    hands: str = "none"
    target: Pair = (0.0, 0.0)
    anchor: str = "torso"
    swing: Pair = (0.0, 0.0)
    cycles: float = 2.0
    circle: bool = False
    opposed: bool = False
    curl: float = 0.25
    elbow: Pair = (0.0, 0.0)
    other: Pair | None = None
    head: Pair = (0.0, 0.0)
    torso: Pair = (0.0, 0.0)
    shoulders: float = 0.0
    mouth: float = 0.0
    bite: float = 0.0
    sway: float = 0.0
    shake: float = 0.0
    wander: float = 0.0
    hidden: bool = False


def _head(x: float, y: float, **others: object) -> Gesture:
    return Gesture(hands="one", anchor="head", target=(x, y), **others)  # type: ignore[arg-type]


#: The 32 classes of iMiGUE in their order.
GESTURES: tuple[Gesture, ...] = (
    Gesture(head=(0.0, 0.13), shoulders=0.07),  # turtle neck
    Gesture(shoulders=0.06, shake=0.0, torso=(0.0, -0.03), mouth=0.5, cycles=0.6),  # deep breath
    _head(0.06, -0.36, swing=(0.03, 0.0), curl=0.1),  # touch hat
    _head(0.15, 0.08),  # touch face
    _head(0.06, -0.2, swing=(0.05, 0.0), cycles=1.2),  # touch forehead
    Gesture(hands="both", anchor="head", target=(0.07, -0.08), curl=0.0, head=(0.0, 0.06)),  # cover face
    _head(0.09, -0.05, swing=(0.045, 0.01), cycles=3.0, curl=0.6),  # rub eyes
    _head(0.02, 0.06, swing=(0.0, 0.02), cycles=2.0, curl=0.5),  # touch other face part
    _head(0.23, 0.0, swing=(0.01, 0.05), cycles=2.0),  # touch ears
    _head(0.02, 0.17, swing=(0.01, 0.02), cycles=4.0, curl=0.8, mouth=0.35),  # bite nails
    _head(0.03, 0.29, swing=(0.05, 0.0), cycles=1.2, curl=0.5),  # touch chin
    Gesture(hands="one", target=(0.13, -0.08), swing=(0.02, 0.06), cycles=1.6),  # touch neck
    _head(0.21, -0.24, swing=(0.06, 0.06), cycles=1.6, circle=True, curl=0.4),  # play hair
    Gesture(hands="both", target=(0.02, 0.18), swing=(0.01, 0.06), cycles=1.5, curl=0.6),  # adjust tie
    Gesture(hands="one", target=(-0.12, 0.42), curl=0.0),  # touch chest
    Gesture(
        hands="one", target=(0.5, -0.08), swing=(0.03, 0.06), cycles=3.2, elbow=(0.15, -0.3)
    ),  # scratch back
    Gesture(hands="both", target=(-0.38, 0.72), elbow=(0.08, 0.0), curl=0.1),  # fold arm
    Gesture(
        hands="one", target=(-0.3, 0.88), other=(-0.02, 0.75), swing=(0.07, 0.06), cycles=1.6
    ),  # tidy sleeve
    Gesture(hands="both", target=(0.42, 1.12), elbow=(0.16, 0.0), hidden=True),  # put arm back
    Gesture(sway=0.13, cycles=0.8),  # move torso
    Gesture(torso=(0.0, -0.13), head=(0.0, -0.02)),  # sit straight
    Gesture(hands="one", target=(-0.52, 0.4), swing=(0.02, 0.08), cycles=3.5, curl=0.5),  # scratch arm
    Gesture(hands="both", target=(0.03, 1.0), swing=(0.03, 0.08), cycles=2.2, opposed=True),  # rub hand
    Gesture(hands="both", target=(-0.04, 0.98), curl=0.6),  # cross finger
    Gesture(hands="both", target=(0.02, 0.68), curl=0.0, elbow=(0.1, 0.05)),  # minaret hand
    Gesture(
        hands="one", target=(0.12, 0.95), swing=(0.08, 0.05), cycles=2.6, circle=True, curl=0.8
    ),  # play things
    Gesture(hands="both", target=(0.45, 1.02), curl=0.3, elbow=(0.05, -0.04)),  # withdraw arms
    Gesture(head=(0.0, -0.12)),  # head up
    Gesture(bite=1.0, head=(0.0, 0.01)),  # bit lip
    Gesture(hands="both", target=(0.34, 1.12), elbow=(0.34, -0.06), curl=0.4),  # arm akimbo
    Gesture(shake=0.07, cycles=2.6),  # shake shoulder
    Gesture(hands="both", target=(0.36, 0.72), curl=0.15, wander=0.22, cycles=1.2, mouth=0.3),  # illustrative
)


@dataclass
class Pose:
    """The state of one person over F frames; all arrays are float64.

    tips, elbow_shift: (F, 2 hands, 2). curl, hidden: (F, 2). head, torso: (F, 2). shoulders: (F, 2) lift.
    mouth, bite, roll: (F,). Hand 0 is the person's right (the image's left).
    """

    tips: NDArray[np.float64]
    on_head: NDArray[np.float64]
    elbow_shift: NDArray[np.float64]
    curl: NDArray[np.float64]
    hidden: NDArray[np.float64]
    head: NDArray[np.float64]
    torso: NDArray[np.float64]
    shoulders: NDArray[np.float64]
    mouth: NDArray[np.float64]
    bite: NDArray[np.float64]
    roll: NDArray[np.float64]
    num_frames: int = field(default=0)


def smooth_noise(
    rng: np.random.Generator, num_frames: int, fps: float, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return (F, *shape) slow noise of standard deviation about 1: three sines of 0.1 to 1.2 Hz."""
    time = np.arange(num_frames).reshape(-1, *([1] * len(shape))) / fps
    total: NDArray[np.float64] = np.zeros((num_frames, *shape))
    for low, high in ((0.1, 0.3), (0.3, 0.7), (0.7, 1.2)):
        frequency, phase = rng.uniform(low, high, shape), rng.uniform(0, 2 * np.pi, shape)
        total += np.sin(2 * np.pi * frequency * time + phase)
    return total * float(np.sqrt(2.0 / 3.0))


def idle(rng: np.random.Generator, style: Style, num_frames: int, fps: float) -> Pose:
    """Return a person at rest who sways, nods and talks."""
    sway = style.sway
    talking = np.clip(smooth_noise(rng, num_frames, fps, ()) * 0.8, 0, 1)
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * np.cumsum(rng.uniform(2.5, 5.0, num_frames)) / fps)
    return Pose(
        tips=style.rest + sway * 0.8 * smooth_noise(rng, num_frames, fps, (2, 2)),
        on_head=np.zeros((num_frames, 2)),
        elbow_shift=sway * 0.5 * smooth_noise(rng, num_frames, fps, (2, 2)),
        curl=np.clip(0.45 + 0.08 * smooth_noise(rng, num_frames, fps, (2,)), 0, 1),
        hidden=np.zeros((num_frames, 2)),
        head=sway * np.array([1.5, 0.8]) * smooth_noise(rng, num_frames, fps, (2,)),
        torso=sway * np.array([1.0, 0.3]) * smooth_noise(rng, num_frames, fps, (2,)),
        shoulders=sway * 0.4 * smooth_noise(rng, num_frames, fps, (2,)),
        mouth=style.talk * talking * syllables,
        bite=np.zeros(num_frames),
        roll=sway * 3.0 * smooth_noise(rng, num_frames, fps, ()),
        num_frames=num_frames,
    )


def _envelope(rng: np.random.Generator, num_frames: int) -> NDArray[np.float64]:
    """Return (F,) strength: from 0 up to 1, a hold, and down again."""
    rise, fall = rng.uniform(0.18, 0.32), rng.uniform(0.15, 0.3)
    u = (np.arange(num_frames) + 0.5) / num_frames
    ramp = np.minimum(np.clip(u / rise, 0, 1), np.clip((1 - u) / fall, 0, 1))
    return ramp * ramp * (3.0 - 2.0 * ramp)


def add_gesture(
    pose: Pose, label: int, start: int, stop: int, rng: np.random.Generator, style: Style, fps: float
) -> None:
    """Blend one gesture of class ``label`` into frames start..stop-1 of ``pose``."""
    gesture = GESTURES[label]
    span = slice(start, stop)
    num_frames = stop - start
    strength = _envelope(rng, num_frames)
    strength_pair = strength[:, None]
    amplitude = style.amplitude * rng.uniform(0.85, 1.15)
    rate = gesture.cycles * style.speed * rng.uniform(0.85, 1.15)
    shift = np.zeros(2)
    if style.manner is not None:
        amplitude *= style.manner.size[label]
        rate *= style.manner.pace[label]
        shift = style.manner.shift[label]
    phase = 2 * np.pi * (rate * np.arange(num_frames) / fps + rng.random())
    wave = np.stack([np.sin(phase), np.cos(phase) if gesture.circle else np.sin(phase)], axis=1)
    if gesture.hands != "none":
        _move_hands(pose, gesture, span, strength, wave * amplitude, shift, rng, style, fps)
    # Breathing and shaking are the oscillation itself; other lifts and shifts are held.
    breath = 0.5 - 0.5 * np.cos(phase) if label == 1 else np.ones(num_frames)
    pose.head[span] += strength_pair * np.array(gesture.head) * amplitude
    pose.torso[span] += (strength * breath)[:, None] * np.array(gesture.torso) * amplitude
    pose.torso[span, 0] += strength * gesture.sway * amplitude * np.sin(phase)
    pose.shoulders[span] += (strength * breath)[:, None] * gesture.shoulders * amplitude
    pose.shoulders[span] += (
        strength_pair * gesture.shake * amplitude * np.stack([np.sin(phase), -np.sin(phase)], 1)
    )
    pose.mouth[span] = np.clip(
        pose.mouth[span] * (1 - strength * gesture.bite) + strength * gesture.mouth, 0, 1
    )
    pose.bite[span] = np.maximum(pose.bite[span], strength * gesture.bite)


def _move_hands(
    pose: Pose,
    gesture: Gesture,
    span: slice,
    strength: NDArray[np.float64],
    wave: NDArray[np.float64],
    shift: NDArray[np.float64],
    rng: np.random.Generator,
    style: Style,
    fps: float,
) -> None:
    chosen = 0 if rng.random() < style.right_handed else 1
    hands = (0, 1) if gesture.hands == "both" else (chosen,)
    miss = style.bias + rng.normal(0, 0.025, 2)
    for hand in (0, 1):
        side = -1.0 if hand == 0 else 1.0
        mirror = np.array([side, 1.0])
        if hand in hands:
            target = (np.array(gesture.target) + shift) * mirror + miss
            swing = np.array(gesture.swing) * mirror * wave
            if gesture.opposed and hand == 0:
                swing = -swing
            path = target + swing
            if gesture.wander:
                path = path + gesture.wander * 0.7 * smooth_noise(rng, len(strength), 0.7 * fps, (2,))
            on_head = gesture.anchor == "head"
        elif gesture.other is not None:
            path, on_head = np.array(gesture.other) * mirror + miss + np.zeros((len(strength), 2)), False
        else:
            continue
        blend = strength[:, None]
        pose.tips[span, hand] = (1 - blend) * pose.tips[span, hand] + blend * path
        pose.on_head[span, hand] = np.maximum(pose.on_head[span, hand], strength * on_head)
        pose.elbow_shift[span, hand] += blend * np.array(gesture.elbow) * mirror
        pose.curl[span, hand] += strength * (gesture.curl - pose.curl[span, hand])
        pose.hidden[span, hand] = np.maximum(pose.hidden[span, hand], strength * gesture.hidden)
