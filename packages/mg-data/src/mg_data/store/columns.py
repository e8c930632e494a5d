"""Columns of a store that is read: of the type and the length they must be, and no larger than they may be.

Every error is one of ``mg_data.store``'s: a stranger's file may state anything.
"""

from __future__ import annotations

import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.index import PathLike

# Memory that texts of unequal length may always take as an array, and beyond it so many times the file.
_FREE_BYTES = 64 << 20
_GROWTH = 32
# Texts read at a time where their lengths are not known before.
_FEW = 16
# A reference to a text: its length, the address of the heap it lies in, its number there.
_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])


def _lengths(item: h5py.Dataset) -> NDArray[np.int64]:
    """Return the length of each text in bytes, without reading texts where the file's layout allows it."""
    offset = item.id.get_offset()
    if offset is not None and item.file.driver == "sec2":
        with open(item.file.filename, "rb") as file:  # noqa: PTH123
            file.seek(offset + item.file.userblock_size)
            data = file.read(_REFERENCE.itemsize * int(np.prod(item.shape, dtype=np.int64)))
        return np.frombuffer(data, _REFERENCE)["length"].astype(np.int64)
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    if item.chunks and set(filters) <= {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_DEFLATE}:
        return _lengths_of_chunks(item, filters)
    most = item.file.id.get_filesize()
    lengths: list[int] = []
    total = 0
    for begin in range(0, len(item), _FEW):
        lengths += [len(text) for text in item[begin : begin + _FEW].ravel().tolist()]
        total += sum(lengths[-_FEW:])
        if total > most:
            break
    return np.array(lengths, np.int64)


def _lengths_of_chunks(item: h5py.Dataset, filters: list[int]) -> NDArray[np.int64]:
    """Return the lengths that the references of all chunks state; 0 for those beyond the data set's end."""
    found = [np.zeros(1, np.int64)]
    size = _REFERENCE.itemsize * int(np.prod(item.chunks, dtype=np.int64))

    def look(chunk: Any) -> None:
        data = item.id.read_direct_chunk(chunk.chunk_offset)[1]
        for number, kind in reversed(list(enumerate(filters))):
            if not chunk.filter_mask >> number & 1:
                fletcher = kind == h5py.h5z.FILTER_FLETCHER32
                data = data[:-4] if fletcher else zlib.decompressobj().decompress(data, size + 4)
        found.append(np.frombuffer(data[:size], _REFERENCE)["length"].astype(np.int64))

    item.id.chunk_iter(look)
    return np.concatenate(found)


def check_texts(item: h5py.Dataset, path: PathLike) -> None:
    """Raise StoreError for texts that claim more bytes than the file has, or one far longer than the others.

    Many texts of variable length may be one and the same in the file, and as an array all are as long as
    the longest.
    """
    if not item.shape or 0 in item.shape:
        return
    size = item.file.id.get_filesize()
    if h5py.check_string_dtype(item.dtype).length is None:
        lengths = _lengths(item)
        if int(lengths.sum()) > size:
            raise StoreError(
                path, f"{item.name} claims {int(lengths.sum())} bytes of text in a file of {size} bytes"
            )
        longest = int(lengths.max())
    else:
        longest = item.dtype.itemsize
    taken = 4 * longest * int(np.prod(item.shape, dtype=np.int64))
    if taken > max(_FREE_BYTES, _GROWTH * size):
        raise StoreError(
            path, f"{item.name} holds a text of {longest} bytes, for which {taken >> 20} MiB would be needed"
        )


def read_text(file: h5py.File, name: str) -> NDArray[np.str_]:
    """Read a (N,) text data set."""
    item = file[name]
    if not isinstance(item, h5py.Dataset) or item.ndim != 1 or h5py.check_string_dtype(item.dtype) is None:
        raise ValueError(f"/{name} is no list of texts")
    values = item.asstr()[()]
    return values.astype(np.str_) if len(values) else np.empty(0, np.str_)


def one_text(file: h5py.File, name: str) -> str:
    """Read a data set that is one text."""
    item = file[name]
    if not isinstance(item, h5py.Dataset) or item.shape != () or h5py.check_string_dtype(item.dtype) is None:
        raise ValueError(f"/{name} is no text")
    return str(item.asstr()[()])


def read_numbers(file: h5py.File, name: str) -> NDArray[np.float32]:
    """Read a data set of numbers as float32; what it has no room for becomes infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(_read(file, name, "fiu")[()], np.float32)


def read_whole(file: h5py.File, name: str, dtype: Any = np.int64) -> NDArray[Any]:
    """Read a data set of whole numbers; ValueError if ``dtype`` has no room for one."""
    values = _read(file, name, "iu")[()]
    limits = np.iinfo(dtype)
    if values.size and (int(values.min()) < limits.min or int(values.max()) > limits.max):
        raise ValueError(f"/{name} holds numbers outside {limits.min}..{limits.max}")
    return np.asarray(values, dtype)


def _read(file: h5py.File, name: str, kinds: str) -> h5py.Dataset:
    item = file[name]
    if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind not in kinds:
        found = item.dtype if isinstance(item, h5py.Dataset) else "a group"
        wanted = "numbers" if "f" in kinds else "whole numbers"
        raise ValueError(f"/{name} is {found}, wanted {wanted}")
    return item


def check_length(path: PathLike, name: str, values: NDArray[Any], count: int) -> None:
    """Raise StoreError unless a column has one number or text for each of ``count`` clips."""
    if values.ndim == 1 and len(values) != count:
        raise StoreError(path, f"/{name} has rows for {len(values)} clips, wanted {count}")
    if values.ndim != 1:
        raise StoreError(path, f"/{name} has shape {values.shape}, wanted ({count},)")


def read_limits(file: h5py.File, path: PathLike, name: str, count: int, target: str) -> NDArray[np.int64]:
    """Read (count + 1,) offsets into the rows of ``target``.

    Raises:
        StoreError: they are of another number, fall, or do not begin at 0 and end with the target.
    """
    limits: NDArray[np.int64] = read_whole(file, name)
    rows = file[target].shape[0]
    if limits.shape != (count + 1,):
        raise StoreError(path, f"/{name} has shape {limits.shape}, wanted ({count + 1},)")
    if limits[0] != 0 or np.any(np.diff(limits) < 0):
        raise StoreError(path, f"/{name} is no list of growing offsets")
    if limits[-1] != rows:
        last = target.rsplit("/", 1)[-1]
        raise StoreError(path, f"/{name} ends at {limits[-1]}, but {last} has {rows} rows")
    return limits
