"""Score files for readers of other projects, from arrays."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.store import publish, publish_text
from mg_fusion.convert.names import check_unique
from mg_fusion.convert.read import ScoreFormat
from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.vote import as_numbers

Plain = str | NDArray[np.float32] | list["Plain"] | dict[str, "Plain"]


def pickled(value: Plain) -> bytes:
    """Return a pickle (protocol 3) of lists, dictionaries, texts and (K,) float32 arrays.

    Written here and not by the pickle module, because numpy 2 names modules that numpy 1 does not have, and
    the projects that read these files often have numpy 1. Both read this.
    """
    out = io.BytesIO()
    out.write(b"\x80\x03")
    _put(out, value)
    out.write(b".")
    return out.getvalue()


def _put(out: io.BytesIO, value: Plain) -> None:
    if isinstance(value, str):
        content = value.encode("utf-8")
        out.write(b"X" + struct.pack("<I", len(content)) + content)
    elif isinstance(value, list):
        out.write(b"](")
        for item in value:
            _put(out, item)
        out.write(b"e")
    elif isinstance(value, dict):
        out.write(b"}(")
        for key, item in value.items():
            _put(out, key)
            _put(out, item)
        out.write(b"u")
    else:
        _put_array(out, value)


def _put_array(out: io.BytesIO, values: NDArray[np.float32]) -> None:
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    # _reconstruct(ndarray, (0,), b"b"), then its state: (1, shape, dtype, False, bytes)
    out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01")
    out.write(b"J" + struct.pack("<i", len(values)) + b"\x85")
    out.write(b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNN")
    out.write(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
    out.write(b"B" + struct.pack("<I", len(data)) + data + b"tb")


def write_score_file(
    path: str | Path,
    format: ScoreFormat,
    *,
    clip_ids: Sequence[str],
    values: ArrayLike,
    class_names: Sequence[str],
    keys: Mapping[str, str] | None = None,
) -> None:
    """Write a score file that another project reads, atomically.

    Args:
        format: ``npz``, ``csv``, ``pyskl``, ``mmaction2`` or ``ctr-gcn``, as :func:`read_score_file` reads
            them; a pyskl file holds no names, so the order is all it has.
        clip_ids: N. values: (N, K), written as float32. class_names: K, written to npz and csv.
        keys: ``scores`` and ``names`` -> what they are called in npz, csv (names only) and mmaction2.

    Raises:
        SettingError: an unknown format, keys that it does not have, or one key for two things.
        ScoresError: values that are not (N, K) finite numbers within float32, or an id twice.
    """
    path = Path(path)
    chosen = dict(keys or {})
    known = {"npz": ("scores", "names"), "csv": ("names",), "mmaction2": ("scores", "names")}.get(format, ())
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise SettingError(
            f"keys: format {format} has no {', '.join(unknown)}; it has: {', '.join(known) or 'none'}"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        rows = as_numbers(values, "values").astype(np.float32)
    names = [str(clip) for clip in clip_ids]
    if rows.shape != (len(names), len(class_names)):
        raise ScoresError(
            f"values: found shape {rows.shape}, wanted ({len(names)}, {len(class_names)}): ids and classes"
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ScoresError(
            f"values: {len(bad)} rows are not finite in float32, the first is that of '{names[bad[0]]}'; "
            "leave them out"
        )
    if names:
        check_unique(names, "clip id", "values")
    if format == "npz":
        score_key, name_key = chosen.get("scores", "logits"), chosen.get("names", "names")
        arrays: dict[str, Any] = {score_key: rows, name_key: np.array(names)}
        arrays["class_names"] = np.array(list(class_names))
        if len(arrays) < 3 or "file" in arrays:
            raise SettingError(
                "keys: wanted different names for scores and names, neither 'class_names' nor 'file'"
            )
        with publish(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)
        return
    if format == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([chosen.get("names", "clip_id"), *class_names])
        writer.writerows([name, *map(repr, row.tolist())] for name, row in zip(names, rows, strict=True))
        publish_text(path, text.getvalue())
        return
    value: Plain
    if format == "pyskl":
        value = list(rows)
    elif format == "mmaction2":
        score_key, name_key = chosen.get("scores", "pred_score"), chosen.get("names", "frame_dir")
        if score_key == name_key:
            raise SettingError(f"keys: found '{score_key}' for both scores and names, wanted different ones")
        value = [{score_key: row, name_key: name} for name, row in zip(names, rows, strict=True)]
    elif format == "ctr-gcn":
        value = dict(zip(names, rows, strict=True))
    else:
        raise SettingError(f"format: found '{format}', wanted npz, csv, pyskl, mmaction2 or ctr-gcn")
    content = pickled(value)
    with publish(path) as temporary:
        temporary.write_bytes(content)
