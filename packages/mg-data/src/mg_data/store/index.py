"""Clip ids and class names: what makes them valid, and joining rows by id."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError

PathLike = str | os.PathLike[str]


def text_array(values: ArrayLike, what: str, path: PathLike) -> NDArray[np.str_]:
    """Return a one-dimensional text array, or a StoreError naming what is no text."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise StoreError(path, f"{what} must be a list of texts, got an array of shape {array.shape}")
    if array.dtype.kind == "U":
        return array
    listing = [value.decode() if isinstance(value, bytes) else value for value in array.tolist()]
    wrong = next((value for value in listing if not isinstance(value, str)), None)
    if wrong is not None:
        raise StoreError(path, f"{what} must be texts, got {wrong!r} of type {type(wrong).__name__}")
    return np.array(listing, dtype=np.str_) if listing else np.empty(0, np.str_)


def check_clip_ids(clip_ids: NDArray[np.str_], path: PathLike) -> None:
    """Raise StoreError for an empty or a repeated clip id."""
    if np.any(np.char.str_len(clip_ids) == 0) if len(clip_ids) else False:
        raise StoreError(path, "holds an empty clip id", "every clip needs an id of its own")
    unique, counts = np.unique(clip_ids, return_counts=True)
    if len(unique) != len(clip_ids):
        repeated = unique[counts > 1]
        raise StoreError(
            path,
            f"holds {len(repeated)} duplicate clip id(s), the first is '{repeated[0]}'",
            "clip ids must be unique",
        )


def check_class_names(class_names: Sequence[str], path: PathLike) -> tuple[str, ...]:
    """Return the names as a tuple, or raise StoreError if they are none, empty or repeated."""
    names = tuple(str(name) for name in class_names)
    if not names:
        raise StoreError(path, "has no class names", "/classes/name lists the K classes in order")
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise StoreError(path, f"lists the class name '{repeated}' twice")
    return names


def match_rows(
    own: NDArray[np.str_], wanted: ArrayLike, path: PathLike, sorter: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return for each wanted clip id its row; StoreError naming some if any is missing."""
    ids = np.asarray(wanted, dtype=np.str_)
    if len(own) == 0:
        if len(ids):
            raise StoreError(path, f"lacks {len(ids)} clip(s), the first is '{ids[0]}'")
        return np.empty(0, np.int64)
    order = np.argsort(own) if sorter is None else sorter
    place = np.minimum(np.searchsorted(own, ids, sorter=order), len(own) - 1)
    rows = order[place].astype(np.int64)
    missing = own[rows] != ids
    if missing.any():
        some = ", ".join(f"'{clip_id}'" for clip_id in ids[missing][:3])
        raise StoreError(path, f"lacks {int(missing.sum())} of {len(ids)} clip(s): {some}", "join by clip_id")
    return rows
