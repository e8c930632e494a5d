"""Decoding with PyAV: frame n is the n-th frame in order of presentation.

Seeking by frame number is wrong on videos of variable frame rate. Frames are found by counting from the
start, or, where many would be decoded in vain, by their presentation times (:mod:`mg_data.video.index`): seek
to the key frame before the wanted time, decode forward, and take the frame whose time stamp is the wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError
from mg_data.video.index import FrameIndex, frame_index
from mg_data.video.picture import Picture
from mg_data.video.source import Source, open_video

# Skipping so many frames is worth reading the packets' time stamps and seeking.
_WORTH_SEEKING = 48


class VideoTooShortError(DataError):
    """A video has fewer frames than asked for; ``count`` is how many there are."""

    def __init__(self, message: str, count: int = 0) -> None:
        super().__init__(message)
        self.count = count


class _IndexError(Exception):
    """Frames do not come as the index says: it must not be used."""


@contextmanager
def _open(path: Path, threads: int = 1) -> Iterator[tuple[Any, Source]]:
    with open_video(path) as (container, source):
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise DataError(f"{path}: holds no video stream of a kind that can be decoded")
        container.streams.video[0].codec_context.thread_count = threads
        yield container, source


def _forward(path: Path, wanted: NDArray[np.int64], threads: int) -> Iterator[Picture]:
    """Yield the wanted frames by counting from the start."""
    import av

    position = count = 0
    damage = ""
    with _open(path, threads) as (container, source):
        try:
            for frame in container.decode(container.streams.video[0]):
                source.check()
                if count == wanted[position]:
                    yield Picture(frame)
                    position += 1
                    if position == len(wanted):
                        return
                count += 1
        except av.error.FFmpegError as error:
            if count == 0:
                raise
            damage = f" before it is damaged ({error.strerror})"
    raise VideoTooShortError(
        f"{path}: has {count} frames{damage}, wanted frame {int(wanted[position])} (counted from 0)", count
    )


def _run(container: Any, index: FrameIndex, key: int) -> Iterator[tuple[int, Any]]:
    """Seek to key frame number ``key`` and yield (number, frame) from there on, in order."""
    stream = container.streams.video[0]
    container.seek(int(index.times[key]), stream=stream, backward=True)
    begun = False
    expected = -1
    for packet in container.demux(stream):
        if not begun and packet.size:
            landed = index.number_of(packet.pts)
            if not packet.is_keyframe or not 0 <= landed <= key:
                raise _IndexError
            begun, expected = True, landed
        for frame in packet.decode():
            number = index.number_of(frame.pts)
            if 0 <= number < expected:
                continue  # shown before the key frame that it follows in the file
            if number != expected:
                raise _IndexError
            yield number, frame
            expected += 1


def _by_time(
    path: Path, index: FrameIndex, wanted: NDArray[np.int64], threads: int, done: list[int]
) -> Iterator[Picture]:
    """Yield the wanted frames by their time stamps; ``done`` counts them, for whoever has to go on.

    Raises:
        _IndexError: what is decoded is not what the index says.
        StoreError: the disk failed.
    """
    position = 0
    try:
        with _open(path, threads) as (container, source):
            while position < len(wanted):
                for number, frame in _run(container, index, index.key_before(int(wanted[position]))):
                    source.check()
                    if number > wanted[position]:
                        raise _IndexError
                    if number == wanted[position]:
                        position += 1
                        done[0] = position
                        yield Picture(frame)
                        if position == len(wanted):
                            return
                        following = int(wanted[position])
                        if following - number > _WORTH_SEEKING and index.key_before(following) > number:
                            break
                else:
                    raise _IndexError
    except DataError as error:  # the forward pass tells what is wrong
        raise _IndexError from error


def decode_pictures(path: Path, frame_numbers: ArrayLike, *, threads: int = 1) -> Iterator[Picture]:
    """Yield the frames of the given numbers, not yet converted to RGB.

    Decodes forward; where at least ``_WORTH_SEEKING`` frames lie before the next wanted one it seeks by
    presentation time, if the file's time stamps allow that.

    Args:
        path: any video that FFmpeg reads.
        frame_numbers: strictly ascending, 0-based, in order of presentation.
        threads: decoder threads; 0 lets FFmpeg choose.

    Raises:
        DataError: unreadable, fewer frames than asked for, or the picture's size changes in the middle.
        StoreError: the disk failed.
    """
    wanted = np.asarray(frame_numbers, dtype=np.int64)
    if len(wanted) == 0:
        return
    if wanted[0] < 0 or np.any(np.diff(wanted) <= 0):
        raise ValueError("frame numbers must be ascending and not negative")
    size: tuple[int, int] | None = None
    for number, picture in zip(wanted.tolist(), _choose(Path(path), wanted, threads), strict=False):
        if size is not None and size != (picture.width, picture.height):
            raise DataError(
                f"{path}: frame {number} is {picture.width}x{picture.height}, the ones before "
                f"{size[0]}x{size[1]} (split the video where its size changes)"
            )
        size = picture.width, picture.height
        yield picture


def _choose(path: Path, wanted: NDArray[np.int64], threads: int) -> Iterator[Picture]:
    done = [0]
    if max(int(wanted[0]), int(np.diff(wanted).max(initial=0))) > _WORTH_SEEKING:
        index = frame_index(path)
        # Beyond the end the forward pass counts how many frames there really are.
        if index is not None and wanted[-1] < len(index.times):
            try:
                yield from _by_time(path, index, wanted, threads, done)
                return
            except _IndexError:
                pass
    yield from _forward(path, wanted[done[0] :], threads)


def decode_frames(path: Path, frame_numbers: ArrayLike, *, threads: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of the given numbers as (H, W, 3) uint8 RGB; see :func:`decode_pictures`."""
    for picture in decode_pictures(path, frame_numbers, threads=threads):
        yield picture.rgb()


