"""The people in OpenPose's JSON 1.x files, as ``--write_json`` makes them.

``people[]`` with ``pose_keypoints_2d`` (75 numbers: BODY_25; 54: COCO-18, whose points are put into
BODY_25), ``face_keypoints_2d`` (210) and ``hand_left/right_keypoints_2d`` (63). Files of version 1.1 and
older name them without ``_2d``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from struct import Struct
from struct import error as StructError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.datasets.openpose.files import RecordingFiles, shown

# One frame of a crowd has some 100 kB; a file beyond this is none.
_MAX_BYTES = 16 * 2**20
_USUAL_BYTES = 2**16
# A pipe that has such a name reads as empty instead of blocking.
_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_BODY, _COCO = 75, 54
#: part -> (names of its list, how many numbers it has)
_PARTS = {
    "body": (("pose_keypoints_2d", "pose_keypoints"), _BODY),
    "face": (("face_keypoints_2d", "face_keypoints"), 210),
    "left hand": (("hand_left_keypoints_2d", "hand_left_keypoints"), 63),
    "right hand": (("hand_right_keypoints_2d", "hand_right_keypoints"), 63),
}
_ZEROS = {part: [0.0] * count for part, (_, count) in _PARTS.items()}
_MODELS = {_BODY: "BODY_25", _COCO: "COCO-18"}


@dataclass(frozen=True)
class People:
    """All people of a recording.

    Args:
        points: (D, V, 3) float32. counts: people of each file. ids: OpenPose's numbers, -1 unknown.
        coco: whether the body was COCO-18.
    """

    points: NDArray[np.float32]
    counts: list[int]
    ids: list[int]
    coco: bool


def read_people(recording: RecordingFiles, parts: tuple[str, ...] = tuple(_PARTS)) -> People:
    """Read all files of a recording.

    Raises:
        DataError: the first file that cannot be used, by name.
    """
    reader = _Reader(parts)
    counts: list[int] = []
    for name in recording.files:
        try:
            counts.append(reader.read(f"{recording.folder}{os.sep}{name}"))
        except _Unusable as error:
            raise DataError(f"{shown(recording.folder / name)}: {error}") from None
    points = np.frombuffer(b"".join(reader.packed), np.float32).reshape(-1, reader.numbers // 3, 3)
    if not np.isfinite(points).all():
        person = int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0])
        file = int(np.searchsorted(np.cumsum(counts), person, side="right"))
        path = shown(recording.folder / recording.files[file])
        raise DataError(f"{path}: holds a number that is not finite, wanted pixels and confidences")
    return People(points, counts, reader.ids, reader.body == _COCO)


class _Unusable(Exception):
    """What is wrong with a file; its path is added by the caller."""


def _read_bytes(path: str) -> bytes:
    """Return a small file's content; with half the system calls of ``open``, as there are so many files."""
    handle = os.open(path, _OPEN)
    try:
        data = os.read(handle, _USUAL_BYTES)
        while data and (more := os.read(handle, _USUAL_BYTES)):
            data += more
            if len(data) > _MAX_BYTES:
                raise _Unusable(f"has more than {_MAX_BYTES >> 20} MiB, wanted the people of one frame")
    finally:
        os.close(handle)
    return data


