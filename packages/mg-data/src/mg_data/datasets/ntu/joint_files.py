"""One clip a file: ``joints`` of shape (T, V, 3) or (T, P, V, 3) in json, npy, npz or text.

Sizes that a header claims are held against the file before memory is taken; nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.datasets.clips.table import read_text_file
from mg_data.zip_members import check_members, read_member

ENDINGS = (".json", ".npz", ".npy", ".txt")
# One clip's keypoints; a hundred thousand frames of 137 points are a sixth of it.
_MAX_BYTES = 1 << 30
_MAX_TEXT = 256
_MAX_HEADER = 10_000


@dataclass(frozen=True)
class JointFile:
    """What a file holds.

    Args:
        joints: (T, P, V, 3), or None if only the label was asked for.
        label: class number or name, None if the file has none.
        subject: "" if the file has none.
    """

    joints: NDArray[np.float32] | None
    label: int | str | None = None
    subject: str = ""


def read_joint_file(path: Path, num_points: int) -> JointFile:
    """Read one clip.

    Args:
        path: ``.json`` (an object with ``joints`` and perhaps ``label`` and ``subject``, or the joints
            alone), ``.npz`` (the same names), ``.npy``, or ``.txt`` (a line of V x 3 or P x V x 3 numbers a
            frame).
        num_points: V.

    Raises:
        DataError: unreadable, cut off, of another shape, or with values that are not finite.
    """
    content = _read(path)
    values = content.get("joints")
    if values is None:
        raise DataError(f"{path}: holds no 'joints' (found: {', '.join(_names(content)) or 'nothing'})")
    joints = _array(path, values)
    if joints.ndim == 2 and joints.shape[1] and joints.shape[1] % (3 * num_points) == 0:  # lines of a text
        joints = joints.reshape(len(joints), -1, num_points, 3)
    if joints.ndim == 3:
        joints = joints[:, None]
    if joints.ndim != 4 or joints.shape[2:] != (num_points, 3) or 0 in joints.shape:
        raise DataError(
            f"{path}: joints have shape {joints.shape}, wanted (T, {num_points}, 3) or "
            f"(T, P, {num_points}, 3)"
        )
    if not np.isfinite(joints).all():
        raise DataError(f"{path}: joints hold NaN or infinity (write a missing point as 0, 0, 0)")
    return JointFile(joints, _label(path, content.get("label")), _subject(path, content.get("subject")))


def read_label(path: Path) -> int | str | None:
    """Return the label that a file holds, None if it holds none.

    Raises:
        DataError: unreadable, or a label that is neither a number nor a name.
    """
    if path.suffix in (".npy", ".txt"):
        return None
    return _label(path, _read(path, only="label").get("label"))


def _names(content: dict[str, Any]) -> list[str]:
    return [name[:40] if name.isprintable() else ascii(name)[:40] for name in list(content)[:5]]


def _read(path: Path, only: str = "") -> dict[str, Any]:
    if path.suffix == ".json":
        return _read_json(path)
    if path.suffix == ".txt":
        return {"joints": _read_text(path)}
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return {"joints": _read_npy(path, file, path.stat().st_size)}
        return _read_npz(path, only)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text_file(path, "the json"))
    except (ValueError, RecursionError) as error:
        why = "is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{path}: is no JSON, or is cut off: {why}") from None
    return content if isinstance(content, dict) else {"joints": content}


def _read_text(path: Path) -> NDArray[np.float64]:
    text = read_text_file(path, "the text").replace(",", " ")
    try:
        rows = [[float(value) for value in line.split()] for line in text.splitlines() if line.strip()]
        return np.asarray(rows, np.float64)
    except ValueError as error:
        raise DataError(f"{path}: is no table of numbers with one frame a line: {error}") from None


def _read_npy(path: Path, file: IO[bytes], size: int) -> NDArray[Any]:
    """Read one array whose header and content are ``size`` bytes in all."""
    try:
        version = np.lib.format.read_magic(file)
        width = 2 if version[0] == 1 else 4
        length = file.read(width)
        if int.from_bytes(length, "little") > _MAX_HEADER:  # numpy would take that memory before it looks
            raise ValueError("its header claims to be longer than any")
        header = io.BytesIO(length + file.read(int.from_bytes(length, "little")))
        read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(header)
    except Exception as error:  # numpy's own parser lets tokenize's and struct's errors through
        raise DataError(
            f"{path}: is no npy array: {str(error).splitlines()[0] if str(error) else 'cut'}"
        ) from None
    if kind.kind not in "fiuU":
        raise DataError(f"{path}: holds an array of {kind}, wanted numbers (objects are never unpickled)")
    if any(not 0 <= extent < 2**40 for extent in shape) or len(shape) > 8:
        raise DataError(f"{path}: claims the shape {shape}")
    wanted = math.prod(shape) * kind.itemsize
    if wanted != size - file.tell() or wanted > _MAX_BYTES:
        raise DataError(
            f"{path}: claims an array of shape {shape} of {kind}, {wanted} bytes, but holds "
            f"{size - file.tell()}: it is cut off or damaged"
        )
    data = file.read(wanted)
    if len(data) != wanted:
        raise DataError(f"{path}: holds {len(data)} bytes where {wanted} are claimed: it is cut off")
    if not wanted:
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _read_npz(path: Path, only: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name not in ("joints", "label", "subject") or (only and name != only):
                    content.setdefault(name, None)
                    continue
                if info.file_size > _MAX_BYTES:
                    raise DataError(
                        f"{path}: claims {info.file_size} bytes of '{name}', more than one clip has"
                    )
                member = io.BytesIO(read_member(archive, info))
                content[name] = _read_npy(path, member, info.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: is no readable npz: {str(error) or type(error).__name__}") from None
    return content


def _array(path: Path, values: Any) -> NDArray[np.float32]:
    try:
        array = np.asarray(values)
    except (ValueError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: joints are no array: {error}") from None
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: joints hold {array.dtype} values, wanted numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused by the caller
        return array.astype(np.float32)


def _label(path: Path, value: Any) -> int | str | None:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0].item() if value.size == 1 else value.tolist()
    if (
        value is None
        or value == ""
        or (isinstance(value, int) and not isinstance(value, bool) and value == -1)
    ):
        return None
    if isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable():
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise DataError(f"{path}: its label is neither a class number from 0 nor a name")


def _subject(path: Path, value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0].item() if value.size == 1 else value.tolist()
    if value is None:
        return ""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else "\n"
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise DataError(f"{path}: its subject is neither a name nor a number")
    return text
