"""Join stores of one kind whose clips are disjoint, such as the shards of one run.

The content digest does not depend on how rows were shared out, so merged shards have the digest of the
store that one process would have written.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attribute_names
from mg_data.store.index import PathLike
from mg_data.store.provenance import Provenance
from mg_data.store.readers import open_whole
from mg_data.store.reading import StoreFile, guarded
from mg_data.store.taint import Taint
from mg_data.store.writing import StoreWriter, create_store

# Copy this many bytes at a time.
_BLOCK_BYTES = 16 << 20
_WHOLE = ("classes", "taint", "provenance")
_OFFSETS = ("indptr", "clip_indptr", "frame_indptr")


def merge_stores(paths: Sequence[PathLike], out: PathLike, *, partial: bool = False) -> str:
    """Write the union of stores and return its digest.

    Args:
        paths: stores of one kind, class list and set of parts, without a common clip.
        out: the store to write.
        partial: join shards although some of their run are missing.

    Raises:
        StoreError: stores that do not fit, a clip in two of them, missing or unequal shards.
    """
    if not paths:
        raise StoreError(out, "cannot be merged from no store", "name the shards")
    with ExitStack() as stack:
        stores: list[StoreFile] = []
        for path in paths:
            store = open_whole(path)
            stack.callback(store.close)
            stores.append(store)
        provenance = _provenance(stores, partial)
        guarded(out, lambda: _check_alike(stores))
        _check_disjoint(stores)
        with create_store(out, stores[0].kind) as target:
            for name in _names(stores[0]):
                if all(_has_rows(store, name) for store in stores):
                    _copy(stores, name, target)
                else:
                    _copy_common(stores, name, target)
            _copy_group_attributes(stores[0].file, target.file)
            if "taint" in stores[0].file:
                target.taint(Taint.union_all(store.taint for store in stores))
            if "classes/name" in stores[0].file:
                target.classes(stores[0].class_names, stores[0].vocabulary)
            target.provenance(provenance)
    return target.digest


def _names(store: StoreFile) -> list[str]:
    """Return the paths of all data sets but those that are joined in a way of their own."""
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.split("/", 1)[0] not in _WHOLE:
            names.append(name)

    store.file.visititems(visit)
    return names


def _has_rows(store: StoreFile, name: str) -> bool:
    """Return whether a data set has one row a clip, or a frame of one; what a later format adds need not."""
    item: h5py.Dataset = store.file[name]
    ragged = any(offsets in item.parent for offsets in _OFFSETS)
    return item.shape != () and (ragged or len(item) == len(store))


def _check_disjoint(stores: Sequence[StoreFile]) -> None:
    owner: dict[str, Path] = {}
    for store in stores:
        for clip_id in store.clip_ids.tolist():
            if clip_id in owner:
                raise StoreError(
                    store.path,
                    f"holds clip '{clip_id}', which {owner[clip_id]} holds too",
                    "merge stores without common clips",
                )
            owner[clip_id] = store.path


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _shape(store: StoreFile) -> dict[str, Any]:
    """Return everything that has to be equal in stores that are joined, by a name for messages."""
    facts: dict[str, Any] = {
        "kind": store.kind,
        "data set": store.dataset,
        "class list": (store.class_names, store.vocabulary),
        "parts": sorted(_names(store)),
    }

    def visit(name: str, item: Any) -> None:
        if name.split("/", 1)[0] in _WHOLE:
            return
        facts[f"attributes of /{name}"] = {key: _plain(item.attrs[key]) for key in attribute_names(item)}
        if isinstance(item, h5py.Dataset):
            facts[f"type of /{name}"] = (str(item.dtype), item.shape[1:])

    store.file.visititems(visit)
    return facts


def _check_alike(stores: Sequence[StoreFile]) -> None:
    first = _shape(stores[0])
    for store in stores[1:]:
        other = _shape(store)
        for what in {**first, **other}:  # in a fixed order: the first difference is named
            if first.get(what) != other.get(what):
                raise StoreError(
                    store.path,
                    f"differs from {stores[0].path} in the {what}: {_short(other.get(what))} against "
                    f"{_short(first.get(what))}",
                )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class _Shard:
    """What a shard's provenance says of it: ``{"part": "2/8", "units": 31, "of": 251}``."""

    index: int
    count: int
    units: int
    of: int
    command: str
    options: str

    @classmethod
    def of_store(cls, store: StoreFile) -> _Shard | None:
        """Return the facts, or None if the store is no shard."""
        config = dict(store.provenance.config)
        facts = config.pop("shard", None)
        try:
            index, count = (int(number) for number in facts["part"].split("/"))
            units, of = int(facts["units"]), int(facts["of"])
        except (TypeError, KeyError, ValueError, AttributeError):
            return None
        return cls(index, count, units, of, store.provenance.command, json.dumps(config, sort_keys=True))


