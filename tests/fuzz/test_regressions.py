"""Files that once ended in a traceback, took memory without bound or were believed: one line refuses each."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fuzz_reader import CLASSES, IDS
from fuzz_stores import golden

from mg_data.contract import DataError, MgError, StoreError, UsageError
from mg_data.store import (
    open_clips,
    open_logits,
    open_streams,
    read_features,
    read_logits,
    read_probs,
    read_pseudo,
    read_split,
)
from mg_data.store.check import check_store, describe_store


def _put(name: str, **how: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        kept = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        item = file.create_dataset(name, **how)
        for key, value in kept.items():
            item.attrs[key] = value

    return change


def _set(place: str, name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file[place].attrs.__setitem__(name, value)


def _packed_zeros(file: h5py.File) -> None:
    """Let 300 MiB of zeros be a few hundred kilobytes."""
    _put("logits/values", shape=(1 << 26, 3), dtype="f4", chunks=(1 << 20, 3), compression="gzip")(file)
    chunk = zlib.compress(bytes(12 << 20), 9)
    for number in range(25):
        file["logits/values"].id.write_direct_chunk((number << 20, 0), chunk)


def _long_text(file: h5py.File) -> None:
    """Let an array of texts be as wide as one of a megabyte."""
    _put("index/clip_id", data=[b"x" * (1 << 20), *(b"%d" % n for n in range(999))], dtype=_TEXT)(file)


_TEXT, _LISTS = h5py.string_dtype(), h5py.vlen_dtype(np.int64)
OPEN: dict[str, Callable[[Path], object]] = {
    "clips": open_clips,
    "split": read_split,
    "streams": open_streams,
    "features": read_features,
    "logits": read_logits,
    "probs": read_probs,
    "pseudo": read_pseudo,
}
STORES: dict[str, tuple[str, Callable[[h5py.File], object], str]] = {
    "a shape whose size is 0 modulo 2**64": (
        "logits",
        _put("logits/values", shape=(1 << 32, 1 << 32), dtype="f4", chunks=(1, 1024)),
        "is not written completely",
    ),
    "packed zeros": ("logits", _packed_zeros, "more than 200 times its size"),
    "a chunk far larger than its data": (
        "logits",
        _put("index/label", data=[0, 1, 2, 1], chunks=(1 << 28,), maxshape=(None,), compression="gzip"),
        "more than 200 times its size",
    ),
    "an id of a megabyte": ("logits", _long_text, "holds a text of 1048576 bytes"),
    "lists of numbers as texts": (
        "logits",
        _put("index/clip_id", data=np.array([np.arange(n + 1) for n in range(4)], object), dtype=_LISTS),
        "is of a type that no store has",
    ),
    "numbers as texts": ("logits", _put("index/clip_id", data=[1, 2, 3, 4]), "is no list of texts"),
    "texts as numbers": (
        "logits",
        _put("logits/values", data=np.full((4, 3), b"1")),
        "/logits/values is |S1, wanted numbers",
    ),
    "labels that are no whole numbers": (
        "logits",
        _put("index/label", data=[0.5, 1, np.nan, 2]),
        "wanted whole numbers",
    ),
    "labels beyond 32 bits": ("split", _put("split/label", data=[2**40, 0, -1, -1]), "holds numbers outside"),
    "fewer names than clips": (
        "split",
        _put("split/name", data=["train"], dtype=_TEXT),
        "for 1 clips, wanted 4",
    ),
    "fewer subjects than clips": (
        "clips",
        _put("index/subject_id", data=["a"], dtype=_TEXT),
        "for 1 clips, wanted 4",
    ),
    "a clip that ends before it begins": ("clips", _put("index/stop", data=[1, 1, 99, 99]), "has no frames"),
    "offsets that fall": (
        "clips",
        _put("joints/indptr", data=[0, 9, 3, 6, 10]),
        "no list of growing offsets",
    ),
    "offsets beyond the end": (
        "clips",
        _put("joints/indptr", data=[0, 1, 3, 6, 11]),
        "but values has 10 rows",
    ),
    "offsets below zero": (
        "streams",
        _put("streams/depth/clip_indptr", data=[-5, 1, 3, 6, 10]),
        "growing offsets",
    ),
    "joints of two axes": (
        "clips",
        _put("joints/values", data=np.zeros((10, 3), "f4")),
        "wanted (frames, P, V, 3)",
    ),
    "an encoding nobody knows": (
        "streams",
        _set("streams/depth", "encoding", "webp"),
        "encoding 'webp' is unknown",
    ),
    "frames that are no bytes": (
        "streams",
        _put("streams/depth/bytes", data=np.zeros(9)),
        "wanted (bytes,) uint8",
    ),
    "a signal of one axis": (
        "features",
        _put("features/audio/values", data=np.zeros(6, "f4")),
        "wanted (T, C)",
    ),
    "a confidence that is NaN": (
        "pseudo",
        _put("pseudo/confidence", data=np.full(4, np.nan, "f4")),
        "values in [0, 1]",
    ),
    "votes of other models": (
        "pseudo",
        _put("pseudo/votes", data=np.zeros((4, 5), "i4")),
        "votes have shape",
    ),
    "provenance that is a list": (
        "probs",
        _put("provenance/json", data="[]", dtype=_TEXT),
        "no table of tables",
    ),
    "provenance without an end": (
        "probs",
        _put("provenance/json", data="[" * 100_000, dtype=_TEXT),
        "nested too deep",
    ),
    "taint that is a text": (
        "probs",
        _put("taint/trained_on", data="x", dtype=_TEXT),
        "wanted whole numbers",
    ),
}


def _refused(error: MgError, path: Path) -> str:
    text = str(error)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    assert len(text) < 1000
    return text


def _store(folder: Path, kind: str, change: Callable[[h5py.File], object]) -> Path:
    path = folder / f"{kind}.h5"
    getattr(golden(), kind)(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize("what", STORES)
def test_a_store_that_is_none(tmp_path: Path, what: str) -> None:
    kind, change, message = STORES[what]
    path = _store(tmp_path, kind, change)
    for use in (OPEN[kind], check_store, describe_store):
        with pytest.raises(StoreError) as caught:
            use(path)
        assert message in _refused(caught.value, path)


def test_one_text_that_is_every_text(tmp_path: Path) -> None:
    """References of a thousand ids to one text of 100 kB: the file holds it once."""
    path = _store(
        tmp_path,
        "logits",
        _put("index/clip_id", data=[b"x" * 100_000, *(b"%d" % n for n in range(999))], dtype=_TEXT),
    )
    with h5py.File(path) as file:
        offset = file["index/clip_id"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16_000] = bytes(data[offset : offset + 16]) * 1000
    path.write_bytes(bytes(data))
    for use in (read_logits, open_logits):
        with pytest.raises(StoreError, match="claims 100000000 bytes of text in a file of"):
            use(path)


@pytest.mark.parametrize("how", [{}, {"compression": "gzip"}, {"shuffle": True}])
def test_texts_in_chunks_are_read(tmp_path: Path, how: dict[str, Any]) -> None:
    """Programs other than ours may write them so."""
    path = _store(tmp_path, "logits", _put("index/clip_id", data=list(IDS), dtype=_TEXT, chunks=(3,), **how))
    assert read_logits(path).clip_ids.tolist() == list(IDS)


def test_a_virtual_data_set_of_the_file_itself(tmp_path: Path) -> None:
    """It may be put together of one byte, many times."""

    def change(file: h5py.File) -> None:
        file.create_dataset("more/one", data=np.zeros(1, "f4"))
        layout = h5py.VirtualLayout((1 << 30,), "f4")
        layout[:1] = h5py.VirtualSource(".", "more/one", (1,), "f4")
        file.create_virtual_dataset("more/many", layout)

    path = _store(tmp_path, "logits", change)
    with pytest.raises(StoreError, match="is put together of 4294967296 bytes in a file of"):
        read_logits(path)


def test_a_refused_store_is_closed(tmp_path: Path) -> None:
    """HDF5 knows files by their number: one left open would be read in place of its successor."""
    path = _store(tmp_path, "clips", _put("index/stop", data=[1, 1, 99, 99]))
    with pytest.raises(StoreError) as caught:
        open_clips(path)
    assert caught.value
    with h5py.File(path, "r+") as file:  # HDF5 refuses this while the file is open for reading
        file["index/stop"][...] = [1, 12, 23, 34]
    assert open_clips(path).stop.tolist() == [1, 12, 23, 34]


@pytest.mark.parametrize("words", ["../../secret", "/etc/secret"])
def test_ids_of_a_store_lead_nowhere(tmp_path: Path, words: str) -> None:
    from mg_data.datasets.imigue.importer import ImigueFrames
    from mg_data.datasets.utd_mhad import DepthFrames

    with pytest.raises(DataError, match=r"holds '\.\.'|is an absolute path"):
        ImigueFrames(tmp_path).video_path(words)
    with pytest.raises(DataError, match=r"holds '\.\.'|is an absolute path"):
        next(DepthFrames(tmp_path).frames(words, 0, 1))


def test_a_matlab_file_that_unfolds_without_end(tmp_path: Path) -> None:
    from mg_data.datasets.utd_mhad import _load

    path = tmp_path / "a1_s1_t1_skeleton.mat"
    packed = zlib.compress(bytes(300 << 20), 9)
    path.write_bytes(
        b" " * 124 + struct.pack("<H", 0x0100) + b"IM" + struct.pack("<II", 15, len(packed)) + packed
    )
    with pytest.raises(DataError, match="unfolds to more than 200 times its size"):
        _load(path, "d_skel")


def test_a_matlab_array_that_claims_gigabytes(tmp_path: Path) -> None:
    from scipy.io import savemat

    from mg_data.datasets.utd_mhad import _load

    path = tmp_path / "a.mat"
    savemat(path, {"d_skel": np.ones((20, 3, 6))})
    data = path.read_bytes()
    numbers = data.index(struct.pack("<II", 9, 2880))  # type double, 2880 bytes
    path.write_bytes(data[: numbers + 4] + struct.pack("<I", 2**32 - 16) + data[numbers + 8 :])
    with pytest.raises(DataError, match="claims 4294967280 bytes where"):
        _load(path, "d_skel")


@pytest.mark.parametrize("kind", [0, 8, 19, 41, 0x0109, 0x000300F8, 0x00050009])
def test_an_element_of_a_matlab_file_that_is_of_no_type(tmp_path: Path, kind: int) -> None:
    """Scipy looks types up in a table without looking at its end."""
    from scipy.io import savemat

    from mg_data.datasets.utd_mhad import _load

    path = tmp_path / "a.mat"
    savemat(path, {"d_skel": np.ones((20, 3, 6))})
    data = path.read_bytes()
    numbers = data.index(struct.pack("<II", 9, 2880))
    path.write_bytes(data[:numbers] + struct.pack("<I", kind) + data[numbers + 4 :])
    with pytest.raises(DataError, match=rf"element of type {kind & 0xFFFF} and (2880|3|5) bytes"):
        _load(path, "d_skel")


@pytest.mark.parametrize("version", ["4", "5"])
def test_a_matlab_file_that_counts_as_version_4(tmp_path: Path, version: Any) -> None:
    from scipy.io import savemat

    from mg_data.datasets.utd_mhad import _load

    path = tmp_path / "a.mat"
    savemat(path, {"d_skel": np.ones((20, 3))}, format=version)
    data = path.read_bytes()
    path.write_bytes(data if version == "4" else data[:3] + b"\0" + data[4:])
    with pytest.raises(DataError, match="none of version 5 to 7"):
        _load(path, "d_skel")


def test_a_skeleton_beyond_float32(tmp_path: Path) -> None:
    from scipy.io import savemat

    from mg_data.datasets.utd_mhad import _read_skeleton

    savemat(tmp_path / "a.mat", {"d_skel": np.full((20, 3, 2), 1e300)})
    with pytest.raises(DataError, match="values that are not finite"):
        _read_skeleton(tmp_path / "a.mat")


def test_a_video_whose_table_claims_gigabytes(tmp_path: Path) -> None:
    from mg_data.datasets.examples import videos
    from mg_data.video.decode import video_size

    videos(tmp_path)
    path = next(tmp_path.rglob("*.mp4"))
    data = bytearray(path.read_bytes())
    count = data.index(b"stts") + 8
    data[count : count + 4] = (0x9075F364).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be decoded: it asks for more memory .* may be damaged$"):
        video_size(path)


def test_a_video_of_an_unknown_codec(tmp_path: Path) -> None:
    from mg_data.datasets.examples import videos
    from mg_data.video.decode import decode_frames

    path = videos(tmp_path) / "a.mp4"
    data = path.read_bytes()
    codec = next(name for name in (b"avc1", b"mp4v", b"hev1", b"av01") if data.count(name))
    path.write_bytes(data.replace(codec, b"zzzz"))
    with pytest.raises(DataError, match="of a kind that can be decoded"):
        list(decode_frames(path, np.array([0])))


# Tables and texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"clip_id,label\na," + b"1" * 200_000, "labels cannot be read: field larger than field limit"),
        (b"clip_id,label\na,99999999999", "line 2: wanted clip_id,label"),
    ],
)
def test_a_label_that_is_none(tmp_path: Path, text: bytes, message: str) -> None:
    from mg_data.labels import read_labels

    path = tmp_path / "labels.csv"
    path.write_bytes(text)
    with pytest.raises(DataError) as caught:
        read_labels(path)
    assert message in _refused(caught.value, path)


@pytest.mark.parametrize("text", [b"name = '\xff'", b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000])
def test_a_recipe_that_is_no_toml(tmp_path: Path, text: bytes) -> None:
    from mg_adapt.run.settings import load

    path = tmp_path / "recipe.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        load(path, {})
    assert "no valid TOML" in _refused(caught.value, path)


_VOTE = {"format": "mg-fusion", "version": 1, "temperature": 1.0, "weights": {"a": 1.0}}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        json.dumps({**_VOTE, "temperature": 10**400}),
        json.dumps({**_VOTE, "weights": {"a": 10**400}}),
        json.dumps({**_VOTE, "search": 1.5, "format": "mg-fusion"}),
        json.dumps({**_VOTE, "fitted_on": "x", "class_names": 3}),
    ],
)
def test_parameters_that_are_none(tmp_path: Path, text: str) -> None:
    from mg_adapt.target import read_vote_parameters
    from mg_adapt.watch.choosing import read_chosen
    from mg_fusion.vote import SoftVote

    path = tmp_path / "fusion.json"
    path.write_text(text)
    for read in (SoftVote.load, read_vote_parameters, read_chosen):
        with pytest.raises(StoreError) as caught:
            read(path)
        _refused(caught.value, path)


@pytest.mark.parametrize("key", ["-1", "f" * 17])
def test_a_key_that_no_clip_has(tmp_path: Path, key: str) -> None:
    from mg_adapt.target import read_vote_parameters

    path = tmp_path / "fusion.json"
    path.write_text(json.dumps({**_VOTE, "fitted_on": {"clip_keys": [key]}}))
    with pytest.raises(StoreError, match="lacks or misstates"):
        read_vote_parameters(path)


# Archives --------------------------------------------------------------------------------------------


def _zip(path: Path, name: str, content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytearray:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name, content)
    return bytearray(path.read_bytes())


def _claim(path: Path, data: bytearray, size: int, *, packed: bool = False) -> None:
    """Write another size of the member into the zip's directory and the member's own header."""
    central = data.rindex(b"PK\x01\x02")
    at = 20 if packed else 24
    data[central + at : central + at + 4] = struct.pack("<I", size)
    data[at - 2 : at + 2] = struct.pack("<I", size)
    path.write_bytes(bytes(data))


def _read_npz(path: Path) -> object:
    from mg_fusion.convert.read import read_score_file

    return read_score_file(path, "npz")


def _read_joints(path: Path) -> object:
    from mg_data.datasets.ntu.joint_files import read_joint_file

    return read_joint_file(path, 25)


def _read_xlsx(path: Path) -> object:
    from mg_data.datasets.imigue.files import read_openpose_xlsx

    return read_openpose_xlsx(path)


def _read_submission(path: Path) -> object:
    from mg_fusion.submission import read_submission

    return read_submission(path)


ARCHIVES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "scores.npz": ("scores.npy", _read_npz),
    "clip.npz": ("joints.npy", _read_joints),
    "v_openpose.xlsx": ("xl/workbook.xml", _read_xlsx),
    "submission.zip": ("submission.csv", _read_submission),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_unfolds_to_more_than_it_claims(tmp_path: Path, name: str) -> None:
    member, read = ARCHIVES[name]
    path = tmp_path / name
    for kind, message in (
        (zipfile.ZIP_DEFLATED, "has not the 100 bytes"),
        (zipfile.ZIP_BZIP2, "another way than deflate"),
        (zipfile.ZIP_LZMA, "another way than deflate"),
    ):
        _claim(path, _zip(path, member, bytes(1 << 20), kind), 100)
        with pytest.raises(DataError) as caught:
            read(path)
        text = _refused(caught.value, path)
        assert message in text or "Bad CRC" in text


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_member_larger_than_its_archive(tmp_path: Path, name: str) -> None:
    member, read = ARCHIVES[name]
    path = tmp_path / name
    _claim(path, _zip(path, member, b"x" * 100, zipfile.ZIP_STORED), 2**31 - 1, packed=True)
    with pytest.raises(DataError, match="claims 2147483647 bytes of a file of"):
        read(path)


def _npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no array", "is no npy array"),
        (_npy(np.ones((4, 3))).replace(b"(4, 3)", b"(4,((("), "is no npy array"),
        (_npy(np.ones((4, 3))).replace(b"(4, 3), }      ", b"(4000000000,)}"[:15]), "cannot be read as npz"),
        (_npy(np.ones((4, 3)))[:-8], "claims (4, 3) of float64, 96 bytes, with 88 bytes"),
        (_npy(np.array([{}], object)), "it holds objects"),
    ],
)  # fmt: skip
def test_scores_that_are_no_array(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "scores.npz"
    if message == "it holds objects":
        np.savez(path, scores=np.array([{}], object))
    else:
        _zip(path, "scores.npy", content)
    with pytest.raises(DataError) as caught:
        _read_npz(path)
    assert message in _refused(caught.value, path)


@pytest.mark.parametrize("label", ["nan", "inf", "1e300", "0.5"])
def test_a_score_csv_with_a_label_that_is_no_number(tmp_path: Path, label: str) -> None:
    from mg_fusion.convert.read import read_score_file

    path = tmp_path / "scores.csv"
    path.write_text(f"name,a,b,label\nx,0.1,0.2,{label}\n")
    with pytest.raises(DataError, match="is no whole number"):
        read_score_file(path, "csv")


def test_a_torch_file_that_is_packed(tmp_path: Path) -> None:
    import torch

    from mg_rgb.weights import read_state

    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    path = tmp_path / "packed.pth"
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for info in plain.infolist():
            out.writestr(info.filename, plain.read(info))
    with pytest.raises(DataError, match="a compressed archive"):
        read_state(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", {}), ("model", 3), ("recipe", []), ("class_names", "abc"), ("class_names", [1])],
)
def test_a_checkpoint_whose_header_is_none(tmp_path: Path, name: str, value: object) -> None:
    from fuzz_results import _make_checkpoints

    from mg_adapt.checkpoint import load_checkpoint
    from mg_adapt.tensor_file import read_tensors, write_tensors

    path = _make_checkpoints(tmp_path)[0]
    header, tensors, _ = read_tensors(path)
    write_tensors(path, tensors, {**header, name: value})
    with pytest.raises(StoreError, match=rf"'{name}'|has version"):
        load_checkpoint(path)


def test_tensors_that_are_sparse(tmp_path: Path) -> None:
    import torch

    from mg_rgb.weights import read_state
    from mg_skeleton.foreign import read_checkpoint

    torch.save({"a": torch.ones(3, 3).to_sparse()}, tmp_path / "a.pth")
    for read in (read_state, read_checkpoint):
        with pytest.raises(DataError, match=r"sparse tensor|wanted a state dict"):
            read(tmp_path / "a.pth")


# Messages --------------------------------------------------------------------------------------------


def test_names_of_strangers_do_not_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mg_data.cli.main import run

    path = tmp_path / "labels.csv"
    path.write_text('clip_id,label\n"\x1b[2J\n' + "x" * 5000 + '",1\n"\x1b[2J\n' + "x" * 5000 + '",1\n')
    store = _store(tmp_path, "clips", lambda file: None)
    assert run(["data", "check", str(store), "--labels", str(path)]) == 5
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert r"\x1b[2J\n" in said
    assert len(said) < 2100
    assert said.strip().isprintable()


def test_ids_are_those_of_the_golden_stores() -> None:
    """The kit's ids and classes are the golden stores', else its tables fit no store."""
    assert golden().IDS == IDS
    assert golden().CLASSES == CLASSES


def test_a_torch_file_of_the_old_format_that_ends_within_a_length(tmp_path: Path) -> None:
    from mg_rgb.weights import read_state
    from mg_skeleton.foreign import read_checkpoint

    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02X\x01\x00")  # a text whose length should have four bytes
    for read in (read_state, read_checkpoint):
        with pytest.raises(DataError, match=r"no.* readable torch checkpoint"):
            read(path)
