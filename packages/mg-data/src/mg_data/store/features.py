"""Kind ``features``: one vector a clip and name, for probes, retrieval and heads of others.

Signals (inertial, audio ...) are features too: as long as each clip's recording, at a rate of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import check_length, read_limits, read_numbers, read_whole
from mg_data.store.index import PathLike, check_clip_ids, text_array
from mg_data.store.provenance import Provenance
from mg_data.store.ragged import RaggedColumn
from mg_data.store.reading import StoreFile
from mg_data.store.score_checks import check_labels, write_index
from mg_data.store.taint import Taint
from mg_data.store.writing import StoreWriter, create_store


def write_features(
    path: PathLike,
    *,
    clip_ids: ArrayLike,
    features: Mapping[str, ArrayLike] | None = None,
    signals: Mapping[str, Sequence[ArrayLike]] | None = None,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    dataset: str = "",
    labels: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    vocabulary: str = "",
    taint: Taint | None = None,
    provenance: Provenance | None = None,
) -> str:
    """Write named float32 features and return the digest.

    Args:
        clip_ids: (N,) text.
        features: name -> (N, ...) array.
        signals: name -> N arrays (T, C), T of each clip its own; a clip without the signal has (0, C).
        attributes: name of a signal -> ``rate_hz``, ``units`` and further facts.

    Raises:
        StoreError: unequal lengths or widths, numbers that are not finite, a name that is used twice.
    """
    ids = text_array(clip_ids, "clip_ids", path)
    check_clip_ids(ids, path)
    truth = check_labels(path, labels, len(ids), len(class_names or ()))
    arrays = {name: np.asarray(values, np.float32) for name, values in (features or {}).items()}
    ragged = {name: [np.asarray(row, np.float32) for row in rows] for name, rows in (signals or {}).items()}
    if not arrays and not ragged:
        raise StoreError(path, "would hold no feature", "give features or signals")
    twice = sorted(set(arrays) & set(ragged))
    if twice:
        raise StoreError(path, f"'{twice[0]}' is both a feature and a signal")
    for name, values in arrays.items():
        if values.ndim < 2 or len(values) != len(ids):
            raise StoreError(path, f"feature '{name}' has shape {values.shape}, wanted ({len(ids)}, D)")
        if not np.isfinite(values).all():
            raise StoreError(path, f"feature '{name}' holds NaN or infinity")
    for name, rows in ragged.items():
        _check_signal(path, name, rows, len(ids))
    with create_store(path, "features") as store:
        write_index(store, ids, dataset, truth)
        for name, values in arrays.items():
            store.array(f"features/{name}/values", values)
        for name, rows in ragged.items():
            _write_signal(store, name, rows, (attributes or {}).get(name, {}))
        if class_names:
            store.classes(class_names, vocabulary)
        store.taint(taint or Taint.unknown())
        store.provenance(provenance)
    return store.digest


def _check_signal(path: PathLike, name: str, rows: Sequence[NDArray[np.float32]], count: int) -> None:
    if len(rows) != count:
        raise StoreError(path, f"signal '{name}' has {len(rows)} rows, wanted one for each of {count} clips")
    shapes = {row.shape[1:] for row in rows}
    if len(shapes) > 1 or any(row.ndim != 2 for row in rows):
        found = ", ".join(str(row.shape) for row in rows[:3])
        raise StoreError(path, f"signal '{name}' has rows of shape {found} ..., wanted (T, C) of one C")
    if not all(np.isfinite(row).all() for row in rows):
        raise StoreError(path, f"signal '{name}' holds NaN or infinity")


def _write_signal(
    store: StoreWriter, name: str, rows: Sequence[NDArray[np.float32]], attributes: Mapping[str, Any]
) -> None:
    base = f"features/{name}"
    column = RaggedColumn(store, f"{base}/values", rows[0].shape[1:] if rows else (1,))
    for row in rows:
        column.append(row, f"signal '{name}'")
    column.finish(f"{base}/indptr")
    for key, value in attributes.items():
        store.file[f"{base}/values"].attrs[key] = value


class FeaturesStore(StoreFile):
    """Features in memory, signals read clip by clip.

    Attributes: ``features`` maps a name to its (N, ...) array; ``signal_names``; ``labels`` (N,) or None.
    """

    kind = "features"

    def _load(self) -> None:
        super()._load()
        file = self.file
        self.labels: NDArray[np.int32] | None = (
            read_whole(file, "index/label", np.int32) if "index/label" in file else None
        )
        if self.labels is not None:
            check_length(self.path, "index/label", self.labels, len(self.clip_ids))
        self.features: dict[str, NDArray[np.float32]] = {
            name: read_numbers(file, f"features/{name}/values")
            for name in file["features"]
            if f"features/{name}/indptr" not in file
        }
        self._limits: dict[str, NDArray[np.int64]] = {
            name: read_limits(
                file, self.path, f"features/{name}/indptr", len(self.clip_ids), f"features/{name}/values"
            )
            for name in file["features"]
            if name not in self.features
        }
        self.signal_names: tuple[str, ...] = tuple(sorted(self._limits))
        for name, values in self.features.items():
            if values.ndim < 2 or len(values) != len(self.clip_ids):
                raise StoreError(
                    self.path, f"feature '{name}' has shape {values.shape}, wanted ({len(self.clip_ids)}, D)"
                )
        for name in self.signal_names:
            values = file[f"features/{name}/values"]
            if values.ndim != 2 or values.dtype.kind not in "fiu":
                raise StoreError(
                    self.path, f"signal '{name}' has shape {values.shape}, wanted (T, C) numbers"
                )

    def signal(self, name: str, row: int) -> NDArray[np.float32]:
        """Return the (T, C) samples of a signal of a row.

        Raises:
            StoreError: no such signal.
        """
        limits = self._signal_limits(name)
        found = self.read_rows(f"features/{name}/values", int(limits[row]), int(limits[row + 1]))
        return np.asarray(found, np.float32)

    def signal_attributes(self, name: str) -> dict[str, Any]:
        """Return what is known of a signal (``rate_hz``, ``units``, ``channels`` ...); C as ``channels``."""
        self._signal_limits(name)
        values = self.file[f"features/{name}/values"]
        return {"channels": int(values.shape[1]), **attributes(values)}

    def _signal_limits(self, name: str) -> NDArray[np.int64]:
        if name not in self._limits:
            known = ", ".join(self.signal_names) or "none"
            raise StoreError(self.path, f"holds no signal '{name}' (it has: {known})")
        return self._limits[name]


def read_features(path: PathLike) -> FeaturesStore:
    """Read a features store."""
    store = FeaturesStore(path)
    store.close()
    return store
