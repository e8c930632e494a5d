"""Pickles of dictionaries, lists and numpy arrays, read without executing anything.

The pickle module runs what a pickle tells it to. Here a machine of its own walks over the opcodes of
protocols 2 to 5 and knows plain values, containers and, by name, what numpy writes for an array, a scalar and
their types. Nothing is imported, no function of another module is called with arguments of the file, and
every size is held against the file before memory is taken.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mg_data.contract import DataError
from mg_data.pickles.arrays import NumberType, PickledArray, Refused, called

_MAX_WHOLE_BYTES = 16
_TYPE = re.compile(r"(f[248]|[iu][1248]|b1)")
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
# What a global's name stands for; numpy moved its modules in version 2.
_GLOBALS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
    ("collections", "OrderedDict"): "dict",
}
_OPCODES = {opcode.code.encode("latin1")[0]: opcode.name for opcode in pickletools.opcodes}


class _Global:
    """A known name; it can be called by REDUCE and nothing else."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class _Machine:
    """Walks over the opcodes; ``at`` is the next byte, ``code`` the opcode at work."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0
        self.opcode_at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        # What is made by copying: one text or list may be named again and again.
        self.copied = 0
        self.steps: dict[int, Callable[[], None]] = {
            ord(code): step
            for code, step in {
                "\x80": self._proto,
                "\x95": self._frame,
                "(": self._mark,
                "0": self._pop,
                "1": self._pop_mark,
                "N": lambda: self.stack.append(None),
                "\x88": lambda: self.stack.append(True),
                "\x89": lambda: self.stack.append(False),
                "J": self._number("<i"),
                "K": self._number("<B"),
                "M": self._number("<H"),
                "G": self._number(">d"),
                "\x8a": self._whole,
                "U": self._bytes("<B"),
                "T": self._bytes("<i"),
                "C": self._bytes("<B"),
                "B": self._bytes("<I"),
                "\x8e": self._bytes("<Q"),
                "\x96": self._bytes("<Q"),
                "\x8c": self._text("<B"),
                "X": self._text("<I"),
                "\x8d": self._text("<Q"),
                "]": lambda: self.stack.append([]),
                "}": lambda: self.stack.append({}),
                ")": lambda: self.stack.append(()),
                "t": self._tuple,
                "\x85": self._short_tuple(1),
                "\x86": self._short_tuple(2),
                "\x87": self._short_tuple(3),
                "a": self._append,
                "e": self._appends,
                "s": self._set_item,
                "u": self._set_items,
                "h": self._get("<B"),
                "j": self._get("<I"),
                "q": self._put("<B"),
                "r": self._put("<I"),
                "\x94": self._memoize,
                "c": self._global,
                "\x93": self._stack_global,
                "R": self._reduce,
                "b": self._build,
            }.items()
        }

    def run(self) -> Any:
        """Return the pickled value."""
        while True:
            self.opcode_at = self.at
            code = self.take(1)[0]
            if code == ord("."):
                return self.pop()
            step = self.steps.get(code)
            if step is None:
                name = _OPCODES.get(code)
                raise Refused(f"opcode {name}" if name else f"byte 0x{code:02x}, which is no opcode")
            step()

    def take(self, size: int) -> memoryview:
        """Return the next bytes, having checked that they are there."""
        if size < 0 or self.at + size > len(self.data):
            left = len(self.data) - self.at
            raise Refused(f"the claim of {size} bytes where {left} are left: it is cut off or damaged")
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("an opcode that lacks its operand")
        return self.stack.pop()

    def top(self, kind: type[Any]) -> Any:
        value = self.pop()
        self.stack.append(value)
        if not isinstance(value, kind):
            raise Refused(f"{called(value)} where {kind.__name__} is wanted")
        return value

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise Refused("an opcode that lacks its mark")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _proto(self) -> None:
        protocol = self.unpack("<B")
        if not 2 <= protocol <= 5:
            raise Refused(f"protocol {protocol}, wanted 2 to 5")

    def _frame(self) -> None:
        size = self.unpack("<Q")
        if self.at + size > len(self.data):
            left = len(self.data) - self.at
            raise Refused(f"the claim of {size} bytes where {left} are left: it is cut off or damaged")

    def _mark(self) -> None:
        self.marks.append(len(self.stack))

    def _pop(self) -> None:
        self.pop()

    def _pop_mark(self) -> None:
        self.since_mark()

    def _number(self, form: str) -> Callable[[], None]:
        return lambda: self.stack.append(self.unpack(form))

    def _whole(self) -> None:
        size = self.unpack("<B")
        if size > _MAX_WHOLE_BYTES:
            raise Refused(f"a whole number of {size} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def _bytes(self, form: str) -> Callable[[], None]:
        def step() -> None:
            content = self.take(self.unpack(form))
            # Long content is an array's: it stays in the file until the array is read.
            self.stack.append(content if len(content) > 64 else bytes(content))

        return step

    def _text(self, form: str) -> Callable[[], None]:
        def step() -> None:
            try:
                self.stack.append(str(self.take(self.unpack(form)), "utf-8"))
            except UnicodeDecodeError:
                raise Refused("a text that is not UTF-8") from None

        return step

    def _tuple(self) -> None:
        self.stack.append(tuple(self.since_mark()))

    def _short_tuple(self, size: int) -> Callable[[], None]:
        def step() -> None:
            values = [self.pop() for _ in range(size)]
            self.stack.append(tuple(reversed(values)))

        return step

    def _append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def _appends(self) -> None:
        values = self.since_mark()
        self.top(list).extend(values)

    def _set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self._set(self.top(dict), key, value)

    def _set_items(self) -> None:
        values = self.since_mark()
        if len(values) % 2:
            raise Refused("a dictionary with a key that lacks its value")
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._set(target, key, value)

    def _set(self, target: dict[Any, Any], key: object, value: object) -> None:
        if isinstance(key, bytes):  # text, as Python 2 wrote it
            key = key.decode("latin1")
        if not isinstance(key, str | int):
            raise Refused(f"a dictionary whose key is {called(key)}")
        target[key] = value

    def _get(self, form: str) -> Callable[[], None]:
        def step() -> None:
            place = self.unpack(form)
            if place not in self.memo:
                raise Refused(f"a reference to value {place}, which is not there")
            self.stack.append(self.memo[place])

        return step

    def _put(self, form: str) -> Callable[[], None]:
        return lambda: self._remember(self.unpack(form))

    def _memoize(self) -> None:
        self._remember(len(self.memo))

    def _remember(self, place: int) -> None:
        # A dictionary: the pickle module takes memory for the highest place that is named.
        self.memo[place] = self.top(object)

    def _line(self) -> str:
        rest = self.data[self.at : self.at + 256].tobytes()
        end = rest.find(b"\n")
        if end < 0:
            raise Refused("a name without an end")
        self.at += end + 1
        return rest[:end].decode("latin1")

    def _global(self) -> None:
        self._push_global(self._line(), self._line())

    def _stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self._push_global(module, name)

    def _push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        if (module, name) not in _GLOBALS:
            raise Refused(
                f"the name {ascii(f'{module}.{name}')[:80]}, which is neither numpy's array nor its type"
            )
        self.stack.append(_Global(_GLOBALS[module, name]))

    def _reduce(self) -> None:
        arguments, target = self.pop(), self.pop()
        if not isinstance(target, _Global) or not isinstance(arguments, tuple):
            raise Refused(f"a call of {called(target)}")
        self.stack.append(self._call(target.name, arguments))

    def _call(self, name: str, given: tuple[Any, ...]) -> Any:
        if name == "reconstruct" and len(given) == 3 and _is_global(given[0], "ndarray"):
            return PickledArray()  # its content follows by BUILD
        if name == "dtype" and 1 <= len(given) <= 3:
            letters = given[0].decode("latin1") if isinstance(given[0], bytes) else given[0]
            if not isinstance(letters, str) or not _TYPE.fullmatch(letters):
                raise Refused(f"the numpy type {ascii(letters)[:40] if isinstance(letters, str) else '?'}")
            return NumberType(letters)
        if name == "scalar" and len(given) == 2:
            array = PickledArray()
            array.fill((1,), given[0], False, given[1])
            return array.read()[0].item()
        if name == "frombuffer" and len(given) == 4 and given[3] in ("C", "F"):
            array = PickledArray()
            array.fill(given[2], given[1], given[3] == "F", given[0])
            return array
        if name == "encode" and len(given) == 2 and isinstance(given[0], str) and given[1] == "latin1":
            return self._encode(given[0])
        if name == "bytes" and not given:  # how protocol 2 writes the content of an empty array
            return b""
        if name == "dict" and len(given) <= 1:
            return self._ordered(given[0] if given else [])
        raise Refused(f"a call of numpy's or Python's {name} with {len(given)} unexpected arguments")

    def _ordered(self, pairs: object) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        if not isinstance(pairs, list):
            raise Refused(f"an ordered dictionary made of {called(pairs)}")
        self._copy(len(pairs))
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise Refused("an ordered dictionary whose items are no pairs")
            self._set(result, pair[0], pair[1])
        return result

    def _copy(self, size: int) -> None:
        self.copied += size
        if self.copied > len(self.data):
            raise Refused("one value copied again and again")

    def _encode(self, text: str) -> bytes:
        self._copy(len(text))
        try:
            return text.encode("latin1")
        except UnicodeEncodeError:
            raise Refused("a text that stands for no bytes") from None

    def _build(self) -> None:
        state, target = self.pop(), self.top(object)
        if isinstance(target, PickledArray) and isinstance(state, tuple) and len(state) == 5:
            target.fill(state[1], state[2], bool(state[3]) if isinstance(state[3], int) else False, state[4])
        elif isinstance(target, NumberType) and isinstance(state, tuple) and len(state) >= 2:
            order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
            if not isinstance(order, str) or order not in ("<", ">", "|", "="):
                raise Refused("a numpy type without a byte order")
            target.order = order
        else:
            raise Refused(f"a state given to {called(target)}")


def _is_global(value: object, name: str) -> bool:
    return isinstance(value, _Global) and value.name == name


def load_pickle(path: Path) -> Any:
    """Read a pickle of plain values and numpy arrays; arrays come as :class:`PickledArray`.

    Args:
        path: a file written with protocol 2 to 5, by numpy 1 or 2. It stays mapped while its arrays live.

    Raises:
        DataError: no pickle, cut off, or with anything else in it: what and at which byte.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(6)
            if not head:
                raise DataError(f"{path}: is empty, wanted a pickle")
            for magic, name in _COMPRESSED.items():
                if head.startswith(magic):
                    raise DataError(f"{path}: is compressed ({name}), wanted a pickle: unpack it first")
            if head[0] != 0x80:
                raise DataError(
                    f"{path}: is no pickle of protocol 2 to 5 (it begins with byte 0x{head[0]:02x}); write "
                    "it anew with pickle.dump(value, file, protocol=4)"
                )
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    machine = _Machine(memoryview(mapped))
    try:
        return machine.run()
    except Refused as error:
        raise DataError(
            f"{path}: byte {machine.opcode_at} holds {error}; only pickles of dictionaries, lists and numpy "
            "arrays of numbers are read"
        ) from None