def _provenance(stores: Sequence[StoreFile], partial: bool) -> Provenance:
    """Return the merged store's provenance; shards must be all of one run."""
    inputs = {str(store.path): store.digest for store in stores}
    shards = [shard for store in stores if (shard := _Shard.of_store(store)) is not None]
    if len(shards) != len(stores):
        return Provenance(command="mg store merge", inputs=inputs)
    first = shards[0]
    given: dict[int, Path] = {}
    for store, shard in zip(stores, shards, strict=True):
        for what in ("command", "count", "of", "options"):
            if getattr(shard, what) != getattr(first, what):
                raise StoreError(
                    store.path,
                    f"is a shard of another run than {stores[0].path}: {what} "
                    f"{_short(getattr(shard, what))} against {_short(getattr(first, what))}",
                )
        if shard.index in given:
            raise StoreError(
                store.path, f"is shard {shard.index}/{shard.count}, and so is {given[shard.index]}"
            )
        given[shard.index] = store.path
    units = sum(shard.units for shard in shards)
    if units != first.of and not partial:
        missing = [f"{i}/{first.count}" for i in range(1, first.count + 1) if i not in given]
        raise StoreError(
            stores[0].path,
            f"and the others hold {units} of {first.of} recordings; not given: {', '.join(missing[:8])}",
            "make the missing shards, or join what is there with --partial",
        )
    return Provenance(
        command=first.command,
        config={**json.loads(first.options), "merged_shards": len(stores)},
        inputs=inputs,
    )


def _copy_group_attributes(source: h5py.File, target: h5py.File) -> None:
    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and name.split("/", 1)[0] not in _WHOLE:
            for key in attribute_names(item):
                target.require_group(name).attrs[key] = item.attrs[key]

    source.visititems(visit)


def _rows(source: h5py.Dataset, begin: int, step: int) -> Any:
    return source[begin : begin + step]


def _copy_common(stores: Sequence[StoreFile], name: str, target: StoreWriter) -> None:
    """Write a data set that has no rows of clips, and so must be the same in all stores."""
    first: h5py.Dataset = stores[0].file[name]
    for store in stores[1:]:
        if not np.array_equal(first[()], store.file[name][()]):
            raise StoreError(
                store.path, f"and {stores[0].path} hold different /{name}, which has no row for each clip"
            )
    written = target.file.create_dataset(name, data=first[()], dtype=first.dtype)
    for key in attribute_names(first):
        written.attrs[key] = first.attrs[key]


def _copy(stores: Sequence[StoreFile], name: str, target: StoreWriter) -> None:
    """Write the data set ``name`` of all stores, one after another."""
    first: h5py.Dataset = stores[0].file[name]
    if h5py.check_string_dtype(first.dtype) is not None:
        rows = [store.file[name].asstr()[()] for store in stores]
        written = target.text(name, np.concatenate(rows).astype(str))
    elif name.rsplit("/", 1)[-1] in _OFFSETS:
        lengths = [np.diff(store.file[name][()]) for store in stores]
        written = target.array(
            name, np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        )
    else:
        per_row = max(1, int(np.prod(first.shape[1:], dtype=np.int64)) * first.dtype.itemsize)
        rows_per_chunk = first.chunks[0] if first.chunks else max(1, (64 << 10) // per_row)
        written = target.growing(name, first.shape[1:], first.dtype, rows_per_chunk)
        step = max(1, _BLOCK_BYTES // per_row)
        for store in stores:
            source: h5py.Dataset = store.file[name]
            for begin in range(0, len(source), step):
                block: NDArray[Any] = guarded(store.path, functools.partial(_rows, source, begin, step))
                end = written.shape[0] + len(block)
                written.resize(end, axis=0)
                written[end - len(block) :] = block
    for key in attribute_names(first):
        written.attrs[key] = first.attrs[key]
