"""Stores larger than memory, joined by clip id and fused in blocks.

What has to be in memory are the ids themselves (once, or twice while stores are compared), four bytes a row
for each store whose rows are in another order, and a few blocks. Rows in another order are first dealt out
into a temporary file beside the result, block by block of the order of ids, so that every file is read and
written from its beginning to its end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import StoreError
from mg_data.store import LogitsBlocks, Provenance, ScoreStream, Taint, open_logits, stream_probs
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.stores import (
    Missing,
    check_classes,
    check_ids,
    check_keys,
    check_request,
    chosen_weights,
    fit_keys,
    fuser_of,
    shared,
    some,
)
from mg_fusion.vote import BoolArray, FloatArray, SoftVote

Ids = NDArray[np.bytes_]

# Elements (models x rows x classes) of a block; large enough to read well, small enough for the cache.
_BLOCK_ELEMENTS = 2_000_000
# Fewest rows a block has: temporary files are dealt out to count / rows places.
_FEWEST_ROWS = 256
_ROWS_READ = 65_536
# Blocks of these that are dealt out at a time.
_BLOCKS_DEALT = 2
# Rows voted on at a time: the temporary arrays of so few stay in the processor's cache.
_ROWS_FUSED = 4_096
# More elements than this in all stores (128 MB of float64) are fused in blocks by the command.
_LARGE = 16_000_000
_FUSERS = ("soft-vote", "log-mean", "majority", "rank")


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedFusion:
    """Result of :func:`fuse_to_store`, which holds no rows.

    Args:
        path, digest: the probs store written. clips: N. class_names: K names.
        weights: key -> weight, as used. temperature: tau, as used. fuser: name.
        taint: what the models, and whoever fitted the parameters, have seen.
        inputs: key -> digest. answered: key -> number of clips it answers.
        spooled: keys of the stores whose rows were brought into the order of ids on disk.
    """

    path: Path
    digest: str
    clips: int
    class_names: tuple[str, ...]
    weights: Mapping[str, float]
    temperature: float
    fuser: str
    taint: Taint
    inputs: Mapping[str, str]
    answered: Mapping[str, int]
    spooled: tuple[str, ...]


def can_stream(fuser: str) -> bool:
    """Whether a fuser looks at one clip at a time, so that blocks give what the whole gives."""
    return fuser in _FUSERS


def is_large(paths: Sequence[str | Path]) -> bool:
    """Whether these logit stores are better fused in blocks than in memory."""
    elements = 0
    for path in paths:
        store = open_logits(path)
        elements += store.count * len(store.class_names)
        store.close()
    return elements > _LARGE


def _blocks(count: int, rows: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, count, rows):
        yield begin, min(begin + rows, count)


def _read_ids(store: LogitsBlocks) -> Ids:
    """Return all ids of a store, in its order."""
    ids = np.empty(0, dtype=np.bytes_)
    for begin, end in _blocks(store.count, _ROWS_READ):
        block = store.ids(begin, end)
        if begin == 0 or block.dtype.itemsize > ids.dtype.itemsize:
            wider = np.empty(store.count, dtype=block.dtype)
            wider[:begin] = ids[:begin]
            ids = wider
        ids[begin:end] = block
    return ids


def _follows(store: LogitsBlocks, reference: Ids) -> bool:
    """Whether a store has just the ids of the reference, in its order; needs memory for a block only."""
    return store.count == len(reference) and all(
        np.array_equal(store.ids(begin, end), reference[begin:end])
        for begin, end in _blocks(store.count, _ROWS_READ)
    )


def _sorted_ids(store: LogitsBlocks) -> tuple[Ids, bool]:
    """Return a store's ids sorted, and whether they were.

    Raises:
        StoreError: an id twice.
    """
    ids = _read_ids(store)
    ascending = bool((ids[1:] > ids[:-1]).all())
    if not ascending:
        ids.sort()
        twice = ids[1:] == ids[:-1]
        if twice.any():
            names = np.unique(ids[1:][twice])
            raise StoreError(
                store.path,
                f"holds {len(names)} duplicate clip id(s), the first is '{names[0].decode('utf-8')}'",
                "clip ids must be unique",
            )
    return ids, ascending


def _all_ids(stores: Sequence[LogitsBlocks]) -> tuple[Ids, list[bool]]:
    """Return the sorted ids of all stores, and for each store whether its rows are just these, in order."""
    reference, ascending = _sorted_ids(stores[0])
    follows = [ascending]
    for store in stores[1:]:
        same = _follows(store, reference)
        follows.append(same)
        if same:
            continue
        ids, ascending = _sorted_ids(store)
        if np.array_equal(ids, reference):
            continue
        union = np.union1d(reference, ids)
        if len(union) > len(reference):
            follows = [False] * len(follows)
        follows[-1] = ascending and len(ids) == len(union)
        reference = union
    return reference, follows


def _leading(ids: Ids, skip: int) -> NDArray[np.uint64]:
    """Return eight bytes of each id after the first ``skip`` as a number that sorts as they do."""
    width = ids.dtype.itemsize
    found = np.zeros((len(ids), 8), dtype=np.uint8)
    part = ids.view(np.uint8).reshape(-1, width)[:, skip : skip + 8]
    found[:, : part.shape[1]] = part
    return found.view(">u8").ravel().astype(np.uint64)


class _Places:
    """Where ids stand among all ids, which are sorted and hold them.

    Numbers are looked up several times as fast as texts. Eight bytes tell most ids apart once what they all
    begin with is left out; of sorted ids that is what the first and the last one begin with.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        pairs = enumerate(zip(ids[0], ids[-1], strict=False)) if len(ids) else ()
        self._skip = next((place for place, (first, last) in pairs if first != last), 0)
        self._keys = _leading(ids, self._skip)
        self._told_apart = bool((self._keys[1:] > self._keys[:-1]).all())

    def of(self, wanted: Ids) -> NDArray[np.intp]:
        """Return the place of each id; sorted first, so that neighbours are looked up side by side."""
        if not self._told_apart:
            order = np.argsort(wanted)
            found = np.searchsorted(self._ids, wanted[order])
        else:
            keys = _leading(wanted, self._skip)
            order = np.argsort(keys)
            found = np.searchsorted(self._keys, keys[order])
        places = np.empty(len(wanted), dtype=np.intp)
        places[order] = found
        return places


