"""What all frame modalities share: a clip of a streams store -> (C, T, H, W).

Only the frames that a sample needs are read and decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, InputSpec, StoreError, UsageError
from mg_data.store import open_streams
from mg_data.video.codec import decode_frame
from mg_rgb.augment import erase_box
from mg_rgb.frames import Cutter, Frames, frame_numbers, mirrored, settle_process
from mg_rgb.windows import CROPS, Window, crop_windows, jittered_window, resized_window


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
            ("scale_jitter", scale_jitter, 0),
            ("aspect_jitter", aspect_jitter, 0),
            ("shift_jitter", shift_jitter, 0),
            ("rotation_degrees", rotation_degrees, 0),
        ):
            if not value >= low:
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
        self._store = open_streams(path, stream)
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
        settle_process()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        settle_process()

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return one (C, T, size, size) sample: random with a generator, else the middle one."""
        video = self._read(clip_id, rng, 0.5)
        if rng is None:
            return self._cut(video, crop_windows(1, self.zoom)[0], None)
        return self._cut(video, self._draw_window(rng), rng)

    def views(self, clip_id: str) -> list[NDArray[Any]]:
        """Return the test samples: ``clips`` evenly spaced in time, ``crops`` of each."""
        found = []
        for view in range(self.clips):
            video = self._read(clip_id, None, (view + 0.5) / self.clips)
            if len(self._windows) > 1:
                video = list(video)
            found += [self._cut(video, window, None) for window in self._windows]
        return found

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Mirror the width axis; a copy."""
        return mirrored(sample)

    def _draw_window(self, rng: np.random.Generator) -> Window:
        if self.crop_area:
            return resized_window(
                rng, area=self.crop_area, aspect=self.crop_aspect, rotation_degrees=self.rotation_degrees
            )
        return jittered_window(rng, zoom=self.zoom, rotation_degrees=self.rotation_degrees, **self._jitter)

    def _read(self, clip_id: str, rng: np.random.Generator | None, phase: float) -> Frames:
        """Return T' prepared frames of a clip, at the stored size; they may be decoded as they are taken."""
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

    def _cut(self, video: Frames, window: Window, rng: np.random.Generator | None) -> NDArray[Any]:
        """Cut a window out of the frames and finish the sample."""
        frames = video if isinstance(video, np.ndarray) else list(video)
        first = frames[0]
        cutter = Cutter(first, window, self.size, repeat_border=self.repeat_border)
        shown = np.empty((len(frames), self.size, self.size, *first.shape[2:]), first.dtype)
        for frame, out in zip(frames, shown):
            cutter(frame, out)
        shown = self._rescale(shown, cutter.displacement)
        if rng is not None and self.erase and rng.random() < self.erase:
            erase_box(shown, rng)
        return self._finish(shown, rng)

    def _decode(self, row: int, clip_id: str, numbers: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Yield the frames of ascending numbers, decoding one when it is its turn."""
        # Short clips repeat frames: each is decoded once.
        distinct, repeats = np.unique(numbers, return_counts=True)
        shape: tuple[int, ...] | None = None
        for number, times, data in zip(distinct, repeats, self._store.frame_bytes(row, distinct)):
            try:
                frame = decode_frame(data, self._store.encoding)
            except DataError as error:
                raise StoreError(
                    self.path, f"clip '{clip_id}', frame {number}: {error}", "crop this clip again"
                ) from error
            if shape is not None and frame.shape != shape:
                raise StoreError(
                    self.path,
                    f"clip '{clip_id}', frame {number} has shape {frame.shape}, those before it {shape}",
                    "crop this clip again",
                )
            shape = frame.shape
            yield from (frame for _ in range(times))

    def _prepare(self, frames: Iterator[NDArray[Any]]) -> Frames:
        """Return T' (H, W[, C]) frames of one type from decoded ones, still at the stored size."""
        return frames

    def _rescale(self, video: NDArray[Any], displacement: NDArray[np.float64]) -> NDArray[Any]:
        """Bring values that are displacements from pixels of the stored frame to the sample's.

        Args:
            video: (T', size, size[, C]). displacement: (2, 2), see :class:`mg_rgb.frames.Cutter`.
        """
        return video

    def _finish(self, video: NDArray[Any], rng: np.random.Generator | None) -> NDArray[Any]:
        """Return (C, T, size, size) from the warped (T', size, size[, C])."""
        raise NotImplementedError
