"""Stores of every format version are read as long as the major lives; damaged and hostile ones are refused.

The files lie in ``golden`` and are never written again (``golden/make.py`` makes those of a new version).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from mg_data.cli.main import run
from mg_data.store import (
    check_store,
    clip_keys,
    open_clips,
    open_logits,
    open_streams,
    read_features,
    read_logits,
    read_probs,
    read_pseudo,
    read_split,
    store_kind,
)
from mg_data.store.schema import FORMAT_VERSION, KINDS
from mg_data.video.codec import decode_frame
from mg_fusion import SoftVote, fuse_stores

GOLDEN = Path(__file__).parent / "golden"

# First 16 digits of each file's SHA-256.
FILES = {
    "1.0/clips.h5": "4a1be534009e324b",
    "1.0/split.h5": "4552878370358b4e",
    "1.0/streams.h5": "0e5e852e5a28ac45",
    "1.0/features.h5": "b4f15cee22e08971",
    "1.0/logits.h5": "f45bd945c7b21572",
    "1.0/logits-prob.h5": "a99d56e62804bee7",
    "1.0/probs.h5": "70c8dab9175069dc",
    "1.0/pseudo.h5": "7fa213ca38992854",
    "1.0/foreign.h5": "268d03e1f2b899f9",
    "newer/minor.h5": "9ff294a2b27ea103",
    "hostile/newer-reader.h5": "0b1499cbacc94b50",
    "hostile/newer-major.h5": "4c124ab01c26b4fb",
    "hostile/no-version.h5": "3a26a56faeaebbe2",
    "hostile/unknown-kind.h5": "8dc635ef3df9188b",
    "hostile/no-store.h5": "93d2f31a2e7b7ade",
    "hostile/truncated.h5": "c321f11ccd0e904f",
    "hostile/flipped-byte.h5": "0c16fbdaf8598bd9",
    "hostile/other-value.h5": "ab0ad1a4f79e760b",
    "hostile/wrong-classes.h5": "43844de9480457df",
    "hostile/duplicate-ids.h5": "9668693eafffa510",
    "hostile/nan.h5": "d12e4a8f7289b261",
    "hostile/external-link.h5": "589c7cace615de86",
    "hostile/soft-link.h5": "5a29bd3b5ee358b0",
    "hostile/external-storage.h5": "edb66e6b063c3763",
    "hostile/virtual-source.h5": "f3c25dd03262c115",
    "hostile/unwritten.h5": "db9f8def3dba5729",
    "hostile/circle.h5": "eacdf4013a3dd028",
    "hostile/short-column.h5": "959e518b9b8121df",
    "hostile/falling-offsets.h5": "2b78cf71cc90c6c8",
}
# The content digest of format 1.0 (docs/store-format.md, section 4).
DIGESTS = {
    "1.0/clips": "sha256:d7c29f1ceff31dcc1a3700291d65099daf01e6f8b247eba177659120e4693b54",
    "1.0/split": "sha256:fe305bb5f436343250775eee80f936907f82f0d22268d8d2a97138d0077cb4a8",
    "1.0/streams": "sha256:ee697f7397df3dd82b1dbe4cc85ecc758cecb7b677522b63d7ef0c8c0b1bc5d5",
    "1.0/features": "sha256:0c5efefaa5ba79a0da5a64a053c29c862d4e4992269a1113f7e2ef33bf0e818c",
    "1.0/logits": "sha256:8e924c499eec9e34631465100c94446c3bea3ea4e8fa8163e84edabe32a92b6d",
    "1.0/logits-prob": "sha256:dc01fff937769d41b1d6da5feb5c87b21e1a2149db4c878c9e021a62a820093c",
    "1.0/probs": "sha256:cef3440eec4491c8e219d1762cc573d6255762d43db96dd58fdd279b7aba6ace",
    "1.0/pseudo": "sha256:99df44f072d85edf9500674c7a4077f86877f8644d665d0f81ba2190519ed86b",
    "1.0/foreign": "sha256:5fe13181a3b2a4ac5561d498a409a4d2688b3e28d2c20ed17963591b3e1adf9c",
    "newer/minor": "sha256:504479847621f9650b3b7ebc8d10d93b6f0fc7c11707355a95244a798e13fc78",
}
# What ``mg store check`` says of each file, after its name. Exit code 3.
HOSTILE = {
    "newer-reader": "needs a reader of format 1.7, this one reads 1.0 (upgrade mg-data)",
    "newer-major": "needs a reader of format 2.0, this one reads 1.0 (upgrade mg-data)",
    "no-version": "has no readable format version (found 'one.two')",
    "unknown-kind": "has unknown kind 'poems' (known kinds: clips, split, streams,",
    "no-store": "is an HDF5 file but no mg store (attribute mg_format must be 'mg-store')",
    "truncated": "is truncated: the file is shorter than its header says (write or copy it again)",
    "flipped-byte": "is damaged: ",
    "other-value": "content digest is sha256:e70975862130..., the header states sha256:8e924c499eec...",
    "wrong-classes": "values have shape (4, 5), wanted (4, 3): 4 clips and 3 classes",
    "duplicate-ids": "holds 1 duplicate clip id(s), the first is 'b-2' (clip ids must be unique)",
    "nan": "holds NaN or infinity in 1 row(s), the first is clip 'a-1'",
    "external-link": "/logits/values is a link to /logits/values of the file 'neighbour.h5'",
    "soft-link": "/logits/values is a link to /spare (a store holds all its data itself",
    "external-storage": "/logits/values is read from the file 'neighbour.bin'",
    "virtual-source": "/logits/values is put together from the file 'neighbour.h5'",
    "unwritten": "/logits/values is not written completely: 0 of 13194139533312 bytes",
    "short-column": "/index/start has rows for 3 clips, wanted 4",
    "falling-offsets": "/joints/indptr is no list of growing offsets",
}
# These are found only by a check of all parts; reading for fusion does not look at them.
FOUND_BY_CHECK = {"other-value", "short-column", "falling-offsets"}


def _load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _load_make()


def _file(name: str) -> Path:
    return GOLDEN / f"{name}.h5"


def test_golden_files_are_those_that_were_pinned() -> None:
    found = {
        str(path.relative_to(GOLDEN)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in GOLDEN.rglob("*.h5")
    }
    assert found == FILES, "golden files are never changed; those of a new format version are added"
    assert all(path.stat().st_size <= make.LARGEST for path in GOLDEN.rglob("*.h5"))


def test_every_format_version_and_kind_has_a_golden_file() -> None:
    folder = GOLDEN / FORMAT_VERSION
    assert {store_kind(path) for path in folder.glob("*.h5")} == set(KINDS)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_the_digest_is_that_of_the_format_page(name: str) -> None:
    assert check_store(_file(name)) == DIGESTS[name]
    assert digest_by_the_page(_file(name)) == DIGESTS[name]


def test_clips() -> None:
    store = open_clips(_file("1.0/clips"))
    assert store.clip_ids.tolist() == list(make.IDS)
    assert store.subject_ids.tolist() == ["s0", "s1", "", "s1"]
    assert store.video_ids.tolist() == ["v0", "v1", "v2", "v3"]
    assert store.start.tolist() == [0, 10, 20, 30]
    assert store.stop.tolist() == [1, 12, 23, 34]
    assert (store.class_names, store.vocabulary) == (make.CLASSES, make.VOCABULARY)
    assert (store.layout, store.columns) == ("golden-layout", ("x", "y", "z"))
    assert (store.image_size, store.camera) == ((320, 240), (285.5, 285.5, 160.0, 120.0))
    assert store.signal_names == ("inertial",)
    assert store.signal_attributes("inertial") == {"rate_hz": 50.0, "units": "g"}
    for row in range(4):
        np.testing.assert_array_equal(store.joints(row), make.numbers(row + 1, 1, 5, 3))
        np.testing.assert_array_equal(store.signal("inertial", row), make.numbers(2 * row, 6))
    assert store.provenance == make.MADE
    assert store.dataset == make.DATASET


def test_split() -> None:
    store = read_split(_file("1.0/split"))
    ids, labels = store.select("train", "val")
    assert (ids.tolist(), labels.tolist()) == (["a-1", "b-2"], [0, 2])
    assert store.select("target")[1].tolist() == [-1, -1]
    assert store.subject_ids.tolist() == ["s0", "s1", "", "s1"]


def test_streams() -> None:
    store = open_streams(_file("1.0/streams"))
    assert (store.stream, store.encoding, store.channels) == ("depth", "png8", 1)
    assert (store.scale, store.offset) == (0.5, -1.0)
    assert store.num_frames.tolist() == [1, 2, 3, 4]
    for row in range(4):
        np.testing.assert_array_equal(store.boxes(row), make.numbers(row + 1, 4))
        for encoded, frame in zip(store.frame_bytes(row), make.frames(row), strict=True):
            np.testing.assert_array_equal(decode_frame(encoded, "png8").squeeze(), frame)


def test_features() -> None:
    store = read_features(_file("1.0/features"))
    np.testing.assert_array_equal(store.features["embedding"], make.numbers(4, 2, 3))
    assert store.signal_names == ("audio",)
    assert store.signal_attributes("audio") == {"channels": 2, "rate_hz": 16000.0, "units": "Pa"}
    for row in range(4):
        np.testing.assert_array_equal(store.signal("audio", row), make.numbers(row, 2))
    assert store.labels is not None
    assert store.labels.tolist() == [2, 0, -1, 1]


@pytest.mark.parametrize("name", ["1.0/logits", "newer/minor"])
def test_logits_also_of_a_newer_minor(name: str) -> None:
    store = read_logits(_file(name))
    np.testing.assert_array_equal(store.values, make.numbers(4, 3))
    assert store.present.tolist() == [True, True, False, True]
    assert (store.model, store.modality, store.key) == ("decoupled-stcnn", "joint", "joint")
    assert (store.space, store.tta, store.seed) == ("logit", "flip", 7)
    assert store.checkpoint_digest == "sha256:1"
    assert store.taint.known
    assert store.taint.trained_overlap(clip_keys(make.DATASET, ["t1", "t2", "x"])) == 2
    assert store.taint.selected_overlap(clip_keys(make.DATASET, ["v1", "x"])) == 1
    with open_logits(_file(name)).file:
        values, present = open_logits(_file(name)).read(1, 3)
    np.testing.assert_array_equal(values, make.numbers(4, 3)[1:3])
    assert present.tolist() == [True, False]


def test_scores_of_programs_that_write_what_the_page_demands_alone() -> None:
    store = read_logits(_file("1.0/foreign"))
    np.testing.assert_array_equal(store.values, make.numbers(4, 3))
    assert store.clip_ids.tolist() == list(make.IDS)
    assert (store.class_names, store.vocabulary) == (make.CLASSES, make.VOCABULARY)
    assert (store.dataset, store.model, store.modality) == (make.DATASET, "matlab", "imu")
    assert store.space == "log_prob"
    assert store.present.all()
    assert not store.taint.known
    assert store.digest == ""


def test_probabilities() -> None:
    store = read_logits(_file("1.0/logits-prob"))
    assert store.clamped == 3
    np.testing.assert_allclose(np.exp(store.as_log()), make.probabilities(), atol=1e-11)
    probs = read_probs(_file("1.0/probs"))
    np.testing.assert_array_equal(probs.values, make.probabilities())
    assert probs.taint.known


def test_pseudo_labels() -> None:
    store = read_pseudo(_file("1.0/pseudo"))
    assert store.labels.tolist() == [2, 0, 0, 2]
    assert store.confidence.tolist() == [0.75, 0.5, 1.0, 0.75]
    assert store.votes.tolist() == [[2, 2], [0, 1], [0, 0], [2, 1]]
    assert store.model_names == ("joint", "rgb")
    assert (store.threshold, store.temperature, store.round, store.candidates) == (0.5, 1.5, 1, 9)
    np.testing.assert_array_equal(store.probs, make.probabilities())


def test_all_logits_are_fused(tmp_path: Path) -> None:
    paths = [_file(name) for name in ("1.0/logits-prob", "1.0/foreign", "newer/minor")]
    fused = fuse_stores(paths, missing="allow")
    # The prob store is sure of three rows; the other two models hold the same numbers.
    softmax = np.exp(make.numbers(4, 3))
    softmax /= softmax.sum(axis=1, keepdims=True)
    weights = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]) / [[3], [3], [2], [3]]
    parts = np.stack([make.probabilities(), softmax, softmax], axis=1)
    wanted = (weights[:, :, None] * parts).sum(axis=1)
    rows = [fused.clip_ids.tolist().index(clip_id) for clip_id in make.IDS]
    np.testing.assert_allclose(fused.probs[rows], wanted, atol=1e-6)


def test_fusion_parameters_of_version_1_are_read() -> None:
    vote = SoftVote.load(GOLDEN / "1.0" / "fusion.json")
    assert vote.temperature == 1.25
    assert dict(vote.weights) == {"joint": 0.75, "rgb": 0.25}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_files_are_refused_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(f"hostile/{name}")
    assert run(["store", "check", str(path)]) == 3
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith(f"mg: error: {path}: {HOSTILE[name]}")
    assert out.err.count("\n") == 1


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - FOUND_BY_CHECK))
def test_hostile_files_are_not_fused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probs.h5"
    words = ["fuse", str(_file("1.0/logits")), str(_file(f"hostile/{name}")), "-o", str(out)]
    assert run([*words, "--missing", "allow"]) == 3
    error = capsys.readouterr().err
    assert HOSTILE[name][:40] in error
    assert error.count("mg: error:") == 1
    assert not out.exists()


def test_a_group_that_contains_itself_is_read_once() -> None:
    assert check_store(_file("hostile/circle")) == DIGESTS["1.0/logits"]


def digest_by_the_page(path: Path) -> str:
    """Return the content digest as docs/store-format.md says it is made, without code of this project."""
    digest = hashlib.sha256()

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode()
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    def attributes(item: Any) -> bytes:
        table = {name: plain(value) for name, value in item.attrs.items()}
        return json.dumps(table, sort_keys=True, ensure_ascii=False).encode()

    def add(values: Any) -> None:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            for text in array.ravel():
                digest.update(len(text.encode()).to_bytes(8, "little") + text.encode())
        else:
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())

    with h5py.File(path) as file:
        ids = file["index/clip_id"].asstr()[()]
        order = sorted(range(len(ids)), key=lambda row: ids[row])
        items: dict[str, Any] = {}
        file.visititems(items.__setitem__)
        for name, item in sorted(items.items()):
            if name.split("/")[0] == "provenance":
                continue
            if isinstance(item, h5py.Group):
                if len(item.attrs):
                    digest.update(b"group\0" + name.encode() + b"\0" + attributes(item) + b"\0")
                continue
            text = h5py.check_string_dtype(item.dtype) is not None
            kind = "utf8" if text else item.dtype.newbyteorder("<").str
            digest.update(f"data\0{name}\0{kind}\0{item.shape}\0".encode() + attributes(item) + b"\0")
            values = item.asstr()[()] if text else item[()]
            if text:
                values = np.asarray(values, dtype=object)
            group, last = item.parent, name.rsplit("/", 1)[-1]
            by_clip = group.get("clip_indptr", group.get("indptr"))
            if name.split("/")[0] in ("classes", "taint") or item.shape == ():
                add(values)
            elif by_clip is None:
                add(values[order] if len(values) == len(order) else values)
            else:
                limits = by_clip[()]
                for row in order:
                    begin, end = limits[row], limits[row + 1]
                    if last in ("indptr", "clip_indptr"):
                        add(np.int64(end - begin))
                    elif last == "frame_indptr":
                        add(np.diff(values[begin : end + 1]))
                    elif last == "bytes":
                        frames = group["frame_indptr"]
                        add(values[frames[begin] : frames[end]])
                    else:
                        add(values[begin:end])
    return f"sha256:{digest.hexdigest()}"
