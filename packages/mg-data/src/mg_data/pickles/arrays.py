"""A numpy array of a pickle, described by values that may be anything, and built only if they agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_DIMENSIONS = 8
_MAX_EXTENT = 2**31


class Refused(Exception):
    """What makes the file unreadable; the text is the reason."""


class NumberType:
    """A numpy type under construction: its letters, then its byte order."""

    __slots__ = ("letters", "order")

    def __init__(self, letters: str) -> None:
        self.letters, self.order = letters, "<"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.letters)


class PickledArray:
    """An array of the file. :meth:`read` gives it; until then it takes no memory.

    Attributes: ``shape``, ``dtype`` (numbers and booleans only) and ``nbytes``, checked against the bytes
    that are there.
    """

    __slots__ = ("_data", "_fortran", "dtype", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self._data: bytes | memoryview = b""
        self._fortran = False

    def fill(self, shape: object, kind: object, fortran: bool, data: object) -> None:
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise Refused("an array whose shape is no tuple of at most 8 numbers")
        if not all(type(extent) is int and 0 <= extent < _MAX_EXTENT for extent in shape):
            raise Refused("an array whose shape is not made of whole numbers")
        if not isinstance(kind, NumberType):
            raise Refused("an array without a numpy type")
        if not isinstance(data, bytes | memoryview):
            raise Refused(f"an array whose content is {called(data)}, not bytes")
        self.dtype = kind.numpy()
        wanted = math.prod(shape) * self.dtype.itemsize
        if wanted != len(data):
            raise Refused(
                f"an array of shape {shape} of {self.dtype}, {wanted} bytes, with {len(data)} bytes"
            )
        self.shape, self._data, self._fortran = shape, data, fortran

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def read(self) -> NDArray[Any]:
        """Return the array, read-only."""
        values: NDArray[Any] = (
            np.frombuffer(self._data, self.dtype) if len(self._data) else np.empty(0, self.dtype)
        )
        return values.reshape(self.shape, order="F" if self._fortran else "C")


def called(value: object) -> str:
    """Return what kind of thing a value is; its content may be endless and is never shown."""
    if isinstance(value, PickledArray):
        return "an array"
    names: dict[type, str] = {dict: "a dictionary", list: "a list", tuple: "a tuple", str: "a text"}
    return names.get(type(value), type(value).__name__)
