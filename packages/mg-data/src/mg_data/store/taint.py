"""What a model has seen: the clips it was trained on and the clips it was chosen on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def clip_keys(dataset: str, clip_ids: ArrayLike) -> NDArray[np.uint64]:
    """Return the (N,) keys of clips: the first 8 bytes (big-endian) of sha256(dataset NUL clip_id)."""
    prefix = dataset.encode() + b"\0"
    keys = [
        int.from_bytes(hashlib.sha256(prefix + str(clip_id).encode()).digest()[:8], "big")
        for clip_id in np.asarray(clip_ids).ravel()
    ]
    return np.array(keys, dtype=np.uint64)


def _as_set(keys: ArrayLike) -> NDArray[np.uint64]:
    return np.unique(np.asarray(keys, dtype=np.uint64))


@dataclass(frozen=True, kw_only=True)
class Taint:
    """Sorted keys of all clips that an artefact and its ancestors were trained on or selected on.

    ``known`` is False for a stranger's scores, of which nothing was declared.
    """

    trained_on: NDArray[np.uint64]
    selected_on: NDArray[np.uint64]
    known: bool = True

    @classmethod
    def empty(cls) -> Taint:
        """Nothing was seen, and that is known."""
        return cls.of()

    @classmethod
    def unknown(cls) -> Taint:
        """Nothing was declared."""
        return cls.of(known=False)

    @classmethod
    def of(cls, trained_on: ArrayLike = (), selected_on: ArrayLike = (), known: bool = True) -> Taint:
        """Build from keys in any order, with or without repeats."""
        return cls(trained_on=_as_set(trained_on), selected_on=_as_set(selected_on), known=known)

    def union(self, other: Taint) -> Taint:
        """Return what either has seen; unknown if either is."""
        return Taint(
            trained_on=np.union1d(self.trained_on, other.trained_on),
            selected_on=np.union1d(self.selected_on, other.selected_on),
            known=self.known and other.known,
        )

    @classmethod
    def union_all(cls, taints: Iterable[Taint]) -> Taint:
        """Return the union of all; empty for none."""
        result = cls.empty()
        for taint in taints:
            result = result.union(taint)
        return result

    def trained_overlap(self, keys: ArrayLike) -> int:
        """Return how many of the keys were trained on."""
        return int(np.isin(_as_set(keys), self.trained_on).sum())

    def selected_overlap(self, keys: ArrayLike) -> int:
        """Return how many of the keys were selected on."""
        return int(np.isin(_as_set(keys), self.selected_on).sum())
