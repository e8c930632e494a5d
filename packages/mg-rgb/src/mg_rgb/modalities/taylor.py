"""Taylor frames, ``taylor``: displacement, velocity and acceleration of brightness as three colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mg_rgb.modalities.colour import ThreeChannels


class Taylor(ThreeChannels):
    """Taylor frames of ``mg data crop --stream taylor``, (3, T, H, W) uint8 (:mod:`mg_data.video.taylor`).

    Their channels are no colours, so no colour is changed in training; they are sizes without a sign, so a
    mirror image is just that. Beyond the crop nothing moves.
    """

    name = "taylor"
    # Of people who sign before a camera at rest, 30 frames a second.
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "mean": (0.009, 0.01, 0.016),
        "std": (0.029, 0.032, 0.045),
    }
