"""Memory that heatmaps are drawn in."""

from __future__ import annotations

import math
import sys
import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class _Memory:
    """Hands out memory, the same again once nobody has a tensor in it.

    A batch of heatmaps is large enough to be fetched from the system and given back each time, page by page:
    that takes longer than drawing them. numpy asks for large pages, torch does not.
    """

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)
        self._lock = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return ``size`` bytes of any content."""
        with self._lock:
            # Each tensor in it holds a reference; without any there are self._kept and the argument's own.
            if sys.getrefcount(self._kept) > 2 or not size <= self._kept.nbytes <= 2 * size:
                self._kept = np.empty(size, np.uint8)
            return self._kept[:size]


_MEMORY = _Memory()


def empty_maps(people: Tensor, channels: int, size: tuple[int, int], dtype: torch.dtype | None) -> Tensor:
    """Return (B, T, H, W, channels) of any content, for keypoints (B, P, T, V, 3) on their device."""
    shape = (people.shape[0], people.shape[2], *size, channels)
    dtype = dtype or people.dtype
    if people.device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=people.device)
    memory = _MEMORY.take(math.prod(shape) * dtype.itemsize)
    return torch.from_numpy(memory).view(dtype).view(shape)
