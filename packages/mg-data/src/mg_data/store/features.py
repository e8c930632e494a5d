"""Kind ``features``: one vector a clip and name, for probes, retrieval and heads of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.index import PathLike, check_clip_ids, text_array
from mg_data.store.provenance import Provenance
from mg_data.store.reading import StoreFile
from mg_data.store.score_checks import check_labels, write_index
from mg_data.store.taint import Taint
from mg_data.store.writing import create_store


def write_features(
    path: PathLike,
    *,
    clip_ids: ArrayLike,
    features: Mapping[str, ArrayLike],
    dataset: str = "",
    labels: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    vocabulary: str = "",
    taint: Taint | None = None,
    provenance: Provenance | None = None,
) -> str:
    """Write named (N, ...) float32 arrays and return the digest."""
    ids = text_array(clip_ids, "clip_ids", path)
    check_clip_ids(ids, path)
    truth = check_labels(path, labels, len(ids), len(class_names or ()))
    arrays = {name: np.asarray(values, np.float32) for name, values in features.items()}
    for name, values in arrays.items():
        if values.ndim < 2 or len(values) != len(ids):
            raise StoreError(path, f"feature '{name}' has shape {values.shape}, wanted ({len(ids)}, D)")
        if not np.isfinite(values).all():
            raise StoreError(path, f"feature '{name}' holds NaN or infinity")
    with create_store(path, "features") as store:
        write_index(store, ids, dataset, truth)
        for name, values in arrays.items():
            store.array(f"features/{name}/values", values)
        if class_names:
            store.classes(class_names, vocabulary)
        store.taint(taint or Taint.unknown())
        store.provenance(provenance)
    return store.digest


class FeaturesStore(StoreFile):
    """Features in memory: ``features`` maps a name to its (N, ...) array."""

    kind = "features"

    def _load(self) -> None:
        super()._load()
        file = self.file
        self.labels: NDArray[np.int32] | None = (
            np.asarray(file["index/label"][()], np.int32) if "index/label" in file else None
        )
        self.features: dict[str, NDArray[np.float32]] = {
            name: np.asarray(file[f"features/{name}/values"][()], np.float32) for name in file["features"]
        }


def read_features(path: PathLike) -> FeaturesStore:
    """Read a features store."""
    store = FeaturesStore(path)
    store.close()
    return store
