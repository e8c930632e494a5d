"""A logit store, written from the page "The store format, version 1.0" with h5py and hashlib alone.

Sections 1 and 2 of the page are :func:`write_logits`, section 3 is :func:`taint_keys`, section 4 is
:func:`content_digest`. Whoever copies this file into a program of their own can be fused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

TEXT = h5py.string_dtype("utf-8")


def taint_keys(dataset: str, clip_ids: Iterable[str]) -> NDArray[np.uint64]:
    """Return the sorted keys of training clips: what keeps a vote from being fitted on them."""
    digests = (hashlib.sha256(f"{dataset}\0{clip_id}".encode()).digest() for clip_id in clip_ids)
    return np.unique(np.array([int.from_bytes(digest[:8], "big") for digest in digests], np.uint64))


def write_logits(
    path: Path,
    *,
    clip_ids: Sequence[str],
    values: NDArray[np.float32],
    class_names: Sequence[str],
    dataset: str,
    model: str,
    modality: str,
    trained_on: Iterable[str],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write one model's scores; the file appears under its name when it is complete.

    Args:
        clip_ids: N different texts. values: (N, K) finite logits. class_names: K texts, in the same order for
            every store that is fused with this one.
        dataset: its name, as ``mg store info`` tells it of the split or of another store.
        trained_on: clip ids of the training.
    """
    order = sorted(range(len(clip_ids)), key=lambda row: clip_ids[row])
    keys = taint_keys(dataset, trained_on)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            file.attrs["mg_format"] = "mg-store"
            file.attrs["mg_format_version"] = "1.0"
            file.attrs["mg_min_reader"] = "1.0"
            file.attrs["mg_kind"] = "logits"
            file.attrs["mg_writer"] = "mg-scores-only 0.1.0"
            file.attrs["mg_created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            file.create_dataset("index/clip_id", data=[clip_ids[row] for row in order], dtype=TEXT)
            file["index"].attrs["dataset"] = dataset
            file.create_dataset("classes/name", data=list(class_names), dtype=TEXT)
            file["classes/name"].attrs["vocabulary"] = ""
            scores = file.create_dataset("logits/values", data=np.asarray(values, "<f4")[order])
            scores.attrs["space"] = "logit"
            scores.attrs["model"] = model
            scores.attrs["modality"] = modality
            file.create_dataset("taint/trained_on", data=keys)
            file.create_dataset("taint/selected_on", data=np.empty(0, np.uint64))
            file["taint"].attrs["state"] = "known"
            text = json.dumps(
                {"command": "scores-only", "config": {}, "inputs": {}, "versions": {}}
                | dict(provenance or {})
            )
            file.create_dataset("provenance/json", data=text, dtype=TEXT)
            file.attrs["mg_content_digest"] = content_digest(file)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def content_digest(file: h5py.File) -> str:
    """Return the digest of a store whose rows already lie in the order of their clip ids."""
    digest = hashlib.sha256()
    objects: dict[str, Any] = {}
    file.visititems(lambda name, item: objects.update({name: item}))
    for name, item in sorted(objects.items()):
        if name.split("/")[0] == "provenance":
            continue
        attributes = json.dumps(dict(item.attrs), sort_keys=True, ensure_ascii=False).encode()
        if isinstance(item, h5py.Group):
            if item.attrs:
                digest.update(f"group\0{name}\0".encode() + attributes + b"\0")
            continue
        text = h5py.check_string_dtype(item.dtype) is not None
        kind = "utf8" if text else item.dtype.newbyteorder("<").str
        digest.update(f"data\0{name}\0{kind}\0{item.shape}\0".encode() + attributes + b"\0")
        if text:
            for value in item.asstr()[()]:
                raw = value.encode()
                digest.update(len(raw).to_bytes(8, "little") + raw)
        else:
            digest.update(item[()].astype(item.dtype.newbyteorder("<")).tobytes())
    return f"sha256:{digest.hexdigest()}"
