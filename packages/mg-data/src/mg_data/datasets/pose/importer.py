"""``.pose`` files (pose-format): OpenPose and MediaPipe Holistic keypoints of whole recordings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import ClipSource, DataError, DatasetImport, Dropped, RawClip, UsageError
from mg_data.datasets.clips.facts import ClipFacts, name_files, read_clip_facts
from mg_data.datasets.options import check_whole
from mg_data.datasets.pose.header import Component, PoseClaims, read_claims
from mg_data.prepare.extras import require

_BODY_25 = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip"),
    *("RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe"),
    *("LHeel", "RBigToe", "RSmallToe", "RHeel"),
)
_SIDES = ("LEFT", "RIGHT")
_POSE_33 = (
    "NOSE",
    *(f"{side}_EYE{part}" for side in _SIDES for part in ("_INNER", "", "_OUTER")),
    *("LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT"),
    *(
        f"{side}_{part}"
        for part in ("SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB")
        for side in _SIDES
    ),
    *(f"{side}_{part}" for part in ("HIP", "KNEE", "ANKLE", "HEEL", "FOOT_INDEX") for side in _SIDES),
)
_HAND_21 = (
    "WRIST",
    *(f"THUMB_{part}" for part in ("CMC", "MCP", "IP", "TIP")),
    *(
        f"{finger}_{part}"
        for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
        for part in ("MCP", "PIP", "DIP", "TIP")
    ),
)

#: layout -> its components in order: the points' names, or their number where writers name them differently
LAYOUT_COMPONENTS: dict[str, dict[str, tuple[str, ...] | int]] = {
    "openpose-137": {
        "pose_keypoints_2d": _BODY_25,
        "face_keypoints_2d": 70,
        "hand_left_keypoints_2d": 21,
        "hand_right_keypoints_2d": 21,
    },
    "body-25": {"pose_keypoints_2d": _BODY_25},
    "mediapipe-holistic": {
        "POSE_LANDMARKS": _POSE_33,
        "FACE_LANDMARKS": tuple(str(number) for number in range(468)),
        "LEFT_HAND_LANDMARKS": _HAND_21,
        "RIGHT_HAND_LANDMARKS": _HAND_21,
    },
}
#: components that no layout keeps; metres about the hip, which no image holds
PASSED_OVER = ("POSE_WORLD_LANDMARKS",)


@dataclass(frozen=True)
class PoseFacts:
    """What a file holds, without its frames.

    Args:
        columns: (V,) for each keypoint of the layout its place among the file's points, -1 = not there.
        lacking: what is not there, in words, "" if all is.
        passed_over: components and points that the layout has no place for.
    """

    layout: str
    image_size: tuple[int, int]
    frames: int
    people: int
    fps: float
    columns: NDArray[np.int64]
    lacking: str
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class Pose:
    """Keypoints (T, P, V, 3): x, y in pixels and confidence; 0, 0, 0 = not there."""

    joints: NDArray[np.float32]
    facts: PoseFacts


def _choose_layout(path: Path, components: tuple[Component, ...], layout: str) -> str:
    names = [component.name for component in components]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: holds two components of one name ({', '.join(names)})")
    known = [name for name in names if name not in PASSED_OVER]
    if layout:
        return layout
    if known == ["pose_keypoints_2d"]:
        return "body-25"
    for name in ("openpose-137", "mediapipe-holistic"):
        if set(known) <= set(LAYOUT_COMPONENTS[name]) and known:
            return name
    wanted = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in LAYOUT_COMPONENTS.items())
    raise DataError(f"{path}: holds the components {', '.join(names)}, which fit no layout ({wanted})")


def _match(path: Path, claims: PoseClaims, layout: str) -> PoseFacts:
    """Find each keypoint of the layout among the file's points, by name where names are settled."""
    if layout and layout not in tuple(LAYOUT_COMPONENTS):  # a list in its place cannot be looked up
        raise UsageError(f"pose: option layout is '{layout}', wanted one of: {', '.join(LAYOUT_COMPONENTS)}")
    name = _choose_layout(path, claims.components, layout)
    offsets: dict[str, int] = {}
    count = 0
    for component in claims.components:
        offsets[component.name] = count
        count += len(component.points)
    by_name = {component.name: component for component in claims.components}
    columns: list[int] = []
    lacking: list[str] = []
    passed_over = [component for component in by_name if component not in LAYOUT_COMPONENTS[name]]
    for part, wanted in LAYOUT_COMPONENTS[name].items():
        size = wanted if isinstance(wanted, int) else len(wanted)
        points = by_name[part].points if part in by_name else ()
        if isinstance(wanted, int):
            found = list(range(size)) if len(points) == size else [-1] * size
        else:
            place = {point: index for index, point in enumerate(points)}
            found = [place.get(point, -1) for point in wanted]
        held = size - found.count(-1)
        if held < size:
            lacking.append(f"{held} of the {size} points of {part}")
        if len(points) > held:
            passed_over.append(f"{len(points) - held} point(s) of {part}")
        columns += [index if index < 0 else offsets[part] + index for index in found]
    if max(columns) < 0:
        raise DataError(f"{path}: holds no point of layout {name}")
    return PoseFacts(
        layout=name,
        image_size=claims.size,
        frames=claims.frames,
        people=claims.people,
        fps=claims.fps,
        columns=np.asarray(columns, np.int64),
        lacking=" and ".join(lacking),
        passed_over=tuple(passed_over),
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def open_pose(path: Path, layout: str = "") -> PoseFacts:
    """Return what a file holds, without reading its frames.

    Args:
        layout: one of LAYOUT_COMPONENTS; by default the one that the components fit.

    Raises:
        DataError: it is damaged, claims more than it holds, or fits no layout. UsageError: no such layout.
    """
    return _match(path, read_claims(path, _content(path)), layout)


def open_first(paths: Iterable[Path], layout: str = "") -> tuple[Path, PoseFacts]:
    """Return the first file that can be read, and what it holds.

    Raises:
        DataError: there is none; what is wrong with the first. UsageError: no such layout.
    """
    problem: DataError | None = None
    for path in paths:
        try:
            return path, open_pose(path, layout)
        except DataError as error:
            problem = problem or error
    assert problem is not None  # there are files
    raise problem


def read_pose(path: Path, *, layout: str = "", partial_points: bool = False, persons: int = 1) -> Pose:
    """Read a whole file.

    A point is 0, 0, 0 where it is masked, that is where its confidence is 0; depth (Z) is left out. Of more
    people than asked for those are kept whose points are seen most, the one seen most first.

    Args:
        layout: as for :func:`open_pose`.
        partial_points: accept a file that lacks points of the layout; they are 0, 0, 0.
        persons: P of the result; people that are not there are 0, 0, 0.

    Raises:
        DataError: as for :func:`open_pose`; points are lacking; a value is infinite.
    """
    from pose_format import Pose as PoseFile

    data = _content(path)
    facts = _match(path, read_claims(path, data), layout)
    if facts.lacking and not partial_points:
        raise DataError(
            f"{path}: has only {facts.lacking}, wanted all of layout {facts.layout} "
            "(--option partial_points=true leaves the others 0)"
        )
    try:
        body = PoseFile.read(data).body
        values = np.ma.getdata(body.data)[..., :2]
        confidence = np.ma.getdata(body.confidence)
    except Exception as error:  # the library lets numpy's and struct's errors through
        raise DataError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    if values.ndim != 4 or not len(values):
        raise DataError(f"{path}: holds no frames")
    held = facts.columns >= 0
    joints = np.zeros((*values.shape[:2], len(held), 3), np.float32)
    joints[:, :, held, :2] = values[:, :, facts.columns[held]]
    joints[:, :, held, 2] = confidence[:, :, facts.columns[held]]
    joints[~(joints[..., 2] > 0) | np.isnan(joints).any(axis=-1)] = 0.0
    if not np.isfinite(joints).all():
        raise DataError(f"{path}: holds infinite values")
    return Pose(_keep_persons(joints, persons), facts)


def _keep_persons(joints: NDArray[np.float32], persons: int) -> NDArray[np.float32]:
    """Return (T, persons, V, 3), the person whose points are seen most first; ties keep the file's order."""
    seen = joints[..., 2].sum(axis=(0, 2), dtype=np.float64)
    kept = joints[:, np.argsort(-seen, kind="stable")[:persons]]
    missing = persons - kept.shape[1]
    return np.pad(kept, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else np.ascontiguousarray(kept)


def _read_file(
    path: Path, clip_id: str, facts: ClipFacts, image_size: tuple[int, int], **options: Any
) -> tuple[list[RawClip], list[Dropped]]:
    """Read one recording; a unit of :func:`import_pose`. ``image_size`` is what the store tells of all."""
    pose = read_pose(path, **options)
    joints = pose.joints
    notes = []
    if pose.facts.image_size != image_size:
        (width, height), others = pose.facts.image_size, f"{image_size[0]}x{image_size[1]}"
        why = (
            f"its image is {width}x{height}, that of the first {others}; its coordinates stay its own pixels"
        )
        notes.append(Dropped(what=clip_id, why=why, note=True))
    clip = RawClip(
        clip_id=clip_id,
        subject_id=facts.subject,
        video_id=clip_id,
        start=0,
        stop=len(joints),
        joints=joints,
        label=facts.label,
    )
    return [clip], notes


def import_pose(
    source: Path,
    *,
    layout: str = "",
    persons: int = 1,
    partial_points: bool = False,
    clips: str = "",
    classes: str = "",
) -> DatasetImport:
    """Read a folder of ``.pose`` files, one clip each; its id is the path without ``.pose``.

    For clips that are spans of longer recordings use the data set ``clips`` with ``keypoints`` = this folder.

    Args:
        source: the folder; files may lie deeper.
        layout, persons, partial_points: as for :func:`read_pose`.
        clips: csv with labels and subjects (:func:`read_clip_table`), joined by clip id.
        classes: text file with one class name a line.

    Raises:
        UsageError: an option's value is unknown, or pose-format is not installed.
        DataError: no file, none that can be read, or the csv cannot be used.
    """
    require("pose", "pose_format", extra="pose")
    check_whole("pose", "persons", persons, 1, 16)
    source = Path(source)
    paths = sorted(source.rglob("*.pose")) if source.is_dir() else []
    if not paths:
        raise DataError(f"{source}: holds no .pose file (wanted a folder of them)")
    files, unnamed = name_files(source, paths)
    table = read_clip_facts("pose", clips, classes, list(files))
    path, first = open_first(files.values(), layout)
    notes = [*unnamed, *table.notes]
    notes += [
        Dropped(what=f"{what} of {path.name}", why=f"{first.layout} has no place for it")
        for what in first.passed_over
    ]
    return DatasetImport(
        class_names=table.class_names,
        vocabulary=table.vocabulary,
        layout=first.layout,
        columns=("x", "y", "confidence"),
        image_size=first.image_size,
        sources=[
            ClipSource(
                name=clip_id,
                read=partial(
                    _read_file,
                    path,
                    clip_id,
                    table.of(clip_id),
                    first.image_size,
                    layout=first.layout,
                    partial_points=bool(partial_points),
                    persons=persons,
                ),
                files=(path, *table.files),
            )
            for clip_id, path in files.items()
        ],
        dropped=notes,
    )
