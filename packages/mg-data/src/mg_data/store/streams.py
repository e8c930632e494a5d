"""Kind ``streams``: encoded frames of clips (colour, depth, flow ...), ragged over clips and frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import read_limits
from mg_data.store.index import PathLike
from mg_data.store.provenance import Provenance
from mg_data.store.ragged import RaggedColumn
from mg_data.store.reading import StoreFile
from mg_data.store.schema import ENCODINGS
from mg_data.store.writing import StreamingWriter


class StreamsWriter(StreamingWriter):
    """Writes one stream clip by clip.

    Args:
        stream: name of the stream, such as ``rgb`` or ``depth``.
        encoding: ``jpeg``, ``png8`` or ``png16``.
        channels: colour channels of a decoded frame.
        scale, offset: physical value = scale * stored value + offset.
    """

    kind = "streams"

    def __init__(
        self,
        path: PathLike,
        *,
        dataset: str,
        stream: str,
        encoding: str,
        channels: int,
        scale: float = 1.0,
        offset: float = 0.0,
        provenance: Provenance | None = None,
    ) -> None:
        if encoding not in ENCODINGS:
            raise StoreError(path, f"encoding '{encoding}' is unknown, known: {', '.join(ENCODINGS)}")
        super().__init__(path)
        self._dataset = dataset
        self._stream = stream
        self._attributes = {"encoding": encoding, "channels": channels, "scale": scale, "offset": offset}
        self._provenance = provenance
        self._clip_ids: list[str] = []
        self._frame_lengths: list[NDArray[np.int64]] = []

    def _begin(self) -> None:
        base = f"streams/{self._stream}"
        self._bytes = RaggedColumn(self._store, f"{base}/bytes", (), np.uint8)
        self._boxes = RaggedColumn(self._store, f"{base}/box", (4,), np.float32)

    def add(self, *, clip_id: str, frames: Sequence[bytes], boxes: ArrayLike) -> None:
        """Append a clip: T encoded frames and their (T, 4) boxes, x0, y0, x1, y1 in pixels of the source."""
        box_array = np.asarray(boxes, np.float32)
        self._accept(clip_id)
        if not frames:
            raise StoreError(self.path, f"clip '{clip_id}' has no frames")
        if box_array.shape != (len(frames), 4):
            raise StoreError(
                self.path,
                f"clip '{clip_id}': boxes have shape {box_array.shape}, wanted ({len(frames)}, 4)",
            )
        self._bytes.append(np.frombuffer(b"".join(frames), np.uint8), f"clip '{clip_id}': frames")
        self._boxes.append(box_array, f"clip '{clip_id}': boxes")
        self._frame_lengths.append(np.array([len(frame) for frame in frames], np.int64))
        self._clip_ids.append(clip_id)
        self._seen.add(clip_id)

    def _finish(self) -> None:
        store, base = self._store, f"streams/{self._stream}"
        store.text("index/clip_id", self._clip_ids)
        store.file["index"].attrs["dataset"] = self._dataset
        self._boxes.finish(f"{base}/clip_indptr")
        self._bytes.flush()
        lengths = np.concatenate(self._frame_lengths)
        store.array(f"{base}/frame_indptr", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        for name, value in self._attributes.items():
            store.file[base].attrs[name] = value
        store.provenance(self._provenance)


class StreamsStore(StoreFile):
    """One stream of a streams store.

    Attributes: ``clip_ids``, ``stream``, ``encoding``, ``channels``, ``scale``, ``offset``, ``dataset``,
    ``num_frames`` (N,) int64.
    """

    kind = "streams"

    def __init__(self, path: PathLike, stream: str | None = None) -> None:
        self._wanted = stream
        super().__init__(path)

    def _load(self) -> None:
        super()._load()
        names = sorted(self.file["streams"])
        if self._wanted is None and len(names) != 1:
            raise StoreError(self.path, f"holds several streams ({', '.join(names)})", "name the one to read")
        self.stream = self._wanted or names[0]
        if self.stream not in names:
            raise StoreError(self.path, f"holds no stream '{self.stream}' (it has: {', '.join(names)})")
        group = self.file[f"streams/{self.stream}"]
        facts = attributes(group)
        self.encoding = str(facts["encoding"])
        self.channels = int(facts["channels"])
        self.scale = float(facts.get("scale", 1.0))
        self.offset = float(facts.get("offset", 0.0))
        if self.encoding not in ENCODINGS:
            raise StoreError(
                self.path, f"encoding '{self.encoding}' is unknown, known: {', '.join(ENCODINGS)}"
            )
        base, boxes, content = f"streams/{self.stream}", group["box"], group["bytes"]
        if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "fiu":
            raise StoreError(self.path, f"/{base}/box has shape {boxes.shape}, wanted (frames, 4) numbers")
        if content.ndim != 1 or content.dtype != np.uint8:
            raise StoreError(
                self.path, f"/{base}/bytes is {content.dtype} of shape {content.shape}, wanted (bytes,) uint8"
            )
        self._clip_limits = read_limits(
            self.file, self.path, f"{base}/clip_indptr", len(self.clip_ids), f"{base}/box"
        )
        self._frame_limits = read_limits(
            self.file, self.path, f"{base}/frame_indptr", len(boxes), f"{base}/bytes"
        )
        self.num_frames: NDArray[np.int64] = np.diff(self._clip_limits)

    def frame_bytes(self, row: int, frame_numbers: ArrayLike | None = None) -> list[NDArray[np.uint8]]:
        """Return the encoded frames of a row, all or those numbered (0-based, repeats allowed)."""
        first, last = self._clip_limits[row], self._clip_limits[row + 1]
        numbers = np.arange(last - first) if frame_numbers is None else np.asarray(frame_numbers)
        if len(numbers) == 0:
            return []
        if numbers.min() < 0 or numbers.max() >= last - first:
            raise StoreError(
                self.path,
                f"clip '{self.clip_ids[row]}' has {last - first} frames, frame {numbers.max()} was asked for",
            )
        begin = self._frame_limits[first + numbers.min()]
        end = self._frame_limits[first + numbers.max() + 1]
        base, what = f"streams/{self.stream}/bytes", f"frames of '{self.clip_ids[row]}'"
        block = self.read_rows(base, int(begin), int(end), what)
        limits = self._frame_limits
        return [
            block[limits[first + number] - begin : limits[first + number + 1] - begin] for number in numbers
        ]

    def boxes(self, row: int) -> NDArray[np.float32]:
        """Return the (T, 4) boxes of a row: x0, y0, x1, y1 in pixels of the source video."""
        first, last = self._clip_limits[row], self._clip_limits[row + 1]
        name, what = f"streams/{self.stream}/box", f"boxes of '{self.clip_ids[row]}'"
        return np.asarray(self.read_rows(name, int(first), int(last), what), np.float32)


def open_streams(path: PathLike, stream: str | None = None) -> StreamsStore:
    """Open a streams store; ``stream`` may be left out if it holds one."""
    return StreamsStore(path, stream)
