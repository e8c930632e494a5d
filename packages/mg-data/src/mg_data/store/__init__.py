"""HDF5 stores: what was computed, joined by clip id, immutable once published.

The functions are loaded on first use, so that importing :mod:`mg_data` brings neither numpy nor h5py.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mg_data.store.atomic import publish, publish_json, publish_text
    from mg_data.store.check import check_store
    from mg_data.store.clips import ClipsStore, ClipsWriter, open_clips
    from mg_data.store.features import FeaturesStore, read_features, write_features
    from mg_data.store.merge import merge_stores
    from mg_data.store.provenance import Provenance, installed_versions
    from mg_data.store.pseudo import PseudoStore, read_pseudo, write_pseudo
    from mg_data.store.readers import open_store
    from mg_data.store.reading import StoreFile, store_kind, stored_digest
    from mg_data.store.schema import FORMAT_VERSION
    from mg_data.store.score_blocks import (
        LogitsBlocks,
        ScoreStream,
        open_logits,
        stream_logits,
        stream_probs,
    )
    from mg_data.store.scores import (
        LogitsHeader,
        LogitsStore,
        ProbsStore,
        read_logits,
        read_probs,
        write_logits,
        write_probs,
    )
    from mg_data.store.split import SplitStore, read_split, write_split
    from mg_data.store.streams import StreamsStore, StreamsWriter, open_streams
    from mg_data.store.taint import Taint, clip_keys

_HOMES = {
    "atomic": ("publish", "publish_json", "publish_text"),
    "check": ("check_store",),
    "clips": ("ClipsStore", "ClipsWriter", "open_clips"),
    "features": ("FeaturesStore", "read_features", "write_features"),
    "merge": ("merge_stores",),
    "provenance": ("Provenance", "installed_versions"),
    "pseudo": ("PseudoStore", "read_pseudo", "write_pseudo"),
    "readers": ("open_store",),
    "reading": ("StoreFile", "store_kind", "stored_digest"),
    "schema": ("FORMAT_VERSION",),
    "score_blocks": ("LogitsBlocks", "ScoreStream", "open_logits", "stream_logits", "stream_probs"),
    "scores": (
        "LogitsHeader",
        "LogitsStore",
        "ProbsStore",
        "read_logits",
        "read_probs",
        "write_logits",
        "write_probs",
    ),
    "split": ("SplitStore", "read_split", "write_split"),
    "streams": ("StreamsStore", "StreamsWriter", "open_streams"),
    "taint": ("Taint", "clip_keys"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "FORMAT_VERSION",
    "ClipsStore",
    "ClipsWriter",
    "FeaturesStore",
    "LogitsBlocks",
    "LogitsHeader",
    "LogitsStore",
    "ProbsStore",
    "Provenance",
    "PseudoStore",
    "ScoreStream",
    "SplitStore",
    "StoreFile",
    "StreamsStore",
    "StreamsWriter",
    "Taint",
    "check_store",
    "clip_keys",
    "installed_versions",
    "merge_stores",
    "open_clips",
    "open_logits",
    "open_store",
    "open_streams",
    "publish",
    "publish_json",
    "publish_text",
    "read_features",
    "read_logits",
    "read_probs",
    "read_pseudo",
    "read_split",
    "store_kind",
    "stored_digest",
    "stream_logits",
    "stream_probs",
    "write_features",
    "write_logits",
    "write_probs",
    "write_pseudo",
    "write_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mg_data.store' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mg_data.store.{_HOME_OF[name]}"), name)
