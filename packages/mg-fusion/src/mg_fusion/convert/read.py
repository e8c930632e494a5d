"""Score files of other projects as arrays. Pickles are read by mg-data's machine that executes nothing."""

from __future__ import annotations

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, UsageError
from mg_data.pickles import PickledArray, called, load_pickle
from mg_fusion.convert.names import check_unique
from mg_fusion.errors import SettingError
from mg_fusion.vote import FloatArray
from mg_fusion.zip_members import check_members, read_member

ScoreFormat = Literal["npz", "csv", "pyskl", "mmaction2", "ctr-gcn"]
# Of an npz: more than this many times its packed size is no table of scores (deflate's own limit is 1032).
_LARGEST_RATIO = 100
_SMALL_BYTES = 2**26
_NPZ_KEYS = {
    "scores": ("logits", "scores", "probs", "values"),
    "names": ("name", "names", "clip_ids", "ids"),
    "labels": ("label", "labels"),
}
# What the first column of a csv with a header is called.
_NAME_HEADINGS = ("clip_id", "id", "clip", *_NPZ_KEYS["names"])


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreFile:
    """Scores as a file holds them: the result of :func:`read_score_file`.

    Args:
        values: (N, K). names: N names, or None if the file holds none. labels: (N,) int64, or None.
        class_names: K names, or None. notes: what was taken for what, in words.
    """

    values: FloatArray
    names: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())


def read_score_file(
    path: str | Path, format: ScoreFormat, *, keys: Mapping[str, str] | None = None, classes: int = 0
) -> ScoreFile:
    """Read another project's score file, without executing anything in it.

    Args:
        format: ``npz``, ``csv``, ``pyskl`` (list of K scores), ``mmaction2`` (list of dictionaries) or
            ``ctr-gcn`` (dictionary name -> K scores).
        keys: ``scores``, ``names``, ``labels`` -> what they are called in the file (npz, csv, mmaction2).
        classes: K if known, which tells whether a csv without header has names.

    Raises:
        SettingError: an unknown format, or a key that the format does not have.
        DataError: the file is not what it should be.
    """
    path = Path(path)
    chosen = dict(keys or {})
    known = {"npz": ("scores", "names", "labels"), "csv": ("scores", "names", "labels"),
             "mmaction2": ("scores", "names", "labels")}.get(format, ())  # fmt: skip
    unknown = [key for key in chosen if key not in known]
    if unknown:
        raise SettingError(
            f"keys: format {format} has no {', '.join(unknown)}; it has: {', '.join(known) or 'none'}"
        )
    if not all(isinstance(name, str) for name in chosen.values()):
        raise SettingError("keys: wanted texts, as scores=logits")
    if format == "npz":
        found = _read_npz(path, chosen)
    elif format == "csv":
        found = _read_csv(path, chosen, classes)
    elif format == "pyskl":
        found = _read_pyskl(path)
    elif format == "mmaction2":
        found = _read_mmaction2(path, chosen)
    elif format == "ctr-gcn":
        found = _read_ctrgcn(path)
    else:
        raise SettingError(f"format: found '{format}', wanted npz, csv, pyskl, mmaction2 or ctr-gcn")
    _check(path, found)
    return found


def _check(path: Path, found: ScoreFile) -> None:
    values = found.values
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"{path}: scores have shape {values.shape}, wanted (clips, classes)")
    for name, part in (("names", found.names), ("labels", found.labels)):
        if part is not None and len(part) != len(values):
            raise DataError(f"{path}: holds {len(part)} {name} for {len(values)} rows of scores")
    if found.names is not None:
        check_unique(found.names, "name", str(path))
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        which = f"'{found.names[bad[0]]}'" if found.names is not None else f"row {bad[0]}"
        raise DataError(f"{path}: {len(bad)} rows hold NaN or infinity, the first is {which}; leave them out")


