"""Full check of a store: readable by its own reader, all parts consistent, digest as stated."""

from __future__ import annotations

import contextlib
from typing import Any

import h5py
import numpy as np

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.digest import content_digest
from mg_data.store.heaps import check_heaps
from mg_data.store.index import PathLike
from mg_data.store.readers import open_whole
from mg_data.store.reading import guarded, open_file

# Offsets -> what they divide; a later minor version may have others.
_RAGGED = {"indptr": "values", "frame_indptr": "bytes", "clip_indptr": "box"}
# Data sets with one row a clip, by group.
_BY_CLIP = {
    "index": ("clip_id", "subject_id", "video_id", "start", "stop", "label"),
    "split": ("name", "label"),
    "logits": ("values", "present"),
    "probs": ("values",),
    "pseudo": ("label", "confidence", "votes", "probs"),
}


def _check_lengths(file: h5py.File, path: PathLike, count: int) -> None:
    """Raise StoreError unless everything that has one row a clip has ``count`` of them."""
    found = {
        f"{group}/{name}": len(file[group][name])
        for group, names in _BY_CLIP.items()
        for name in names
        if group in file and name in file[group]
    }
    parts = [("joints", "indptr"), *((f"features/{name}", "indptr") for name in file.get("features", ()))]
    parts += [(f"streams/{name}", "clip_indptr") for name in file.get("streams", ())]
    for group, name in parts:
        if group in file and name in file[group]:
            found[f"{group}/{name}"] = len(file[group][name]) - 1
        elif group in file and "values" in file[group]:
            found[f"{group}/values"] = len(file[group]["values"])
    for name, rows in found.items():
        if rows != count:
            raise StoreError(path, f"/{name} has rows for {rows} clips, wanted {count}")


def _check_offsets(file: h5py.File, path: PathLike) -> None:
    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or not name.endswith("indptr"):
            return
        limits = item[()]
        if len(limits) == 0 or limits[0] != 0 or np.any(np.diff(limits) < 0):
            raise StoreError(path, f"/{name} is no list of growing offsets")
        group = item.parent
        target = _RAGGED.get(name.rsplit("/", 1)[-1], "")
        if target in group and limits[-1] != len(group[target]):
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
    with contextlib.suppress(OSError):  # what cannot be opened is told by the next line
        check_heaps(path, front=None)
    with open_whole(path) as store:
        guarded(path, lambda: _check_lengths(store.file, path, len(store)))
        guarded(path, lambda: _check_offsets(store.file, path))
        stated = store.digest
        found = str(guarded(path, lambda: content_digest(store.file)))
    if stated and stated != found:
        raise StoreError(
            path,
            f"content digest is {found[:19]}..., the header states {stated[:19]}...",
            "the file was changed after it was written",
        )
    return found


def describe_store(path: PathLike) -> dict[str, Any]:
    """Return a JSON description of a store: header, rows, data sets, taint and provenance."""
    return dict(guarded(path, lambda: _describe(path)))


def _describe(path: PathLike) -> dict[str, Any]:
    with open_file(path) as file:
        header = {name: str(value) for name, value in sorted(attributes(file).items())}
        parts: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                parts["/" + name] = {"shape": list(item.shape), "dtype": str(item.dtype)}

        file.visititems(visit)
    with open_whole(path) as store:
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
