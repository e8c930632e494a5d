"""Open a store of whatever kind."""

from __future__ import annotations

from mg_data.store.clips import ClipsStore
from mg_data.store.features import FeaturesStore
from mg_data.store.index import PathLike
from mg_data.store.pseudo import PseudoStore
from mg_data.store.reading import StoreFile, store_kind
from mg_data.store.scores import LogitsStore, ProbsStore
from mg_data.store.split import SplitStore
from mg_data.store.streams import StreamsStore

_READERS: dict[str, type[StoreFile]] = {
    reader.kind: reader
    for reader in (ClipsStore, SplitStore, StreamsStore, FeaturesStore, LogitsStore, ProbsStore, PseudoStore)
}


class _Streams(StoreFile):
    """All streams of a store, each found to be whole."""

    kind = "streams"

    def _load(self) -> None:
        super()._load()
        for name in sorted(self.file["streams"]):
            StreamsStore(self.path, name).close()


def open_whole(path: PathLike) -> StoreFile:
    """Open a store of whatever kind for what concerns all of it; of several streams none has to be named."""
    return _Streams(path) if store_kind(path) == "streams" else open_store(path)


def open_store(path: PathLike) -> StoreFile:
    """Open any store with the reader of its kind."""
    return _READERS[store_kind(path)](path)
