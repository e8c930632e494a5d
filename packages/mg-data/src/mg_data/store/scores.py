"""Kinds ``logits`` and ``probs``: what models answer, and what fusion makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.index import PathLike, check_class_names, check_clip_ids, text_array
from mg_data.store.provenance import Provenance
from mg_data.store.reading import StoreFile, guarded, read_taint, read_text
from mg_data.store.schema import (
    PROB_FLOOR,
    PROB_STORE_TOLERANCE,
    PROBS_TOLERANCE,
    SPACES,
    UNKNOWN_LABEL,
)
from mg_data.store.taint import Taint
from mg_data.store.writing import StoreWriter, create_store


def check_scores(
    path: PathLike,
    clip_ids: NDArray[np.str_],
    values: NDArray[np.float32],
    class_count: int,
    present: NDArray[np.bool_],
) -> None:
    """Raise StoreError unless ``values`` is a finite (N, K) array that fits ids and classes."""
    if values.shape != (len(clip_ids), class_count):
        raise StoreError(
            path,
            f"values have shape {values.shape}, wanted ({len(clip_ids)}, {class_count}): "
            f"{len(clip_ids)} clips and {class_count} classes",
        )
    if present.shape != (len(clip_ids),):
        raise StoreError(path, f"present has shape {present.shape}, wanted ({len(clip_ids)},)")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        first = clip_ids[np.flatnonzero(~finite)[0]]
        raise StoreError(
            path,
            f"holds NaN or infinity in {int((~finite).sum())} row(s), the first is clip '{first}'",
            "a missing answer is present = 0, never NaN",
        )


def check_rows_sum_to_one(
    path: PathLike,
    clip_ids: NDArray[np.str_],
    values: NDArray[np.float32],
    present: NDArray[np.bool_],
    tolerance: float,
) -> None:
    """Raise StoreError unless the present rows are probabilities."""
    rows = np.flatnonzero(present)
    if len(rows) == 0:
        return
    sums = values[rows].astype(np.float64).sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > tolerance or values[rows].min() < 0:
        raise StoreError(
            path,
            f"holds rows that are no probabilities: clip '{clip_ids[rows[worst]]}' sums to {sums[worst]:.6g}",
        )


def check_labels(
    path: PathLike, labels: ArrayLike | None, count: int, class_count: int
) -> NDArray[np.int32] | None:
    """Return labels as (N,) int32, or None; StoreError if they do not fit."""
    if labels is None:
        return None
    values = np.asarray(labels, np.int32)
    if values.shape != (count,):
        raise StoreError(path, f"labels have shape {values.shape}, wanted ({count},)")
    if np.any((values < UNKNOWN_LABEL) | (values >= class_count)):
        raise StoreError(path, f"has a label outside -1..{class_count - 1}")
    return values


def write_index(
    store: StoreWriter, clip_ids: NDArray[np.str_], dataset: str, labels: NDArray[np.int32] | None
) -> None:
    """Write /index of a store that joins by clip id."""
    store.text("index/clip_id", clip_ids)
    store.file["index"].attrs["dataset"] = dataset
    if labels is not None:
        store.array("index/label", labels)


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
        self.values: NDArray[np.float32] = np.asarray(file[f"{self.group}/values"][()], np.float32)
        mask = f"{self.group}/present"
        self.present: NDArray[np.bool_] = (
            file[mask][()].astype(bool) if mask in file else np.ones(len(self.clip_ids), bool)
        )
        check_class_names(self.class_names, self.path)
        self.labels: NDArray[np.int32] | None = (
            np.asarray(file["index/label"][()], np.int32) if "index/label" in file else None
        )
        check_labels(self.path, self.labels, len(self.clip_ids), len(self.class_names))
        check_scores(self.path, self.clip_ids, self.values, len(self.class_names), self.present)


class LogitsHeader(StoreFile):
    """What a logit store says of itself besides its rows.

    Attributes: ``model``, ``modality``, ``branch``, ``space``, ``tta``, ``seed``, ``checkpoint_digest``.
    """

    kind = "logits"

    def _load_model(self) -> None:
        attributes: dict[str, Any] = dict(self.file["logits/values"].attrs)
        self.space = str(attributes.get("space", "logit"))
        if self.space not in SPACES:
            raise StoreError(self.path, f"has unknown space '{self.space}', known: {', '.join(SPACES)}")
        self.model = str(attributes.get("model", ""))
        self.modality = str(attributes.get("modality", ""))
        self.branch = str(attributes.get("branch", ""))
        self.tta = str(attributes.get("tta", ""))
        self.seed = int(attributes.get("seed", 0))
        self.checkpoint_digest = str(attributes.get("checkpoint_digest", ""))

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
        return _as_log(self.values, self.space)


class LogitsBlocks(LogitsHeader):
    """A logit store read in blocks of rows, for what does not fit in memory.

    Attributes: those of a logit store, without ``clip_ids``, ``values``, ``present`` and ``labels``. Each
    block is checked as ``read_logits`` checks the whole; that ids are unique is left to whoever joins them.
    """

    def _load(self) -> None:
        file = self.file
        shape = file["logits/values"].shape
        self.count = int(file["index/clip_id"].shape[0])
        self.dataset = str(file["index"].attrs.get("dataset", ""))
        self.class_names = check_class_names(read_text(file, "classes/name").tolist(), self.path)
        self.vocabulary = str(file["classes/name"].attrs.get("vocabulary", ""))
        self.provenance = Provenance()
        if "provenance/json" in file:
            self.provenance = Provenance.from_json(file["provenance/json"].asstr()[()])
        self.taint = read_taint(file)
        if shape != (self.count, len(self.class_names)):
            raise StoreError(
                self.path,
                f"values have shape {shape}, wanted ({self.count}, {len(self.class_names)}): "
                f"{self.count} clips and {len(self.class_names)} classes",
            )
        self.masked = "logits/present" in file
        if self.masked and file["logits/present"].shape != (self.count,):
            raise StoreError(
                self.path, f"present has shape {file['logits/present'].shape}, wanted ({self.count},)"
            )
        self._load_model()

    def __len__(self) -> int:
        return self.count

    def ids(self, begin: int, end: int) -> NDArray[np.bytes_]:
        """Return the clip ids of rows ``begin`` to ``end`` as UTF-8; StoreError if one is empty."""
        found: NDArray[np.bytes_] = guarded(
            self.path, lambda: self.file["index/clip_id"][begin:end].astype(np.bytes_)
        )
        if (found == b"").any():
            raise StoreError(self.path, "holds an empty clip id", "every clip needs an id of its own")
        return found

    def read(self, begin: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (n, K) values and (n,) present of rows ``begin`` to ``end``."""
        values = self.read_rows("logits/values", begin, end).astype(np.float32, copy=False)
        present = (
            self.read_rows("logits/present", begin, end).astype(bool)
            if self.masked
            else np.ones(len(values), bool)
        )
        sound = bool(np.isfinite(values.sum(dtype=np.float64)))
        if sound and self.space == "prob":
            sums = values[present].astype(np.float64).sum(axis=1)
            sound = bool((np.abs(sums - 1) <= PROB_STORE_TOLERANCE).all() and (values[present] >= 0).all())
        if not sound:  # found out what is wrong, in words
            ids = np.char.decode(self.ids(begin, end), "utf-8")
            check_scores(self.path, ids, values, len(self.class_names), present)
            if self.space == "prob":
                check_rows_sum_to_one(self.path, ids, values, present, PROB_STORE_TOLERANCE)
        return values, present

    def as_log(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits of some rows: probabilities are read as log(max(p, 1e-12))."""
        return _as_log(values, self.space)


def _as_log(values: NDArray[np.float32], space: str) -> NDArray[np.float64]:
    scores = values.astype(np.float64)
    return np.log(np.maximum(scores, PROB_FLOOR)) if space == "prob" else scores


def open_logits(path: PathLike) -> LogitsBlocks:
    """Open a logit store to be read in blocks; close it when done."""
    return LogitsBlocks(path)


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


class ProbsStream:
    """A probs store under construction, filled block by block in ascending order of clip id."""

    def __init__(self, path: PathLike, store: StoreWriter, count: int, classes: int) -> None:
        self.digest = ""
        self._path, self._store = path, store
        self._count, self._classes = count, classes
        self._done = 0
        self._last = b""
        file = store.file
        per_row = 4 * classes
        self._ids = file.create_dataset("index/clip_id", shape=(count,), dtype=h5py.string_dtype("utf-8"))
        # Chunks as StoreWriter.array lays them out.
        self._values = file.create_dataset(
            "probs/values",
            shape=(count, classes),
            dtype=np.float32,
            chunks=(max(1, min(count, (1 << 20) // per_row)), classes),
            fletcher32=True,
        )

    def add(self, clip_ids: NDArray[np.bytes_], values: ArrayLike) -> None:
        """Append rows: (n,) UTF-8 ids, greater than all before, and (n, K) probabilities.

        Raises:
            StoreError: ids not ascending, too many rows, or rows that are no probabilities.
        """
        probs = np.asarray(values, np.float32)
        end = self._done + len(clip_ids)
        if len(clip_ids) == 0:
            return
        if end > self._count:
            raise StoreError(self._path, f"was announced with {self._count} clips and is given more")
        if not (clip_ids[0] > self._last and (clip_ids[1:] > clip_ids[:-1]).all()):
            raise StoreError(self._path, "is given clip ids that do not ascend", "sort them, each once")
        sums = probs.astype(np.float64).sum(axis=1) if probs.ndim == 2 else np.empty(0)
        wrong = probs.shape != (len(clip_ids), self._classes)
        if wrong or not (np.abs(sums - 1) <= PROBS_TOLERANCE).all() or not (probs >= 0).all():
            ids = np.char.decode(clip_ids, "utf-8")
            everyone = np.ones(len(ids), bool)
            check_scores(self._path, ids, probs, self._classes, everyone)
            check_rows_sum_to_one(self._path, ids, probs, everyone, PROBS_TOLERANCE)
        self._ids[self._done : end] = clip_ids.astype(object)
        self._values[self._done : end] = probs
        self._last = clip_ids[-1]
        self._done = end
        self._store.check()

    def finish(self) -> None:
        """Raise StoreError unless all clips that were announced were given."""
        if self._done != self._count:
            raise StoreError(self._path, f"was announced with {self._count} clips and was given {self._done}")


@contextlib.contextmanager
def stream_probs(
    path: PathLike,
    *,
    count: int,
    class_names: Sequence[str],
    taint: Taint | None = None,
    dataset: str = "",
    vocabulary: str = "",
    provenance: Provenance | None = None,
) -> Iterator[ProbsStream]:
    """Write a probs store of ``count`` clips block by block; it has the digest that ``write_probs`` gives.

    The file appears under its name on a clean exit; ``digest`` is known then.
    """
    names = check_class_names(class_names, path)
    if count < 1:
        raise StoreError(path, "would hold no clip")
    with create_store(path, "probs") as store:
        stream = ProbsStream(path, store, count, len(names))
        store.file["index"].attrs["dataset"] = dataset
        yield stream
        stream.finish()
        store.classes(names, vocabulary)
        store.taint(taint or Taint.unknown())
        store.provenance(provenance)
    stream.digest = store.digest


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
