"""Skeletons in the manner of NTU RGB+D: ``.skeleton`` text, or one file of joints a clip in any layout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.facts import ClipFactsTable, name_files, read_clip_facts
from mg_data.datasets.clips.table import MAX_UNNAMED_CLASSES
from mg_data.datasets.ntu.joint_files import ENDINGS, read_joint_file, read_label
from mg_data.datasets.ntu.skeleton import keep_persons, read_skeleton
from mg_data.datasets.options import check_whole

#: number of keypoints -> layout, where it is not stated
LAYOUTS = {20: "kinect-20", 25: "ntu-25"}
# Colour frames of Kinect v2.
IMAGE_SIZE = (1920, 1080)
MAX_PERSONS = 16
_NAME = re.compile(r"S\d{3}C\d{3}(P\d{3})R\d{3}A(\d{3})")
_NTU_CLASSES = (60, 120)
# Files that may be damaged before one that tells the number of keypoints.
_LOOKED_AT = 20


def _files(source: Path) -> tuple[dict[str, Path], list[Dropped]]:
    """Return clip id -> file for the kind of file that is there, and what was passed over."""
    found: dict[str, list[Path]] = {ending: [] for ending in (".skeleton", *ENDINGS)}
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        if path.suffix in found and path.is_file():
            found[path.suffix].append(path)
    kind = next((ending for ending, paths in found.items() if paths), "")
    if not kind:
        raise DataError(f"{source}: holds no clip (wanted a folder of {', '.join(found)} files)")
    dropped = [
        Dropped(what=f"{len(paths)} {ending} file(s)", why=f"the {kind} files are the clips")
        for ending, paths in found.items()
        if paths and ending != kind
    ]
    files, unnamed = name_files(source, found[kind])
    return files, [*dropped, *unnamed]


def _read_clip(
    path: Path,
    clip_id: str,
    *,
    points: int,
    persons: int,
    label: int | None,
    subject: str | None,
    classes: Mapping[str | int, int],
) -> tuple[list[RawClip], list[Dropped]]:
    """Read one file, a unit of :func:`import_ntu`; label and subject are None where the file tells."""
    if path.suffix == ".skeleton":
        joints = read_skeleton(path)
    else:
        content = read_joint_file(path, points)
        assert content.joints is not None
        joints = content.joints
        if label is None and content.label is not None:
            if content.label not in classes:
                raise DataError(f"{path}: its label '{content.label}' is none of the {len(classes)} classes")
            label = classes[content.label]
        subject = content.subject if subject is None else subject
    if not joints.any():
        raise DataError(f"{path}: nobody is in any of its {len(joints)} frames")
    clip = RawClip(
        clip_id=clip_id,
        subject_id=subject or "",
        video_id=clip_id,
        start=0,
        stop=len(joints),
        joints=keep_persons(joints, persons),
        label=-1 if label is None else label,
    )
    return [clip], []


def _labels_in_files(files: Mapping[str, Path]) -> tuple[tuple[str, ...], dict[str | int, int]]:
    """Return class names, and label as written -> class, from the labels in all files."""
    labels: dict[int | str, Path] = {}
    for path in files.values():
        try:
            label = read_label(path)
        except DataError:
            continue  # said again, as that file's error, when its turn comes
        if label is not None:
            labels.setdefault(label, path)
    names = sorted(label for label in labels if isinstance(label, str))
    numbers = [label for label in labels if isinstance(label, int)]
    if names and numbers:
        raise DataError(
            f"{labels[numbers[0]]}: its label is a number, but that of {labels[names[0]]} is a name; give "
            "the list of classes (--option classes=FILE)"
        )
    highest = max(numbers, default=-1)
    if highest >= MAX_UNNAMED_CLASSES:
        raise DataError(f"{labels[highest]}: its label {highest} is no class number")
    if names:
        return tuple(names), {name: number for number, name in enumerate(names)}
    return tuple(f"class {n}" for n in range(highest + 1)) or ("unknown",), {n: n for n in range(highest + 1)}


def _find_classes(
    files: Mapping[str, Path], table: ClipFactsTable, matches: Mapping[str, re.Match[str] | None], named: bool
) -> tuple[tuple[str, ...], str, dict[str | int, int]]:
    """Return class names, vocabulary, and label as written in a file -> class."""
    if named or table.facts:
        names = table.class_names
        return (
            names,
            table.vocabulary.replace("ntu", "skeleton"),
            {
                **{name: number for number, name in enumerate(names)},
                **{number: number for number in range(len(names))},
            },
        )
    numbers = [int(match[2]) for match in matches.values() if match is not None]
    if numbers:
        count = next((size for size in _NTU_CLASSES if max(numbers) <= size), max(numbers))
        return tuple(f"A{number:03d}" for number in range(1, count + 1)), f"ntu-{count}", {}
    names, classes = _labels_in_files(files)
    return names, f"skeleton-{len(names)}", classes


def _choose_layout(files: Mapping[str, Path], layout: str) -> tuple[str, int, tuple[str, str, str]]:
    """Return layout, V and columns."""
    from mg_data.keypoints.layouts import find_layout

    first = next(iter(files.values()))
    if first.suffix == ".skeleton" and layout not in ("", "ntu-25"):
        raise UsageError(f"ntu: option layout is '{layout}', but .skeleton files are ntu-25")
    chosen = layout or (
        LAYOUTS[25] if first.suffix == ".skeleton" else _guess(list(files.values())[:_LOOKED_AT])
    )
    spec = find_layout(chosen)
    return chosen, len(spec.names), ("x", "y", "z") if spec.dims == "xyz" else ("x", "y", "confidence")


def _guess(paths: Sequence[Path]) -> str:
    """Return the layout that the number of keypoints tells, in the first file that has one of these."""
    why = ""
    for path in paths:
        for points, layout in LAYOUTS.items():
            try:
                read_joint_file(path, points)
                return layout
            except DataError as error:
                problem = str(error)
        why = why or problem
    raise DataError(
        f"{why}; of {', '.join(f'{points} points ({name})' for points, name in LAYOUTS.items())} it is "
        "neither: name the layout with --option layout=NAME"
    )


def _label_of(
    clip_id: str, table: ClipFactsTable, match: re.Match[str] | None, count: int, source: Path
) -> int | None:
    """Return the class that table or name tell, None where the file may tell."""
    if clip_id in table.facts:
        return table.facts[clip_id].label
    if match is None or table.facts:
        return None
    number = int(match[2])
    if not 1 <= number <= count:
        raise DataError(f"{source}: clip '{clip_id}' is of class A{match[2]}, there are {count} classes")
    return number - 1


def import_ntu(
    source: Path, *, layout: str = "", persons: int = 1, clips: str = "", classes: str = ""
) -> DatasetImport:
    """Read a folder with one file a clip; a clip's id is the path without its ending.

    The first kind that is there is read, of ``.skeleton`` (:func:`read_skeleton`), ``.json``, ``.npz``,
    ``.npy`` and ``.txt`` (:func:`read_joint_file`). Label and subject come from the table; else from names
    such as ``S001C002P003R001A050`` (subject ``P003``, class 49); else from the file. Without a list of
    classes and without such names all files are read twice: the classes are the labels in them.

    Args:
        source: the folder; files may lie deeper.
        layout: keypoint layout of the joints; by default kinect-20 or ntu-25 by their number.
        persons: P, how many bodies are kept, in the order of :func:`motion_order`.
        clips: csv with labels and subjects (:func:`read_clip_table`), joined by clip id.
        classes: text file with one class name a line.

    Raises:
        UsageError: an option's value is unknown. PluginError: no such layout.
        DataError: no file, a class out of range, or a table that cannot be used.
    """
    check_whole("ntu", "persons", persons, 1, MAX_PERSONS)
    source = Path(source)
    files, dropped = _files(source)
    chosen, points, columns = _choose_layout(files, str(layout))
    ids: Sequence[str] = list(files)
    table = read_clip_facts("ntu", clips, classes, ids)
    matches = {clip_id: _NAME.fullmatch(Path(clip_id).name) for clip_id in ids}
    class_names, vocabulary, written = _find_classes(files, table, matches, bool(classes))
    sources = []
    for clip_id, path in files.items():
        match = matches[clip_id]
        subject = table.of(clip_id).subject or (match[1] if match is not None else None)
        read = partial(
            _read_clip,
            path,
            clip_id,
            points=points,
            persons=persons,
            label=_label_of(clip_id, table, match, len(class_names), source),
            subject=subject,
            classes=written,
        )
        sources.append(ClipSource(name=clip_id, read=read, files=(path, *table.files)))
    return DatasetImport(
        class_names=class_names,
        vocabulary=vocabulary,
        layout=chosen,
        columns=columns,
        image_size=IMAGE_SIZE if chosen == "ntu-25" else (0, 0),
        sources=sources,
        dropped=[*dropped, *table.notes],
    )
