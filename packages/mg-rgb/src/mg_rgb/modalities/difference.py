"""Change from frame to frame, ``frame-difference``: motion at no cost, of colour or of depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_rgb.frames import Frames
from mg_rgb.modalities.base import FrameModality
from mg_rgb.modalities.depth import stored_nearness


class FrameDifference(FrameModality):
    """Change between successive frames of a sample, (1, T, H, W) float32 in [-1, 1].

    Of brightness for colour, of nearness for 16-bit depth maps (:func:`mg_rgb.modalities.depth.nearness`,
    with ``range_metres``). T differences come from T + 1 frames.
    """

    name = "frame-difference"
    encodings = ("jpeg", "png8", "png16")
    channels = 1
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.0,), "std": (0.08,)}
    additional_frames = 1

    def __init__(self, path: Path, *, range_metres: float = 0.6, **options: Any) -> None:
        super().__init__(path, **options)
        if range_metres <= 0:
            raise UsageError(f"modality {self.name}: range_metres is {range_metres}, wanted more than 0")
        self.range_metres = range_metres
        self._deep = self._store.encoding == "png16"
        # Beyond a picture's border lies more of the same, beyond a depth map's there is no person.
        self.repeat_border = not self._deep

    def _prepare(self, frames: Iterator[NDArray[Any]]) -> Frames:
        if self._deep:
            return stored_nearness(frames, self._store.scale, self._store.offset, self.range_metres)
        return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame for frame in frames]

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        shown = video if self._deep else video.astype(np.float32) / 255
        return np.ascontiguousarray(np.diff(shown, axis=0)[None], dtype=np.float32)
