"""Rows of a chunked data set read from the file itself, past HDF5: what random reads of clips are fast by.

HDF5 reads, checks and caches whole chunks for every slice. A published store never changes, so it is enough
to ask HDF5 once where the chunks lie. A chunk that is touched for the first time is read as a whole and its
Fletcher-32 compared; from then on its rows are copied out of a memory map. What is not exactly as our
writers lay it out (other filters, another byte order, chunks that are missing or lie outside the file) is
left to h5py.

A pass in the order of the file needs no map at all (the last chunk is kept), so its memory stays small and a
file that is cut meanwhile is an error message. A mapped file that somebody shortens in place under a
reader, against the rule that stores are immutable, can end the process (SIGBUS), as with any memory map.
"""

from __future__ import annotations

import mmap
import os
import weakref
from array import array
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_CHECKSUM_BYTES = 4
# A chunk is summed as a table of so many 16-bit words a row, so many rows at a time: sums of float32 over a
# row or a column of it stay below 2**24 and are therefore exact, in whatever order they are added.
_WORDS = _ROWS = 256
_MAX_CHUNK_BYTES = 16 << 20


class DamagedChunkError(OSError):
    """A chunk whose bytes do not fit its checksum, or that the file no longer holds."""


def fletcher32(data: bytes | bytearray | memoryview) -> int:
    """Return HDF5's Fletcher-32 of some bytes: big-endian words of 16 bits, sums modulo 65535.

    With n words w_0 ... w_(n-1) the sums are s1 = sum(w_i) and s2 = sum((n - i) w_i), where a sum that is
    a multiple of 65535 is written as 65535 unless all words are zero. An odd last byte is the high half of
    a word of its own.

    >>> hex(fletcher32(bytes([1, 2, 3, 4, 5])))
    '0xe0e0906'
    """
    count = (len(data) + 1) // 2
    flat = np.frombuffer(data, np.uint8)
    if len(flat) % (2 * _WORDS):
        flat = np.concatenate([flat, np.zeros(-len(flat) % (2 * _WORDS), np.uint8)])
    # Little-endian words serve as well: modulo 65535 swapping the bytes of a word is a multiplication by
    # 256, which is made up for at the end.
    table = flat.view("<u2").reshape(-1, _WORDS)
    by_row = np.zeros(len(table), np.int64)
    by_column = np.zeros(_WORDS, np.int64)
    for row in range(0, len(table), _ROWS):
        block = table[row : row + _ROWS].astype(np.float32)
        by_row[row : row + _ROWS] = block.sum(axis=1)
        by_column += block.sum(axis=0).astype(np.int64)
    first = int(by_row.sum())
    if first == 0:
        return 0
    # n - i of word i = _WORDS * row + column
    weights = count - _WORDS * np.arange(len(table), dtype=np.int64)
    second = int(by_row @ weights) - int(by_column @ np.arange(_WORDS, dtype=np.int64))
    one, two = (256 * value % 65535 or 65535 for value in (first, second))
    return two << 16 | one


def _fits(data: memoryview, stored: bytes | memoryview) -> bool:
    """Whether a chunk has its checksum. Very old HDF5 wrote each half of it with its bytes swapped."""
    found = fletcher32(data).to_bytes(4, "little")
    given = bytes(stored)
    return found == given or found == bytes((given[1], given[0], given[3], given[2]))


