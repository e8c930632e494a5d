"""Optical flow, ``flow``: where each pixel went since the frame before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import StoreError
from mg_rgb.frames import Frames
from mg_rgb.modalities.base import FrameModality


class Flow(FrameModality):
    """Displacement x (to the right) and y (down), (2, T, H, W) float32, of ``mg data crop --stream flow``.

    The unit is the sample's side, a frame: 0.01 crosses a hundredth of the sample in one frame of the stored
    crop, at whatever size it is shown. A window that is closer, turned or stretched changes the vectors with
    the picture; the mirror image also changes the sign of x. Beyond the crop nothing moves.
    """

    name = "flow"
    encodings = ("png8",)
    channels = 2
    # Of people who sign before a camera at rest, 30 frames a second.
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.0, 0.0), "std": (0.003, 0.003)}

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror the width axis and the direction of x; a copy."""
        mirrored = super().flip(sample)
        mirrored[0] *= -1
        return mirrored

    def _prepare(self, frames: Iterator[NDArray[Any]]) -> Frames:
        scale, offset = np.float32(self._store.scale), np.float32(self._store.offset)
        for frame in frames:
            if frame.ndim != 3:
                raise StoreError(self.path, "its flow frames have one channel, wanted x, y", "crop it again")
            yield frame[..., :2].astype(np.float32) * scale + offset

    def _rescale(self, video: NDArray[Any], displacement: NDArray[np.float64]) -> NDArray[Any]:
        rescaled: NDArray[Any] = video @ (displacement.T / self.size).astype(np.float32)
        return rescaled

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        return np.ascontiguousarray(video.transpose(3, 0, 1, 2))