def video_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels of the first frame as it is shown.

    Raises:
        DataError: unreadable, or without a frame.
    """
    for picture in _frames(Path(path)):
        return picture.width, picture.height
    raise DataError(f"{path}: holds no frame")


def first_video_size(paths: Iterable[Path]) -> tuple[int, int] | None:
    """Return (width, height) of the first video that can be read, None if there is no video.

    Raises:
        DataError: not one can be read; what is wrong with the first.
    """
    problem: DataError | None = None
    for path in paths:
        try:
            return video_size(path)
        except DataError as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def _frames(path: Path) -> Iterator[Picture]:
    with _open(path) as (container, source):
        for frame in container.decode(container.streams.video[0]):
            source.check()
            yield Picture(frame)


def _times(path: Path) -> tuple[NDArray[np.float64], bool]:
    """Return (T,) seconds, and whether the file states them (else they are counted out by its rate)."""
    index = frame_index(path)
    if index is not None:
        try:
            # The last group is decoded: a file that was cut off may end in a packet that is no frame.
            for _ in _by_time(path, index, np.array([len(index.times) - 1]), 1, [0]):
                pass
            return np.asarray(index.times * float(index.time_base), np.float64), True
        except (_IndexError, DataError):
            pass
    import av

    stamps: list[float | None] = []
    with _open(path) as (container, _):
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        try:
            stamps.extend(frame.time for frame in container.decode(stream))
        except av.error.FFmpegError:
            if not stamps:
                raise
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) == len(stamps) and np.all(np.diff(np.array(known)) > 0):
        return np.array(known, np.float64), True
    if not rate:
        raise DataError(f"{path}: states neither the times of its frames nor a frame rate")
    return np.arange(len(stamps)) / rate, False


def frame_times(path: Path) -> NDArray[np.float64]:
    """Return (T,) seconds at which each frame is shown, as the container states them, ascending.

    Without decoding where the time stamps tell. Files that state no times are counted out by their rate.

    Raises:
        DataError: unreadable, or neither times nor a rate are stated.
    """
    return _times(Path(path))[0]


def count_frames(path: Path) -> int:
    """Return how many frames can be decoded.

    Raises:
        DataError: unreadable.
    """
    return len(frame_times(path))


def frame_rate(path: Path) -> float:
    """Return frames per second: the mean over the file, or what it states if it has fewer than two frames.

    Raises:
        DataError: unreadable, or nothing tells.
    """
    path = Path(path)
    times, stated = _times(path)
    if stated and len(times) > 1:
        return float((len(times) - 1) / (times[-1] - times[0]))
    with _open(path) as (container, _):
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not rate:
        raise DataError(f"{path}: states no frame rate")
    return rate


def frame_rates(videos: Mapping[str, Path]) -> dict[str, float]:
    """Return frames per second by name, of every video that tells; StoreError if the disk failed."""
    rates: dict[str, float] = {}
    for name, path in videos.items():
        try:
            rates[name] = round(frame_rate(path), 6)
        except DataError:
            continue
    return rates
