"""A store holds all its data itself: links and data sets that lead out of the file are refused.

HDF5 follows them silently: whoever opens a stranger's file would read others of his own files, the content
digest would not cover them, and a source that is missing reads as zeros. So do parts of a data set that were
never written, and a few bytes can claim more of them than there is memory.
"""

from __future__ import annotations

import h5py

from mg_data.contract.errors import StoreError
from mg_data.store.index import PathLike


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


def _check_written(path: PathLike, place: str, dataset: h5py.Dataset) -> None:
    stored, claimed = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
    # What is compressed (no writer of ours does) says little by its size.
    if dataset.compression is None and dataset.scaleoffset is None and stored < claimed:
        raise StoreError(
            path, f"{place} is not written completely: {stored} of {claimed} bytes", "write or copy it again"
        )


def check_contained(file: h5py.File, path: PathLike) -> None:
    """Raise StoreError for links, data in other files, and data sets that were not written completely."""
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
                if not item.is_virtual and item.size:
                    _check_written(path, place, item)
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # hard links may go in circles
                    seen.add(address)
                    groups.append(item)
