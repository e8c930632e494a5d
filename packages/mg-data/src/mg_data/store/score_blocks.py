"""Logit and probs stores of any size: read, and written, a block of rows at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import one_text, read_text
from mg_data.store.index import PathLike, check_class_names
from mg_data.store.provenance import Provenance
from mg_data.store.reading import guarded, read_taint
from mg_data.store.schema import PROB_STORE_TOLERANCE, PROBS_TOLERANCE, SPACES
from mg_data.store.score_checks import as_log, check_rows_sum_to_one, check_scores
from mg_data.store.scores import LogitsHeader
from mg_data.store.taint import Taint
from mg_data.store.writing import StoreWriter, create_store


class LogitsBlocks(LogitsHeader):
    """A logit store read in blocks of rows, for what does not fit in memory.

    Attributes: those of a logit store, without ``clip_ids``, ``values``, ``present`` and ``labels``. Each
    block is checked as ``read_logits`` checks the whole; that ids are unique is left to whoever joins them.
    """

    def _load(self) -> None:
        file = self.file
        shape = file["logits/values"].shape
        for name, kinds in (("logits/values", "fiu"), ("logits/present", "iub")):
            if name in file and file[name].dtype.kind not in kinds:
                raise StoreError(self.path, f"/{name} is {file[name].dtype}, wanted numbers")
        if h5py.check_string_dtype(file["index/clip_id"].dtype) is None or file["index/clip_id"].ndim != 1:
            raise StoreError(self.path, "/index/clip_id is no list of texts")
        self.count = int(file["index/clip_id"].shape[0])
        self.dataset = str(attributes(file["index"]).get("dataset", ""))
        self.class_names = check_class_names(read_text(file, "classes/name").tolist(), self.path)
        self.vocabulary = str(attributes(file["classes/name"]).get("vocabulary", ""))
        self.provenance = Provenance()
        if "provenance/json" in file:
            self.provenance = Provenance.from_json(one_text(file, "provenance/json"))
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

    def rows(self, clip_ids: ArrayLike) -> NDArray[np.int64]:
        """Raise TypeError: whoever reads in blocks joins the ids of the blocks."""
        raise TypeError(f"{self.path}: is read in blocks, which are not looked up by id; use read_logits")

    def ids(self, begin: int, end: int) -> NDArray[np.bytes_]:
        """Return the clip ids of rows ``begin`` to ``end`` as UTF-8; StoreError if one is empty."""
        found: NDArray[np.bytes_] = guarded(
            self.path, lambda: self.file["index/clip_id"][begin:end].astype(np.bytes_)
        )
        if (found.view(np.uint8) > 0x7F).any():  # beyond ASCII it may be no UTF-8
            guarded(self.path, lambda: np.char.decode(found, "utf-8"))
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
        return as_log(values, self.space)


def open_logits(path: PathLike) -> LogitsBlocks:
    """Open a logit store to be read in blocks; close it when done."""
    return LogitsBlocks(path)


class ScoreStream:
    """A logits or probs store under construction, filled block by block in ascending order of clip id.

    ``digest`` is known when the ``with`` block of :func:`stream_logits` or :func:`stream_probs` has ended.
    """

    def __init__(self, path: PathLike, store: StoreWriter, count: int, classes: int, space: str) -> None:
        self.digest = ""
        self._path, self._store = path, store
        self._count, self._classes, self._space = count, classes, space
        self._tolerance = PROBS_TOLERANCE if store.kind == "probs" else PROB_STORE_TOLERANCE
        self._done = 0
        self._last = b""
        file = store.file
        self._ids = file.create_dataset("index/clip_id", shape=(count,), dtype=h5py.string_dtype("utf-8"))
        # Chunks as StoreWriter.array lays them out.
        self.values = file.create_dataset(
            f"{store.kind}/values",
            shape=(count, classes),
            dtype=np.float32,
            chunks=(max(1, min(count, (1 << 20) // (4 * classes))), classes),
            fletcher32=True,
        )
        self._present: h5py.Dataset | None = None
        if store.kind == "logits":
            self._present = file.create_dataset(
                "logits/present",
                shape=(count,),
                dtype=np.uint8,
                chunks=(min(count, 1 << 20),),
                fletcher32=True,
            )

    def add(
        self, clip_ids: NDArray[np.bytes_], values: ArrayLike, present: NDArray[np.bool_] | None = None
    ) -> None:
        """Append rows: (n,) UTF-8 ids, greater than all before, and (n, K) scores.

        Args:
            present: (n,) where the model answers, in a logit store; None: everywhere.

        Raises:
            StoreError: ids not ascending, too many rows, scores that are not finite or no probabilities.
        """
        scores = np.asarray(values, np.float32)
        begin, end = self._done, self._done + len(clip_ids)
        if len(clip_ids) == 0:
            return
        if end > self._count:
            raise StoreError(self._path, f"was announced with {self._count} clips and is given more")
        if not (clip_ids[0] > self._last and (clip_ids[1:] > clip_ids[:-1]).all()):
            raise StoreError(self._path, "is given clip ids that do not ascend", "sort them, each once")
        self._check(clip_ids, scores, present)
        self._ids[begin:end] = clip_ids.astype(object)
        self.values[begin:end] = scores
        if self._present is not None:
            self._present[begin:end] = 1 if present is None else present.astype(np.uint8)
        self._last = clip_ids[-1]
        self._done = end
        self._store.check()

    def _check(
        self, clip_ids: NDArray[np.bytes_], scores: NDArray[np.float32], present: NDArray[np.bool_] | None
    ) -> None:
        """Raise StoreError for scores that cannot be; sound ones are seen to be so in one pass."""
        sums = scores.sum(axis=1, dtype=np.float64) if scores.ndim == 2 else np.empty(0)
        sound = scores.shape == (len(clip_ids), self._classes) and bool(np.isfinite(sums).all())
        if sound and self._space == "prob":
            rows = slice(None) if present is None else present
            sound = bool((np.abs(sums[rows] - 1) <= self._tolerance).all() and (scores[rows] >= 0).all())
        if sound and (present is None or present.shape == (len(clip_ids),)):
            return
        ids = np.char.decode(clip_ids, "utf-8")
        mask = np.ones(len(ids), bool) if present is None else present
        check_scores(self._path, ids, scores, self._classes, mask)
        if self._space == "prob":
            check_rows_sum_to_one(self._path, ids, scores, mask, self._tolerance)

    def finish(self) -> None:
        """Raise StoreError unless all clips that were announced were given."""
        if self._done != self._count:
            raise StoreError(self._path, f"was announced with {self._count} clips and was given {self._done}")


@contextlib.contextmanager
def _stream(
    path: PathLike,
    kind: str,
    space: str,
    count: int,
    class_names: Sequence[str],
    taint: Taint | None,
    dataset: str,
    vocabulary: str,
    provenance: Provenance | None,
) -> Iterator[ScoreStream]:
    names = check_class_names(class_names, path)
    if count < 1:
        raise StoreError(path, "would hold no clip")
    with create_store(path, kind) as store:
        stream = ScoreStream(path, store, count, len(names), space)
        store.file["index"].attrs["dataset"] = dataset
        yield stream
        stream.finish()
        store.ascending = True
        store.classes(names, vocabulary)
        store.taint(taint or Taint.unknown())
        store.provenance(provenance)
    stream.digest = store.digest


@contextlib.contextmanager
def stream_logits(
    path: PathLike,
    *,
    count: int,
    class_names: Sequence[str],
    model: str,
    modality: str,
    space: str = "logit",
    taint: Taint | None = None,
    dataset: str = "",
    vocabulary: str = "",
    branch: str = "",
    tta: str = "none",
    seed: int = 0,
    checkpoint_digest: str = "",
    provenance: Provenance | None = None,
) -> Iterator[ScoreStream]:
    """Write a logit store of ``count`` clips block by block; it has the digest that ``write_logits`` gives.

    The file appears under its name on a clean exit; ``digest`` is known then. Arguments as for
    ``write_logits``.

    Raises:
        StoreError: as :meth:`ScoreStream.add`, and where ``write_logits`` would.
    """
    if space not in SPACES:
        raise StoreError(path, f"space '{space}' is unknown, known: {', '.join(SPACES)}")
    with _stream(path, "logits", space, count, class_names, taint, dataset, vocabulary, provenance) as stream:
        stream.values.attrs.update(
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
        yield stream


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
) -> Iterator[ScoreStream]:
    """Write a probs store of ``count`` clips block by block; it has the digest that ``write_probs`` gives.

    The file appears under its name on a clean exit; ``digest`` is known then.
    """
    with _stream(path, "probs", "prob", count, class_names, taint, dataset, vocabulary, provenance) as stream:
        yield stream
