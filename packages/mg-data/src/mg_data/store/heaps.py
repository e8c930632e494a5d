"""Global heaps of HDF5, where texts lie: one without an end is refused before the library reads it.

A collection is a row of objects, each behind its size. Where a damaged size leads from an object to itself
again, HDF5 (2.0 and older) goes round for ever, in C, where no signal of Python's reaches it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from mg_data.contract.errors import StoreError
from mg_data.store.index import PathLike

# Looked through when a store is opened; header and texts lie in front where one of our writers put them.
FRONT_BYTES = 16 << 20
_SIGNATURE = b"GCOL\x01\x00\x00\x00"
# Bytes of the smallest object.
_LEAST = 16
_HDF5 = b"\x89HDF\r\n\x1a\n"


def check_heaps(path: PathLike, front: int | None = FRONT_BYTES) -> None:
    """Raise StoreError for a global heap that HDF5 would read for ever.

    Args:
        front: only so many bytes of the file are looked through; None looks through all of it.
    """
    with Path(path).open("rb") as handle:
        if front is not None:
            _check(path, handle.read(front))
        elif handle.seek(0, 2):
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _check(path, content)


def _check(path: PathLike, content: bytes | mmap.mmap) -> None:
    width = _width_of_sizes(content)
    left = len(content) // _LEAST + 1
    place = content.find(_SIGNATURE)
    while place >= 0:
        left = _walk(content, place, width, left)
        if left < 0:
            reason = f"is damaged: the texts at byte {place} have no end"
            raise StoreError(path, reason, "write or copy it again")
        place = content.find(_SIGNATURE, place + 1)


def _width_of_sizes(content: bytes | mmap.mmap) -> int:
    """Return how many bytes a size takes in this file, as its superblock says."""
    start = 0
    while content[start : start + 8] != _HDF5:  # behind a user block
        start = start * 2 or 512
        if start + 16 > len(content):
            return 8
    place = start + (10 if content[start + 8 : start + 9] >= b"\2" else 14)
    return int.from_bytes(content[place : place + 1], "little")


def _walk(content: bytes | mmap.mmap, place: int, width: int, left: int) -> int:
    """Walk over a collection as HDF5 does, in ``left`` steps at most; return how many are left then.

    Below 0: an object leads to itself, or collections lie over one another and hold more than the file can.
    """
    head = 8 + _aligned(width)
    end = min(place + int.from_bytes(content[place + 8 : place + 8 + width], "little"), len(content))
    place += head
    while place + head <= end:
        size = int.from_bytes(content[place + 8 : place + 8 + width], "little")
        is_object = content[place : place + 2] != b"\0\0"  # else free space, whose size counts the head
        step = (head + _aligned(size)) % (1 << 64) if is_object else size
        left -= 1
        if step == 0 or left < 0:
            return -1
        place += step
    return left


def _aligned(size: int) -> int:
    return (size + 7) // 8 * 8
