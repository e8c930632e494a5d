"""Frames of a run's clips as JPEG, from its clips and crop stores alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, StoreError
from mg_data.drawing.clip import ClipView, blank, choose_look, draw_frame, gather
from mg_data.drawing.skeleton import depth_range, depth_to_rgb
from mg_data.store import ClipsStore, StreamsStore, open_clips, open_streams, store_kind
from mg_data.video.codec import decode_frame, encode_frame
from mg_data.video.crop import frame_choice

_SHOWN_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Overlay:
    """What is drawn over a frame, and from which stream it comes ("" for an empty canvas)."""

    stream: str = ""
    skeleton: bool = True
    box: bool = True
    heatmap: bool = False
    size: int = 480


class Pictures:
    """Frames of the clips in ``data/clips.h5``, and in the crop stores beside it.

    Reads are made one at a time: the store library is not made for several threads.

    Raises:
        DataError, StoreError: there is no clips store, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "data" / "clips.h5"
        if not path.exists():
            raise DataError(f"{path}: is not there; the run's clips store is needed to show its clips")
        self.clips: ClipsStore = open_clips(path)
        self.streams = _crop_streams(folder / "data")
        self._row = {str(clip_id): row for row, clip_id in enumerate(self.clips.clip_ids)}
        self._lock = threading.Lock()

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._row

    @property
    def can_draw(self) -> bool:
        """Whether there is anything to see of a clip."""
        return bool(self.streams) or (bool(self.clips.layout) and min(self.clips.image_size) > 0)

    def facts(self, clip_id: str) -> dict[str, Any]:
        """Return subject, video and frames of a clip."""
        row = self._row[clip_id]
        return {
            "subject": str(self.clips.subject_ids[row]),
            "video": str(self.clips.video_ids[row]),
            "start": int(self.clips.start[row]),
            "stop": int(self.clips.stop[row]),
            "streams": [name for name, store in self.streams.items() if clip_id in set(store.clip_ids)],
        }

    def subject(self, clip_id: str) -> str:
        """Return the subject of a clip, "" if the clips store lacks it."""
        row = self._row.get(clip_id)
        return "" if row is None else str(self.clips.subject_ids[row])

    def jpeg(self, clip_id: str, number: int, overlay: Overlay) -> bytes:
        """Return frame ``number`` (0-based, of the clip) as a JPEG image.

        Raises:
            KeyError: no such clip or stream. IndexError: no such frame. DataError, StoreError: damage.
        """
        with self._lock:
            row = self._row[clip_id]
            if not 0 <= number < int(self.clips.stop[row] - self.clips.start[row]):
                raise IndexError(f"clip '{clip_id}' has no frame {number}")
            crops = self.streams[overlay.stream] if overlay.stream else None
            look = replace(
                choose_look(self.clips, size=overlay.size, heatmap=overlay.heatmap),
                skeleton=overlay.skeleton,
                box=overlay.box,
            )
            view = _single(gather(self.clips, row, 0, crops, look), number)
            if crops is None:
                frame = blank(look.image_size)
            else:
                frame = _on_canvas(_crop(crops, clip_id, row, self.clips, number), view, look.image_size)
            return encode_frame(draw_frame(frame, view, 0, look), "jpeg")


def _crop_streams(folder: Path) -> dict[str, StreamsStore]:
    """Return name -> stream of every crop store that holds pictures."""
    found: dict[str, StreamsStore] = {}
    for path in sorted(folder.glob("*.h5")):
        if store_kind(path) != "streams":
            continue
        try:
            store = open_streams(path)
        except StoreError:
            continue  # several streams in one file: `mg run` writes one
        if store.channels in _SHOWN_CHANNELS:
            found[path.stem.removeprefix("crops-")] = store
    return found


def _single(view: ClipView, number: int) -> ClipView:
    """Return the view of one frame of a clip that was gathered whole; its box lies on the canvas."""
    return replace(
        view,
        boxes_of_frames=False,
        numbers=view.numbers[number : number + 1],
        joints=None if view.joints is None else view.joints[number : number + 1],
        boxes=None if view.boxes is None else view.boxes[number : number + 1],
    )


def _crop(crops: StreamsStore, clip_id: str, row: int, clips: ClipsStore, number: int) -> NDArray[np.uint8]:
    """Return the kept crop nearest to a frame, as RGB."""
    place = int(crops.rows([clip_id])[0])
    kept = frame_choice(int(clips.stop[row] - clips.start[row]), int(crops.num_frames[place]))
    if len(kept) == 0:
        raise DataError(f"{crops.path}: clip '{clip_id}' has no frames")
    (data,) = crops.frame_bytes(place, [int(np.abs(kept - number).argmin())])
    image = decode_frame(data, crops.encoding)
    if image.dtype == np.uint16:
        (first,) = crops.frame_bytes(place, [0])
        return depth_to_rgb(image, *depth_range([decode_frame(first, crops.encoding)]))
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    return np.asarray(image, np.uint8)


def _on_canvas(crop: NDArray[np.uint8], view: ClipView, image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the crop where it was cut from, on an empty image of the source's size."""
    import cv2

    if view.boxes is None or min(image_size) <= 0:
        return crop
    left, top, right, bottom = np.round(view.boxes[0]).astype(int)
    if right <= left or bottom <= top:
        return crop
    width, height = image_size
    canvas = blank(image_size)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x1 <= x0 or y1 <= y0:
        return canvas
    pasted = cv2.resize(crop, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    canvas[y0:y1, x0:x1] = pasted[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas
