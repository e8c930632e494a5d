"""The sizes that a ``.pose`` file claims, held against the file before its content is read.

Layout of the format (versions 0.0, 0.1 and 0.2; little-endian; text is a 2-byte length and UTF-8): version
f4; width, height, depth u2; number of components u2; a component is its name, its format (``XYC``), the
numbers of points, limbs and colours u2, the points' names, the limbs 2 u2, the colours 3 u2. Then the body:
0.0: fps u2, frames u2, and for each frame people u2, for each of them id i2 and all points f4;
0.1: fps u2, frames u2 (too small for long files), people u2, all coordinates f4, all confidences f4;
0.2: the same with fps f4 and frames u4.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from mg_data.contract import DataError

# Memory that a reader may take for a small file; beyond it a file must hold what it claims.
_FREE_BYTES = 64 << 20
# Version 0.0 stores float32 and is read as float64, twice for the mask: this is ample.
_GROWTH = 20


@dataclass(frozen=True)
class Component:
    """A group of points. ``format`` names their columns, the confidence C last."""

    name: str
    format: str
    points: tuple[str, ...]


@dataclass(frozen=True)
class PoseClaims:
    """What a file's header says. ``people`` is the largest number in one frame."""

    version: float
    size: tuple[int, int]
    components: tuple[Component, ...]
    fps: float
    frames: int
    people: int


class _Walker:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def cut(self, what: str, wanted: int) -> DataError:
        return DataError(
            f"{self.path}: {what} needs {wanted} bytes from byte {self.at}, the file has {len(self.data)}: "
            "it is cut off, or no .pose file of version 0.0, 0.1 or 0.2"
        )

    def skip(self, size: int, what: str) -> None:
        if self.at + size > len(self.data):
            raise self.cut(what, size)
        self.at += size

    def take(self, form: str, what: str) -> tuple[float, ...]:
        start = self.at
        self.skip(struct.calcsize("<" + form), what)
        return struct.unpack_from("<" + form, self.data, start)

    def whole(self, what: str) -> int:
        return int(self.take("H", what)[0])

    def text(self, what: str) -> str:
        size = self.whole(what)
        start = self.at
        self.skip(size, what)
        try:
            value = self.data[start : self.at].decode()
        except UnicodeDecodeError:
            value = "\0"
        if not value.isprintable():
            raise DataError(
                f"{self.path}: {what} at byte {start} is no printable UTF-8: no readable .pose file"
            )
        return value


def _component(walk: _Walker) -> Component:
    name = walk.text("a component's name")
    form = walk.text(f"the format of {name!r}")
    points, limbs, colours = (int(value) for value in walk.take("HHH", f"the sizes of {name!r}"))
    names = tuple(walk.text(f"a point's name of {name!r}") for _ in range(points))
    walk.skip(4 * limbs + 6 * colours, f"limbs and colours of {name!r}")
    return Component(name, form, names)


def _body(walk: _Walker, version: float, components: tuple[Component, ...]) -> tuple[float, int, int]:
    """Return (fps, frames, people), having held the body's size against the file."""
    fps: float
    points = sum(len(component.points) for component in components)
    columns = max(len(component.format) for component in components)
    if version == 0.0:
        fps, number = walk.take("HH", "the body's header")
        frames = int(number)
        person = 2 + 4 * sum(len(component.points) * len(component.format) for component in components)
        most = 0
        for frame in range(frames):
            people = walk.whole(f"frame {frame}")
            walk.skip(people * person, f"frame {frame} with {people} people")
            most = max(most, people)
        # A frame without people is two bytes in the file and a whole set of zeros in memory.
        memory = frames * points * columns * 8
        if memory > _FREE_BYTES + _GROWTH * len(walk.data):
            raise DataError(
                f"{walk.path}: claims {frames} frames of {points} points ({memory >> 20} MiB) in "
                f"{len(walk.data)} bytes; it is damaged or made to harm"
            )
        return fps, frames, most
    if version == 0.1:
        fps, claimed, crowd = walk.take("HHH", "the body's header")
        people = int(crowd)
        frame_bytes = people * points * columns * 4
        frames, rest = divmod(len(walk.data) - walk.at, frame_bytes) if frame_bytes else (0, 0)
        # Readers divide the file's size by a frame's. Of a file that was cut off they would take coordinates
        # for confidences, so what the header says is asked wherever it can be right.
        if rest or (frames < 0xFFFF and claimed != frames):
            raise DataError(
                f"{walk.path}: claims {int(claimed)} frames, its size is that of {frames} and {rest} bytes: "
                "it is cut off"
            )
        return fps, frames, people
    (fps,), (count,) = walk.take("f", "the body's header"), walk.take("I", "the body's header")
    people = walk.whole("the body's header")
    walk.skip(int(count) * people * points * columns * 4, f"{int(count)} frames of {people} people")
    return fps, int(count), people


def read_claims(path: Path, data: bytes) -> PoseClaims:
    """Walk over a file's content.

    Raises:
        DataError: it is cut off, claims more than it holds, is of an unknown version, or holds no component,
            point, person or frame.
    """
    walk = _Walker(path, data)
    version = round(float(walk.take("f", "the header")[0]), 3)
    if version not in (0.0, 0.1, 0.2):
        raise DataError(f"{path}: is of version {version:g}, wanted a .pose file of version 0.0, 0.1 or 0.2")
    width, height, _ = (int(value) for value in walk.take("HHH", "the header"))
    components = tuple(_component(walk) for _ in range(walk.whole("the header")))
    if not any(component.points for component in components):
        raise DataError(f"{path}: holds no points")
    if any(not component.format.endswith("C") for component in components):
        found = ", ".join(sorted({component.format for component in components}))
        raise DataError(f"{path}: its points have the columns {found}, wanted XYC or XYZC")
    fps, frames, people = _body(walk, version, components)
    if not frames or not people:
        raise DataError(f"{path}: holds {frames} frames of {people} people, wanted at least one of each")
    return PoseClaims(
        version, (width, height), components, fps if math.isfinite(fps) else 0.0, frames, people
    )
