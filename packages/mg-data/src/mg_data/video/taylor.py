"""Taylor frames (Wang, Yuan, Gedeon, Zheng: Taylor Videos for Action Recognition, 2024).

A block of W = 6 frames F_0 .. F_5 (grey, 0..1) is expanded about its first one with K = 3 terms. With the
forward differences D^0 = F_0 and D^n = the n-th difference at F_0, channel c = 0, 1, 2 (displacement,
velocity, acceleration) is::

    T_c = sum over k = 0 .. K-1 of  D^(k+1+c) * sum over t = 0 .. W-1 of (F_t - F_0)^k / k!

The image is |T|, scaled so that the largest value of the frame, over all channels, becomes 255.
"""

from __future__ import annotations

from collections import deque
from math import factorial

import numpy as np
from numpy.typing import NDArray

ENCODING = "jpeg"
CHANNELS = 3
TERMS = 3
# The highest difference, of the last term of acceleration, needs that many frames.
WINDOW = TERMS + 3


def taylor_terms(block: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (H, W, 3): displacement, velocity and acceleration of a block, signed and not scaled.

    Args:
        block: (6, H, W) grey in 0..1.
    """
    if len(block) != WINDOW:
        raise ValueError(f"a block has {len(block)} frames, wanted {WINDOW}")
    frames = np.asarray(block, np.float32)
    differences = [frames]
    for _ in range(WINDOW - 1):
        differences.append(np.diff(differences[-1], axis=0))
    change = frames - frames[0]
    result = np.zeros((*frames.shape[1:], 3), np.float32)
    power = np.ones_like(frames)
    for term in range(TERMS):
        weight = power.sum(axis=0) / factorial(term)
        for channel in range(3):
            result[..., channel] += differences[term + 1 + channel][0] * weight
        power *= change
    return result


def taylor_frame(block: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the (H, W, 3) image of a block of (6, H, W) grey frames in 0..1; all 0 if nothing moves."""
    size = np.abs(taylor_terms(block))
    largest = float(size.max(initial=0.0))
    # Below what one level of the input can make, only rounding is left.
    if largest < 1e-6:
        return np.zeros(size.shape, np.uint8)
    return np.rint(size * (255.0 / largest)).astype(np.uint8)


class TaylorStream:
    """Taylor frames of grey frames that come one at a time: as many out as in.

    Frame n is that of the block that begins there; the last five frames of a clip all show its last block,
    and a clip shorter than a block is continued by its last frame.
    """

    encoding, channels, scale, offset = ENCODING, CHANNELS, 1.0, 0.0

    def __init__(self) -> None:
        self._block: deque[NDArray[np.float32]] = deque(maxlen=WINDOW)
        self._taken = 0
        self._last: NDArray[np.uint8] | None = None

    def push(self, grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Take the next (H, W) frame; return the images that are complete."""
        self._block.append(grey.astype(np.float32) / np.float32(255.0))
        self._taken += 1
        if len(self._block) < WINDOW:
            return []
        self._last = taylor_frame(np.stack(self._block))
        return [self._last]

    def finish(self) -> list[NDArray[np.uint8]]:
        """Return the images that were still waiting for frames."""
        if self._taken == 0:
            return []
        if self._last is None:
            missing = [self._block[-1]] * (WINDOW - len(self._block))
            self._last = taylor_frame(np.stack([*self._block, *missing]))
            return [self._last] * self._taken
        return [self._last] * (WINDOW - 1)