class MappedFile:
    """An open store as bytes: read at absolute positions, so a forked process may go on using it."""

    def __init__(self, handle: int) -> None:
        self._descriptor = os.dup(handle)
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._map: mmap.mmap | None = None
        self._bytes: memoryview | None = None
        self.size = os.fstat(self._descriptor).st_size

    @property
    def bytes(self) -> memoryview:
        """The file in memory; mapped when it is first asked for."""
        if self._bytes is None:
            if os.fstat(self._descriptor).st_size < self.size:
                raise DamagedChunkError("the file became shorter after it was opened")
            self._map = mmap.mmap(self._descriptor, self.size, access=mmap.ACCESS_READ)
            self._bytes = memoryview(self._map)
        return self._bytes

    def read(self, offset: int, length: int) -> memoryview:
        """Return some bytes of the file, which are in it or DamagedChunkError is raised."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) < length:
            raise DamagedChunkError(f"the file ends at {offset + len(data)}, wanted {offset + length} bytes")
        return memoryview(data)

    def close(self) -> None:
        """Give map and descriptor back."""
        if self._bytes is not None:
            self._bytes.release()
        if self._map is not None:
            self._map.close()
        self._bytes = self._map = None
        self._close()


class MappedRows:
    """Rows of one data set of shape (n, *item_shape), chunked along its first axis only.

    Args:
        file: the store's bytes. offsets: for each chunk its position in the file.
        rows_per_chunk: rows in every chunk, the last one included (it is stored at full size).
    """

    def __init__(
        self, file: MappedFile, offsets: array[int], shape: tuple[int, ...], dtype: Any, rows_per_chunk: int
    ) -> None:
        self._file = file
        self._offsets = offsets
        self._length = shape[0]
        self._item_shape = shape[1:]
        self._dtype = np.dtype(dtype)
        self._item_bytes = int(np.prod(shape[1:], dtype=np.int64)) * self._dtype.itemsize
        self._rows_per_chunk = rows_per_chunk
        self._chunk_bytes = rows_per_chunk * self._item_bytes
        self._checked = bytearray(len(offsets))
        # The chunk checked last: neighbouring clips share one, and a pass in order needs no map.
        self._last: tuple[int, memoryview] = (-1, memoryview(b""))

    def read(self, begin: int, end: int) -> NDArray[Any] | None:
        """Return a copy of rows ``begin`` to ``end``; None if they are no rows of the data set.

        Raises:
            DamagedChunkError: a chunk that does not fit its checksum.
        """
        if not 0 <= begin < end <= self._length:
            return None
        values = np.empty((end - begin, *self._item_shape), self._dtype)
        target = values.data.cast("B")
        per_chunk, item_bytes, offsets = self._rows_per_chunk, self._item_bytes, self._offsets
        done = 0
        chunk = begin // per_chunk
        inside = (begin - chunk * per_chunk) * item_bytes
        left = (end - begin) * item_bytes
        while left:
            take = min(left, self._chunk_bytes - inside)
            last = self._last
            if last[0] == chunk:
                target[done : done + take] = last[1][inside : inside + take]
            elif self._checked[chunk]:
                at = offsets[chunk] + inside
                target[done : done + take] = (self._file._bytes or self._file.bytes)[at : at + take]
            else:
                target[done : done + take] = self._check(chunk)[inside : inside + take]
            done += take
            left -= take
            inside = 0
            chunk += 1
        return values

    def _check(self, chunk: int) -> memoryview:
        """Read a chunk for the first time and return its bytes."""
        stored = self._file.read(self._offsets[chunk], self._chunk_bytes + _CHECKSUM_BYTES)
        data = stored[: self._chunk_bytes]
        if not _fits(data, stored[self._chunk_bytes :]):
            raise DamagedChunkError(f"chunk {chunk} does not fit its checksum")
        self._checked[chunk] = 1
        self._last = (chunk, data)
        return data


def open_mapped(file: h5py.File) -> MappedFile | None:
    """Return the bytes of an open HDF5 file, or None where they cannot be had (another driver or system)."""
    if os.name != "posix" or file.driver != "sec2" or file.userblock_size:
        return None
    try:
        # HDF5's own descriptor: the very file that the chunk table describes, whatever bears its name now.
        return MappedFile(int(file.id.get_vfd_handle()))
    except (OSError, ValueError, NotImplementedError):
        return None


def map_rows(dataset: h5py.Dataset, file: MappedFile) -> MappedRows | None:
    """Return the rows of a data set, or None if it is not laid out as our writers do it."""
    shape, chunks, dtype = dataset.shape, dataset.chunks, dataset.dtype
    if (
        not chunks
        or chunks[1:] != shape[1:]
        or 0 in shape
        or dtype.kind not in "fiu"
        or not dtype.isnative
        or dataset.id.get_type() != h5py.h5t.py_create(dtype)
        or not hasattr(dataset.id, "chunk_iter")
    ):
        return None
    properties = dataset.id.get_create_plist()
    if properties.get_nfilters() != 1 or properties.get_filter(0)[0] != h5py.h5z.FILTER_FLETCHER32:
        return None
    chunk_bytes = int(np.prod(chunks, dtype=np.int64)) * dtype.itemsize
    if chunk_bytes > _MAX_CHUNK_BYTES:
        return None
    count = -(-shape[0] // chunks[0])
    if count * chunk_bytes > file.size:  # a length that the file cannot hold: no table is made for it
        return None
    offsets = array("q", [-1]) * count
    usual = True

    def note(chunk: Any) -> None:
        nonlocal usual
        number = chunk.chunk_offset[0] // chunks[0]
        if (
            chunk.filter_mask
            or chunk.size != chunk_bytes + _CHECKSUM_BYTES
            or not 0 <= chunk.byte_offset <= file.size - chunk.size
            or number >= count
        ):
            usual = False
        else:
            offsets[number] = chunk.byte_offset

    try:
        dataset.id.chunk_iter(note)
    except (OSError, RuntimeError):
        return None
    return MappedRows(file, offsets, shape, dtype, chunks[0]) if usual and -1 not in offsets else None
