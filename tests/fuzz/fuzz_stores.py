"""Readers of stores: every kind, what fuses and merges them, and the pictures in them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from fuzz_bytes import change_picture
from fuzz_reader import CONSOLE, Reader, attempt

ROOT = Path(__file__).parent.parent.parent


def golden() -> ModuleType:
    """Return the program that writes the golden stores: small stores of every kind."""
    path = ROOT / "tests" / "compat" / "golden" / "make.py"
    spec = importlib.util.spec_from_file_location("golden_make", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _store(*kinds: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        writers = golden()
        for kind in kinds:
            getattr(writers, kind)(folder / f"{kind}.h5")
        return [folder / f"{kind}.h5" for kind in kinds]

    return make


def _check(path: Path) -> None:
    """Do what ``mg store check`` and ``mg store info`` do."""
    from mg_data.store.check import check_store, describe_store

    attempt(lambda: json.dumps(describe_store(path), default=str), lambda: check_store(path))


def _each(use: Callable[[Path], object]) -> Callable[[Path], None]:
    """Use all stores of the folder; then check them, whatever came of it."""

    def read(folder: Path) -> None:
        paths = sorted(path for path in folder.glob("*.h5") if path.name != "out.h5")
        attempt(*(partial(step, path) for path in paths for step in (use, _check)))

    return read


def _read_clips(path: Path) -> None:
    from mg_data.prepare.check import check
    from mg_data.prepare.stats import stats
    from mg_data.store import open_clips

    def rows() -> None:
        with open_clips(path) as store:
            for row in range(min(len(store), 50)):
                if store.layout:
                    store.joints(row)
                for name in store.signal_names:
                    store.signal(name, row)
                    store.signal_attributes(name)
            store.rows(store.clip_ids)

    # What is found to be wrong with the data is no refusal of the store.
    attempt(rows, lambda: stats(clips=path, console=CONSOLE))
    check(clips=path, console=CONSOLE)


def _read_split(path: Path) -> None:
    from mg_data.store import read_split
    from mg_fusion.truth import read_groups, read_truth

    attempt(
        lambda: read_split(path).select("train"),
        lambda: read_truth(path),
        lambda: read_groups(path, "subject"),
    )


def _read_streams(path: Path) -> None:
    from mg_data.store import open_streams
    from mg_data.video.codec import decode_physical

    with open_streams(path) as store:
        for row in range(min(len(store), 50)):
            store.boxes(row)
            for data in store.frame_bytes(row):
                decode_physical(data, store.encoding, store.scale, store.offset, store.channels)
            store.frame_bytes(row, [0])


def _read_features(path: Path) -> None:
    from mg_data.store import read_features

    with read_features(path) as store:
        for name in store.signal_names:
            store.signal_attributes(name)
            for row in range(min(len(store), 50)):
                store.signal(name, row)


def _read_logits(path: Path) -> None:
    from mg_data.store import open_logits, read_logits

    def whole() -> None:
        store = read_logits(path)
        store.as_log()
        str((store.key, store.clamped))

    def blocks() -> None:
        with open_logits(path) as store:
            for begin in range(0, min(len(store), 100), 3):
                store.ids(begin, begin + 3)
                values, _ = store.read(begin, begin + 3)
                store.as_log(values)

    attempt(whole, blocks)


def _read_fusion(folder: Path) -> None:
    """Fuse two logit stores, in memory and block by block, and merge one of them."""
    from mg_data.store import merge_stores
    from mg_fusion.stores import fuse_stores, join_stores
    from mg_fusion.streaming import fuse_to_store

    paths = [folder / "logits.h5", folder / "logits_prob.h5"]
    attempt(
        lambda: fuse_stores(paths),
        lambda: join_stores(paths, missing="allow"),
        lambda: fuse_to_store(paths, folder / "out.h5"),
        lambda: merge_stores(paths[:1], folder / "out.h5"),
    )


def _read_probs(path: Path) -> None:
    from mg_data.cli.stores import export
    from mg_data.store import read_probs

    attempt(
        lambda: read_probs(path),
        lambda: export(path=path, out=path.with_suffix(".csv"), console=CONSOLE),
        lambda: export(path=path, out=path.with_suffix(".npz"), console=CONSOLE),
    )


def _read_pseudo(path: Path) -> None:
    from mg_data.store import read_pseudo

    read_pseudo(path)


def _make_pictures(folder: Path) -> list[Path]:
    from mg_data.video.codec import encode_frame

    colour = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    images = {"jpeg": colour, "png8": colour[..., 0], "png16": colour[..., 0].astype(np.uint16) * 200}
    for encoding, image in images.items():
        (folder / f"frame.{encoding}").write_bytes(encode_frame(image, encoding))
    return [folder / f"frame.{encoding}" for encoding in images]


def _read_pictures(folder: Path) -> None:
    from mg_data.video.codec import decode_physical

    def decode(path: Path) -> None:
        encoding = path.suffix[1:]
        decode_physical(path.read_bytes(), encoding, 0.5, 1.0, 3 if encoding == "jpeg" else 1)

    attempt(*(partial(decode, path) for path in sorted(folder.glob("frame.*"))))


STORES = (
    Reader("clips", "mg data check, stats", _store("clips"), _each(_read_clips), hdf5=True),
    Reader("split", "mg train, mg score", _store("split"), _each(_read_split), hdf5=True),
    Reader("streams", "mg train, mg predict", _store("streams"), _each(_read_streams), hdf5=True),
    Reader("features", "mg train", _store("features"), _each(_read_features), hdf5=True),
    Reader("logits", "mg fuse", _store("logits"), _each(_read_logits), hdf5=True),
    Reader("fusion", "mg fuse, mg store merge", _store("logits", "logits_prob"), _read_fusion, hdf5=True),
    Reader("probs", "mg submit, mg store export", _store("probs"), _each(_read_probs), hdf5=True),
    Reader("pseudo", "mg train --pseudo", _store("pseudo"), _each(_read_pseudo), hdf5=True),
    Reader("foreign-store", "mg fuse", _store("foreign"), _each(_read_logits), hdf5=True),
    Reader("pictures", "mg train, mg predict", _make_pictures, _read_pictures, (change_picture,) * 4),
)
