"""One video of ``mg data crop``: decoded once, all its clips cut out. Runs in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, DatasetSpec, Dropped, FrameSource, UsageError
from mg_data.plugins import resolve
from mg_data.video.codec import encode_frame
from mg_data.video.crop import crop_frame, full_frame_box, shaped_boxes, square_box
from mg_data.video.decode import VideoTooShortError, decode_pictures
from mg_data.video.flow import FlowStream
from mg_data.video.picture import Picture
from mg_data.video.taylor import TaylorStream

#: Streams that are computed from the crops of a colour stream.
DERIVED: Mapping[str, type[FlowStream] | type[TaylorStream]] = {"flow": FlowStream, "taylor": TaylorStream}

# Metres per stored unit of 16-bit maps, which hold millimetres.
_MILLIMETRE = 0.001

_SPARE_BYTES = 16 << 20


@dataclass(frozen=True)
class CropOptions:
    """What every clip of a run has in common.

    Args:
        stream: name of the stream that is written. base: the stream of the data set it is made of.
        size: (width, height) of the crops in pixels.
        margin: each side of a box moves out by this share of the box.
        padding: what lies beyond the frame (:mod:`mg_data.video.resample`). quality: of JPEG.
    """

    stream: str
    base: str
    size: tuple[int, int]
    margin: float
    padding: str
    quality: int


@dataclass(frozen=True)
class ClipJob:
    """One clip of a video.

    Args:
        start, stop: its frames, half-open. kept: (n,) which of them are stored, counted from ``start``.
        extent: x0, y0, x1, y1 in keypoint pixels, (4,) for the clip or (stop - start, 4) for each frame;
            None keeps whole frames.
    """

    clip_id: str
    start: int
    stop: int
    kept: NDArray[np.int64]
    extent: NDArray[np.float64] | None


@dataclass(frozen=True)
class VideoJob:
    """One video with all its clips; everything a worker process needs.

    Args:
        opener: the data set's ``frames`` factory.
        image_size: what keypoints are in pixels of; (0, 0) if unknown, then of the frames.
        keep_going: report clips that cannot be cropped instead of raising.
        key: fingerprint by which a resumed run finds the result.
    """

    video_id: str
    clips: tuple[ClipJob, ...]
    opener: str
    root: Path
    image_size: tuple[int, int]
    options: CropOptions
    keep_going: bool = False
    key: str = ""


@dataclass(frozen=True)
class Form:
    """How a stream's frames are stored."""

    encoding: str
    channels: int
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class CroppedClip:
    """The result for one clip: encoded frames, and their (n, 4) boxes in pixels of the source."""

    clip_id: str
    frames: list[bytes]
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class CroppedVideo:
    """The result for one video; ``form`` is None if not one clip of it could be cropped."""

    clips: list[CroppedClip]
    form: Form | None
    dropped: list[Dropped] = field(default_factory=list)


def base_stream(spec: DatasetSpec, stream: str) -> str:
    """Return the stream of the data set that ``stream`` is made of, usually itself.

    Raises:
        UsageError: the data set neither has it nor has colour to derive it from.
    """
    if stream in spec.streams:
        return stream
    have = ", ".join(spec.streams) or "none"
    if stream not in DERIVED:
        raise UsageError(
            f"data set '{spec.name}' has no stream '{stream}' (it has: {have}; derived from colour: "
            f"{', '.join(DERIVED)})"
        )
    colour = [name for name in spec.streams if name != "depth"]
    if not colour:
        raise UsageError(
            f"data set '{spec.name}' has no colour stream to derive '{stream}' from (it has: {have})"
        )
    return "rgb" if "rgb" in colour else colour[0]


@lru_cache(maxsize=4)
def open_source(opener: str, root: Path, stream: str) -> FrameSource:
    """Open the frames of a tree, once for each process: that may list the whole tree."""
    source: FrameSource = resolve(opener)(root, stream)
    return source


