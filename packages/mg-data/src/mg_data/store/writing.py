"""Creating store files: parts that every kind has, the digest, and publishing under the final name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.atomic import publish, writing
from mg_data.store.digest import content_digest
from mg_data.store.disk import Disk
from mg_data.store.index import PathLike, check_class_names
from mg_data.store.provenance import Provenance
from mg_data.store.schema import FORMAT, FORMAT_VERSION, MIN_READER
from mg_data.store.taint import Taint

_TEXT = h5py.string_dtype("utf-8")


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def default_writer() -> str:
    """Return the ``mg_writer`` attribute of stores written by this package."""
    from mg_data import __version__

    return f"mg-data {__version__}"


def _holds(text: str) -> bool:
    """Return whether HDF5 can hold a text: one without NUL and without halves of letters (surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


class StoreWriter:
    """A store under construction: an open HDF5 file under a temporary name.

    ``check()`` raises the OSError that a write met, such as that of a full disk. Whoever has seen that the
    rows are in the order of their clip ids sets ``ascending``, which spares the digest looking. What is
    entered into ``beside`` ends when the store is whole, just before it gets its name.
    """

    def __init__(
        self, file: h5py.File, path: Path, kind: str, disk: Disk, beside: contextlib.ExitStack
    ) -> None:
        self.file = file
        self.beside = beside
        self.check = disk.check
        self.path = path
        self.kind = kind
        self.digest = ""
        self.ascending = False

    def text(self, name: str, values: Sequence[str] | NDArray[np.str_]) -> h5py.Dataset:
        """Write a (N,) UTF-8 data set.

        Raises:
            StoreError: a text that HDF5 cannot hold.
        """
        texts = [str(value) for value in values]
        if not _holds("".join(texts)):
            first = next(text for text in texts if not _holds(text))
            reason = f"cannot hold {first[:80]!r} in /{name}"
            raise StoreError(self.path, reason, "texts are UTF-8 without NUL characters")
        array = np.array(texts, dtype=object)
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
    with (
        publish(target) as temporary,
        contextlib.ExitStack() as beside,
        writing(target),  # or the file beside the store would be blamed for it
        closing(Disk(temporary)) as disk,
        h5py.File(disk, "w", libver=("earliest", "v110")) as file,
    ):
        store = StoreWriter(file, target, kind, disk, beside)
        yield store
        file.attrs["mg_format"] = FORMAT
        file.attrs["mg_format_version"] = FORMAT_VERSION
        file.attrs["mg_min_reader"] = MIN_READER
        file.attrs["mg_kind"] = kind
        file.attrs["mg_writer"] = writer or default_writer()
        file.attrs["mg_created"] = _now()
        file.flush()
        disk.check()
        store.digest = content_digest(file, ascending=store.ascending)
        file.attrs["mg_content_digest"] = store.digest
        file.close()
        disk.check()
        disk.sync()
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

    def beside(self, path: PathLike) -> Path:
        """Return a temporary path for a file that belongs to the store.

        It becomes ``path`` when the store is whole, just before that gets its name: a run that is killed
        between the two leaves no complete store beside an older file.
        """
        return self._store.beside.enter_context(publish(path))

    def _accept(self, clip_id: str) -> None:
        """Raise StoreError for a clip id that is empty or was added before, OSError for a full disk."""
        self._store.check()
        if not clip_id or clip_id in self._seen:
            raise StoreError(self.path, f"clip id '{clip_id}' is {'repeated' if clip_id else 'empty'}")

    def _begin(self) -> None:
        """Create what clips are appended to."""

    def _finish(self) -> None:
        """Write the index and whatever else is known at the end."""
        raise NotImplementedError
