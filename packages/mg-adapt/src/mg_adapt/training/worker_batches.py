"""Batches of large samples on their way out of loader processes, through memory that is used again.

torch puts each batch of a loader's process into a new piece of shared memory. For video that is tens of
megabytes, and touching new pages costs more time than decoding half of the frames. A process here keeps a few
pieces and fills them in turn; the main process copies a batch out when it arrives.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

# Batches that a loader's process may have made and the main process not yet copied: torch asks for two in
# advance, one is being made; one to spare.
_PIECES = 4


class _Ring:
    """Pieces of shared memory of one process."""

    def __init__(self) -> None:
        self._pieces: list[Tensor] = []
        self._next = 0

    def stack(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        """Return the stacked arrays in the next piece."""
        like = torch.from_numpy(arrays[0])
        needed = len(arrays) * like.numel()
        if not self._pieces or self._pieces[0].dtype != like.dtype or self._pieces[0].numel() < needed:
            self._pieces = [torch.empty(0, dtype=like.dtype)] * _PIECES
            self._next = 0
        piece = self._pieces[self._next]
        if piece.numel() < needed:
            piece = torch.empty(needed, dtype=like.dtype).share_memory_()  # type: ignore[no-untyped-call]
            self._pieces[self._next] = piece
        self._next = (self._next + 1) % _PIECES
        stacked = piece[:needed].view(len(arrays), *like.shape)
        np.stack(arrays, out=stacked.numpy())
        return stacked


_ring: _Ring | None = None


def stack_samples(arrays: Sequence[NDArray[Any]]) -> Tensor:
    """Stack N samples to a tensor (N, ...); in a loader's process, into shared memory.

    There the tensor is overwritten when three more batches were made: :func:`own` it in the main process.

    Raises:
        ValueError: samples of unequal shapes.
    """
    global _ring
    if get_worker_info() is None:
        return torch.from_numpy(np.stack(arrays))
    # State of a loader's process, which does nothing else.
    _ring = _ring or _Ring()
    return _ring.stack(arrays)


class _Buffers:
    """Memory of the main process for batches, used again when nobody holds the batch in it any more."""

    def __init__(self) -> None:
        self._buffers: list[NDArray[Any]] = []

    def copy(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of an array."""
        for place in range(len(self._buffers)):
            # Two: the list's and the call's own. A tensor keeps its array, and that the buffer, as long as
            # anything (a view, a graph of gradients) can still read it.
            free = sys.getrefcount(self._buffers[place]) == 2
            if free and self._buffers[place].nbytes >= values.nbytes:
                return self._fill(self._buffers[place], values)
            if free:
                del self._buffers[place]
                break
        self._buffers.append(np.empty(values.nbytes, np.uint8))
        return self._fill(self._buffers[-1], values)

    def _fill(self, buffer: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        copied = buffer[: values.nbytes].view(values.dtype).reshape(values.shape)
        copied[...] = values
        return copied


_buffers = _Buffers()


def own(batch: Any) -> Any:
    """Return a batch whose first tensor, if it lies in shared memory, is a copy of this process's own."""
    if not (isinstance(batch, tuple) and isinstance(batch[0], Tensor)):
        return batch
    if not batch[0].is_shared():  # type: ignore[no-untyped-call]
        return batch
    return (torch.from_numpy(_buffers.copy(batch[0].numpy())), *batch[1:])
