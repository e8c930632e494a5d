"""``.skeleton`` files of NTU RGB+D: the text that Kinect v2 recordings of several bodies are kept in.

The number of frames; for each frame the number of bodies; for each body a line of ten values that begins with
its id, the number of joints (25), and a line for each joint whose first three numbers are x, y, z in metres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError
from mg_data.datasets.clips.table import read_text_file

NUM_JOINTS = 25
_BODY_VALUES = 10
_JOINT_VALUES = (11, 12)
# A body seen in fewer frames, or wider than this share of its height in most of them, is furniture.
_FEW_FRAMES = 11
_WIDE = 0.8
# Memory that a file may take for frames without a body: one is a line of two bytes.
_FREE_BYTES = 64 << 20
_GROWTH = 20


class _Lines:
    """The lines of a file that hold anything, with their numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = read_text_file(path, "the skeleton").splitlines()
        self.lines = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
        self.at = 0

    def next(self, what: str) -> list[str]:
        if self.at == len(self.lines):
            raise DataError(f"{self.path}: ends where {what} is wanted: it is empty or cut off")
        self.at += 1
        return self.lines[self.at - 1][1]

    def wrong(self, why: str) -> DataError:
        return DataError(f"{self.path}, line {self.lines[self.at - 1][0]}: {why}")

    def count(self, what: str) -> int:
        """Return a number that stands alone in its line."""
        values = self.next(what)
        if len(values) != 1 or not (values[0].isascii() and values[0].isdigit()) or len(values[0]) > 9:
            raise self.wrong(f"'{' '.join(values)[:40]}' is not {what}")
        return int(values[0])

    def left(self) -> int:
        return len(self.lines) - self.at


def read_skeleton(path: Path) -> NDArray[np.float32]:
    """Read all bodies of a file.

    Returns:
        (T, P, 25, 3): x, y, z in metres; 0, 0, 0 in frames where a body is not there. P may be 0.

    Raises:
        DataError: no such text, cut off, or values that are no finite numbers; the line is named.
    """
    lines = _Lines(path)
    frames = lines.count("the number of frames")
    if frames > lines.left():
        raise lines.wrong(f"claims {frames} frames, {lines.left()} lines follow: it is cut off or damaged")
    rows: list[list[str]] = []
    places: list[tuple[int, int]] = []
    bodies: dict[str, int] = {}
    for frame in range(frames):
        for _ in range(lines.count(f"the number of bodies of frame {frame}")):
            values = lines.next("a body")
            if len(values) != _BODY_VALUES:
                raise lines.wrong(f"has {len(values)} values, wanted the {_BODY_VALUES} of a body")
            places.append((frame, bodies.setdefault(values[0], len(bodies))))
            joints = lines.count("the number of joints")
            if joints != NUM_JOINTS:
                raise lines.wrong(f"a body has {joints} joints, wanted {NUM_JOINTS}")
            for _ in range(NUM_JOINTS):
                values = lines.next("a joint")
                if len(values) not in _JOINT_VALUES:
                    raise lines.wrong(f"has {len(values)} values, wanted the 11 or 12 of a joint")
                rows.append(values[:3])
    if lines.left():
        lines.next("the end")
        raise lines.wrong(f"stands after the last of {frames} frames")
    if not frames:
        raise DataError(f"{path}: holds no frame")
    # Bodies that come and go get a new id each time; as many as lines would make a huge array of zeros.
    kept = _most_seen(places, len(bodies))
    result = np.zeros((frames, len(kept), NUM_JOINTS, 3), np.float32)  # not touched before it is filled
    if result.nbytes > _FREE_BYTES + _GROWTH * path.stat().st_size:
        raise DataError(f"{path}: claims {frames} frames of {len(kept)} bodies in far too few lines")
    values_of = _numbers(path, rows).reshape(-1, NUM_JOINTS, 3)
    for (frame, body), joints_of in zip(places, values_of, strict=True):
        if body in kept:
            result[frame, kept[body]] = joints_of
    return result


def _most_seen(places: list[tuple[int, int]], bodies: int, most: int = 16) -> dict[int, int]:
    """Return body -> its column, for the bodies seen in most frames."""
    seen = np.bincount([body for _, body in places], minlength=bodies) if places else np.zeros(0, np.int64)
    chosen = np.sort(np.argsort(-seen, kind="stable")[:most])
    return {int(body): column for column, body in enumerate(chosen)}


def _numbers(path: Path, rows: list[list[str]]) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(rows, dtype=np.float64).astype(np.float32)
    except ValueError as error:
        raise DataError(f"{path}: a joint's position is no number: {error}") from None
    if not np.isfinite(values).all():
        raise DataError(f"{path}: a joint's position is not finite")
    return values


def motion_order(joints: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bodies of (T, P, V, 3) in the order of how likely they act.

    Bodies seen in fewer than 11 frames, and bodies that in most of their frames are wider than 0.8 of their
    height (furniture that the sensor took for people), come last. Among equals the one whose joints move more
    comes first: the sum of the variances of all coordinates over the frames in which it is seen.
    """
    ranks: list[tuple[bool, float]] = []
    for body in range(joints.shape[1]):
        seen = joints[joints[:, body].any(axis=(1, 2)), body].astype(np.float64)
        if not len(seen):
            ranks.append((True, 1.0))
            continue
        extent = seen.max(axis=1) - seen.min(axis=1)
        doubtful = len(seen) < min(_FEW_FRAMES, len(joints)) or bool(
            np.mean(extent[:, 0] > _WIDE * extent[:, 1]) > 0.5
        )
        ranks.append((doubtful, -float(seen.var(axis=0).sum())))
    return np.asarray(sorted(range(len(ranks)), key=ranks.__getitem__), np.int64)


def keep_persons(joints: NDArray[np.float32], persons: int) -> NDArray[np.float32]:
    """Return (T, persons, V, 3): the likeliest actors first, 0 where there are fewer."""
    kept = joints[:, motion_order(joints)[:persons]]
    return np.pad(kept, ((0, 0), (0, persons - kept.shape[1]), (0, 0), (0, 0)))
