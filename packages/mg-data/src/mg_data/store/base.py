"""Opening, checking and creating store files; what every kind has in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.atomic import publish
from mg_data.store.digest import content_digest
from mg_data.store.provenance import Provenance
from mg_data.store.schema import FORMAT, FORMAT_VERSION, KINDS, MIN_READER, parse_version
from mg_data.store.taint import Taint

PathLike = str | os.PathLike[str]
_TEXT = h5py.string_dtype("utf-8")


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def default_writer() -> str:
    """Return the ``mg_writer`` attribute of stores written by this package."""
    from mg_data import __version__

    return f"mg-data {__version__}"


def text_array(values: ArrayLike, what: str, path: PathLike) -> NDArray[np.str_]:
    """Return a one-dimensional text array, or a StoreError naming what is no text."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise StoreError(path, f"{what} must be a list of texts, got an array of shape {array.shape}")
    if array.dtype.kind == "U":
        return array
    listing = [value.decode() if isinstance(value, bytes) else value for value in array.tolist()]
    wrong = next((value for value in listing if not isinstance(value, str)), None)
    if wrong is not None:
        raise StoreError(path, f"{what} must be texts, got {wrong!r} of type {type(wrong).__name__}")
    return np.array(listing, dtype=np.str_) if listing else np.empty(0, np.str_)


def check_clip_ids(clip_ids: NDArray[np.str_], path: PathLike) -> None:
    """Raise StoreError for an empty or a repeated clip id."""
    if np.any(np.char.str_len(clip_ids) == 0) if len(clip_ids) else False:
        raise StoreError(path, "holds an empty clip id", "every clip needs an id of its own")
    unique, counts = np.unique(clip_ids, return_counts=True)
    if len(unique) != len(clip_ids):
        repeated = unique[counts > 1]
        raise StoreError(
            path,
            f"holds {len(repeated)} duplicate clip id(s), the first is '{repeated[0]}'",
            "clip ids must be unique",
        )


def check_class_names(class_names: Sequence[str], path: PathLike) -> tuple[str, ...]:
    """Return the names as a tuple, or raise StoreError if they are none, empty or repeated."""
    names = tuple(str(name) for name in class_names)
    if not names:
        raise StoreError(path, "has no class names", "/classes/name lists the K classes in order")
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise StoreError(path, f"lists the class name '{repeated}' twice")
    return names