def _read_npz(path: Path, keys: Mapping[str, str]) -> ScoreFile:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            for info in archive.infolist():
                if info.file_size > max(_SMALL_BYTES, _LARGEST_RATIO * info.compress_size):
                    raise DataError(
                        f"{path}: '{info.filename}' unpacks to {info.file_size} bytes from "
                        f"{info.compress_size}; that is no table of scores"
                    )
            used = {
                what: keys[what] if what in keys else next((name for name in names if name in members), "")
                for what, names in _NPZ_KEYS.items()
            }
            for what, name in used.items():
                if name in members:
                    arrays[what] = _array(read_member(archive, members[name]), name)
                elif what == "scores" or what in keys:
                    wanted = f"'{name}'" if name else "scores"
                    raise DataError(
                        f"{path}: has no {wanted}, it holds {_listed(list(members))}; say --keys {what}=NAME"
                    )
            held = members.get("class_names")
            classes = None if held is None else _array(read_member(archive, held), "class_names")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as npz: {reason}") from None
    labels = arrays.get("labels")
    return ScoreFile(
        values=_numbers(path, arrays["scores"], used["scores"]),
        names=_texts(path, arrays["names"], used["names"]) if "names" in arrays else None,
        labels=None if labels is None else _whole(path, labels, used["labels"]),
        class_names=None if classes is None else _texts(path, classes, "class_names"),
        notes=tuple(f"{what} from '{used[what]}'" for what in arrays),
    )