def _frames(source: FrameSource, video_id: str, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame or Picture) for ascending numbers.

    A source that tells the ``video_path`` of a video spares converting whole frames to RGB; one with
    ``select`` skips what lies between the wanted frames.
    """
    path_of = getattr(source, "video_path", None)
    select = getattr(source, "select", None)
    if path_of is not None:
        yield from zip(numbers.tolist(), decode_pictures(path_of(video_id), numbers), strict=True)
    elif select is not None:
        yield from zip(numbers.tolist(), select(video_id, numbers), strict=True)
    else:
        first, stop = int(numbers[0]), int(numbers[-1]) + 1
        wanted = set(numbers.tolist())
        for number, frame in enumerate(source.frames(video_id, first, stop), start=first):
            if number in wanted:
                yield number, frame


def clip_boxes(job: VideoJob, clip: ClipJob, width: int, height: int) -> NDArray[np.float32]:
    """Return the boxes to cut from frames of that size: (1, 4), or (stop - start, 4) if it has one a frame.

    Raises:
        DataError: the frames have another shape than the pictures in which the keypoints were found.
    """
    crop_width, crop_height = job.options.size
    aspect = crop_width / crop_height
    if clip.extent is None:
        return full_frame_box(width, height, aspect)[None]
    known_width, known_height = job.image_size if min(job.image_size) > 0 else (width, height)
    scale_x, scale_y = width / known_width, height / known_height
    if abs(scale_x / scale_y - 1.0) > 0.01:
        raise DataError(
            f"video '{job.video_id}': its frames are {width}x{height}, but the keypoints are in pixels of "
            f"{known_width}x{known_height} (import it again, or keep whole frames with --full-frame)"
        )
    extent = clip.extent * np.array([scale_x, scale_y, scale_x, scale_y])
    if extent.ndim == 1 and aspect == 1.0:
        return square_box(extent, job.options.margin)[None]
    return np.atleast_2d(shaped_boxes(extent, job.options.margin, aspect))


class _Cutter:
    """Cuts the frames of one clip as they come."""

    def __init__(self, job: VideoJob, clip: ClipJob) -> None:
        self._job, self.clip = job, clip
        derived = DERIVED.get(job.options.stream) if job.options.stream != job.options.base else None
        self._derived = derived() if derived else None
        self._kept = set(clip.kept.tolist())
        self.numbers = clip.start + (np.arange(clip.stop - clip.start) if derived else clip.kept)
        self._boxes: NDArray[np.float32] | None = None
        self._frames: list[bytes] = []
        self._made = 0
        self._next = 0
        self.form: Form | None = None

    @property
    def done(self) -> bool:
        """Whether every frame has come."""
        return self._next == len(self.numbers)

    def take(self, number: int, frame: Any) -> None:
        """Cut the next frame of the clip."""
        options = self._job.options
        is_picture = isinstance(frame, Picture)
        width, height = (frame.width, frame.height) if is_picture else (frame.shape[1], frame.shape[0])
        if frame.dtype not in (np.uint8, np.uint16):
            raise DataError(f"frames are {frame.dtype}, wanted uint8 or uint16")
        if self._boxes is None:
            self._boxes = clip_boxes(self._job, self.clip, width, height)
        box = self._boxes[number - self.clip.start if len(self._boxes) > 1 else 0]
        if is_picture:
            cut = frame.crop(box, options.size, options.padding)
        else:
            cut = crop_frame(frame, box, options.size, options.padding)
        self._next += 1
        if self._derived is None:
            deep = cut.dtype == np.uint16
            channels = cut.shape[2] if cut.ndim == 3 else 1
            self.form = Form("png16" if deep else "jpeg", channels, _MILLIMETRE if deep else 1.0)
            self._frames.append(encode_frame(cut, self.form.encoding, quality=options.quality))
            return
        self._derive(cut)

    def _derive(self, cut: NDArray[Any]) -> None:
        import cv2

        assert self._derived is not None
        if cut.dtype != np.uint8:
            raise UsageError(
                f"data crop: stream '{self._job.options.base}' holds 16-bit maps, and "
                f"'{self._job.options.stream}' is derived from colour"
            )
        grey = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY) if cut.ndim == 3 else cut
        self._encode(self._derived.push(np.asarray(grey, np.uint8)))
        if self.done:
            self._encode(self._derived.finish())

    def _encode(self, images: list[NDArray[np.uint8]]) -> None:
        made = self._derived
        assert made is not None
        self.form = Form(made.encoding, made.channels, made.scale, made.offset)
        for image in images:
            if self._made in self._kept:
                self._frames.append(encode_frame(image, made.encoding, quality=self._job.options.quality))
            self._made += 1

    def result(self) -> CroppedClip:
        """Return the finished clip."""
        assert self._boxes is not None
        boxes = self._boxes[self.clip.kept] if len(self._boxes) > 1 else self._boxes
        return CroppedClip(
            self.clip.clip_id, self._frames, np.broadcast_to(boxes, (len(self._frames), 4)).copy()
        )


def _reason(job: VideoJob, clip: ClipJob, error: DataError) -> str:
    """Return why a clip could not be cropped, with the frames that it wants."""
    wanted = f"clip '{clip.clip_id}': frames {clip.start}..{clip.stop - 1} of video '{job.video_id}'"
    if isinstance(error, VideoTooShortError) and error.count:
        return f"{wanted} are wanted, but it ends sooner: {error}"
    return f"{wanted} cannot be cropped: {error}"


def _without_boxes(clip: ClipJob) -> str:
    """Return why a clip's frames have no box each, or "": a store of another program may lack keypoints."""
    if clip.extent is None or clip.extent.ndim == 1 or len(clip.extent) == clip.stop - clip.start:
        return ""
    found, wanted = len(clip.extent), clip.stop - clip.start
    return f"has keypoints of {found} frames and a span of {wanted}: no box for each frame (use --box clip)"


