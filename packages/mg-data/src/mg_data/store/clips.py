"""Kind ``clips``: the index of a data set with its keypoints and further signals, ragged over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import check_length, read_limits, read_text, read_whole
from mg_data.store.index import PathLike, check_class_names, check_clip_ids
from mg_data.store.provenance import Provenance
from mg_data.store.ragged import RaggedColumn
from mg_data.store.reading import StoreFile
from mg_data.store.writing import StreamingWriter


class ClipsWriter(StreamingWriter):
    """Writes a clips store clip by clip.

    Args:
        path: the store to write.
        dataset: name of the data set; part of every clip's taint key.
        class_names: K names; labels themselves never enter a clips store.
        layout: keypoint layout of ``joints``, "" if there are none.
        columns: meaning of the last axis of the joints.
        image_size: (width, height) in pixels.
        camera: (fx, fy, cx, cy) in pixels for three-dimensional joints, or None.
        signals: name -> attributes (``rate_hz``, ``units``).
    """

    kind = "clips"

    def __init__(
        self,
        path: PathLike,
        *,
        dataset: str,
        class_names: Sequence[str],
        vocabulary: str = "",
        layout: str = "",
        columns: Sequence[str] = ("x", "y", "confidence"),
        image_size: tuple[int, int] = (0, 0),
        camera: Sequence[float] | None = None,
        signals: Mapping[str, Mapping[str, Any]] | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        super().__init__(path)
        self._dataset = dataset
        self._classes = (check_class_names(class_names, path), vocabulary)
        self._joint_attributes = {
            "layout": layout,
            "columns": ",".join(columns),
            "image_size": np.asarray(image_size, np.int64),
            "camera": np.asarray(camera if camera is not None else (), np.float64),
        }
        self._layout = layout
        self._signal_attributes = {name: dict(value) for name, value in (signals or {}).items()}
        self._provenance = provenance
        self._index: dict[str, list[Any]] = {
            name: [] for name in ("clip_id", "subject_id", "video_id", "start", "stop")
        }
        self._joints: RaggedColumn | None = None
        self._signals: dict[str, RaggedColumn] = {}

    def add(
        self,
        *,
        clip_id: str,
        subject_id: str,
        video_id: str,
        start: int,
        stop: int,
        joints: ArrayLike | None = None,
        signals: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Append one clip. ``joints`` is (T, P, V, 3); ``start`` and ``stop`` are frames, half-open.

        Raises:
            StoreError: a repeated or empty id, an empty span, non-finite or wrongly shaped joints; joints
                without a layout, other signals than the writer was told of.
        """
        self._accept(clip_id)
        if stop <= start:
            raise StoreError(self.path, f"clip '{clip_id}' has no frames (start {start}, stop {stop})")
        rows: list[tuple[RaggedColumn, NDArray[np.float32], str]] = []
        joints_column, signals_columns = self._joints, dict(self._signals)
        if self._layout:
            if joints is None:
                raise StoreError(self.path, f"clip '{clip_id}' lacks joints of layout {self._layout}")
            values = np.asarray(joints, np.float32)
            if values.ndim != 4 or values.shape[3] != 3 or 0 in values.shape[:3]:
                raise StoreError(
                    self.path, f"clip '{clip_id}': joints have shape {values.shape}, wanted (T, P, V, 3)"
                )
            if not np.isfinite(values).all():
                raise StoreError(
                    self.path,
                    f"clip '{clip_id}': joints hold NaN or infinity",
                    "write a missing point as 0, 0, 0",
                )
            joints_column = self._joints or RaggedColumn(self._store, "joints/values", values.shape[1:])
            rows.append((joints_column, values, f"clip '{clip_id}': joints"))
        elif joints is not None:
            raise StoreError(
                self.path, f"clip '{clip_id}' has joints, but no layout was named", "name layout"
            )
        given = signals or {}
        if set(given) != set(self._signal_attributes):
            found, wanted = (", ".join(names) or "none" for names in (given, self._signal_attributes))
            raise StoreError(self.path, f"clip '{clip_id}' has the signals {found}, wanted {wanted}")
        for name in self._signal_attributes:
            values = np.asarray(given[name], np.float32)
            if not np.isfinite(values).all():
                raise StoreError(self.path, f"clip '{clip_id}': signal '{name}' holds NaN or infinity")
            column = self._signals.get(name) or RaggedColumn(
                self._store, f"features/{name}/values", values.shape[1:]
            )
            signals_columns[name] = column
            rows.append((column, values, f"clip '{clip_id}': signal '{name}'"))
        # All is looked at before any is added: a clip that is refused leaves nothing behind, no shape either.
        for column, values, what in rows:
            column.check(values, what)
        self._joints, self._signals = joints_column, signals_columns
        for column, values, what in rows:
            column.append(values, what)
        self._seen.add(clip_id)
        for key, value in (
            ("clip_id", clip_id),
            ("subject_id", subject_id),
            ("video_id", video_id),
            ("start", start),
            ("stop", stop),
        ):
            self._index[key].append(value)

    def _finish(self) -> None:
        store = self._store
        for name in ("clip_id", "subject_id", "video_id"):
            store.text(f"index/{name}", self._index[name])
        for name in ("start", "stop"):
            store.array(f"index/{name}", np.asarray(self._index[name], np.int64))
        store.file["index"].attrs["dataset"] = self._dataset
        if self._joints is not None:
            self._joints.finish("joints/indptr")
            for name, value in self._joint_attributes.items():
                store.file["joints/values"].attrs[name] = value
        for name, column in self._signals.items():
            column.finish(f"features/{name}/indptr")
            for key, value in self._signal_attributes[name].items():
                store.file[f"features/{name}/values"].attrs[key] = value
        store.classes(*self._classes)
        store.provenance(self._provenance)


