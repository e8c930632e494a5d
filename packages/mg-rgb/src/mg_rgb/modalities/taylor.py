"""Taylor frames, ``taylor``: displacement, velocity and acceleration of brightness as three colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mg_rgb.frames import channels_first
from mg_rgb.modalities.base import FrameModality


class Taylor(FrameModality):
    """Taylor frames of ``mg data crop --stream taylor``, (3, T, H, W) uint8 (:mod:`mg_data.video.taylor`).

    Their channels are no colours, so no colour is changed in training; they are sizes without a sign, so a
    mirror image is just that. Beyond the crop nothing moves.
    """

    name = "taylor"
    encodings = ("jpeg", "png8")
    channels = 3
    dtype = "uint8"
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.02,) * 3, "std": (0.06,) * 3}

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        return channels_first(video)