class _Reader:
    """Reads file after file; a person's numbers go from the parsed lists into packed float32 in one call."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        import orjson

        self._loads = orjson.loads
        self._damage = orjson.JSONDecodeError
        self._parts = [(part, *_PARTS[part]) for part in parts]
        self.numbers = sum(count for _, _, count in self._parts)
        self._pack = Struct(f"{self.numbers}f").pack
        self.packed: list[bytes] = []
        self.ids: list[int] = []
        self.body = 0

    def read(self, path: str) -> int:
        """Read one file and return how many people are in it."""
        try:
            data = _read_bytes(path)
        except OSError as error:
            raise _Unusable(f"cannot be read: {error.strerror or error}") from None
        if not data:
            raise _Unusable("is empty, wanted OpenPose JSON")
        try:
            document = self._loads(data)
        except self._damage as error:
            raise _Unusable(f"is no valid JSON (cut off or damaged?): {error}") from None
        people = document.get("people") if type(document) is dict else None
        if type(people) is not list:
            found = "has no list 'people'" if people is None else f"has {_kind(people)} as 'people'"
            raise _Unusable(f"{found}, wanted OpenPose JSON with a list of people")
        count = 0
        for number, person in enumerate(people):
            count += self._person(number, person)
        return count

    def _person(self, number: int, person: Any) -> int:
        """Add a person; return 0 for one without any number."""
        if type(person) is not dict:
            raise _Unusable(f"person {number} is {_kind(person)}, wanted keypoint lists by name")
        lists = []
        empty = known = 0
        for part, names, count in self._parts:
            values = person.get(names[0])
            if values is None and names[0] not in person:
                values = person.get(names[1], [] if names[1] not in person else None)
                known += names[1] in person
            else:
                known += 1
            if type(values) is not list:
                raise _Unusable(f"person {number}: the {part} is {_kind(values)}, wanted a list of numbers")
            if not values:
                empty += 1
                values = _ZEROS[part]
            elif part == "body":
                values = self._body(number, values)
            elif len(values) != count:
                raise _Unusable(
                    f"person {number}: the {part} has {len(values)} numbers, wanted {count} or none"
                )
            lists.append(values)
        if not known:
            raise _Unusable(f"person {number} has no list '{self._parts[0][1][0]}' nor any other known one")
        if empty == len(lists):
            return 0
        try:
            if len(lists) == 4:  # several stars in one call copy least
                body, face, left, right = lists
                self.packed.append(self._pack(*body, *face, *left, *right))
            else:
                self.packed.append(self._pack(*chain.from_iterable(lists)))
        except StructError:
            raise _Unusable(self._wrong_value(number, lists)) from None
        self.ids.append(_person_id(person.get("person_id")))
        return 1

    def _body(self, number: int, values: list[Any]) -> list[Any]:
        """Return the body in BODY_25; all bodies of a recording must be of one model."""
        count = len(values)
        if count not in _MODELS:
            raise _Unusable(
                f"person {number}: the body has {count} numbers, wanted 75 (BODY_25) or 54 (COCO-18)"
            )
        if self.body not in (0, count):
            raise _Unusable(
                f"person {number}: the body is of model {_MODELS[count]}, but the people before are of "
                f"{_MODELS[self.body]}; keep recordings of two models apart"
            )
        self.body = count
        if count == _BODY:
            return values
        # COCO-18 is BODY_25 without the middle of the hips (8) and without feet (19 to 24).
        return [*values[:24], 0.0, 0.0, 0.0, *values[24:], *([0.0] * 18)]

    def _wrong_value(self, number: int, lists: list[list[Any]]) -> str:
        """Describe the first value that is no number."""
        for (part, _, _), values in zip(self._parts, lists):
            for value in values:
                try:
                    Struct("f").pack(value)
                except StructError:
                    return f"person {number}: the {part} holds {_kind(value)}, wanted numbers only"
        raise AssertionError


def _kind(value: Any) -> str:
    """Return what a JSON value is, for messages."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text '{shown(value[:20])}'"
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return f"the number {value!s:.20}" if not isinstance(value, bool) else str(value).lower()


def _person_id(value: Any) -> int:
    """Return OpenPose's number of a person, which may be a number or a list of one; -1 if unknown."""
    if type(value) is list and value:
        value = value[0]
    return value if type(value) is int and 0 <= value < 2**31 else -1


def by_frame(recording: RecordingFiles, people: People) -> tuple[list[NDArray[np.float32]], list[list[int]]]:
    """Return people and their ids for each frame from the first to the last; frames without a file are
    empty.
    """
    first = recording.numbers[0]
    length = recording.numbers[-1] - first + 1
    frames = [people.points[:0]] * length
    ids: list[list[int]] = [[] for _ in range(length)]
    for number, (begin, end) in zip(recording.numbers, _spans(people.counts)):
        frames[number - first] = people.points[begin:end]
        ids[number - first] = people.ids[begin:end]
    return frames, ids


def _spans(counts: list[int]) -> Iterator[tuple[int, int]]:
    begin = 0
    for count in counts:
        yield begin, begin + count
        begin += count
