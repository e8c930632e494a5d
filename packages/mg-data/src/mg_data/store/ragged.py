"""Ragged columns: all rows one after another in a flat data set, and where each row begins."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.writing import StoreWriter

_BUFFER_BYTES = 4 << 20


class RaggedColumn:
    """Appends rows of unequal length; writes in blocks, so a million short rows stay fast."""

    def __init__(
        self, store: StoreWriter, name: str, item_shape: tuple[int, ...], dtype: Any = np.float32
    ) -> None:
        item_bytes = max(1, int(np.prod(item_shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        # About 128 KiB a chunk, the size of a clip: readers that know of chunks only copy one or two for it.
        self._rows_per_chunk = int(np.clip((128 << 10) // item_bytes, 1, 1 << 20))
        self._store = store
        self._name = name
        self._item_shape = tuple(item_shape)
        self._dtype = np.dtype(dtype)
        self._data: h5py.Dataset | None = None
        self._lengths: list[int] = []
        self._pending: list[NDArray[Any]] = []
        self._pending_bytes = 0

    def check(self, values: NDArray[Any], what: str) -> None:
        """Raise StoreError unless the shape is (length, *item_shape)."""
        if values.shape[1:] != self._item_shape:
            raise StoreError(
                self._store.path,
                f"{what} have shape {values.shape[1:]} per frame, earlier clips {self._item_shape}",
            )

    def append(self, values: NDArray[Any], what: str) -> None:
        """Append one row of shape (length, *item_shape)."""
        self.check(values, what)
        # A copy: the caller may use its buffer again before the block is written.
        kept = np.array(values, dtype=self._dtype, copy=True)
        self._pending.append(kept)
        self._lengths.append(len(values))
        self._pending_bytes += kept.nbytes
        if self._pending_bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows to the file; the first time the data set is made."""
        if not self._pending and self._data is not None:
            return
        block = np.concatenate([np.empty((0, *self._item_shape), self._dtype), *self._pending])
        if self._data is None:
            # Chunks are stored at full size: a column that fits into one gets one of its own size.
            rows = max(1, min(self._rows_per_chunk, len(block)))
            self._data = self._store.growing(self._name, self._item_shape, self._dtype, rows)
        begin = self._data.shape[0]
        self._data.resize(begin + len(block), axis=0)
        self._data[begin:] = block
        self._pending = []
        self._pending_bytes = 0

    @property
    def limits(self) -> NDArray[np.int64]:
        """(N + 1,) offsets of the rows appended so far."""
        return np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)]).astype(np.int64)

    def finish(self, indptr_name: str) -> None:
        """Write what is pending and the offsets."""
        self.flush()
        self._store.array(indptr_name, self.limits)
