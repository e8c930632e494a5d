"""Kind ``pseudo``: labels that models gave to target clips (paper 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import check_length, read_numbers, read_whole
from mg_data.store.index import PathLike, check_class_names, check_clip_ids, text_array
from mg_data.store.provenance import Provenance
from mg_data.store.reading import StoreFile
from mg_data.store.score_checks import check_labels, write_index
from mg_data.store.taint import Taint
from mg_data.store.writing import create_store


def write_pseudo(
    path: PathLike,
    *,
    clip_ids: ArrayLike,
    labels: ArrayLike,
    confidence: ArrayLike,
    votes: ArrayLike,
    model_names: Sequence[str],
    class_names: Sequence[str],
    threshold: float,
    temperature: float,
    round: int,
    candidates: int = 0,
    probs: ArrayLike | None = None,
    taint: Taint | None = None,
    dataset: str = "",
    vocabulary: str = "",
    provenance: Provenance | None = None,
) -> str:
    """Write pseudo-labels and return the digest. An empty selection is allowed.

    Args:
        labels: (S,) class indices. confidence: (S,) in [0, 1]. votes: (S, M) each model's own label.
        threshold: alpha of the paper. temperature: under which confidences were computed.
        candidates: how many target clips there were to choose from (the yield's denominator).
        probs: optional (S, K) soft labels.
    """
    ids = text_array(clip_ids, "clip_ids", path)
    check_clip_ids(ids, path)
    names = check_class_names(class_names, path)
    values = check_labels(path, labels, len(ids), len(names))
    assert values is not None
    certainty = np.asarray(confidence, np.float32)
    ballots = np.asarray(votes, np.int32).reshape(len(ids), len(model_names))
    if certainty.shape != (len(ids),) or np.any((certainty < 0) | (certainty > 1.0001)):
        raise StoreError(path, f"confidence must be ({len(ids)},) values in [0, 1]")
    if np.any(values < 0):
        raise StoreError(path, "a pseudo-label is a class index, found -1")
    with create_store(path, "pseudo") as store:
        write_index(store, ids, dataset, None)
        store.array("pseudo/label", values)
        store.array("pseudo/confidence", certainty)
        store.array("pseudo/votes", ballots).attrs["models"] = "\n".join(model_names)
        if probs is not None:
            store.array("pseudo/probs", np.asarray(probs, np.float32))
        store.file["pseudo"].attrs.update(
            {"threshold": threshold, "temperature": temperature, "round": round, "candidates": candidates}
        )
        store.classes(names, vocabulary)
        store.taint(taint or Taint.unknown())
        store.provenance(provenance)
    return store.digest


class PseudoStore(StoreFile):
    """Pseudo-labels: ``clip_ids``, ``labels``, ``confidence``, ``votes`` (S, M), ``probs`` or None."""

    kind = "pseudo"

    def _load(self) -> None:
        super()._load()
        group = self.file["pseudo"]
        votes, facts = attributes(group["votes"]), attributes(group)
        self.labels: NDArray[np.int32] = read_whole(self.file, "pseudo/label", np.int32)
        self.confidence: NDArray[np.float32] = read_numbers(self.file, "pseudo/confidence")
        self.votes: NDArray[np.int32] = read_whole(self.file, "pseudo/votes", np.int32)
        self.model_names = tuple(name for name in str(votes["models"]).split("\n") if name)
        self.probs: NDArray[np.float32] | None = (
            read_numbers(self.file, "pseudo/probs") if "probs" in group else None
        )
        self.threshold = float(facts["threshold"])
        self.temperature = float(facts["temperature"])
        self.round = int(facts["round"])
        self.candidates = int(facts.get("candidates", 0))
        count, classes = len(self.clip_ids), len(self.class_names)
        check_labels(self.path, self.labels, count, classes)
        check_length(self.path, "pseudo/confidence", self.confidence, count)
        if self.votes.shape != (count, len(self.model_names)):
            raise StoreError(
                self.path, f"votes have shape {self.votes.shape}, wanted ({count}, {len(self.model_names)})"
            )
        if self.probs is not None and self.probs.shape != (count, classes):
            raise StoreError(self.path, f"probs have shape {self.probs.shape}, wanted ({count}, {classes})")
        if np.any(self.labels < 0):
            raise StoreError(self.path, "a pseudo-label is a class index, found -1")
        if not np.all((self.confidence >= 0) & (self.confidence <= 1.0001)):
            raise StoreError(self.path, f"confidence must be ({count},) values in [0, 1]")


def read_pseudo(path: PathLike) -> PseudoStore:
    """Read a pseudo-label store."""
    store = PseudoStore(path)
    store.close()
    return store