class _Rows(Protocol):
    """Rows of one store in the order of all ids."""

    def read(self, begin: int, end: int) -> tuple[NDArray[np.float32], BoolArray]:
        """Return (n, K) values and (n,) present."""


class _Spooled:
    """Rows brought into the order of all ids: dealt out to blocks of that order in a temporary file."""

    def __init__(self, store: LogitsBlocks, ids: Ids, rows: int, file: IO[bytes]) -> None:
        self._rows, self._count, self._classes = rows, len(ids), len(store.class_names)
        self._type = np.dtype(
            [("place", "<i4"), ("present", "?"), ("values", "<f4", (self._classes,))], align=True
        )
        places, lookup = np.empty(store.count, dtype=np.int32), _Places(ids)
        for begin, end in _blocks(store.count, _ROWS_READ):
            places[begin:end] = lookup.of(store.ids(begin, end))
        self._sizes = np.bincount(places // rows, minlength=-(-len(ids) // rows))
        self._begins = np.concatenate([[0], np.cumsum(self._sizes)])
        self._file = file
        filled = self._begins[:-1].copy()
        for begin, end in _blocks(store.count, max(rows, _BLOCKS_DEALT * _ROWS_READ)):
            records = np.empty(end - begin, dtype=self._type)
            records["place"] = places[begin:end]
            records["values"], records["present"] = store.read(begin, end)
            number = records["place"] // rows
            records = records[np.argsort(number, kind="stable")]
            blocks, starts = np.unique(np.sort(number), return_index=True)
            for block, part in zip(blocks, np.split(records, starts[1:]), strict=True):
                file.seek(int(filled[block]) * self._type.itemsize)
                file.write(part.tobytes())
                filled[block] += len(part)
        file.flush()

    def read(self, begin: int, end: int) -> tuple[NDArray[np.float32], BoolArray]:
        """Return the rows of one block; those that the store lacks are not present."""
        block = begin // self._rows
        values = np.zeros((end - begin, self._classes), dtype=np.float32)
        present = np.zeros(end - begin, dtype=np.bool_)
        size = int(self._sizes[block])
        if size:
            self._file.seek(int(self._begins[block]) * self._type.itemsize)
            records = np.fromfile(self._file, dtype=self._type, count=size)
            place = records["place"] - begin
            values[place], present[place] = records["values"], records["present"]
        return values, present


def fuse_to_store(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    temperature: float = 1.0,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    params: SoftVote | None = None,
    fuser: str = "soft-vote",
    missing: Missing = "error",
    command: str = "",
    config: Mapping[str, Any] | None = None,
) -> StreamedFusion:
    """Fuse logit stores of any size into a probs store, block by block, joined by clip id.

    The store has the content and digest that :func:`~mg_fusion.stores.fuse_stores` and its ``write`` give.

    Args:
        paths, temperature, weights, params, missing: as for :func:`~mg_fusion.stores.fuse_stores`.
        out: probs store to write; rows of another order are spooled to temporary files beside it.
        fuser: one that looks at each clip alone: soft-vote, log-mean, majority, rank.
        command, config: for the provenance.

    Raises:
        StoreError: files that cannot be joined, or a result that cannot be written. SettingError: parameters
        that do not fit the stores. ScoresError: a clip that no model answers.
    """
    if not can_stream(fuser):
        raise SettingError(f"fuser: '{fuser}' is not known to fuse clip by clip; known: {', '.join(_FUSERS)}")
    check_request(paths, missing)
    if Path(out).resolve() in {Path(path).resolve() for path in paths}:
        raise SettingError(f"fuse: {out} is read and cannot be written too; name another file")
    with ExitStack() as stack:
        stores = _open_stores(paths, stack)
        dataset, vocabulary = shared(stores, "dataset"), shared(stores, "vocabulary")
        keys, class_names = [store.key for store in stores], stores[0].class_names
        shares, tau, own = chosen_weights(
            keys, [store.path for store in stores], class_names, paths, temperature, weights, params
        )
        taint = Taint.union_all(store.taint for store in stores)
        if params is not None:
            taint = taint.union(Taint.of((), fit_keys(params)))
        ids, follows = _all_ids(stores)
        if missing == "error" and any(store.count < len(ids) for store in stores):
            check_ids(stores, ids, np.stack([_held(store, ids) for store in stores]))
        rows = max(_FEWEST_ROWS, _BLOCK_ELEMENTS // (len(stores) * len(class_names)))
        sources = [
            store if same else _spool(store, ids, rows, Path(out), stack)
            for store, same in zip(stores, follows, strict=True)
        ]
        used = dict(zip(keys, shares.tolist(), strict=True))
        settings = {"fuser": fuser, "temperature": tau, "weights": used}
        inputs = {store.key: store.digest for store in stores}
        models = _AllModels(stores, sources, rows)
        with stream_probs(
            out,
            count=len(ids),
            class_names=class_names,
            taint=taint,
            dataset=dataset,
            vocabulary=vocabulary,
            provenance=Provenance(command=command, config={**settings, **(config or {})}, inputs=inputs),
        ) as stream:
            _fuse_blocks(models, ids, rows, _Vote(fuser_of(fuser), shares, tau, own), stream)
    return StreamedFusion(
        path=Path(out),
        digest=stream.digest,
        clips=len(ids),
        class_names=class_names,
        weights=used,
        temperature=tau,
        fuser=fuser,
        taint=taint,
        inputs=inputs,
        answered=dict(zip(keys, models.answered.tolist(), strict=True)),
        spooled=tuple(key for key, same in zip(keys, follows, strict=True) if not same),
    )


def _open_stores(paths: Sequence[str | Path], stack: ExitStack) -> list[LogitsBlocks]:
    """Open stores that may be fused, sorted by key; the stack closes them."""
    stores: list[LogitsBlocks] = []
    for path in paths:
        store = open_logits(path)
        stack.callback(store.close)
        stores.append(store)
    stores.sort(key=lambda store: store.key)
    check_keys(stores)
    check_classes(stores)
    return stores


class _AllModels:
    """The logits of all models, block by block, in memory that is used again; counts who answered."""

    def __init__(self, stores: Sequence[LogitsBlocks], sources: Sequence[_Rows], rows: int) -> None:
        self.answered = np.zeros(len(stores), dtype=np.int64)
        self.classes = len(stores[0].class_names)
        self._models = list(zip(stores, sources, strict=True))
        self._logits = np.empty((len(stores), rows, self.classes))
        self._present = np.empty((len(stores), rows), dtype=np.bool_)

    def read(self, begin: int, end: int) -> tuple[FloatArray, BoolArray]:
        """Return (M, B, K) logits, 0 where there is no answer, and (M, B) whether there is one."""
        logits, present = self._logits[:, : end - begin], self._present[:, : end - begin]
        for index, (store, source) in enumerate(self._models):
            values, present[index] = source.read(begin, end)
            logits[index] = store.as_log(values)
            if not present[index].all():
                logits[index][~present[index]] = 0.0
        self.answered += present.sum(axis=1)
        return logits, present


@dataclass(frozen=True, eq=False)
class _Vote:
    """A fuser with its settings: ``shares`` (M,), ``tau``, and ``own`` (M,) temperatures of the models."""

    fuse: Callable[[FloatArray, BoolArray, FloatArray, float], FloatArray]
    shares: FloatArray
    tau: float
    own: FloatArray

    def silent(self, present: BoolArray) -> BoolArray:
        """Return (B,) which clips no model of positive weight answers."""
        return np.asarray(~(present & (self.shares > 0)[:, None]).any(axis=0))

    def __call__(self, logits: FloatArray, present: BoolArray) -> FloatArray:
        """Return (B, K) probabilities."""
        divided = logits if (self.own == 1).all() else logits / self.own[:, None, None]
        return self.fuse(divided, present, self.shares, self.tau)


def _fuse_blocks(models: _AllModels, ids: Ids, rows: int, vote: _Vote, stream: ScoreStream) -> None:
    """Fuse all blocks into a store; once a clip has no answer such clips are only counted.

    Raises:
        ScoresError: clips without an answer.
    """
    silent, first_silent = 0, np.empty(0, dtype=ids.dtype)
    probs = np.empty((rows, models.classes))
    for begin, end in _blocks(len(ids), rows):
        logits, present = models.read(begin, end)
        unanswered = vote.silent(present)
        if unanswered.any():
            silent += int(unanswered.sum())
            if len(first_silent) <= 3:
                first_silent = np.append(first_silent, ids[begin:end][unanswered])
        if silent:
            continue
        for first, last in _blocks(end - begin, _ROWS_FUSED):
            probs[first:last] = vote(logits[:, first:last], present[:, first:last])
        stream.add(ids[begin:end], probs[: end - begin])
    if silent:
        raise ScoresError(
            f"fuse: {silent} of {len(ids)} clips have no answer from a model of positive weight: "
            f"{some(first_silent)}; add a store that answers them or give another model weight"
        )


def _held(store: LogitsBlocks, ids: Ids) -> BoolArray:
    held, places = np.zeros(len(ids), dtype=np.bool_), _Places(ids)
    for begin, end in _blocks(store.count, _ROWS_READ):
        held[places.of(store.ids(begin, end))] = True
    return held


def _spool(store: LogitsBlocks, ids: Ids, rows: int, out: Path, stack: ExitStack) -> _Spooled:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # It has no name, so nothing is left of it if this process is killed.
        file = stack.enter_context(tempfile.TemporaryFile(dir=out.parent))  # noqa: SIM115
        return _Spooled(store, ids, rows, file)
    except OSError as error:
        raise StoreError(
            out,
            f"cannot be written: {error.strerror or error} beside it",
            "rows of another order need room there",
        ) from error
