"""Full check of a store: readable by its own reader, all parts consistent, digest as stated."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from mg_data.contract.errors import StoreError
from mg_data.store.digest import content_digest
from mg_data.store.index import PathLike
from mg_data.store.readers import read_store
from mg_data.store.reading import guarded, open_file


def _check_offsets(file: h5py.File, path: PathLike) -> None:
    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or not name.endswith("indptr"):
            return
        limits = item[()]
        if len(limits) == 0 or limits[0] != 0 or np.any(np.diff(limits) < 0):
            raise StoreError(path, f"/{name} is no list of growing offsets")
        group = item.parent
        target = {"indptr": "values", "frame_indptr": "bytes", "clip_indptr": "box"}[name.rsplit("/", 1)[-1]]
        if limits[-1] != len(group[target]):
            raise StoreError(
                path,
                f"/{name} ends at {limits[-1]}, but {target} has {len(group[target])} rows",
            )

    file.visititems(visit)


def check_store(path: PathLike) -> str:
    """Check a store completely and return its digest, computed anew.

    A store of another program may leave its digest out; one that states it must state it right.

    Raises:
        StoreError: whatever is wrong, in one line.
    """
    store = read_store(path)
    try:
        guarded(path, lambda: _check_offsets(store.file, path))
        stated = store.digest
        found = str(guarded(path, lambda: content_digest(store.file)))
    finally:
        store.close()
    if stated and stated != found:
        raise StoreError(
            path,
            f"content digest is {found[:19]}..., the header states {stated[:19]}...",
            "the file was changed after it was written",
        )
    return found


def describe_store(path: PathLike) -> dict[str, Any]:
    """Return a JSON description of a store: header, rows, data sets, taint and provenance."""
    with open_file(path) as file:
        header = {name: str(file.attrs[name]) for name in sorted(file.attrs)}
        parts: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                parts["/" + name] = {"shape": list(item.shape), "dtype": str(item.dtype)}

        file.visititems(visit)
    store = read_store(path)
    store.close()
    return {
        "path": str(path),
        **header,
        "clips": len(store),
        "classes": len(store.class_names),
        "vocabulary": store.vocabulary,
        "dataset": store.dataset,
        "taint": {
            "state": "known" if store.taint.known else "unknown",
            "trained_on": len(store.taint.trained_on),
            "selected_on": len(store.taint.selected_on),
        },
        "parts": parts,
        "provenance": {
            "command": store.provenance.command,
            "config": dict(store.provenance.config),
            "inputs": dict(store.provenance.inputs),
            "versions": dict(store.provenance.versions),
        },
    }
