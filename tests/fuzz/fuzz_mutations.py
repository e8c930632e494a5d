"""Changes to valid files: of bytes, of lines and cells, of JSON values.

Every change takes a ``random.Random`` and nothing else that is random, so that a number names a case.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

#: a content and its random numbers -> the changed content
Change = Callable[[bytes, random.Random], bytes]

# Numbers and texts at which readers break.
INTEGERS = (
    0,
    1,
    -1,
    2,
    7,
    127,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64,
    -(2**63),
)
TEXTS = (
    "", " ", "nan", "inf", "-inf", "1e999", "-0", "0x10", "1_000", "9" * 30, "9" * 5000, "1.5", "true",
    "null", "a" * 300,
    "../../etc/passwd", "/etc/passwd", "C:\\x", "a\nb", "a\rb", "\x1b[31mred", "\u202ereversed", "\u0000",
    "'\"", "é" * 40,
    "\u0661\u0662", "²", "__class__", "{0}", "%s", "=1+1", "clip", "train", "target",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    *INTEGERS,
    *TEXTS,
    0.5,
    1e308,
    -1e308,
    1e-320,
    None,
    True,
    False,
    [],
    {},
    [[]],
    [{}],
    {"": 0},
)
_MAX_BYTES = 4 << 20


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip up to eight bits, often close together."""
    if not data:
        return data
    changed = bytearray(data)
    at = rng.randrange(len(changed))
    for _ in range(rng.randint(1, 8)):
        changed[at] ^= 1 << rng.randrange(8)
        at = (
            min(len(changed) - 1, at + rng.randrange(16))
            if rng.random() < 0.5
            else rng.randrange(len(changed))
        )
    return bytes(changed)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a run with one byte, or with random ones."""
    if not data:
        return data
    at, size = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 8, 16, 64))
    new = (
        bytes([rng.choice((0, 0xFF, 0x7F, 0x80, 0x41))]) * size if rng.random() < 0.6 else rng.randbytes(size)
    )
    return data[:at] + new[: len(data) - at] + data[at + size :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return data[: rng.randrange(len(data) + 1)]


def remove(data: bytes, rng: random.Random) -> bytes:
    """Take a run out of the middle."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 256, 4096)) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Write a run several times."""
    at = rng.randrange(len(data) + 1)
    run = data[at : at + rng.choice((1, 2, 4, 16, 256))]
    return data[:at] + run * rng.choice((2, 3, 100)) + data[at:]


def splice(data: bytes, rng: random.Random) -> bytes:
    """Put a run at another place."""
    start, at = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    run = data[start : start + rng.choice((4, 16, 256, 4096))]
    return data[:at] + run + data[at + (len(run) if rng.random() < 0.5 else 0) :]


def set_number(data: bytes, rng: random.Random) -> bytes:
    """Overwrite what may be a length or a count: a whole number of 1 to 8 bytes, either byte order."""
    size = rng.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    at = rng.randrange(len(data) - size + 1)
    order = rng.choice(("little", "big"))
    old = int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]
    value = rng.choice((*INTEGERS, old + 1, old - 1, old * 2, old << 8)) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


BYTES: tuple[Change, ...] = (
    flip,
    flip,
    set_bytes,
    set_bytes,
    cut,
    remove,
    repeat,
    splice,
    set_number,
    set_number,
)


def change_text(data: bytes, rng: random.Random) -> bytes:
    """Change lines and cells of a text: of csv, toml, or of numbers in rows."""
    mark = rng.choice((",", ",", " ", "=", "\n"))
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    row = rng.randrange(len(lines))
    how = rng.randrange(8)
    if how == 0:
        lines.insert(rng.randrange(len(lines) + 1), lines[row])
    elif how == 1:
        del lines[row]
    elif how == 2:
        other = rng.randrange(len(lines))
        lines[row], lines[other] = lines[other], lines[row]
    elif how == 3:
        lines[row] = mark.join([lines[row]] * rng.choice((2, 3, 50)))
    else:
        cells = lines[row].split(mark)
        at = rng.randrange(len(cells))
        if how == 4:
            cells[at] = rng.choice((*TEXTS, *map(str, INTEGERS)))
        elif how == 5:
            del cells[at]
        elif how == 6:
            cells[at] = rng.choice(
                (
                    '"',
                    "[" * rng.choice((1, 3000)),
                    "{" * rng.choice((1, 3000)),
                    "\x00",
                    "\ufeff",
                    "x" * 200_000,
                    "#",
                    "'''",
                )
            )
        else:
            cells.insert(at, rng.choice((*cells, *TEXTS)))
        lines[row] = mark.join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass" if rng.random() < 0.9 else "surrogateescape")[
        :_MAX_BYTES
    ]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of everything in a JSON value."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        item = todo.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            todo.append(item[key])
    return found


def change_value(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one to three parts changed, removed, repeated or put elsewhere."""
    holder = [json.loads(json.dumps(value))]
    for _ in range(rng.randint(1, 3)):
        # Near the top things have names that readers look for: every depth is as likely.
        places = _places(holder)
        top = [place for place in places if place[0] is holder or place[0] is holder[0]]
        item, key = rng.choice(rng.choice((places, top)))
        how = rng.randrange(6)
        if how == 0 and item is not holder:
            del item[key]
        elif how == 1:
            item[key] = json.loads(json.dumps(rng.choice(places)[0]))
        elif how == 2 and isinstance(item, dict):
            item[rng.choice(TEXTS)] = item.pop(key)
        elif how == 3 and isinstance(item, list) and item is not holder:
            item[key:key] = [item[key]] * rng.choice((1, 1, 100))
        elif how == 4:
            item[key] = rng.choice(([item[key]], {"item": item[key]}, str(item[key])))
        else:
            item[key] = json.loads(json.dumps(rng.choice(_VALUES)))
    return holder[0]


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Change the values of a JSON text; now and then write what JSON has no room for."""
    try:
        text = json.dumps(change_value(json.loads(data), rng), ensure_ascii=rng.random() < 0.5)
    except ValueError:
        return flip(data, rng)
    if rng.random() < 0.1:
        old = rng.choice(("0", "1", '"', "]", "}", ","))
        new = rng.choice(
            ("NaN", "Infinity", "-Infinity", "1e400", "[" * 5000, '{"a":' * 5000, '"\\ud800"', "9" * 5000)
        )
        text = text.replace(old, new, rng.randint(1, 3))
    return text.encode("utf-8", "surrogatepass")[:_MAX_BYTES]
