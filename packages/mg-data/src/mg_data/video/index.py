"""When each frame of a video is shown, read from its packets without decoding them.

Frame n is the n-th in order of presentation. An index is trusted only where every packet is one shown frame:
known codecs, a time stamp on each packet, none twice, nothing that an edit list discards. Otherwise there is
none, and callers decode forward from the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.video.source import open_video

# Codecs of which one packet is one frame. VP8, for one, has packets that are never shown.
_ONE_PACKET_A_FRAME = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg", "ffv1"})


@dataclass(frozen=True)
class FrameIndex:
    """Time stamps of all frames.

    Args:
        times: (T,) int64, ascending, in units of ``time_base`` seconds.
        keys: (K,) int64, frame numbers at which decoding can start, ascending; the first is 0.
    """

    times: NDArray[np.int64]
    keys: NDArray[np.int64]
    time_base: Fraction

    def key_before(self, number: int) -> int:
        """Return the last frame, at or before ``number``, at which decoding can start."""
        return int(self.keys[np.searchsorted(self.keys, number, side="right") - 1])

    def number_of(self, time: int | None) -> int:
        """Return the number of the frame shown at a time stamp, or -1 if there is none."""
        if time is None:
            return -1
        place = int(np.searchsorted(self.times, time))
        return place if place < len(self.times) and self.times[place] == time else -1


def read_index(container: Any) -> FrameIndex | None:
    """Read all packets of the first video stream; None if they do not tell the frames for certain."""
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None or codec.name not in _ONE_PACKET_A_FRAME or stream.time_base is None:
        return None
    times: list[int] = []
    keys: list[int] = []
    for packet in container.demux(stream):
        if packet.size == 0:  # the mark of the end
            continue
        if packet.pts is None or packet.is_discard or packet.is_corrupt:
            return None
        if packet.is_keyframe:
            keys.append(packet.pts)
        elif not keys:  # begins in the middle of a group: the decoder will pass over the first packets
            return None
        times.append(packet.pts)
    stamps = np.sort(np.array(times, np.int64))
    if len(stamps) == 0 or np.any(np.diff(stamps) == 0):
        return None
    numbers = np.unique(np.searchsorted(stamps, np.array(keys, np.int64)))
    if numbers[0] != 0:  # frames shown before the first key frame: they may or may not be decodable
        return None
    return FrameIndex(stamps, numbers, Fraction(stream.time_base))


@lru_cache(maxsize=16)
def _cached(path: str, size: int, changed_ns: int) -> FrameIndex | None:
    try:
        with open_video(Path(path)) as (container, _):
            return read_index(container) if container.streams.video else None
    except DataError:
        return None


def frame_index(path: Path) -> FrameIndex | None:
    """Return the index of a file, kept for as long as the file stays the same; None if there is none.

    Raises:
        StoreError: the disk failed.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return _cached(str(path), found.st_size, found.st_mtime_ns)
