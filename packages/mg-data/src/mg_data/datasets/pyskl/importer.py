"""Annotation pickles of pyskl and mmaction2: keypoints of many clips, labels and splits in one file.

``{"split": {name: [frame_dir]}, "annotations": [{frame_dir, label, img_shape, total_frames, keypoint
(M, T, V, 2 or 3), keypoint_score (M, T, V)}]}``, or the list of annotations alone. Nothing in it is executed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.table import MAX_UNNAMED_CLASSES, choose_file, read_class_names
from mg_data.datasets.options import check_whole
from mg_data.pickles import PickledArray, load_pickle

#: (number of keypoints, number of coordinates) -> layout
LAYOUTS = {
    (17, 2): "coco-17",
    (25, 2): "body-25",
    (133, 2): "coco-wholebody-133",
    (137, 2): "openpose-137",
    (20, 3): "kinect-20",
    (25, 3): "ntu-25",
}
MAX_PERSONS = 16
_NTU_NAME = re.compile(r"S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}")
_MAX_NAME = 256


@dataclass(frozen=True)
class _Annotation:
    """One entry whose facts agree with one another; its keypoints are still in the file."""

    name: str
    label: int
    image_size: tuple[int, int]
    points: PickledArray
    scores: PickledArray | None


def _shown(name: object) -> str:
    """Return a name of the file for a message: short, in quotes, and on one line."""
    text = str(name)[:80] if isinstance(name, str | int) else "?"
    return f"'{text}'" if text.isprintable() else ascii(text)


class _Unusable(Exception):
    """Why an annotation is left out."""


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Unusable(f"its {what} is no whole number")
    return value


def _name(entry: Mapping[Any, Any]) -> str:
    name = entry.get("frame_dir", entry.get("filename"))
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if not isinstance(name, str) or not name:
        raise _Unusable("it has no frame_dir")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise _Unusable(f"its frame_dir is longer than {_MAX_NAME} characters or holds a control character")
    return name


def _array(entry: Mapping[Any, Any], key: str, dimensions: int) -> PickledArray:
    value = entry.get(key)
    if not isinstance(value, PickledArray):
        raise _Unusable(f"its {key} is no numpy array")
    if len(value.shape) != dimensions or 0 in value.shape or value.dtype.kind not in "fiu":
        wanted = "(M, T, V, 2 or 3)" if dimensions == 4 else "(M, T, V)"
        raise _Unusable(f"its {key} has shape {value.shape} of {value.dtype}, wanted numbers {wanted}")
    return value


def _size(entry: Mapping[Any, Any]) -> tuple[int, int]:
    """Return (width, height) from ``img_shape`` (height, width), (0, 0) if it is not there."""
    shape = entry.get("img_shape")
    if shape is None:
        return 0, 0
    if not isinstance(shape, tuple | list) or len(shape) < 2:
        raise _Unusable("its img_shape is not (height, width)")
    height, width = (_whole(value, "img_shape") for value in shape[:2])
    if not (0 < height < 2**16 and 0 < width < 2**16):
        raise _Unusable(f"its img_shape is ({height}, {width}), wanted pixels")
    return width, height


def _check(entry: object) -> _Annotation:
    """Return the annotation, or raise what is wrong with it."""
    if not isinstance(entry, dict):
        raise _Unusable("it is no dictionary")
    name = _name(entry)
    points = _array(entry, "keypoint", 4)
    if points.shape[3] not in (2, 3):
        raise _Unusable(f"its keypoint has shape {points.shape}, wanted (M, T, V, 2 or 3)")
    scores = None
    if entry.get("keypoint_score") is not None:
        scores = _array(entry, "keypoint_score", 3)
        if scores.shape != points.shape[:3]:
            raise _Unusable(f"its keypoint_score has shape {scores.shape}, its keypoint {points.shape}")
    frames = entry.get("total_frames")
    if frames is not None and _whole(frames, "total_frames") != points.shape[1]:
        raise _Unusable(f"its total_frames is {frames}, but keypoint has {points.shape[1]} frames")
    label = entry.get("label")
    number = -1 if label is None else _whole(label, "label")
    if number < -1:
        raise _Unusable(f"its label is {number}")
    return _Annotation(name, number, _size(entry), points, scores)


def _entries(source: Path) -> tuple[list[Any], dict[str, Any]]:
    """Return the annotations and the splits of the file."""
    content = load_pickle(source)
    splits: Any = {}
    if isinstance(content, dict):
        missing = [key for key in ("annotations",) if not isinstance(content.get(key), list)]
        if missing:
            keys = ", ".join(_shown(key) for key in list(content)[:5]) or "nothing"
            raise DataError(f"{source}: holds no list 'annotations', found {keys}")
        content, splits = content["annotations"], content.get("split", {})
    if not isinstance(content, list):
        raise DataError(f"{source}: is neither a dictionary with 'annotations' nor a list of them")
    if not content:
        raise DataError(f"{source}: lists no annotation")
    if (
        not isinstance(splits, dict)
        or not all(
            isinstance(ids, list) and all(isinstance(name, str) for name in ids) for ids in splits.values()
        )
        or not all(isinstance(name, str) for name in splits)
    ):
        raise DataError(f"{source}: its 'split' is not name -> list of frame_dir")
    return content, splits


def _choose_layout(source: Path, found: Sequence[_Annotation], layout: str) -> tuple[str, int, int]:
    """Return layout, V and the number of coordinates, those of most annotations."""
    from mg_data.keypoints.layouts import find_layout

    (points, coordinates), _ = Counter(item.points.shape[2:] for item in found).most_common(1)[0]
    chosen = layout or LAYOUTS.get((points, coordinates), "")
    if not chosen:
        known = ", ".join(f"{v} points {c}D {name}" for (v, c), name in LAYOUTS.items())
        raise DataError(
            f"{source}: has {points} keypoints in {coordinates} coordinates, known are {known}; name a "
            "layout with --option layout=NAME"
        )
    spec = find_layout(chosen)
    if len(spec.names) != points or (spec.dims == "xyz") != (coordinates == 3):
        raise UsageError(
            f"pyskl: layout {chosen} has {len(spec.names)} keypoints ({spec.dims}), {source} has {points} in "
            f"{coordinates} coordinates"
        )
    return chosen, points, coordinates


def _joints(item: _Annotation, persons: int) -> NDArray[np.float32]:
    """Return (T, persons, V, 3): x, y, confidence or x, y, z.

    Raises:
        _Unusable: a value is not finite.
    """
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        points = item.points.read()[:persons].astype(np.float32)
    people, frames, count, coordinates = points.shape
    joints = np.zeros((frames, persons, count, 3), np.float32)
    joints[:, :people, :, :coordinates] = points.transpose(1, 0, 2, 3)
    if coordinates == 2:
        if item.scores is None:
            joints[..., 2] = joints[..., :2].any(axis=-1)
        else:
            joints[:, :people, :, 2] = item.scores.read()[:persons].astype(np.float32).transpose(1, 0, 2)
            joints[~(joints[..., 2] > 0)] = 0.0
    if not np.isfinite(joints).all():
        raise _Unusable("its keypoints hold NaN or infinity")
    return joints


def _classes(source: Path, found: Sequence[_Annotation], path: Path | None) -> tuple[str, ...]:
    """Return the class names, from the list or made of the numbers."""
    highest = max(found, key=lambda item: item.label)
    if path is not None:
        names = read_class_names(path)
        if highest.label >= len(names):
            raise DataError(
                f"{source}: annotation '{highest.name}' has label {highest.label}, {path} has classes 0.."
                f"{len(names) - 1}"
            )
        return names
    if highest.label >= MAX_UNNAMED_CLASSES:
        raise DataError(f"{source}: annotation '{highest.name}' has label {highest.label}: no class number")
    return tuple(f"class {number}" for number in range(highest.label + 1)) or ("unknown",)


def _subjects(found: Sequence[_Annotation], pattern: str) -> dict[str, str]:
    """Return annotation -> subject, "" where the name does not tell."""
    try:
        rule = re.compile(pattern) if pattern else _NTU_NAME
    except (re.error, TypeError) as error:
        raise UsageError(f"pyskl: option subject_pattern is no regular expression: {error}") from None
    if rule.groups != 1:
        raise UsageError(f"pyskl: option subject_pattern has {rule.groups} groups, wanted one: the subject")
    matches = {item.name: rule.search(item.name) for item in found}
    return {name: match[1] or "" if match is not None else "" for name, match in matches.items()}


def _split_of(splits: Mapping[str, list[str]], scheme: str) -> dict[str, str]:
    """Return frame_dir -> part of the splits ``train``, ``val`` ..., or ``<scheme>_train`` ...

    Raises:
        UsageError: a clip is in two parts, or there is no such split.
    """
    prefix = f"{scheme}_" if scheme else ""
    parts = {name.removeprefix(prefix): ids for name, ids in splits.items() if name.startswith(prefix)}
    if not parts:
        raise UsageError(
            f"pyskl: no split begins with '{prefix}' (there are: "
            f"{', '.join(_shown(name) for name in list(splits)[:8]) or 'none'})"
        )
    part_of: dict[str, str] = {}
    for part, ids in parts.items():
        for name in ids:
            if part_of.setdefault(name, part) != part:
                raise UsageError(
                    f"pyskl: {_shown(name)} is in the splits {_shown(prefix + part_of[name])} and "
                    f"{_shown(prefix + part)}; {_advice(splits)}"
                )
    return part_of


def _advice(splits: Mapping[str, list[str]]) -> str:
    """Return what to do about splits of several schemes."""
    kinds = sorted({_shown(name.rpartition("_")[0]) for name in splits if name.rpartition("_")[0]})
    if kinds:
        return f"choose one kind with --option scheme=NAME (such as {', '.join(kinds[:3])})"
    return (
        "their names do not begin with a scheme's, such as xsub_train: leave table_out out, and write the "
        "csv of 'mg data split --table' from those of one scheme"
    )


def _write_table(
    path: Path, found: Sequence[_Annotation], subjects: Mapping[str, str], parts: Mapping[str, str]
) -> None:
    from mg_data.store import publish_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("clip_id", "video", "subject", "split"))
    for item in found:
        writer.writerow((item.name, item.name, subjects[item.name], parts.get(item.name, "")))
    publish_text(path, text.getvalue())


def import_pyskl(
    source: Path,
    *,
    layout: str = "",
    persons: int = 0,
    classes: str = "",
    subject_pattern: str = "",
    scheme: str = "",
    table_out: str = "",
) -> DatasetImport:
    """Read an annotation pickle; keypoints leave the file clip by clip.

    A clip's id, and its video's, is ``frame_dir``. Coordinates stay pixels of the clip's own ``img_shape``;
    the store's image size is that of most clips. Confidence is ``keypoint_score``, or 1 where a point is not
    0, 0.

    Args:
        source: the pickle.
        layout: by default the one that fits the number of points and coordinates (:data:`LAYOUTS`).
        persons: P; by default the most people of a clip. Further people are cut off, missing ones are 0.
        classes: text file with one class name a line.
        subject_pattern: regular expression with one group that finds the subject in a frame_dir; by default
            ``P001`` in names such as ``S001C001P001R001A001``. Nested repetitions such as ``(a+)+`` may take
            for ever on a name that does not fit.
        scheme: splits are ``<scheme>_train``, ``<scheme>_val``; "" = ``train``, ``val``.
        table_out: csv to write with clip, subject and split, for ``mg data split --table``.

    Raises:
        UsageError: an option's value does not fit the file.
        DataError: no pickle, or one with anything else in it than described; no usable annotation.
    """
    source = Path(source)
    check_whole("pyskl", "persons", persons, 0, MAX_PERSONS)
    if not source.is_file():
        raise DataError(f"{source}: is no file (wanted an annotation pickle)")
    names_file, table = choose_file("pyskl", "classes", classes), choose_file("pyskl", "table_out", table_out)
    for read in (source, names_file):
        if table is not None and read is not None and table.resolve() == read.resolve():
            raise UsageError(f"pyskl: option table_out is {read}, which is read: name another file")
    entries, splits = _entries(source)
    # What cannot be used is told when its turn comes, so that --keep-going decides about it.
    checked: list[tuple[str, _Annotation | str]] = []
    names: set[str] = set()
    for number, entry in enumerate(entries):
        try:
            item = _check(entry)
            if item.name in names:
                raise _Unusable("an earlier annotation has the same frame_dir")
            names.add(item.name)
            checked.append((item.name, item))
        except _Unusable as error:
            checked.append((f"annotation {number}", str(error)))
    found = [item for _, item in checked if isinstance(item, _Annotation)]
    if not found:
        raise DataError(
            f"{source}: not one of {len(entries)} annotations can be used, the first: {checked[0][1]}"
        )
    _check_memory(source, found)
    chosen, points, coordinates = _choose_layout(source, found, str(layout))
    people = persons or max(item.points.shape[0] for item in found)
    if people > MAX_PERSONS:
        raise DataError(
            f"{source}: a clip has {people} people; choose how many to keep with --option persons=N"
        )
    class_names = _classes(source, found, names_file)
    subjects = _subjects(found, str(subject_pattern))
    notes = _notes(splits, found, people, table)
    if table is not None:
        _write_table(table, found, subjects, _split_of(splits, str(scheme)))
    sizes = Counter(item.image_size for item in found)

    def clips() -> Iterator[RawClip]:
        for what, item in checked:
            try:
                if isinstance(item, str):
                    raise _Unusable(item)
                if item.points.shape[2:] != (points, coordinates):
                    raise _Unusable(
                        f"its keypoint has shape {item.points.shape}, wanted (M, T, {points}, {coordinates})"
                    )
                joints = _joints(item, people)
            except _Unusable as error:
                notes.append(Dropped(what=what, why=str(error)))
                continue
            yield RawClip(
                clip_id=item.name,
                subject_id=subjects[item.name],
                video_id=item.name,
                start=0,
                stop=len(joints),
                joints=joints,
                label=item.label,
            )

    return DatasetImport(
        class_names=class_names,
        vocabulary=f"pyskl-{len(class_names)}",
        layout=chosen,
        columns=("x", "y", "z") if coordinates == 3 else ("x", "y", "confidence"),
        image_size=sizes.most_common(1)[0][0],
        clips=clips(),
        total=len(found),
        dropped=notes,
    )


def _check_memory(source: Path, found: Sequence[_Annotation]) -> None:
    """Raise if annotations share arrays so that together they are more than the file."""
    used = sum(item.points.nbytes + (item.scores.nbytes if item.scores else 0) for item in found)
    size = source.stat().st_size
    if used > size:
        raise DataError(
            f"{source}: its annotations claim {used} bytes of keypoints in a file of {size} bytes"
        )


def _notes(
    splits: Mapping[str, list[str]], found: Sequence[_Annotation], persons: int, table: Path | None
) -> list[Dropped]:
    """Return what the user should know of what is not taken over."""
    notes: list[Dropped] = []
    names = {item.name for item in found}
    for name, ids in splits.items() if table is None else ():
        why = "clips hold no split: --option table_out=CSV writes one for 'mg data split --table'"
        notes.append(Dropped(what=f"split {_shown(name)} of {len(ids)} clips", why=why))
    listed = {name for ids in splits.values() for name in ids}
    if listed - names:
        why = f"there is no such annotation, the first is {_shown(min(listed - names))}"
        notes.append(Dropped(what=f"{len(listed - names)} clip(s) of the splits", why=why))
    crowds = [item for item in found if item.points.shape[0] > persons]
    if crowds:
        why = f"{len(crowds)} clip(s) have more than {persons} people, the first is '{crowds[0].name}'"
        notes.append(Dropped(what="further people", why=why))
    sizes = Counter(item.image_size for item in found)
    if len(sizes) > 1:
        (width, height), count = sizes.most_common(1)[0]
        why = f"they differ from {width}x{height}; their coordinates stay pixels of their own images"
        notes.append(Dropped(what=f"the image size of {len(found) - count} clip(s)", why=why, note=True))
    return notes
