"""Stored features, ``features``: what a frozen backbone found in a clip, as the input of a small head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import InputSpec, StoreError, UsageError
from mg_data.store import read_features


class Features:
    """One vector a clip, (D,) float32, from a features store. Safe to pickle.

    A vector does not tell what the mirror image would have given, so :meth:`flip` leaves it as it is: train
    probes with ``flip = false``.

    Args:
        path: features store. feature: name of the feature, "" = the only one in the store.
        unit_length: scale each vector to length 1.
        noise: in training, add Gaussian noise of this share of each number's spread over the store.

    Raises:
        UsageError: options out of range, or a feature that must be named and is not.
        StoreError: the store holds no such feature, or lacks a clip.
    """

    def __init__(
        self, path: Path, *, feature: str = "", unit_length: bool = False, noise: float = 0.0
    ) -> None:
        if noise < 0:
            raise UsageError(f"modality features: noise is {noise}, wanted 0 or more")
        store = read_features(path)
        self.path = Path(path)
        self.clip_ids: NDArray[np.str_] = np.asarray(store.clip_ids)
        self._row = {str(clip_id): row for row, clip_id in enumerate(self.clip_ids)}
        if not store.features:
            signals = ", ".join(store.signal_names) or "none"
            raise StoreError(
                path,
                f"holds no feature, its signals ({signals}) are no vectors",
                "choose a modality of signals, or write features with 'mg predict --features'",
            )
        values = store.features[self._choose(feature, sorted(store.features))]
        values = values.reshape(len(values), -1)
        if unit_length:
            values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        self._values: NDArray[np.float32] = np.ascontiguousarray(values, np.float32)
        self.noise = noise
        self._spread: NDArray[np.float32] = self._values.std(axis=0)
        self.input = InputSpec(
            kind="features", shape=(self._values.shape[1],), extra={"modality": "features"}
        )

    def _choose(self, feature: str, known: list[str]) -> str:
        if feature in known:
            return feature
        have = ", ".join(known) or "none"
        if feature:
            raise StoreError(self.path, f"holds no feature '{feature}' (it has: {have})")
        if len(known) != 1:
            raise UsageError(
                f"modality features: {self.path} holds {len(known)} features ({have}): "
                "set the option feature to one of them"
            )
        return known[0]

    def sample(self, clip_id: str, rng: np.random.Generator | None) -> NDArray[Any]:
        """Return the (D,) vector of a clip; with a generator and ``noise``, with noise added."""
        if clip_id not in self._row:
            raise StoreError(self.path, f"holds no clip '{clip_id}'", "write its features first")
        vector: NDArray[np.float32] = self._values[self._row[clip_id]].copy()
        if rng is not None and self.noise:
            vector += self.noise * self._spread * rng.standard_normal(len(vector), dtype=np.float32)
        return vector

    def views(self, clip_id: str) -> list[NDArray[Any]]:
        """Return the one test sample."""
        return [self.sample(clip_id, None)]

    def flip(self, sample: NDArray[Any]) -> NDArray[Any]:
        """Return a copy: a vector has no mirror image."""
        return sample.copy()
