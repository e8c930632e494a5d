"""Changes to parts of HDF5 files: types, shapes, values, attributes, links, sizes that are only claimed."""

from __future__ import annotations

import contextlib
import random
import shutil
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz_mutations import INTEGERS, TEXTS


def _items(file: h5py.File) -> tuple[list[str], list[str]]:
    """Return the paths of groups and data sets, the root among the groups."""
    groups, datasets = ["/"], []

    def visit(name: str, item: Any) -> None:
        (datasets if isinstance(item, h5py.Dataset) else groups).append(name)

    file.visititems(visit)
    return groups, datasets


def _put(file: h5py.File, name: str, **how: Any) -> None:
    """Write a data set anew, its attributes kept."""
    kept = dict(file[name].attrs)
    del file[name]
    made = file.create_dataset(name, **how)
    for key, value in kept.items():
        made.attrs[key] = value


_TYPES = (
    "<f2", ">f4", "<f8", "<i1", "<i8", "<u8", ">i8", "<c8", "S5", "?",
    np.dtype([("a", "<i4"), ("b", "S3")]), h5py.vlen_dtype(np.int32), h5py.string_dtype(),
    h5py.string_dtype("ascii", 7), h5py.ref_dtype,
    h5py.enum_dtype({"A": 0, "B": 1}), h5py.opaque_dtype(np.dtype("M8[s]")),
    h5py.vlen_dtype(h5py.string_dtype()),
)  # fmt: skip
_RAW_TEXTS = (
    b"", b"\xff\xfe", b"a\x00b", b"x" * 70_000, "é".encode() * 30, b"a\nb", b"\x1b]0;x\x07", b"../../x",
    b"\xed\xa0\x80", b"clip", b"target", b"train",
    b'{"command": 1, "config": []}', b"[" * 5000, b"[]", b"{", b"1e999",
)  # fmt: skip


def _attribute(rng: random.Random) -> Any:
    pool: tuple[Any, ...] = (
        *(value for value in INTEGERS if -(2**63) <= value < 2**64),
        *(text for text in TEXTS if "\0" not in text), 0.0, -1.5, float("nan"), float("inf"),
        b"\xff\xfe", np.bytes_(b"jpeg"), np.arange(4), np.zeros((2, 2)), np.array([]), h5py.Empty("f4"),
        [b"a", b"\xff"], True,
        np.array("png16", h5py.string_dtype()), "jpeg", "png8", "prob", "log_prob", "x,y,z", "rgb",
    )  # fmt: skip
    return rng.choice(pool)


def _wrong_type(file: h5py.File, name: str, rng: random.Random) -> None:
    shape = file[name].shape
    _put(file, name, shape=shape, dtype=rng.choice(_TYPES))


def _wrong_shape(file: h5py.File, name: str, rng: random.Random) -> None:
    values = np.asarray(file[name][()])
    text = h5py.check_string_dtype(file[name].dtype)
    rows = len(values) if values.ndim else 1
    changed = rng.choice((
        lambda: values[:0], lambda: values[: rows // 2], lambda: values.ravel()[0],
        lambda: np.concatenate([values, values]),
        lambda: values[None], lambda: values[..., None], lambda: values[:-1], lambda: values.ravel(),
        lambda: values.reshape(*values.shape, 1),
    ))  # fmt: skip
    try:
        new = changed()
    except (IndexError, ValueError):
        new = np.zeros(3, values.dtype if not text else object)
    _put(file, name, data=new, dtype=file[name].dtype)


def _wrong_values(file: h5py.File, name: str, rng: random.Random) -> None:
    item = file[name]
    if item.size == 0:
        return
    text = h5py.check_string_dtype(item.dtype) is not None
    values = np.array(item[()], object if text else None)
    flat = values.reshape(-1)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(flat))
        if text:
            flat[at] = rng.choice((*_RAW_TEXTS, flat[rng.randrange(len(flat))]))
        elif values.dtype.kind == "f":
            flat[at] = rng.choice((np.nan, np.inf, -np.inf, 1e38, -1, 0, 2, 1e-40))
        elif values.dtype.kind in "iu":
            low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
            flat[at] = min(max(rng.choice(INTEGERS), low), high)
    if text:
        flat[:] = [value.replace(b"\0", b"?") if isinstance(value, bytes) else value for value in flat]
    item[()] = values.reshape(item.shape) if values.shape else flat[0]


def _huge(file: h5py.File, name: str, rng: random.Random) -> None:
    """Claim a shape that a little packed content, or none, stands for."""
    old = file[name]
    dtype = old.dtype if h5py.check_vlen_dtype(old.dtype) is None else h5py.string_dtype()
    tail = old.shape[1:]
    how = rng.randrange(4)
    rows = rng.choice((10**7, 2**31, 2**40))
    if how == 0:
        _put(
            file,
            name,
            shape=(rows, *tail),
            dtype=dtype,
            chunks=(1024, *(max(1, n) for n in tail)),
            maxshape=(None, *tail),
        )
    elif how == 1:
        _put(file, name, shape=(rows, *tail), dtype=dtype)
    else:
        # Zeros of gzip: a chunk of them takes a thousandth of the memory, and all are the same.
        if h5py.check_string_dtype(dtype) is not None:
            dtype = np.dtype("S1000")
        wide = (1 << 22) // max(1, int(np.prod(tail, dtype=np.int64)) * dtype.itemsize) + 1
        count = 64 if how == 2 else 300
        chunks = (wide, *(max(1, n) for n in tail))
        _put(file, name, shape=(wide * count, *tail), dtype=dtype, chunks=chunks, compression="gzip")
        chunk = zlib.compress(bytes(int(np.prod(chunks)) * dtype.itemsize), 9)
        for number in range(count):
            file[name].id.write_direct_chunk((number * wide, *(0 for _ in tail)), chunk)