def crop_video(job: VideoJob) -> CroppedVideo:
    """Decode one video forward and cut, resize and encode the frames of all its clips.

    Raises:
        DataError: a clip that cannot be cropped, by name; with ``keep_going`` it is reported instead.
        UsageError: a derived stream is asked of maps that are not colour.
    """
    import cv2

    # One thread: frames are small, and the parallelism is over videos.
    cv2.setNumThreads(1)
    # The C library hands memory back to the system, and takes it anew page by page, for every frame, until
    # it has once seen a block freed that is larger than what a frame needs. This one is never touched.
    np.empty(_SPARE_BYTES, np.uint8)
    bare = {clip.clip_id: why for clip in job.clips if (why := _without_boxes(clip))}
    dropped = [Dropped(what=clip_id, why=f"clip '{clip_id}' {why}") for clip_id, why in bare.items()]
    if bare and not job.keep_going:
        raise DataError(dropped[0].why)
    cutters = [_Cutter(job, clip) for clip in job.clips if clip.clip_id not in bare]
    if not cutters:
        return CroppedVideo([], None, dropped)
    users: dict[int, list[_Cutter]] = {}
    for cutter in cutters:
        for number in cutter.numbers.tolist():
            users.setdefault(number, []).append(cutter)
    try:
        source = open_source(job.opener, job.root, job.options.base)
        for number, frame in _frames(source, job.video_id, np.array(sorted(users), np.int64)):
            for cutter in users[number]:
                cutter.take(number, frame)
    except DataError as error:
        unfinished = [cutter.clip for cutter in cutters if not cutter.done]
        if not job.keep_going:
            raise DataError(_reason(job, unfinished[0], error)) from error
        dropped += [Dropped(what=clip.clip_id, why=_reason(job, clip, error)) for clip in unfinished]
    finished = [cutter for cutter in cutters if cutter.done]
    return CroppedVideo(
        [cutter.result() for cutter in finished], finished[0].form if finished else None, dropped
    )
