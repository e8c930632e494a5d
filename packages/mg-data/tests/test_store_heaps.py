"""A global heap of HDF5 that leads to itself is refused; HDF5 would read it for ever."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mg_data.contract import StoreError
from mg_data.store import check_store, read_logits, write_logits
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


@pytest.mark.parametrize("length", [0, 8, 9, 12, 600])
def test_short_files_and_other_files_are_passed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.h5"
    path.write_bytes((b"\x89HDF\r\n\x1a\n" + bytes(1000))[:length])
    check_heaps(path)
    check_heaps(path, None)
    path.write_bytes(bytes(length) + b"GCOL\x01\0\0\0")
    check_heaps(path)
