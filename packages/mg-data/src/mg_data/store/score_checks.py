"""What rows of scores have to be, whoever reads or writes them, and the index they are joined by."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.index import PathLike
from mg_data.store.schema import PROB_FLOOR, UNKNOWN_LABEL
from mg_data.store.writing import StoreWriter


def check_scores(
    path: PathLike,
    clip_ids: NDArray[np.str_],
    values: NDArray[np.float32],
    class_count: int,
    present: NDArray[np.bool_],
) -> None:
    """Raise StoreError unless ``values`` is a finite (N, K) array that fits ids and classes."""
    if values.shape != (len(clip_ids), class_count):
        raise StoreError(
            path,
            f"values have shape {values.shape}, wanted ({len(clip_ids)}, {class_count}): "
            f"{len(clip_ids)} clips and {class_count} classes",
        )
    if present.shape != (len(clip_ids),):
        raise StoreError(path, f"present has shape {present.shape}, wanted ({len(clip_ids)},)")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        first = clip_ids[np.flatnonzero(~finite)[0]]
        raise StoreError(
            path,
            f"holds NaN or infinity in {int((~finite).sum())} row(s), the first is clip '{first}'",
            "a missing answer is present = 0, never NaN",
        )


def check_rows_sum_to_one(
    path: PathLike,
    clip_ids: NDArray[np.str_],
    values: NDArray[np.float32],
    present: NDArray[np.bool_],
    tolerance: float,
) -> None:
    """Raise StoreError unless the present rows are probabilities."""
    if not present.any():
        return
    sums = np.where(present, values.sum(axis=1, dtype=np.float64), 1.0)  # no copy of all values
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > tolerance or values.min(axis=1)[present].min() < 0:
        raise StoreError(
            path,
            f"holds rows that are no probabilities: clip '{clip_ids[worst]}' sums to {sums[worst]:.6g}",
        )


def check_labels(
    path: PathLike, labels: ArrayLike | None, count: int, class_count: int
) -> NDArray[np.int32] | None:
    """Return labels as (N,) int32, or None; StoreError if they do not fit."""
    if labels is None:
        return None
    values = np.asarray(labels, np.int32)
    if values.shape != (count,):
        raise StoreError(path, f"labels have shape {values.shape}, wanted ({count},)")
    if np.any((values < UNKNOWN_LABEL) | (values >= class_count)):
        raise StoreError(path, f"has a label outside -1..{class_count - 1}")
    return values


def write_index(
    store: StoreWriter, clip_ids: NDArray[np.str_], dataset: str, labels: NDArray[np.int32] | None
) -> None:
    """Write /index of a store that joins by clip id."""
    store.text("index/clip_id", clip_ids)
    store.file["index"].attrs["dataset"] = dataset
    if labels is not None:
        store.array("index/label", labels)


def as_log(values: NDArray[np.float32], space: str) -> NDArray[np.float64]:
    scores = values.astype(np.float64)
    return np.log(np.maximum(scores, PROB_FLOOR)) if space == "prob" else scores
