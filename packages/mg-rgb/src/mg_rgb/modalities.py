"""Frame modalities: a clip of a streams store -> (C, T, H, W) for a video model.

``rgb`` (uint8), ``depth`` and ``depth-motion`` (float32, the person alone), ``frame-difference`` (float32).
Only the frames that a sample needs are read and decoded. Must not import torch: loaders of several
processes start faster without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, InputSpec, StoreError, UsageError
from mg_data.store import read_streams
from mg_data.video.codec import decode_frame
from mg_rgb.frames import (
    erase_box,
    frame_numbers,
    jitter_colour,
    shrink,
    warp,
    warp_matrix,
)

# Frames are brought to this multiple of the sample's side before they are warped, so that a large stored crop
# is averaged down once and the warp, which only interpolates, does not alias.
WORKING_RATIO = 4 / 3
# A person stands neither 20 metres nor 20 millimetres from the camera: tells the two units apart.
MILLIMETRES_ABOVE = 20.0


class FrameModality:
    """Reads one stream; subclasses say what a sample is made of. Safe to pickle.

    Args:
        path: streams store. stream: the stream's name.
        frames: T. stride: 0 spreads them over the clip, a positive one takes every stride-th frame of a
            window (:func:`mg_rgb.frames.frame_numbers`).
        size: side of a sample in pixels. zoom: how much closer than the stored crop to look, 1 is all of it.
        clips: samples at different times that ``views`` gives, whose logits are averaged in the test.
        temporal_crop, scale_jitter, aspect_jitter, shift_jitter, rotation_degrees: training augmentation,
            drawn once a clip (:func:`mg_rgb.frames.frame_numbers`, :func:`mg_rgb.frames.warp_matrix`).
        erase: probability of blanking a random box in training.

    Raises:
        UsageError: options out of range, or a stream of the wrong encoding.
        StoreError: the store cannot be read, or holds a frame that cannot be decoded.
    """

    name: ClassVar[str] = ""
    encodings: ClassVar[tuple[str, ...]] = ()
    channels: ClassVar[int] = 1
    dtype: ClassVar[str] = "float32"
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    #: Frames read beyond T: a difference of neighbours needs one more.
    additional_frames: ClassVar[int] = 0
    repeat_border: ClassVar[bool] = False

    def __init__(
        self,
        path: Path,
        *,
        stream: str,
        frames: int,
        stride: int = 0,
        size: int,
        zoom: float = 1.0,
        clips: int = 1,
        temporal_crop: float = 0.85,
        scale_jitter: float = 0.15,
        aspect_jitter: float = 0.05,
        shift_jitter: float = 0.08,
        rotation_degrees: float = 8.0,
        erase: float = 0.0,
    ) -> None:
        for option, value, low in (
            ("frames", frames, 1), ("size", size, 8), ("clips", clips, 1), ("stride", stride, 0)
        ):  # fmt: skip
            if value < low:
                raise UsageError(f"modality {self.name}: {option} is {value}, wanted {low} or more")
        if not 0 < temporal_crop <= 1 or not 0 <= erase <= 1:
            raise UsageError(
                f"modality {self.name}: temporal_crop {temporal_crop} and erase {erase} are parts of 1"
            )
        if zoom <= 0:
            raise UsageError(f"modality {self.name}: zoom is {zoom}, wanted more than 0")
        self._store = read_streams(path, stream)
        if self._store.encoding not in self.encodings:
            raise UsageError(
                f"modality {self.name}: stream '{stream}' of {path} is stored as {self._store.encoding}, "
                f"wanted {' or '.join(self.encodings)}: choose another modality or stream"
            )
        self.path = Path(path)
        self.clip_ids: NDArray[np.str_] = np.asarray(self._store.clip_ids)
        self._row = {str(clip_id): row for row, clip_id in enumerate(self.clip_ids)}
        self.frames, self.stride, self.size, self.clips = frames, stride, size, clips
        self.zoom, self.temporal_crop, self.erase = zoom, temporal_crop, erase
        self._jitter = {
            "scale": scale_jitter,
            "aspect": aspect_jitter,
            "shift": shift_jitter,
            "rotation_degrees": rotation_degrees,
        }
        self.input = InputSpec(
            kind="video",
            shape=(self.channels, frames, size, size),
            dtype=self.dtype,
            extra={"modality": self.name, **{k: list(v) for k, v in self.statistics.items()}},
        )
        # The loader's processes are the parallelism; OpenCV's own threads would only fight them.
        cv2.setNumThreads(0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        cv2.setNumThreads(0)

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return one (C, T, size, size) sample: random with a generator, else the middle one."""
        return self._make(clip_id, rng, 0.5)

    def views(self, clip_id: str) -> list[NDArray[Any]]:
        """Return the test samples, ``clips`` of them evenly spaced in time."""
        return [self._make(clip_id, None, (view + 0.5) / self.clips) for view in range(self.clips)]

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror the width axis; a copy."""
        return np.ascontiguousarray(sample[..., ::-1])

    def _make(self, clip_id: str, rng: np.random.Generator | None, phase: float) -> NDArray[Any]:
        if clip_id not in self._row:
            raise StoreError(self.path, f"holds no clip '{clip_id}'", "crop the clips of this split again")
        row = self._row[clip_id]
        length = int(self._store.num_frames[row])
        if length < 1:
            raise StoreError(self.path, f"clip '{clip_id}' has no frames", "import it again or drop it")
        numbers = frame_numbers(
            length,
            self.frames + self.additional_frames,
            stride=self.stride,
            rng=rng,
            part=self.temporal_crop,
            phase=phase,
        )
        video = self._prepare(self._decode(row, clip_id, numbers), rng)  # (T', H, W[, C])
        side = min(max(video.shape[1:3]), round(self.size * self.zoom * WORKING_RATIO))
        matrix = warp_matrix(side, self.size, rng, zoom=self.zoom, **self._jitter)
        warped = np.stack(
            [
                warp(shrink(frame, side), matrix, self.size, repeat_border=self.repeat_border)
                for frame in video
            ]
        )
        if rng is not None and self.erase and rng.random() < self.erase:
            erase_box(warped, rng)
        return self._finish(warped, rng)

    def _decode(self, row: int, clip_id: str, numbers: NDArray[np.int64]) -> list[NDArray[Any]]:
        # Short clips repeat frames: each is decoded once.
        distinct, places = np.unique(numbers, return_inverse=True)
        decoded = []
        for number, data in zip(distinct, self._store.frame_bytes(row, distinct)):
            try:
                decoded.append(decode_frame(data, self._store.encoding))
            except DataError as error:
                raise StoreError(
                    self.path, f"clip '{clip_id}', frame {number}: {error}", "crop this clip again"
                ) from error
        return [decoded[place] for place in places]

    def _prepare(self, frames: Sequence[NDArray[Any]], rng: np.random.Generator | None) -> NDArray[Any]:
        """Return (T', H, W[, C]) from decoded frames, still at the stored size."""
        raise NotImplementedError

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        """Return (C, T, size, size) from the warped (T', size, size[, C])."""
        raise NotImplementedError


class Rgb(FrameModality):
    """Colour video, (3, T, H, W) uint8. ``colour_jitter``: see :func:`mg_rgb.frames.jitter_colour`."""

    name = "rgb"
    encodings = ("jpeg", "png8")
    channels = 3
    dtype = "uint8"
    repeat_border = True

    def __init__(self, path: Path, *, colour_jitter: float = 0.2, **options: Any) -> None:
        super().__init__(path, **options)
        self.colour_jitter = colour_jitter

    def _prepare(self, frames: Sequence[NDArray[Any]], rng: np.random.Generator | None) -> NDArray[Any]:
        video = np.stack(frames)
        return np.repeat(video[..., None], 3, axis=3) if video.ndim == 3 else video

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        if rng is not None and self.colour_jitter:
            video = jitter_colour(video, self.colour_jitter, rng)
        return np.ascontiguousarray(video.transpose(3, 0, 1, 2))


class FrameDifference(FrameModality):
    """Change of brightness between successive frames, (1, T, H, W) float32 in [-1, 1]: motion at no cost.

    T differences come from T + 1 frames.
    """

    name = "frame-difference"
    encodings = ("jpeg", "png8")
    channels = 1
    statistics: ClassVar[Mapping[str, tuple[float, ...]]] = {"mean": (0.0,), "std": (0.08,)}
    additional_frames = 1
    repeat_border = True

    def _prepare(self, frames: Sequence[NDArray[Any]], rng: np.random.Generator | None) -> NDArray[Any]:
        grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) if f.ndim == 3 else f for f in frames]
        return np.stack(grey).astype(np.float32) / 255

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        return np.ascontiguousarray(np.diff(video, axis=0)[None], dtype=np.float32)


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
        if range_metres <= 0:
            raise UsageError(f"modality {self.name}: range_metres is {range_metres}, wanted more than 0")
        self.range_metres, self.depth_jitter = range_metres, depth_jitter

    def _prepare(self, frames: Sequence[NDArray[Any]], rng: np.random.Generator | None) -> NDArray[Any]:
        stored = np.stack(frames)
        measured = stored > 0
        distance = stored.astype(np.float32) * np.float32(self._store.scale) + np.float32(self._store.offset)
        return nearness(distance, measured, self.range_metres)

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
