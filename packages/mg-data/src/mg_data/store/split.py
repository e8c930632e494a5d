"""Kind ``split``: who is train, val and target, with labels of the source only.

It is the only thing that training and adaptation accept, and it has no target label to give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.columns import check_length, read_text, read_whole
from mg_data.store.index import PathLike, check_clip_ids, text_array
from mg_data.store.provenance import Provenance
from mg_data.store.reading import StoreFile
from mg_data.store.schema import UNKNOWN_LABEL
from mg_data.store.writing import create_store

TARGET = "target"


def _check(path: PathLike, names: NDArray[np.str_], labels: NDArray[np.int32], class_count: int) -> None:
    target = names == TARGET
    if np.any(labels[target] != UNKNOWN_LABEL):
        raise StoreError(
            path,
            f"carries labels of {int((labels[target] != UNKNOWN_LABEL).sum())} target clip(s)",
            "a target clip's label is -1",
        )
    source = labels[~target]
    if np.any((source < UNKNOWN_LABEL) | (source >= class_count)):
        raise StoreError(
            path, f"has a label outside 0..{class_count - 1}: found {source.min()}..{source.max()}"
        )


def write_split(
    path: PathLike,
    *,
    dataset: str,
    clip_ids: ArrayLike,
    names: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    subject_ids: ArrayLike | None = None,
    vocabulary: str = "",
    provenance: Provenance | None = None,
) -> str:
    """Write a split store and return its digest.

    Args:
        clip_ids: (N,) text. names: (N,) text, ``train``, ``val``, ``target`` ...
        labels: (N,) integers, -1 for every target clip. subject_ids: (N,) text, "" = unknown.

    Raises:
        StoreError: a target label other than -1, a label out of range, unequal lengths.
    """
    ids = text_array(clip_ids, "clip_ids", path)
    split_names = text_array(names, "names", path)
    values = np.asarray(labels, np.int32)
    subjects = np.full(len(ids), "") if subject_ids is None else text_array(subject_ids, "subject_ids", path)
    if not len(ids) == len(split_names) == len(values) == len(subjects):
        raise StoreError(path, f"{len(ids)} clips, {len(split_names)} names and {len(values)} labels differ")
    check_clip_ids(ids, path)
    _check(path, split_names, values, len(class_names))
    with create_store(path, "split") as store:
        store.text("index/clip_id", ids)
        store.text("index/subject_id", subjects)
        store.file["index"].attrs["dataset"] = dataset
        store.text("split/name", split_names)
        store.array("split/label", values)
        store.classes(class_names, vocabulary)
        store.provenance(provenance)
    return store.digest


class SplitStore(StoreFile):
    """A split in memory: ``clip_ids``, ``names``, ``labels``, ``subject_ids``, ``class_names``."""

    kind = "split"

    def _load(self) -> None:
        super()._load()
        self.names: NDArray[np.str_] = read_text(self.file, "split/name")
        self.labels: NDArray[np.int32] = read_whole(self.file, "split/label", np.int32)
        self.subject_ids: NDArray[np.str_] = (
            read_text(self.file, "index/subject_id")
            if "index/subject_id" in self.file
            else np.full(len(self.clip_ids), "")
        )
        for name, column in (
            ("split/name", self.names),
            ("split/label", self.labels),
            ("index/subject_id", self.subject_ids),
        ):
            check_length(self.path, name, column, len(self.clip_ids))
        _check(self.path, self.names, self.labels, len(self.class_names))

    def select(self, *names: str) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
        """Return clip ids and labels of the named parts, in the order of clip ids.

        Raises:
            StoreError: a name that no clip bears.
        """
        present = sorted(set(self.names.tolist()))
        for name in names:
            if name not in present:
                raise StoreError(self.path, f"has no part '{name}' (it has: {', '.join(present)})")
        rows = np.flatnonzero(np.isin(self.names, names))
        rows = rows[np.argsort(self.clip_ids[rows])]
        return self.clip_ids[rows], self.labels[rows]


def read_split(path: PathLike) -> SplitStore:
    """Open a split store."""
    store = SplitStore(path)
    store.close()
    return store
