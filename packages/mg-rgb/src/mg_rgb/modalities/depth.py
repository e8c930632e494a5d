"""Depth maps as nearness of the person, ``depth`` and ``depth-motion``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_rgb.frames import Frames
from mg_rgb.modalities.base import FrameModality

# A person stands neither 20 metres nor 20 millimetres from the camera: tells the two units apart.
MILLIMETRES_ABOVE = 20.0


class Depth(FrameModality):
    """Nearness of the person, (1, T, H, W) float32 in [0, 1]; 0 is background or no measurement.

    The person's distance is the median of what is measured in the middle of the crop; a point at this
    distance becomes 0.5, one ``range_metres`` nearer 1 (paper: the crop already follows the person). Points
    farther than 1.5 times the range from the person are background. Stored values times the store's scale may
    be metres or millimetres.

    Args:
        depth_jitter: in training, nearness is scaled and moved by up to this much.
    """

    name = "depth"
    encodings = ("png16", "png8")
    channels = 1
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.1,), "std": (0.22,)}

    def __init__(
        self, path: Path, *, range_metres: float = 0.6, depth_jitter: float = 0.05, **options: Any
    ) -> None:
        super().__init__(path, **options)
        if self._store.channels != 1:
            raise UsageError(
                f"modality {self.name}: stream '{self._store.stream}' of {path} has {self._store.channels} "
                "channels, wanted 1: choose another modality or stream"
            )
        if range_metres <= 0:
            raise UsageError(f"modality {self.name}: range_metres is {range_metres}, wanted more than 0")
        if not depth_jitter >= 0:
            raise UsageError(f"modality {self.name}: depth_jitter is {depth_jitter}, wanted 0 or more")
        self.range_metres, self.depth_jitter = range_metres, depth_jitter

    def _prepare(self, frames: Iterator[NDArray[Any]]) -> Frames:
        return stored_nearness(frames, self._store.scale, self._store.offset, self.range_metres)

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        return np.ascontiguousarray(self._jittered(video, rng)[None], dtype=np.float32)

    def _jittered(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        if rng is None or not self.depth_jitter:
            return video
        factor, move = rng.uniform(-self.depth_jitter, self.depth_jitter, 2)
        return np.where(video > 0, np.clip(video * (1 + factor) + move, 0.02, 1), 0)


class DepthMotion(Depth):
    """Nearness and its change from frame to frame, (2, T, H, W) float32; the first change is 0."""

    name = "depth-motion"
    channels = 2
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.1, 0.0), "std": (0.22, 0.075)}

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        near = self._jittered(video, rng)
        change = np.diff(near, axis=0, prepend=near[:1])
        return np.stack([near, change]).astype(np.float32)


def stored_nearness(
    frames: Iterable[NDArray[Any]], scale: float, offset: float, range_metres: float
) -> NDArray[np.float32]:
    """Return :func:`nearness` (T, H, W) of stored maps; a distance is scale * value + offset, 0 is none."""
    stored = np.stack(list(frames))
    distance = stored.astype(np.float32) * np.float32(scale) + np.float32(offset)
    return nearness(distance, stored > 0, range_metres)


def nearness(
    distance: NDArray[np.float32], measured: NDArray[np.bool_], range_metres: float
) -> NDArray[np.float32]:
    """Map distances to nearness relative to the person (see :class:`Depth`).

    Args:
        distance: (T, H, W) in metres or millimetres. measured: (T, H, W), where there is a value.

    Returns:
        (T, H, W) in [0, 1]; all 0 if nothing was measured.
    """
    height, width = distance.shape[1:]
    middle = np.s_[:, height // 4 : height - height // 4, width * 3 // 8 : width - width * 3 // 8]
    candidates = distance[middle][measured[middle]]
    if candidates.size == 0:
        candidates = distance[measured]
    if candidates.size == 0:
        return np.zeros_like(distance)
    person = np.median(candidates)
    reach = range_metres * (1000.0 if person > MILLIMETRES_ABOVE else 1.0)
    near = np.clip(0.5 + (person - distance) / (2 * reach), 0.05, 1)
    return np.where(measured & (np.abs(distance - person) <= 1.5 * reach), near, 0).astype(np.float32)
