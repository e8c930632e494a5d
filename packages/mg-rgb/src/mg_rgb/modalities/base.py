"""What all frame modalities share: a clip of a streams store -> (C, T, H, W).

Only the frames that a sample needs are read and decoded.
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
from mg_rgb.augment import erase_box
from mg_rgb.frames import frame_numbers, shrink, warp
from mg_rgb.windows import CROPS, Window, crop_windows, jittered_window, resized_window

# Frames are brought to this multiple of the sample's side before they are warped, so that a large stored crop
# is averaged down once and the warp, which only interpolates, does not alias.
WORKING_RATIO = 4 / 3

# (T', H, W[, C]), or as many frames of one shape and type.
Video = Sequence[NDArray[Any]] | NDArray[Any]


class FrameModality:
    """Reads one stream; subclasses say what a sample is made of. Safe to pickle.

    Args:
        path: streams store. stream: the stream's name.
        frames: T. stride: 0 spreads them over the clip, a positive one takes every stride-th frame of a
            window (:func:`mg_rgb.frames.frame_numbers`).
        size: side of a sample in pixels. zoom: how much closer than the stored crop to look, 1 is all of it.
        clips, crops: the test averages the logits of ``clips`` samples at different times, each cut
            ``crops`` times (1, 3 or 5) out of the frame (:func:`mg_rgb.windows.crop_windows`).
        temporal_crop, scale_jitter, aspect_jitter, shift_jitter, rotation_degrees: training augmentation,
            drawn once a clip (:func:`mg_rgb.frames.frame_numbers`, :func:`mg_rgb.windows.jittered_window`).
        crop_area: smallest share of the frame that RandomResizedCrop takes in training, in place of scale,
            aspect and shift; 0 = off. crop_aspect: its largest ratio of sides
            (:func:`mg_rgb.windows.resized_window`).
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
    #: What lies beyond the frame: its border again, or 0.
    repeat_border: bool = False

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
        crops: int = 1,
        temporal_crop: float = 0.85,
        scale_jitter: float = 0.15,
        aspect_jitter: float = 0.05,
        shift_jitter: float = 0.08,
        rotation_degrees: float = 8.0,
        crop_area: float = 0.0,
        crop_aspect: float = 4 / 3,
        erase: float = 0.0,
    ) -> None:
        for option, value, low in (
            ("frames", frames, 1),
            ("size", size, 8),
            ("clips", clips, 1),
            ("stride", stride, 0),
            ("crop_aspect", crop_aspect, 1),
        ):
            if value < low:
                raise UsageError(f"modality {self.name}: {option} is {value}, wanted {low} or more")
        if not 0 < temporal_crop <= 1:
            raise UsageError(
                f"modality {self.name}: temporal_crop is {temporal_crop}, wanted more than 0 and up to 1"
            )
        for option, value in (("crop_area", crop_area), ("erase", erase)):
            if not 0 <= value <= 1:
                raise UsageError(f"modality {self.name}: {option} is {value}, wanted 0 to 1")
        if zoom <= 0:
            raise UsageError(f"modality {self.name}: zoom is {zoom}, wanted more than 0")
        if crops not in CROPS:
            raise UsageError(f"modality {self.name}: crops is {crops}, wanted 1, 3 or 5")
        if crops > 1 and zoom <= 1:
            raise UsageError(
                f"modality {self.name}: with zoom {zoom} all {crops} crops would be the whole frame: "
                "set zoom above 1, such as 1.143 (256 of 224 pixels)"
            )
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
        self.crop_area, self.crop_aspect, self.rotation_degrees = crop_area, crop_aspect, rotation_degrees
        self._jitter = {"scale": scale_jitter, "aspect": aspect_jitter, "shift": shift_jitter}
        self._windows = crop_windows(crops, zoom)
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
        video = self._read(clip_id, rng, 0.5)
        if rng is None:
            return self._cut(video, crop_windows(1, self.zoom)[0], None)
        return self._cut(video, self._draw_window(rng), rng)

    def views(self, clip_id: str) -> list[NDArray[Any]]:
        """Return the test samples: ``clips`` evenly spaced in time, ``crops`` of each."""
        return [
            self._cut(video, window, None)
            for video in (self._read(clip_id, None, (view + 0.5) / self.clips) for view in range(self.clips))
            for window in self._windows
        ]

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror the width axis; a copy."""
        return np.ascontiguousarray(sample[..., ::-1])

    def _draw_window(self, rng: np.random.Generator) -> Window:
        if self.crop_area:
            return resized_window(
                rng, area=self.crop_area, aspect=self.crop_aspect, rotation_degrees=self.rotation_degrees
            )
        return jittered_window(rng, zoom=self.zoom, rotation_degrees=self.rotation_degrees, **self._jitter)

    def _read(self, clip_id: str, rng: np.random.Generator | None, phase: float) -> Video:
        """Return T' prepared frames of a clip, at the stored size."""
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
        return self._prepare(self._decode(row, clip_id, numbers))

    def _cut(self, video: Video, window: Window, rng: np.random.Generator | None) -> NDArray[Any]:
        """Cut a window out of the frames and finish the sample."""
        stored = max(video[0].shape[:2])
        side = min(stored, round(self.size * self.zoom * WORKING_RATIO))
        matrix = window.matrix(side, self.size)
        first = video[0]
        warped = np.empty((len(video), self.size, self.size, *first.shape[2:]), first.dtype)
        for frame, out in zip(video, warped):
            warp(shrink(frame, side), matrix, self.size, repeat_border=self.repeat_border, out=out)
        warped = self._rescale(warped, matrix, side / stored)
        if rng is not None and self.erase and rng.random() < self.erase:
            erase_box(warped, rng)
        return self._finish(warped, rng)

    def _decode(self, row: int, clip_id: str, numbers: NDArray[np.int64]) -> list[NDArray[Any]]:
        # Short clips repeat frames: each is decoded once.
        distinct, places = np.unique(numbers, return_inverse=True)
        decoded: list[NDArray[Any]] = []
        for number, data in zip(distinct, self._store.frame_bytes(row, distinct)):
            try:
                frame = decode_frame(data, self._store.encoding)
            except DataError as error:
                raise StoreError(
                    self.path, f"clip '{clip_id}', frame {number}: {error}", "crop this clip again"
                ) from error
            if decoded and frame.shape != decoded[0].shape:
                raise StoreError(
                    self.path,
                    f"clip '{clip_id}', frame {number} has shape {frame.shape}, those before it "
                    f"{decoded[0].shape}",
                    "crop this clip again",
                )
            decoded.append(frame)
        return [decoded[place] for place in places]

    def _prepare(self, frames: list[NDArray[Any]]) -> Video:
        """Return T' (H, W[, C]) frames of one type from decoded ones, still at the stored size."""
        return frames

    def _rescale(self, video: NDArray[Any], matrix: NDArray[np.float32], shrunk: float) -> NDArray[Any]:
        """Bring values that are lengths in pixels from the stored frame's to the sample's.

        Args:
            video: (T', size, size[, C]). matrix: of the window, pixels of the sample -> of the shrunk frame.
            shrunk: side of the shrunk frame over that of the stored one.
        """
        return video

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        """Return (C, T, size, size) from the warped (T', size, size[, C])."""
        raise NotImplementedError
