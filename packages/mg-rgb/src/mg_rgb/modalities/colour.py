"""Colour video, ``rgb``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_rgb.augment import jitter_colour, rand_augment
from mg_rgb.frames import channels_first
from mg_rgb.modalities.base import FrameModality, Video


class Rgb(FrameModality):
    """Colour video, (3, T, H, W) uint8; other options: :class:`FrameModality`.

    Args:
        colour_jitter: brightness, contrast and saturation change by up to 1 +- this in training. hue_jitter:
            hue by up to this share of the circle (:func:`mg_rgb.augment.jitter_colour`).
        rand_augment: operations of RandAugment in training, 0 = off; it takes the place of the colour jitter.
            rand_magnitude: their strength, 0 to 30 (:func:`mg_rgb.augment.rand_augment`).
    """

    name = "rgb"
    encodings = ("jpeg", "png8")
    channels = 3
    dtype = "uint8"
    repeat_border = True

    def __init__(
        self,
        path: Path,
        *,
        colour_jitter: float = 0.2,
        hue_jitter: float = 0.0,
        rand_augment: int = 0,
        rand_magnitude: int = 9,
        **options: Any,
    ) -> None:
        for option, value, high in (
            ("colour_jitter", colour_jitter, 1),
            ("hue_jitter", hue_jitter, 0.5),
            ("rand_augment", rand_augment, 14),
            ("rand_magnitude", rand_magnitude, 30),
        ):
            if not 0 <= value <= high:
                raise UsageError(f"modality {self.name}: {option} is {value}, wanted 0 to {high}")
        super().__init__(path, **options)
        self.colour_jitter, self.hue_jitter = colour_jitter, hue_jitter
        self.rand_augment, self.rand_magnitude = rand_augment, rand_magnitude

    def _prepare(self, frames: list[NDArray[Any]]) -> Video:
        return [cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) if frame.ndim == 2 else frame for frame in frames]

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        if rng is not None and self.rand_augment:
            video = rand_augment(video, rng, operations=self.rand_augment, magnitude=self.rand_magnitude)
        elif rng is not None and (self.colour_jitter or self.hue_jitter):
            video = jitter_colour(video, rng, strength=self.colour_jitter, hue=self.hue_jitter)
        return channels_first(video)
