"""What HDF5 does not survive is kept from it: heaps that lead to themselves, attributes of other types."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from mg_data.contract import StoreError
from mg_data.store import check_store, merge_stores, read_logits, write_logits
from mg_data.store.heaps import check_heaps


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "logits.h5"
    write_logits(
        path, clip_ids=["a"], values=[[0.0, 1.0]], class_names=["x", "y"], model="m", modality="joint"
    )
    return path


def objects(content: bytes) -> list[int]:
    """Return the places of the first collection's objects; the last one is its free space."""
    begin = content.index(b"GCOL")
    (size,) = struct.unpack_from("<Q", content, begin + 8)
    place, found = begin + 16, []
    while place + 16 <= begin + size:
        found.append(place)
        number, length = struct.unpack_from("<H6xQ", content, place)
        place += 16 + (length + 7) // 8 * 8 if number else length
    return found


@pytest.mark.parametrize(("which", "size"), [(-1, 0), (0, 2**64 - 16)])
def test_a_heap_without_an_end_is_refused(store: Path, which: int, size: int) -> None:
    content = bytearray(store.read_bytes())
    places = objects(content)
    assert len(places) > 2
    struct.pack_into("<Q", content, places[which] + 8, size)
    store.write_bytes(content)
    for read in (read_logits, check_store):
        with pytest.raises(StoreError, match=r"logits.h5: is damaged: the texts at byte \d+ have no end"):
            read(store)
    front = content.index(b"GCOL")
    check_heaps(store, front)
    with pytest.raises(StoreError, match=f"at byte {front} have no end"):
        check_heaps(store, None)


def test_collections_that_lie_over_one_another_are_not_walked_without_end(tmp_path: Path) -> None:
    path = tmp_path / "many.h5"
    # Each claims half a megabyte, in which all that follow it lie as objects.
    one = b"GCOL\x01\0\0\0" + struct.pack("<Q", 1 << 19) + struct.pack("<H6xQ", 1, 16)
    path.write_bytes(one * (1 << 13))
    with pytest.raises(StoreError, match="have no end"):
        check_heaps(path)


@pytest.mark.parametrize("length", [0, 8, 9, 12, 600])
def test_short_files_and_other_files_are_passed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.h5"
    path.write_bytes((b"\x89HDF\r\n\x1a\n" + bytes(1000))[:length])
    check_heaps(path)
    check_heaps(path, None)
    path.write_bytes(bytes(length) + b"GCOL\x01\0\0\0")
    check_heaps(path)


def test_a_text_that_damage_turned_into_a_sequence_is_passed_over(store: Path) -> None:
    content = bytearray(store.read_bytes())
    # Behind the name: version 1, class 9 (variable length), of a text (1) in UTF-8 (1).
    place = content.index(b"\x19\x01\x01\x00", content.index(b"mg_writer"))
    content[place + 1] = 0
    store.write_bytes(content)
    assert read_logits(store).writer == ""
    assert check_store(store) == read_logits(store).digest


def test_attributes_that_no_store_has_are_passed_over(store: Path, tmp_path: Path) -> None:
    digest = read_logits(store).digest
    lists = np.empty(1, object)
    lists[0] = np.arange(2, dtype=np.int32)
    with h5py.File(store, "r+") as file:
        for item in (file, file["logits"], file["logits/values"]):
            item.attrs["other"] = file["index"].ref
            item.attrs.create("lists", lists, dtype=h5py.vlen_dtype(np.int32))
            item.attrs["pair"] = np.array((1, 2.0), dtype=[("a", "i4"), ("b", "f8")])
    assert check_store(store) == digest
    write_logits(
        tmp_path / "more.h5",
        clip_ids=["b"],
        values=[[0.0, 1.0]],
        class_names=["x", "y"],
        model="m",
        modality="joint",
    )
    merge_stores([store, tmp_path / "more.h5"], tmp_path / "both.h5")
    assert read_logits(tmp_path / "both.h5").clip_ids.tolist() == ["a", "b"]


@pytest.mark.parametrize("text", ["a\0b", "half a letter \ud800"])
def test_a_text_that_hdf5_cannot_hold_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(StoreError, match=r"logits.h5: cannot hold .* in /index/clip_id \(texts are UTF-8"):
        write_logits(
            tmp_path / "logits.h5",
            clip_ids=["a", text],
            values=[[0.0, 1.0]] * 2,
            class_names=["x", "y"],
            model="m",
            modality="joint",
        )
    assert not list(tmp_path.iterdir())
