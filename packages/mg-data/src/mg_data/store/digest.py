"""Content digest of a store: equal content gives one digest, whatever the row order or the number of shards.

Canonical content is the data sets in path order, each as path, attributes, dtype, shape and little-endian
bytes, with rows sorted by clip id. Ragged data is canonical when its rows are gathered in that order and
their lengths, not their offsets, are hashed. ``/provenance`` and the root's attributes are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mg_data.store.attributes import attribute_names

# Gather this many values at a time, so that digesting needs little memory.
_BLOCK_VALUES = 1 << 22
_BLOCK_TEXTS = 1 << 16


def _json_default(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    raise TypeError(f"attribute of type {type(value).__name__} cannot be digested")


def _attributes(item: h5py.Group | h5py.Dataset) -> bytes:
    listing = {name: item.attrs[name] for name in attribute_names(item)}
    return json.dumps(listing, sort_keys=True, default=_json_default, ensure_ascii=False).encode()


def _is_text(dataset: h5py.Dataset) -> bool:
    return h5py.check_string_dtype(dataset.dtype) is not None


def _little_endian(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).tobytes()


def _text_bytes(values: NDArray[Any]) -> bytes:
    """Return each text as UTF-8 after its length in 8 bytes."""
    raw = [value if isinstance(value, bytes) else str(value).encode() for value in values.ravel().tolist()]
    sizes = list(map(len, raw))
    lengths = {size: size.to_bytes(8, "little") for size in set(sizes)}
    return b"".join(chain.from_iterable(zip(map(lengths.__getitem__, sizes), raw, strict=True)))


def _row_blocks(
    dataset: h5py.Dataset, order: NDArray[np.int64], sorted_already: bool
) -> Iterator[NDArray[Any]]:
    per_row = max(1, int(np.prod(dataset.shape[1:], dtype=np.int64)))
    step = max(1, _BLOCK_VALUES // per_row)
    if not sorted_already and dataset.size <= 16 * _BLOCK_VALUES:
        values = dataset[()]
        for begin in range(0, len(order), step):
            yield values[order[begin : begin + step]]
        return
    for begin in range(0, len(order), step):
        rows = order[begin : begin + step]
        if sorted_already:
            yield dataset[begin : begin + len(rows)]
        else:
            # h5py wants increasing indices: read them so, then put them back in the wanted order.
            rank = np.argsort(rows, kind="stable")
            values = dataset[rows[rank]]
            out = np.empty_like(values)
            out[rank] = values
            yield out


def _ragged_blocks(
    dataset: h5py.Dataset, begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> Iterator[NDArray[Any]]:
    """Yield the rows' values; neighbours in the file are read together."""
    row = 0
    per_item = max(1, int(np.prod(dataset.shape[1:], dtype=np.int64)))
    while row < len(begins):
        last = row
        while (
            last + 1 < len(begins)
            and begins[last + 1] == ends[last]
            and (ends[last + 1] - begins[row]) * per_item <= _BLOCK_VALUES
        ):
            last += 1
        yield dataset[begins[row] : ends[last]]
        row = last + 1


def _row_order(file: h5py.File) -> tuple[NDArray[np.int64], bool]:
    """Return the rows in the order of their clip ids, and whether they lie in it.

    Rows that do (UTF-8 sorts as text does) are found out block by block, without holding all ids.
    """
    if "index/clip_id" not in file:
        return np.empty(0, np.int64), True
    item = file["index/clip_id"]
    last, is_sorted = b"", True
    for begin in range(0, len(item), _BLOCK_TEXTS):
        block = np.concatenate([[last], item[begin : begin + _BLOCK_TEXTS]]).astype(np.bytes_)
        if not (block[1:] > block[:-1]).all():
            is_sorted = False
            break
        last = block[-1]
    if is_sorted:
        return np.arange(len(item), dtype=np.int64), True
    return np.argsort(item.asstr()[()].astype(str), kind="stable").astype(np.int64), False


def content_digest(file: h5py.File, *, ascending: bool = False) -> str:
    """Return ``"sha256:..."`` of an open store's content.

    Args:
        ascending: the rows are known to lie in the order of their clip ids, so that needs no look.
    """
    if ascending:
        order, is_sorted = np.arange(len(file["index/clip_id"]), dtype=np.int64), True
    else:
        order, is_sorted = _row_order(file)
    digest = hashlib.sha256()
    for path, item in _members(file):
        if path == "provenance" or path.startswith("provenance/"):
            continue
        attributes = _attributes(item)
        if isinstance(item, h5py.Group):
            if attributes != b"{}":
                digest.update(f"group\0{path}\0".encode() + attributes + b"\0")
            continue
        dtype = "utf8" if _is_text(item) else item.dtype.newbyteorder("<").str
        digest.update(f"data\0{path}\0{dtype}\0{item.shape}\0".encode() + attributes + b"\0")
        for part in _values(path, item, order, is_sorted):
            digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def _members(file: h5py.File) -> list[tuple[str, h5py.Group | h5py.Dataset]]:
    """Return all groups and data sets, sorted by path."""
    members: list[tuple[str, h5py.Group | h5py.Dataset]] = []
    visit: Callable[[str, h5py.Group | h5py.Dataset], None] = lambda path, item: members.append((path, item))  # noqa: E731
    file.visititems(visit)
    return sorted(members, key=lambda pair: pair[0])


def _values(path: str, item: h5py.Dataset, order: NDArray[np.int64], is_sorted: bool) -> Iterator[Any]:
    """Yield the bytes of a data set, its rows in the order of their clip ids."""
    group, name = item.parent, path.rsplit("/", 1)[-1]
    per_clip = path.split("/", 1)[0] not in ("classes", "taint")
    ragged = "indptr" in group or "clip_indptr" in group
    # A later minor version may add what has no row a clip: it keeps its own order.
    if not per_clip or item.shape == () or (not ragged and len(item) != len(order)):
        values = np.asarray(item.asstr()[()] if _is_text(item) else item[()])
        yield _text_bytes(values) if _is_text(item) else _little_endian(values)
    elif name in ("indptr", "clip_indptr"):
        yield _little_endian(np.diff(item[()])[order])
    elif name == "frame_indptr":
        frames, lengths = group["clip_indptr"][()], np.diff(item[()])
        for row in order:
            yield _little_endian(lengths[frames[row] : frames[row + 1]])
    elif ragged:
        limits = group["clip_indptr" if "clip_indptr" in group else "indptr"][()]
        if "clip_indptr" in group and name == "bytes":
            limits = group["frame_indptr"][()][limits]
        for block in _ragged_blocks(item, limits[:-1][order], limits[1:][order]):
            yield _little_endian(block)
    elif _is_text(item) and is_sorted:
        for begin in range(0, len(item), _BLOCK_TEXTS):
            yield _text_bytes(item[begin : begin + _BLOCK_TEXTS])
    elif _is_text(item):
        yield _text_bytes(item.asstr()[()][order])
    else:
        for block in _row_blocks(item, order, is_sorted):
            yield _little_endian(block)
