"""Optical flow of a clip's crops: how far each pixel moved since the frame before (DIS, OpenCV).

A stored flow frame is an 8-bit image of three channels: x, y, and a third that is always 0, because image
formats know no two. Displacement in pixels of the crop = ``SCALE`` * stored + ``OFFSET``, so rest is exactly
0. Displacements are clipped to [-16, 15.875] pixels a frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ENCODING = "png8"
CHANNELS = 2
# An eighth of a pixel is about what the method resolves, and 16 pixels of 224 in a frame, the crop's width in
# half a second, is faster than hands move.
SCALE = 0.125
_ZERO = 128
OFFSET = -SCALE * _ZERO


def _method() -> Any:
    import cv2

    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def dense_flow(
    before: NDArray[np.uint8], after: NDArray[np.uint8], method: Any = None
) -> NDArray[np.float32]:
    """Return the displacement of every pixel of ``before``: (H, W, 2) pixels, x to the right, y down.

    Args:
        before, after: (H, W) grey, at least 16 x 16 pixels.
        method: reused between calls, if given.
    """
    if np.array_equal(before, after):
        return np.zeros((*before.shape, 2), np.float32)
    return np.asarray((method or _method()).calc(before, after, None), np.float32)


def quantise_flow(flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn (H, W, 2) pixels into the stored image, (H, W, 3); ``decode_physical`` undoes it to 1/16 pixel.

    >>> quantise_flow(np.array([[[0.0, 1.0], [-20.0, 20.0]]], np.float32)).tolist()
    [[[128, 136, 0], [0, 255, 0]]]
    """
    image = np.zeros((*flow.shape[:2], 3), np.uint8)
    image[..., :2] = np.clip(np.rint(flow / SCALE) + _ZERO, 0, 255)
    return image


class FlowStream:
    """Flow of grey frames that come one at a time: as many frames out as in, the first one at rest.

    Frame n holds the displacement from frame n - 1 to n, at the places of frame n - 1.
    """

    encoding, channels, scale, offset = ENCODING, CHANNELS, SCALE, OFFSET

    def __init__(self) -> None:
        self._method = _method()
        self._before: NDArray[np.uint8] | None = None

    def push(self, grey: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Take the next (H, W) frame; return the images that are complete, here always one."""
        before = grey if self._before is None else self._before
        self._before = grey
        return [quantise_flow(dense_flow(before, grey, self._method))]

    def finish(self) -> list[NDArray[np.uint8]]:
        """Return the images that were still waiting for frames."""
        return []
