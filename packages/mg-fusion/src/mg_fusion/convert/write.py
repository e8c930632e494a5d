"""Score files for readers of other projects, from arrays."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_data.store.atomic import publish, publish_text

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


def write_scores(
    path: Path,
    form: str,
    *,
    clip_ids: Sequence[str],
    values: NDArray[np.float32],
    class_names: Sequence[str],
    scores_name: str,
    keys: Mapping[str, str] | None = None,
) -> None:
    """Write a score file atomically.

    Args:
        form: ``npz``, ``csv``, ``pyskl``, ``mmaction2`` or ``ctr-gcn``. clip_ids: N. values: (N, K).
        scores_name: what an npz calls the scores unless ``keys`` says otherwise.
        keys: ``scores`` and ``names`` -> what they are called in npz, csv (names only) and mmaction2.
    """
    chosen = dict(keys or {})
    known = {"npz": ("scores", "names"), "csv": ("names",), "mmaction2": ("scores", "names")}.get(form, ())
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise UsageError(
            f"keys: format {form} has no {', '.join(unknown)}; it has: {', '.join(known) or 'none'}"
        )
    rows = np.asarray(values, dtype=np.float32)
    names = [str(clip) for clip in clip_ids]
    if form == "npz":
        score_key, name_key = chosen.get("scores", scores_name), chosen.get("names", "names")
        arrays: dict[str, Any] = {score_key: rows, name_key: np.array(names)}
        arrays["class_names"] = np.array(list(class_names))
        if len(arrays) < 3 or "file" in arrays:
            raise UsageError(
                "keys: wanted different names for scores and names, neither 'class_names' nor 'file'"
            )
        with publish(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)
        return
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([chosen.get("names", "clip_id"), *class_names])
        writer.writerows([name, *map(repr, row.tolist())] for name, row in zip(names, rows, strict=True))
        publish_text(path, text.getvalue())
        return
    value: Plain
    if form == "pyskl":
        value = list(rows)
    elif form == "mmaction2":
        score_key, name_key = chosen.get("scores", "pred_score"), chosen.get("names", "frame_dir")
        value = [{score_key: row, name_key: name} for name, row in zip(names, rows, strict=True)]
    elif form == "ctr-gcn":
        value = dict(zip(names, rows, strict=True))
    else:
        raise UsageError(f"format: found '{form}', wanted npz, csv, pyskl, mmaction2 or ctr-gcn")
    content = pickled(value)
    with publish(path) as temporary:
        temporary.write_bytes(content)