def _array(data: bytes, name: str) -> NDArray[Any]:
    """Return the array of a npy file; ValueError if its content is not what its header says."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, kind = read(file)
    except Exception as error:  # numpy's own parser lets tokenize's and struct's errors through
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"'{name}' is no npy array: {reason}") from None
    if kind.hasobject:
        raise ValueError(
            "it holds objects, which would have to be executed; save names as text: np.array(names, str)"
        )
    wanted = math.prod(shape) * kind.itemsize
    if wanted != len(data) - file.tell() or any(extent < 0 for extent in shape):
        raise ValueError(
            f"'{name}' claims {shape} of {kind}, {wanted} bytes, with {len(data) - file.tell()} bytes"
        )
    if not wanted:
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _listed(names: Sequence[str]) -> str:
    return (
        ", ".join(f"'{name}'" for name in names[:8]) + (", ..." if len(names) > 8 else "")
        if names
        else "nothing"
    )


def _numbers(path: Path, values: NDArray[Any], name: str) -> FloatArray:
    if values.dtype.kind not in "fiu" or values.ndim != 2:
        raise DataError(
            f"{path}: '{name}' is {values.dtype} of shape {values.shape}, wanted numbers (clips, classes)"
        )
    with np.errstate(invalid="ignore"):  # what is not finite is refused by the caller
        return values.astype(np.float64)


def _texts(path: Path, values: NDArray[Any], name: str) -> tuple[str, ...]:
    if values.dtype.kind not in "SUiu" or values.ndim != 1:
        raise DataError(f"{path}: '{name}' is {values.dtype} of shape {values.shape}, wanted texts (clips,)")
    try:
        return tuple(
            item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in values.tolist()
        )
    except UnicodeDecodeError:
        raise DataError(f"{path}: '{name}' holds bytes that are not UTF-8") from None


def _whole(path: Path, values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise DataError(
            f"{path}: '{name}' is {values.dtype} of shape {values.shape}, wanted whole numbers (clips,)"
        )
    return values.astype(np.int64)


def _read_csv(path: Path, keys: Mapping[str, str], classes: int) -> ScoreFile:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as csv: {error}") from error
    if not rows:
        raise DataError(f"{path}: is empty, wanted one line a clip")
    width = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise DataError(f"{path}: line {number} has {len(row)} cells, the first has {width}")
    header = rows[0] if keys or _is_header(rows[0]) else None
    if header is None:
        if classes and width not in (classes, classes + 1):
            raise DataError(
                f"{path}: has {width} columns and no header, wanted {classes} scores, or a name and "
                f"{classes} scores"
            )
        named = width == classes + 1 if classes else _number(rows[0][0]) is None
        columns = list(range(1 if named else 0, width))
        return ScoreFile(
            values=_cells(path, rows, columns, 1),
            names=tuple(row[0] for row in rows) if named else None,
            notes=("no header" + ("; names from the first column" if named else "; no names"),),
        )
    for what in ("names", "labels"):
        if what in keys and keys[what] not in header:
            raise DataError(f"{path}: has no column '{keys[what]}', it has {_listed(header)}")
    name_at = header.index(keys["names"]) if "names" in keys else 0
    label = keys.get("labels") or next((word for word in ("label", "labels") if word in header[1:]), None)
    label_at = header.index(label) if label is not None else -1
    prefix = keys.get("scores", "")
    columns = [
        at for at, word in enumerate(header) if at not in (name_at, label_at) and word.startswith(prefix)
    ]
    if not columns:
        raise DataError(
            f"{path}: has no column of scores that begins with '{prefix}', it has {_listed(header)}"
        )
    body = rows[1:]
    labels = None
    if label_at >= 0:
        numbers = [_number(row[label_at]) for row in body]
        wrong = next(
            (at for at, value in enumerate(numbers) if value is None or not abs(value) < 2**53 or value % 1),
            None,
        )
        if wrong is not None:
            raise DataError(f"{path}: line {wrong + 2}: label '{body[wrong][label_at]}' is no whole number")
        labels = np.array([int(value) for value in numbers if value is not None], dtype=np.int64)
    return ScoreFile(
        values=_cells(path, body, columns, 2),
        names=tuple(row[name_at] for row in body),
        labels=labels,
        class_names=tuple(header[at].removeprefix(prefix) for at in columns),
        notes=(f"names from '{header[name_at]}'", *([f"labels from '{label}'"] if label is not None else [])),
    )


def _is_header(row: Sequence[str]) -> bool:
    """Whether the first line of a csv names its columns; classes may be called by numbers."""
    first, rest = row[0].strip(), row[1:]
    if any(_number(cell) is None for cell in rest) or first.casefold() in _NAME_HEADINGS:
        return True
    # "file,0,1,2", or ",0,1" as of a data frame: no scores count the classes, and no clip has an empty name.
    counted = [cell.strip() for cell in rest] == [str(place) for place in range(len(rest))]
    return counted and _number(first) is None and (not first or len(rest) > 2)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cells(path: Path, rows: Sequence[Sequence[str]], columns: Sequence[int], first: int) -> FloatArray:
    values = np.empty((len(rows), len(columns)))
    for number, row in enumerate(rows):
        try:
            values[number] = [float(row[at]) for at in columns]
        except ValueError:
            cell = next(row[at] for at in columns if _number(row[at]) is None)
            raise DataError(f"{path}: line {number + first}: '{cell[:40]}' is no number") from None
    return values


def _load(path: Path) -> Any:
    try:
        return load_pickle(path)
    except DataError as error:
        if "torch" in str(error):
            raise DataError(
                f"{path}: holds torch tensors, which cannot be read without executing code; export them "
                "where torch is: pickle.dump([{**r, 'pred_score': r['pred_score'].cpu().numpy()} for r in "
                "results], file), with plain values only"
            ) from None
        raise


def _row(path: Path, value: object, what: str) -> FloatArray:
    """Return the (K,) scores of one clip."""
    if isinstance(value, PickledArray):
        if value.dtype.kind not in "fiu" or value.shape[:-1] not in ((), (1,)) or not value.shape:
            raise DataError(f"{path}: {what} is {value.dtype} of shape {value.shape}, wanted K numbers")
        return value.read().astype(np.float64).ravel()
    if isinstance(value, list | tuple) and value and all(type(item) in (int, float) for item in value):
        return np.array(value, dtype=np.float64)
    raise DataError(f"{path}: {what} is {called(value)}, wanted an array of K scores")


def _stack(path: Path, found: Iterable[FloatArray]) -> FloatArray:
    size, held = path.stat().st_size, 0
    rows: list[FloatArray] = []
    for row in found:
        # A pickle may name one array again and again; a number of it takes a byte at least.
        held += row.size
        if held > size:
            raise DataError(f"{path}: claims more scores than its {size} bytes can hold")
        if rows and len(row) != len(rows[0]):
            raise DataError(f"{path}: entry {len(rows)} has {len(row)} scores, entry 0 has {len(rows[0])}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no scores")
    return np.stack(rows)


def _read_pyskl(path: Path) -> ScoreFile:
    value = _load(path)
    if isinstance(value, PickledArray) and len(value.shape) == 2:
        return ScoreFile(values=value.read().astype(np.float64))
    if not isinstance(value, list):
        raise DataError(f"{path}: is {called(value)}, wanted a list of arrays (pyskl's result.pkl)")
    if value and isinstance(value[0], dict):
        raise DataError(f"{path}: is a list of dictionaries; read it with --format mmaction2")
    return ScoreFile(values=_stack(path, (_row(path, item, f"entry {n}") for n, item in enumerate(value))))


def _field(entry: Mapping[Any, Any], name: str) -> object:
    """Return a field; mmaction2 1.0 wraps scores and labels as ``{'item': ...}``, in a field with an s."""
    value = entry.get(name, entry.get(f"{name}s"))
    return value["item"] if isinstance(value, dict) and set(value) == {"item"} else value


def _read_mmaction2(path: Path, keys: Mapping[str, str]) -> ScoreFile:
    value = _load(path)
    if not isinstance(value, list) or not value:
        raise DataError(f"{path}: is {called(value)}, wanted a list of dictionaries (mmaction2's result.pkl)")
    if not all(isinstance(entry, dict) for entry in value):
        raise DataError(f"{path}: is a list of other things than dictionaries; try --format pyskl")
    score_key, label_key = keys.get("scores", "pred_score"), keys.get("labels", "gt_label")

    def rows() -> Iterator[FloatArray]:
        for number, entry in enumerate(value):
            found = _field(entry, score_key)
            if found is None:
                raise DataError(
                    f"{path}: entry {number} has no '{score_key}', it holds {_listed(list(map(str, entry)))}"
                )
            yield _row(path, found, f"'{score_key}' of entry {number}")

    values = _stack(path, rows())
    name_key = keys.get("names") or next(
        (key for key in ("frame_dir", "filename") if all(isinstance(entry.get(key), str) for entry in value)),
        "",
    )
    names = None
    if name_key:
        names = tuple(str(entry.get(name_key, "")) for entry in value)
        if not all(isinstance(entry.get(name_key), str) for entry in value):
            raise DataError(f"{path}: not every entry has a text '{name_key}'")
    labels: list[int] = []
    for number, entry in enumerate(value):
        found = _field(entry, label_key)
        if found is None:
            if "labels" in keys:
                raise DataError(f"{path}: entry {number} has no '{label_key}'")
            continue
        one = found.read().ravel().tolist() if isinstance(found, PickledArray) else found
        one = one[0] if isinstance(one, list) and len(one) == 1 else one
        if type(one) is not int or not abs(one) < 2**53:
            raise DataError(f"{path}: '{label_key}' of entry {number} is no whole number")
        labels.append(one)
    return ScoreFile(
        values=values,
        names=names,
        labels=np.array(labels, dtype=np.int64) if len(labels) == len(values) else None,
        notes=(f"scores from '{score_key}'", f"names from '{name_key}'" if name_key else "no names"),
    )


def _read_ctrgcn(path: Path) -> ScoreFile:
    value = _load(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: is {called(value)}, wanted a dictionary name -> scores (CTR-GCN)")
    return ScoreFile(
        values=_stack(path, (_row(path, item, f"the value of '{name}'") for name, item in value.items())),
        names=tuple(str(name) for name in value),
    )


def annotation_names(path: Path, split: str | None) -> list[str]:
    """Return the clips of a pyskl annotation pickle in the order of a split, which is that of its result.pkl.

    Raises:
        DataError: no such pickle. UsageError: no such split, or none was named.
    """
    value = _load(path)
    splits = value.get("split") if isinstance(value, dict) else None
    if not isinstance(splits, dict):
        raise DataError(f"{path}: has no 'split'; wanted a pyskl annotation pickle or a text file of names")
    if split not in splits:
        raise UsageError(f"{path}: say which --split the scores are of: {', '.join(map(str, splits))}")
    names = splits[split]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: split '{split}' is no list of names")
    return names


__all__ = ["ScoreFile", "ScoreFormat", "annotation_names", "read_score_file"]