class ClipsStore(StoreFile):
    """A clips store: the index in memory, joints and signals read clip by clip.

    Attributes: ``clip_ids``, ``subject_ids``, ``video_ids`` (N,) text; ``start``, ``stop`` (N,) int64;
    ``class_names``, ``dataset``, ``layout``, ``columns``, ``image_size``, ``camera``, ``signal_names``.
    """

    kind = "clips"

    def _load(self) -> None:
        super()._load()
        file = self.file
        self.subject_ids: NDArray[np.str_] = read_text(file, "index/subject_id")
        self.video_ids: NDArray[np.str_] = read_text(file, "index/video_id")
        self.start: NDArray[np.int64] = read_whole(file, "index/start")
        self.stop: NDArray[np.int64] = read_whole(file, "index/stop")
        count = len(self.clip_ids)
        for name, column in (
            ("subject_id", self.subject_ids),
            ("video_id", self.video_ids),
            ("start", self.start),
            ("stop", self.stop),
        ):
            check_length(self.path, f"index/{name}", column, count)
        if np.any(self.stop <= self.start):
            row = int(np.flatnonzero(self.stop <= self.start)[0])
            raise StoreError(
                self.path,
                f"clip '{self.clip_ids[row]}' has no frames (start {self.start[row]}, stop {self.stop[row]})",
            )
        self.layout = ""
        self.columns: tuple[str, ...] = ()
        self.image_size = (0, 0)
        self.camera: tuple[float, ...] | None = None
        if "joints" in file:
            given = attributes(file["joints/values"])
            self.layout = str(given.get("layout", ""))
            self.columns = tuple(str(given.get("columns", "x,y,confidence")).split(","))
            size = given.get("image_size", (0, 0))
            self.image_size = (int(size[0]), int(size[1]))
            camera = tuple(float(value) for value in given.get("camera", ()))
            self.camera = camera if len(camera) == 4 else None
            # Lists: reading one number of an array costs more than copying a short clip.
            self._joint_limits: list[int] = read_limits(
                file, self.path, "joints/indptr", count, "joints/values"
            ).tolist()
            shape = file["joints/values"].shape
            if len(shape) != 4 or shape[3] != 3 or file["joints/values"].dtype.kind not in "fiu":
                raise StoreError(
                    self.path, f"/joints/values has shape {shape}, wanted (frames, P, V, 3) numbers"
                )
        self.signal_names: tuple[str, ...] = tuple(sorted(file["features"])) if "features" in file else ()
        self._signal_limits: dict[str, list[int]] = {
            name: read_limits(
                file, self.path, f"features/{name}/indptr", count, f"features/{name}/values"
            ).tolist()
            for name in self.signal_names
        }

    def joints(self, row: int) -> NDArray[np.float32]:
        """Return the (T, P, V, 3) joints of a row."""
        if not self.layout:
            raise StoreError(self.path, "holds no keypoints")
        begin, end = self._joint_limits[row], self._joint_limits[row + 1]
        return np.asarray(self.read_rows("joints/values", begin, end), np.float32)

    def signal(self, name: str, row: int) -> NDArray[np.float32]:
        """Return the (T', C) samples of a signal of a row."""
        if name not in self._signal_limits:
            known = ", ".join(self.signal_names) or "none"
            raise StoreError(self.path, f"holds no signal '{name}' (it has: {known})")
        begin, end = self._signal_limits[name][row], self._signal_limits[name][row + 1]
        return np.asarray(self.read_rows(f"features/{name}/values", begin, end), np.float32)

    def signal_attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of a signal (``rate_hz``, ``units``)."""
        return attributes(self.file[f"features/{name}/values"])


def open_clips(path: PathLike) -> ClipsStore:
    """Open a clips store."""
    store = ClipsStore(path)
    check_clip_ids(store.clip_ids, path)
    return store
