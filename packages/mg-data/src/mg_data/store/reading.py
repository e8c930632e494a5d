"""Opening store files: header, damage turned into one-line errors, what every kind has."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract.errors import StoreError
from mg_data.store.attributes import attributes
from mg_data.store.columns import one_text, read_text, read_whole
from mg_data.store.contained import check_contained
from mg_data.store.heaps import check_heaps
from mg_data.store.index import PathLike, check_clip_ids, match_rows
from mg_data.store.mapped import MappedFile, MappedRows, map_rows, open_mapped
from mg_data.store.provenance import Provenance
from mg_data.store.schema import FORMAT, FORMAT_VERSION, KINDS, parse_version
from mg_data.store.taint import Taint


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
        check_heaps(name)
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
            reason = f"cannot be opened: {_system_error(error) or text.splitlines()[0]}"
        raise StoreError(path, reason, "write or copy it again") from error
    try:
        guarded(path, lambda: _check_header(file, path))
    except BaseException:
        file.close()
        raise
    return file


def _check_header(file: h5py.File, path: PathLike) -> None:
    header = attributes(file)
    if header.get("mg_format") != FORMAT:
        raise StoreError(path, "is an HDF5 file but no mg store", f"attribute mg_format must be '{FORMAT}'")
    kind = header.get("mg_kind")
    if kind not in KINDS:
        raise StoreError(path, f"has unknown kind {kind!r}", f"known kinds: {', '.join(KINDS)}")
    text = str(header.get("mg_min_reader", header.get("mg_format_version", "?")))
    try:
        needed = parse_version(text)
    except ValueError:
        raise StoreError(path, f"has no readable format version (found '{text}')") from None
    if needed > parse_version(FORMAT_VERSION):
        raise StoreError(
            path,
            f"needs a reader of format {text}, this one reads {FORMAT_VERSION}",
            "upgrade mg-data",
        )


def _system_error(error: BaseException) -> str:
    """Return the operating system's words for an error that HDF5 hands on, or an empty string."""
    found = re.search(r"errno = ([1-9]\d*)", str(error))
    return os.strerror(int(found[1])) if found else ""


def guarded(path: PathLike, read: Callable[[], Any]) -> Any:
    """Run a read and turn what h5py raises on a damaged file into a StoreError."""
    try:
        return read()
    except StoreError:
        raise
    except (KeyError, OSError, RuntimeError) as error:
        why = _system_error(error)
        if why:  # the disk, not the file
            raise StoreError(path, f"cannot be read: {why}") from error
        if isinstance(error, KeyError):
            raise StoreError(path, f"lacks a required part: {error.args[0]}") from error
        raise _damaged(path, error) from error
    except (ValueError, TypeError, IndexError, AttributeError, MemoryError, OverflowError) as error:
        raise _damaged(path, error) from error


def _damaged(path: PathLike, error: Exception) -> StoreError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return StoreError(path, f"is damaged: {first}", "write or copy it again")


class StoreFile:
    """A store opened for lazy reading: one handle a process, dropped on pickling.

    Memory maps are dropped on pickling too; a forked process goes on with the one it inherited.
    """

    kind = ""

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._owner = 0
        self._mapped_file: MappedFile | None = None
        self._mapped: dict[str, MappedRows | None] = {}
        try:
            guarded(path, self._open)
        except BaseException:
            # HDF5 would give the same damaged file to whoever opens its successor under this name.
            self.close()
            raise

    def _open(self) -> None:
        header = attributes(self.file)
        if header["mg_kind"] != self.kind:
            raise StoreError(self.path, f"is a store of kind '{header['mg_kind']}', wanted '{self.kind}'")
        check_contained(self.file, self.path)
        self.digest = str(header.get("mg_content_digest", ""))
        self.writer = str(header.get("mg_writer", ""))
        self._load()

    @property
    def file(self) -> h5py.File:
        """The open file; after a fork or unpickling a handle of this process's own."""
        if self._handle is None or self._owner != os.getpid():
            self._handle = open_file(self.path)
            self._owner = os.getpid()
        return self._handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the handle; it opens again when needed."""
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
        self._handle = None
        self._mapped = {}
        if self._mapped_file is not None:
            self._mapped_file.close()
        self._mapped_file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_mapped_file": None, "_mapped": {}}

    def read_rows(self, name: str, begin: int, end: int, what: str = "") -> NDArray[Any]:
        """Return a copy of rows ``begin`` to ``end`` of a data set; every byte is checked once a process.

        Args:
            name: path of the data set. what: how an error message calls it.

        Raises:
            StoreError: the rows are damaged.
        """
        try:
            rows = self._mapped[name]
        except KeyError:
            rows = self._mapped[name] = self._map(name)
        try:
            if rows is not None:
                found = rows.read(begin, end)
                if found is not None:
                    return found
            values: NDArray[Any] = self.file[name][begin:end]
        except (OSError, RuntimeError) as error:
            why = _system_error(error)
            if why:
                raise StoreError(self.path, f"cannot be read: {why}") from error
            reason = f"is damaged: {what or name} cannot be read"
            raise StoreError(self.path, reason, "copy it again") from error
        return values

    def _map(self, name: str) -> MappedRows | None:
        """Return the rows of a data set if it can be read past HDF5."""
        file = self.file
        if self._mapped_file is None:
            self._mapped_file = open_mapped(file)
        return None if self._mapped_file is None else map_rows(file[name], self._mapped_file)

    def _load(self) -> None:
        file = self.file
        self.clip_ids: NDArray[np.str_] = read_text(file, "index/clip_id")
        check_clip_ids(self.clip_ids, self.path)
        self._sorter = np.argsort(self.clip_ids).astype(np.int64)
        self.dataset = str(attributes(file["index"]).get("dataset", ""))
        self.class_names: tuple[str, ...] = ()
        self.vocabulary = ""
        if "classes/name" in file:
            self.class_names = tuple(read_text(file, "classes/name").tolist())
            self.vocabulary = str(attributes(file["classes/name"]).get("vocabulary", ""))
        self.provenance = Provenance()
        if "provenance/json" in file:
            self.provenance = Provenance.from_json(one_text(file, "provenance/json"))
        self.taint = read_taint(file)

    def rows(self, clip_ids: ArrayLike) -> NDArray[np.int64]:
        """Return for each clip id its row; StoreError if one is missing."""
        return match_rows(self.clip_ids, clip_ids, self.path, self._sorter)

    def __len__(self) -> int:
        return len(self.clip_ids)


def read_taint(file: h5py.File) -> Taint:
    """Read /taint; a store without it is of unknown taint."""
    if "taint" not in file:
        return Taint.unknown()
    group = file["taint"]
    trained_on, selected_on = (
        read_whole(file, f"taint/{name}", np.uint64) if name in group else np.empty(0, np.uint64)
        for name in ("trained_on", "selected_on")
    )
    return Taint.of(
        trained_on,
        selected_on,
        str(attributes(group).get("state", "unknown")) == "known",
    )


def store_kind(path: PathLike) -> str:
    """Return the kind of a store file, after checking its header."""
    with open_file(path) as file:
        return str(guarded(path, lambda: attributes(file)["mg_kind"]))


def stored_digest(path: PathLike) -> str:
    """Return the content digest that a store's header states (``mg store check`` recomputes it)."""
    with open_file(path) as file:
        return str(guarded(path, lambda: attributes(file).get("mg_content_digest", "")))
