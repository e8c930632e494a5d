"""Kinds ``logits`` and ``probs``: what models answer, and what fusion makes of it, as arrays in memory.

Stores that do not fit there are read and written by :mod:`mg_data.store.score_blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import read_numbers, read_whole
from mg_data.store.index import PathLike, check_class_names, check_clip_ids, text_array
from mg_data.store.provenance import Provenance
from mg_data.store.reading import StoreFile
from mg_data.store.schema import PROB_FLOOR, PROB_STORE_TOLERANCE, PROBS_TOLERANCE, SPACES
from mg_data.store.score_checks import as_log, check_labels, check_rows_sum_to_one, check_scores, write_index
from mg_data.store.taint import Taint
from mg_data.store.writing import create_store


def _resolve_taint(taint: Taint | None, trained_on: ArrayLike | None, selected_on: ArrayLike | None) -> Taint:
    if taint is not None:
        return taint
    if trained_on is None and selected_on is None:
        return Taint.unknown()
    return Taint.of(
        () if trained_on is None else trained_on,
        () if selected_on is None else selected_on,
        known=trained_on is not None,
    )


def write_logits(
    path: PathLike,
    *,
    clip_ids: ArrayLike,
    values: ArrayLike,
    class_names: Sequence[str],
    model: str,
    modality: str,
    space: str = "logit",
    labels: ArrayLike | None = None,
    present: ArrayLike | None = None,
    trained_on: ArrayLike | None = None,
    selected_on: ArrayLike | None = None,
    taint: Taint | None = None,
    dataset: str = "",
    vocabulary: str = "",
    branch: str = "",
    tta: str = "none",
    seed: int = 0,
    checkpoint_digest: str = "",
    provenance: Provenance | None = None,
) -> str:
    """Write a logit store and return its content digest.

    Args:
        clip_ids: (N,) text, unique. values: (N, K) finite numbers. class_names: K names.
        space: ``logit``, ``log_prob`` or ``prob`` (rows sum to one within 1e-3).
        labels: (N,) integers with -1 = unknown; never given for target clips.
        present: (N,) truth values, 0 = the model has no answer for this clip.
        trained_on, selected_on: clip keys (see ``clip_keys``) of what the model has seen; if neither
            they nor ``taint`` are given the taint is unknown.
        branch: a name of its own for stores of the same model and modality.

    Raises:
        StoreError: shapes that do not fit, non-finite values, duplicate ids, rows that are no probabilities.
    """
    ids = text_array(clip_ids, "clip_ids", path)
    check_clip_ids(ids, path)
    names = check_class_names(class_names, path)
    scores = np.asarray(values, np.float32)
    mask = np.ones(len(ids), bool) if present is None else np.asarray(present).astype(bool)
    if space not in SPACES:
        raise StoreError(path, f"space '{space}' is unknown, known: {', '.join(SPACES)}")
    check_scores(path, ids, scores, len(names), mask)
    if space == "prob":
        check_rows_sum_to_one(path, ids, scores, mask, PROB_STORE_TOLERANCE)
    truth = check_labels(path, labels, len(ids), len(names))
    with create_store(path, "logits") as store:
        write_index(store, ids, dataset, truth)
        data = store.array("logits/values", scores)
        data.attrs.update(
            {
                "space": space,
                "model": model,
                "modality": modality,
                "branch": branch,
                "tta": tta,
                "seed": seed,
                "checkpoint_digest": checkpoint_digest,
            }
        )
        store.array("logits/present", mask.astype(np.uint8))
        store.classes(names, vocabulary)
        store.taint(_resolve_taint(taint, trained_on, selected_on))
        store.provenance(provenance)
    return store.digest


class ScoreStore(StoreFile):
    """What logits and probs stores share: ids, (N, K) ``values``, ``present``, optional ``labels``."""

    group = ""

    def _load(self) -> None:
        super()._load()
        file = self.file
        self.values: NDArray[np.float32] = read_numbers(file, f"{self.group}/values")
        mask = f"{self.group}/present"
        self.present: NDArray[np.bool_] = (
            read_whole(file, mask).astype(bool) if mask in file else np.ones(len(self.clip_ids), bool)
        )
        check_class_names(self.class_names, self.path)
        self.labels: NDArray[np.int32] | None = (
            read_whole(file, "index/label", np.int32) if "index/label" in file else None
        )
        check_labels(self.path, self.labels, len(self.clip_ids), len(self.class_names))
        check_scores(self.path, self.clip_ids, self.values, len(self.class_names), self.present)


class LogitsHeader(StoreFile):
    """What a logit store says of itself besides its rows.

    Attributes: ``model``, ``modality``, ``branch``, ``space``, ``tta``, ``seed``, ``checkpoint_digest``.
    """

    kind = "logits"

    def _load_model(self) -> None:
        given = attributes(self.file["logits/values"])
        self.space = str(given.get("space", "logit"))
        if self.space not in SPACES:
            raise StoreError(self.path, f"has unknown space '{self.space}', known: {', '.join(SPACES)}")
        self.model = str(given.get("model", ""))
        self.modality = str(given.get("modality", ""))
        self.branch = str(given.get("branch", ""))
        self.tta = str(given.get("tta", ""))
        self.seed = int(given.get("seed", 0))
        self.checkpoint_digest = str(given.get("checkpoint_digest", ""))

    @property
    def key(self) -> str:
        """Name of this model in fusion parameters."""
        return self.branch or f"{self.model}/{self.modality}"


class LogitsStore(LogitsHeader, ScoreStore):
    """A logit store in memory.

    Attributes: ``clip_ids``, ``values`` (N, K) float32, ``present`` (N,) bool, ``labels`` or None,
    ``class_names``, ``model``, ``modality``, ``branch``, ``space``, ``tta``, ``seed``, ``taint``, ``digest``.
    """

    kind = "logits"
    group = "logits"

    def _load(self) -> None:
        super()._load()
        self._load_model()
        if self.space == "prob":
            check_rows_sum_to_one(self.path, self.clip_ids, self.values, self.present, PROB_STORE_TOLERANCE)

    @property
    def clamped(self) -> int:
        """How many probabilities ``as_log`` lifts to the floor (0 unless ``space`` is ``prob``)."""
        return int((self.values[self.present] < PROB_FLOOR).sum()) if self.space == "prob" else 0

    def as_log(self) -> NDArray[np.float64]:
        """Return (N, K) logits: probabilities are read as log(max(p, 1e-12))."""
        return as_log(self.values, self.space)


def read_logits(path: PathLike) -> LogitsStore:
    """Read a logit store."""
    store = LogitsStore(path)
    store.close()
    return store


def write_probs(
    path: PathLike,
    *,
    clip_ids: ArrayLike,
    values: ArrayLike,
    class_names: Sequence[str],
    labels: ArrayLike | None = None,
    taint: Taint | None = None,
    dataset: str = "",
    vocabulary: str = "",
    provenance: Provenance | None = None,
) -> str:
    """Write fused probabilities, (N, K) with rows that sum to one within 1e-5, and return the digest."""
    ids = text_array(clip_ids, "clip_ids", path)
    check_clip_ids(ids, path)
    names = check_class_names(class_names, path)
    probs = np.asarray(values, np.float32)
    everyone = np.ones(len(ids), bool)
    check_scores(path, ids, probs, len(names), everyone)
    check_rows_sum_to_one(path, ids, probs, everyone, PROBS_TOLERANCE)
    truth = check_labels(path, labels, len(ids), len(names))
    with create_store(path, "probs") as store:
        write_index(store, ids, dataset, truth)
        store.array("probs/values", probs)
        store.classes(names, vocabulary)
        store.taint(taint or Taint.unknown())
        store.provenance(provenance)
    return store.digest


class ProbsStore(ScoreStore):
    """Fused probabilities in memory: ``clip_ids``, ``values`` (N, K), ``class_names``, ``labels``."""

    kind = "probs"
    group = "probs"

    def _load(self) -> None:
        super()._load()
        check_rows_sum_to_one(self.path, self.clip_ids, self.values, self.present, PROBS_TOLERANCE)


def read_probs(path: PathLike) -> ProbsStore:
    """Read a probs store."""
    store = ProbsStore(path)
    store.close()
    return store
