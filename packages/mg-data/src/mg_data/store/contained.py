"""A store holds all its data itself: links and data sets that lead out of the file are refused.

HDF5 follows them silently: whoever opens a stranger's file would read others of his own files, the content
digest would not cover them, and a source that is missing reads as zeros. So do parts of a data set that were
never written, and a few bytes can claim more of them than there is memory.
"""

from __future__ import annotations

import math

import h5py

from mg_data.contract.errors import StoreError
from mg_data.store.columns import check_texts
from mg_data.store.index import PathLike

# What is packed may always unfold to this much; beyond it to so many times what it takes in the file.
_FREE_BYTES = 64 << 20
_MAX_RATIO = 200
# Filters that leave the size as it is.
_UNPACKED = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


def _refuse(path: PathLike, place: str, what: str) -> StoreError:
    return StoreError(path, f"{place} {what}", "a store holds all its data itself; write it without links")


def _check_link(path: PathLike, place: str, link: object) -> None:
    if isinstance(link, h5py.ExternalLink):
        raise _refuse(path, place, f"is a link to {link.path} of the file '{link.filename}'")
    if isinstance(link, h5py.SoftLink):
        raise _refuse(path, place, f"is a link to {link.path}")


def _check_dataset(path: PathLike, place: str, dataset: h5py.Dataset) -> None:
    if dataset.external:
        raise _refuse(path, place, f"is read from the file '{dataset.external[0][0]}'")
    if dataset.is_virtual:
        for source in dataset.virtual_sources():
            if source.file_name != ".":
                raise _refuse(path, place, f"is put together from the file '{source.file_name}'")
        claimed, size = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.file.id.get_filesize()
        if claimed > max(_FREE_BYTES, size) or dataset.dtype.hasobject:
            raise StoreError(path, f"{place} is put together of {claimed} bytes in a file of {size} bytes")


def _check_size(path: PathLike, place: str, dataset: h5py.Dataset) -> None:
    """Raise StoreError unless the file holds what the data set claims."""
    stored, itemsize = dataset.id.get_storage_size(), dataset.dtype.itemsize
    claimed = math.prod(dataset.shape) * itemsize
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    packed = any(number not in _UNPACKED for number in filters)  # no writer of ours does
    if not packed and stored < claimed:
        raise StoreError(
            path, f"{place} is not written completely: {stored} of {claimed} bytes", "write or copy it again"
        )
    # A chunk is unfolded whole, however little of it is asked for.
    memory = max(claimed, math.prod(dataset.chunks or ()) * itemsize)
    if memory > max(_FREE_BYTES, (_MAX_RATIO if packed else 1) * stored):
        raise StoreError(
            path, f"{place} unfolds from {stored} to {memory} bytes, more than {_MAX_RATIO} times its size"
        )


def _check_type(path: PathLike, place: str, dataset: h5py.Dataset) -> None:
    if not dataset.dtype.hasobject:
        return
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise StoreError(path, f"{place} is of a type that no store has", "wanted numbers or texts")
    check_texts(dataset, path)


def check_contained(file: h5py.File, path: PathLike) -> None:
    """Raise StoreError for links, data in other files, and data sets whose content the file does not hold."""
    seen = {h5py.h5o.get_info(file.id).addr}
    groups: list[h5py.Group] = [file["/"]]
    while groups:
        group = groups.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            _check_link(path, place, group.get(name, getlink=True))
            item = group[name]
            if isinstance(item, h5py.Dataset):
                _check_dataset(path, place, item)
                if not item.is_virtual and item.shape and 0 not in item.shape:
                    _check_size(path, place, item)
                    _check_type(path, place, item)
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # hard links may go in circles
                    seen.add(address)
                    groups.append(item)