def _links_out(file: h5py.File, name: str, rng: random.Random, secret: Path) -> None:
    """Make a part of the file be another file's."""
    shape, dtype = file[name].shape, file[name].dtype
    how = rng.randrange(5)
    plain = (
        dtype
        if h5py.check_vlen_dtype(dtype) is None and h5py.check_string_dtype(dtype) is None
        else np.dtype("u1")
    )
    if how == 0:
        del file[name]
        file[name] = h5py.ExternalLink(str(secret), "/index/clip_id")
    elif how == 1:
        del file[name]
        file[name] = h5py.SoftLink("/classes")
    elif how == 2:
        count = max(1, int(np.prod(shape, dtype=np.int64)))
        del file[name]
        file.create_dataset(
            name, shape=shape or (1,), dtype=plain, external=[(str(secret), 0, count * plain.itemsize)]
        )
    elif how == 3:
        layout = h5py.VirtualLayout(shape or (1,), plain)
        layout[...] = h5py.VirtualSource(str(secret), "index/start", shape or (1,), plain)
        del file[name]
        file.create_virtual_dataset(name, layout)
    else:
        group = name.rpartition("/")[0]
        del file[group or name]
        file[group or name] = h5py.ExternalLink(str(secret), "/")


def _one_text_many_times(path: Path, rng: random.Random) -> None:
    """Let all texts of a data set be one long one, which stands in the file once."""
    with h5py.File(path, "r+") as file:
        _, datasets = _items(file)
        texts = [
            name
            for name in datasets
            if h5py.check_string_dtype(file[name].dtype) is not None and file[name].shape
        ]
        if not texts:
            return
        name = rng.choice(texts)
        count = rng.choice((50, 2000, 20000))
        _put(
            file,
            name,
            data=np.array([b"x" * rng.choice((100, 50_000, 1 << 20))] + [b"y"] * (count - 1), object),
            dtype=h5py.string_dtype(),
        )
        offset = file[name].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16 * count] = bytes(data[offset : offset + 16]) * count
    path.write_bytes(bytes(data))


def _change_part(file: h5py.File, rng: random.Random, secret: Path) -> bool:
    """Change one part; returns whether it now leads out of the file."""
    groups, datasets = _items(file)
    if not datasets:
        return False
    name, how = rng.choice(datasets), rng.randrange(16)
    if how < 2:
        _wrong_type(file, name, rng)
    elif how < 4:
        _wrong_shape(file, name, rng)
    elif how < 8:
        _wrong_values(file, name, rng)
    elif how == 8:
        del file[rng.choice((name, rng.choice(groups[1:] or [name])))]
    elif how < 12:
        place = file[rng.choice((*groups, *datasets))].attrs
        names = list(place)
        if names and rng.random() < 0.3:
            del place[rng.choice(names)]
        else:
            place[rng.choice(names) if names else "x"] = _attribute(rng)
    elif how == 12:
        _huge(file, name, rng)
    elif how == 13:
        _links_out(file, name, rng, secret)
        return True
    elif how == 14:
        kind = rng.randrange(4)
        del file[name]
        if kind == 0:
            file.create_group(name)
        elif kind == 1:
            file[name] = np.dtype("<i4")  # a committed type
        elif kind == 2:
            file[name] = file["/"]  # a hard link in a circle
        else:
            file[name] = h5py.Empty("f4")
    else:
        other = rng.choice(datasets)
        if other != name:
            file.copy(file[other], file, name + "_copy")
            del file[name]
            file.move(name + "_copy", name)
    return False


def change_hdf5(data: bytes, rng: random.Random, folder: Path) -> tuple[bytes, bool]:
    """Change one or two parts of an HDF5 file; returns it, and whether it must be refused.

    Args:
        folder: for files under way; ``secret.h5`` in it is what links lead to.
    """
    path = folder / "changed.h5"
    path.write_bytes(data)
    secret = folder / "secret.h5"
    if not secret.exists():
        shutil.copy(path, secret)
    out = False
    if rng.random() < 0.03:
        _one_text_many_times(path, rng)
        return path.read_bytes(), False
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 2))):
            # What a first change leaves may not fit the second, or HDF5 refuse it.
            with contextlib.suppress(Exception):
                out |= _change_part(file, rng, secret)
    if out:
        with h5py.File(path, "r") as file:
            out = _has_links_out(file)
    return path.read_bytes(), out


def _has_links_out(file: h5py.File) -> bool:
    """Return whether a later change has left any of the links in."""
    found = False

    def look(group: h5py.Group, depth: int) -> None:
        nonlocal found
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
                found = True
                continue
            item = group[name]
            if isinstance(item, h5py.Group) and depth < 6:
                look(item, depth + 1)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                found = True

    look(file, 0)
    return found