def match_rows(
    own: NDArray[np.str_], wanted: ArrayLike, path: PathLike, sorter: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return for each wanted clip id its row; StoreError naming some if any is missing."""
    ids = np.asarray(wanted, dtype=np.str_)
    if len(own) == 0:
        if len(ids):
            raise StoreError(path, f"lacks {len(ids)} clip(s), the first is '{ids[0]}'")
        return np.empty(0, np.int64)
    order = np.argsort(own) if sorter is None else sorter
    place = np.minimum(np.searchsorted(own, ids, sorter=order), len(own) - 1)
    rows = order[place].astype(np.int64)
    missing = own[rows] != ids
    if missing.any():
        some = ", ".join(f"'{clip_id}'" for clip_id in ids[missing][:3])
        raise StoreError(path, f"lacks {int(missing.sum())} of {len(ids)} clip(s): {some}", "join by clip_id")
    return rows


class StoreWriter:
    """A store under construction: an open HDF5 file under a temporary name."""

    def __init__(self, file: h5py.File, path: Path, kind: str) -> None:
        self.file = file
        self.path = path
        self.kind = kind
        self.digest = ""

    def text(self, name: str, values: Sequence[str] | NDArray[np.str_]) -> h5py.Dataset:
        """Write a (N,) UTF-8 data set."""
        array = np.array([str(value) for value in values], dtype=object)
        return self.file.create_dataset(name, data=array, dtype=_TEXT, shape=(len(values),))

    def array(self, name: str, values: NDArray[Any]) -> h5py.Dataset:
        """Write a numeric data set; checksums guard everything that is not empty."""
        if values.size == 0:
            return self.file.create_dataset(name, data=values)
        per_row = max(1, values[0].nbytes if values.ndim > 1 else values.itemsize)
        rows = max(1, min(len(values), (1 << 20) // per_row))
        return self.file.create_dataset(name, data=values, chunks=(rows, *values.shape[1:]), fletcher32=True)

    def growing(self, name: str, shape: tuple[int, ...], dtype: Any, rows_per_chunk: int) -> h5py.Dataset:
        """Create an empty data set that is appended to along its first axis."""
        return self.file.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            dtype=dtype,
            chunks=(rows_per_chunk, *shape),
            fletcher32=True,
        )

    def classes(self, class_names: Sequence[str], vocabulary: str) -> None:
        """Write /classes/name."""
        names = check_class_names(class_names, self.path)
        self.text("classes/name", names).attrs["vocabulary"] = vocabulary

    def taint(self, taint: Taint) -> None:
        """Write /taint."""
        self.array("taint/trained_on", taint.trained_on)
        self.array("taint/selected_on", taint.selected_on)
        self.file["taint"].attrs["state"] = "known" if taint.known else "unknown"

    def provenance(self, provenance: Provenance | None) -> None:
        """Write /provenance/json."""
        text = (provenance or Provenance()).to_json()
        self.file.create_dataset("provenance/json", data=text, dtype=_TEXT)


@contextlib.contextmanager
def create_store(path: PathLike, kind: str, writer: str = "") -> Iterator[StoreWriter]:
    """Open a new store for writing; it appears under its name, validated and digested, on a clean exit."""
    target = Path(path)
    with publish(target) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        store = StoreWriter(file, target, kind)
        yield store
        file.attrs["mg_format"] = FORMAT
        file.attrs["mg_format_version"] = FORMAT_VERSION
        file.attrs["mg_min_reader"] = MIN_READER
        file.attrs["mg_kind"] = kind
        file.attrs["mg_writer"] = writer or default_writer()
        file.attrs["mg_created"] = _now()
        file.flush()
        store.digest = content_digest(file)
        file.attrs["mg_content_digest"] = store.digest
    _notify(target, kind, store.digest)


def _notify(path: Path, kind: str, digest: str) -> None:
    from mg_data.plugins import notify_store_written

    notify_store_written(str(path), kind, digest)


class StreamingWriter:
    """A writer that adds clips one by one; the file appears under its name when the block ends cleanly."""

    kind = ""

    def __init__(self, path: PathLike) -> None:
        self.path = path
        self.digest = ""
        self._seen: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._open: StoreWriter | None = None

    @property
    def _store(self) -> StoreWriter:
        if self._open is None:
            raise RuntimeError(f"{type(self).__name__} is used inside a with block")
        return self._open

    def __enter__(self) -> Self:
        self._open = self._stack.enter_context(create_store(self.path, self.kind))
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                if not self._seen:
                    raise StoreError(self.path, "would hold no clip")
                self._finish()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
        self.digest = self._store.digest

    def _accept(self, clip_id: str) -> None:
        """Raise StoreError for a clip id that is empty or was added before."""
        if not clip_id or clip_id in self._seen:
            raise StoreError(self.path, f"clip id '{clip_id}' is {'repeated' if clip_id else 'empty'}")

    def _begin(self) -> None:
        """Create what clips are appended to."""

    def _finish(self) -> None:
        """Write the index and whatever else is known at the end."""
        raise NotImplementedError


def open_file(path: PathLike) -> h5py.File:
    """Open any store read-only and check its header.

    Raises:
        StoreError: missing, unreadable, truncated, no HDF5, no store, or of a newer major version.
    """
    name = Path(path)
    if not name.exists():
        raise StoreError(path, "does not exist")
    if name.is_dir():
        raise StoreError(path, "is a folder, not a store file")
    try:
        # Files are immutable once published, so readers need no lock (and network mounts may have none).
        file = h5py.File(name, "r", locking=False)
    except PermissionError as error:
        raise StoreError(path, "cannot be opened: permission denied") from error
    except OSError as error:
        text = str(error)
        if "truncated file" in text:
            reason = "is truncated: the file is shorter than its header says"
        elif "file signature not found" in text:
            reason = "is not an HDF5 file"
        else:
            reason = f"cannot be opened: {text.splitlines()[0]}"
        raise StoreError(path, reason, "write or copy it again") from error
    try:
        _check_header(file, path)
    except BaseException:
        file.close()
        raise
    return file


def _check_header(file: h5py.File, path: PathLike) -> None:
    if file.attrs.get("mg_format") != FORMAT:
        raise StoreError(path, "is an HDF5 file but no mg store", f"attribute mg_format must be '{FORMAT}'")
    kind = file.attrs.get("mg_kind")
    if kind not in KINDS:
        raise StoreError(path, f"has unknown kind {kind!r}", f"known kinds: {', '.join(KINDS)}")
    text = str(file.attrs.get("mg_min_reader", file.attrs.get("mg_format_version", "?")))
    try:
        needed = parse_version(text)
    except ValueError:
        raise StoreError(path, f"has no readable format version (found '{text}')") from None
    if needed > parse_version(FORMAT_VERSION):
        raise StoreError(
            path,
            f"needs a reader of format {text}, this one reads {FORMAT_VERSION}",
            "upgrade mg-data, or write it with 'mg store convert --format 1.0'",
        )


def guarded(path: PathLike, read: Callable[[], Any]) -> Any:
    """Run a read and turn what h5py raises on a damaged file into a StoreError."""
    try:
        return read()
    except StoreError:
        raise
    except KeyError as error:
        raise StoreError(path, f"lacks a required part: {error.args[0]}") from error
    except (OSError, RuntimeError, ValueError, TypeError, UnicodeDecodeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(path, f"is damaged: {first}", "write or copy it again") from error


class StoreFile:
    """A store opened for lazy reading: one handle a process, dropped on pickling."""

    kind = ""

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._owner = 0
        file = self.file
        if file.attrs["mg_kind"] != self.kind:
            found = file.attrs["mg_kind"]
            self.close()
            raise StoreError(path, f"is a store of kind '{found}', wanted '{self.kind}'")
        self.digest = str(file.attrs.get("mg_content_digest", ""))
        self.writer = str(file.attrs.get("mg_writer", ""))
        guarded(path, self._load)

    @property
    def file(self) -> h5py.File:
        """The open file; after a fork or unpickling a handle of this process's own."""
        if self._handle is None or self._owner != os.getpid():
            self._handle = open_file(self.path)
            self._owner = os.getpid()
        return self._handle

    def close(self) -> None:
        """Close the handle; it opens again when needed."""
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
        self._handle = None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_handle"] = None
        return state

    def _load(self) -> None:
        file = self.file
        self.clip_ids: NDArray[np.str_] = read_text(file, "index/clip_id")
        check_clip_ids(self.clip_ids, self.path)
        self._sorter = np.argsort(self.clip_ids).astype(np.int64)
        self.dataset = str(file["index"].attrs.get("dataset", ""))
        self.class_names: tuple[str, ...] = ()
        self.vocabulary = ""
        if "classes/name" in file:
            self.class_names = tuple(read_text(file, "classes/name").tolist())
            self.vocabulary = str(file["classes/name"].attrs.get("vocabulary", ""))
        self.provenance = Provenance()
        if "provenance/json" in file:
            self.provenance = Provenance.from_json(file["provenance/json"].asstr()[()])
        self.taint = read_taint(file)

    def rows(self, clip_ids: ArrayLike) -> NDArray[np.int64]:
        """Return for each clip id its row; StoreError if one is missing."""
        return match_rows(self.clip_ids, clip_ids, self.path, self._sorter)

    def __len__(self) -> int:
        return len(self.clip_ids)


def read_text(file: h5py.File, name: str) -> NDArray[np.str_]:
    """Read a (N,) text data set."""
    values = file[name].asstr()[()]
    return values.astype(np.str_) if len(values) else np.empty(0, np.str_)


def read_taint(file: h5py.File) -> Taint:
    """Read /taint; a store without it is of unknown taint."""
    if "taint" not in file:
        return Taint.unknown()
    group = file["taint"]
    return Taint.of(
        group["trained_on"][()] if "trained_on" in group else (),
        group["selected_on"][()] if "selected_on" in group else (),
        str(group.attrs.get("state", "unknown")) == "known",
    )


def store_kind(path: PathLike) -> str:
    """Return the kind of a store file, after checking its header."""
    with open_file(path) as file:
        return str(file.attrs["mg_kind"])


def stored_digest(path: PathLike) -> str:
    """Return the content digest that a store's header states (``mg store check`` recomputes it)."""
    with open_file(path) as file:
        return str(file.attrs.get("mg_content_digest", ""))
