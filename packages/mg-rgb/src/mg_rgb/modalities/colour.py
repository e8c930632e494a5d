"""Video of three channels of whole numbers: ``rgb``, and what other streams of that form share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_rgb.augment import colour_jitter_matrix, erase_box, rand_augment
from mg_rgb.frames import Cutter, Frames, split_channels
from mg_rgb.modalities.base import FrameModality
from mg_rgb.windows import Window


class ThreeChannels(FrameModality):
    """(3, T, H, W) uint8. Frames are decoded, cut, changed and parted one by one, while in the cache."""

    encodings = ("jpeg", "png8")
    channels = 3
    dtype = "uint8"

    def _prepare(self, frames: Iterator[NDArray[Any]]) -> Frames:
        return (cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) if frame.ndim == 2 else frame for frame in frames)

    def _colours(self, frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32] | None:
        """Draw a (3, 4) change of colours for a clip with this first frame, or None."""
        return None

    def _cut(self, video: Frames, window: Window, rng: np.random.Generator | None) -> NDArray[Any]:
        planes = np.empty(self.input.shape, np.uint8)
        shown = np.empty((self.size, self.size, 3), np.uint8)
        changed = np.empty_like(shown)
        for number, frame in enumerate(video):
            if number == 0:
                colours = None if rng is None else self._colours(frame, rng)
                cutter = Cutter(frame, window, self.size, repeat_border=self.repeat_border)
            cutter(frame, shown)
            if colours is not None:
                cv2.transform(shown, colours, dst=changed)
            split_channels(shown if colours is None else changed, planes[:, number])
        if rng is not None and self.erase and rng.random() < self.erase:
            erase_box(planes.transpose(1, 2, 3, 0), rng)
        return planes


class Rgb(ThreeChannels):
    """Colour video, (3, T, H, W) uint8; other options: :class:`FrameModality`.

    Args:
        colour_jitter: brightness, contrast and saturation change by up to 1 +- this in training. hue_jitter:
            hue by up to this share of the circle (:func:`mg_rgb.augment.colour_jitter_matrix`).
        rand_augment: operations of RandAugment in training, 0 = off; it takes the place of the colour jitter.
            rand_magnitude: their strength, 0 to 30 (:func:`mg_rgb.augment.rand_augment`).
    """

    name = "rgb"
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

    def _colours(self, frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32] | None:
        if self.rand_augment or not (self.colour_jitter or self.hue_jitter):
            return None
        return colour_jitter_matrix(frame, rng, strength=self.colour_jitter, hue=self.hue_jitter)

    def _cut(self, video: Frames, window: Window, rng: np.random.Generator | None) -> NDArray[Any]:
        sample = super()._cut(video, window, rng)
        if rng is None or not self.rand_augment:
            return sample
        return rand_augment(sample, rng, operations=self.rand_augment, magnitude=self.rand_magnitude)
