"""Optical flow, ``flow``: where each pixel went since the frame before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import StoreError
from mg_rgb.frames import channels_first
from mg_rgb.modalities.base import FrameModality, Video


class Flow(FrameModality):
    """Displacement x (to the right) and y (down), (2, T, H, W) float32, of ``mg data crop --stream flow``.

    The unit is the sample's side, a frame: 0.01 crosses a hundredth of the sample in one frame of the stored
    crop, at whatever size it is shown. A window that is closer, turned or stretched changes the vectors with
    the picture; the mirror image also changes the sign of x. Beyond the crop nothing moves.
    """

    name = "flow"
    encodings = ("png8",)
    channels = 2
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.0, 0.0), "std": (0.005, 0.005)}

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror the width axis and the direction of x; a copy."""
        mirrored = super().flip(sample)
        mirrored[0] *= -1
        return mirrored

    def _prepare(self, frames: list[NDArray[Any]]) -> Video:
        if frames[0].ndim != 3:
            raise StoreError(self.path, "its flow frames have one channel, wanted x and y", "crop it again")
        scale, offset = np.float32(self._store.scale), np.float32(self._store.offset)
        return [frame[..., :2].astype(np.float32) * scale + offset for frame in frames]

    def _rescale(self, video: NDArray[Any], matrix: NDArray[np.float32], shrunk: float) -> NDArray[Any]:
        # The matrix takes places of the sample to places of the frame; a displacement goes the other way.
        back = np.linalg.inv(matrix[:, :2].astype(np.float64)) * (shrunk / self.size)
        rescaled: NDArray[Any] = video @ back.T.astype(np.float32)
        return rescaled

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        return channels_first(video)
