"""Changes to valid files that know their form: safetensors, pickles, zips, XML and pictures."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib

from fuzz_mutations import BYTES, INTEGERS, change_text, change_value, flip, set_number


def change_header(data: bytes, rng: random.Random) -> bytes:
    """Change the JSON header of a safetensors file, and the header of mg in it."""
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        own = json.loads(header["__metadata__"]["mg"])
    except (ValueError, KeyError):
        return flip(data, rng)
    how = rng.randrange(4)
    if how == 0:
        header = change_value(header, rng)
    elif how == 1:
        names = [name for name in header if name != "__metadata__"]
        entry = header[rng.choice(names)]
        key = rng.choice(("dtype", "shape", "data_offsets"))
        types = ("F64", "F16", "BF16", "I8", "U8", "BOOL", "U64", "F8_E4M3", "C64", "X")
        shapes = ([], [0], [-1], [2**31, 2**31], [2**62], [1] * 70, [1, 0, 2**40])
        entry[key] = rng.choice(
            {"dtype": types, "shape": shapes, "data_offsets": ([0, 0], [0, 2**40], [8, 0], [-1, 4])}[key]
        )
    else:
        header["__metadata__"]["mg"] = json.dumps(change_value(own, rng), ensure_ascii=False, sort_keys=True)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def change_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change the opcodes of a pickle: other ones, strange arguments, calls of what could harm."""
    at = rng.randrange(2, max(3, len(data)))
    pieces = (
        b"cos\nsystem\n(S'touch pwned'\ntR", b"cposix\nsystem\n\x8c\x0btouch pwned\x85R",
        b"\x8c\x08builtins\x8c\x04eval\x93", b"cbuiltins\neval\n\x8c\x01 \x85R", b"cnumpy\nload\n",
        b"c_codecs\nencode\n", b"ccollections\nOrderedDict\n",
        b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b")", b"(", b"R", b"b", b"t", b"\x85", b"\x86", b"\x87",
        b"}", b"]", b"a", b"e", b"s", b"u",
        b"0", b"1", b"2", b"N", b"\x88", b"h\x00", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f",
        b"\x94" * 50, b"\x8e" + b"\xff" * 8,
        b"\x96" + b"\xff" * 7 + b"\x00", b"X\xff\xff\xff\x7f", b"\x8a\xff", b"\x95" + b"\xff" * 8,
        b"K\x01", b"J\xff\xff\xff\xff", b"G\x7f\xf8" + bytes(6),
        b"\x97", b"\x98", b"\x80\x02", b"\x80\x00", b"P1\n", b"Q", b"i", b"o", b"\x81", b"\x92",
        b"]" + b"\x85" * 5000, b"](h\x00" * 50,
    )  # fmt: skip
    piece = rng.choice(pieces)
    if rng.random() < 0.3:  # a size or an extent
        return set_number(data, rng)
    return data[:at] + piece + data[at + (len(piece) if rng.random() < 0.5 else 0) :]


def change_zip(data: bytes, rng: random.Random) -> bytes:
    """Change the members of a zip: names, number, content, what the directory says of them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # an earlier change has broken it
        return flip(data, rng)
    if not members:
        return flip(data, rng)
    at = rng.randrange(len(members))
    name, content = members[at]
    how = rng.randrange(8)
    kind = zipfile.ZIP_DEFLATED
    if how == 0:
        name = rng.choice(
            ("../out.csv", "/out.csv", "a/b.csv", "", "x" * 300, "\x1b.csv", "SUBMISSION.CSV", name.upper())
        )
    elif how == 1:
        members.append(rng.choice(members))
    elif how == 2 and len(members) > 1:
        del members[at]
        at = min(at, len(members) - 1)
        name, content = members[at]
    elif how == 3 and rng.random() < 0.2:
        content = content[:200] + b"0" * (96 << 20)
    elif how == 4:
        kind = rng.choice((zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED))
    else:
        content = rng.choice((change_text, change_xml, *BYTES))(content, rng)
    members[at] = name, content
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (member, inside) in enumerate(members):
            info = zipfile.ZipInfo(member or "x")
            info.compress_type = kind if number == at else zipfile.ZIP_DEFLATED
            archive.writestr(info, inside)
    raw = out.getvalue()
    if rng.random() < 0.3:  # a field of the central directory
        start = raw.rfind(b"PK\x01\x02")
        field, size = rng.choice(((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)))
        value = rng.choice(INTEGERS) % (1 << 8 * size)
        raw = raw[: start + field] + value.to_bytes(size, "little") + raw[start + field + size :]
    if kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2) and rng.random() < 0.5:
        start = rng.randrange(30, len(raw) // 2)
        raw = raw[:start] + rng.randbytes(8) + raw[start + 8 :]
    return raw


def change_xml(data: bytes, rng: random.Random) -> bytes:
    """Change tags, attributes and texts of an XML file."""
    pieces = (
        b"<!DOCTYPE a [<!ENTITY x '" + b"y" * 100 + b"'>]>", b"<row r='1048576'>",
        b'<c r="XFD1048576"><v>1</v></c>', b'<c r="A0"><v>1</v></c>',
        b'<c r="A1" t="s"><v>99</v></c>', b'<c t="inlineStr"><is><t>text</t></is></c>',
        b'<c t="b"><v>1</v></c>', b'<c t="e"><v>#N/A</v></c>', b"<c/>",
        b"<v/>", b"<v>1e999</v>", b"<v>nan</v>", b"<v>" + b"9" * 400 + b"</v>", b"&x;", b"&#0;", b"]]>",
        b"<!--", b"<a>" * 5000, b'r="' + b"9" * 5000 + b'"', b"\xff",
        b"</row><row>", b"</row>", b"<c><v>3</v></c>",
    )  # fmt: skip
    starts = [at for at in range(len(data)) if data[at : at + 1] == b"<"] if len(data) < 1 << 16 else []
    at = rng.choice(starts) if starts and rng.random() < 0.7 else rng.randrange(len(data) + 1)
    piece = rng.choice(pieces)
    return data[:at] + piece + data[at + (rng.choice((0, len(piece)))) :]


_JPEG = b"\xff\xd8\xff"


def change_picture(data: bytes, rng: random.Random) -> bytes:
    """Change the size that a picture claims, or put in chunks that claim much."""
    size = struct.pack(">HH", rng.choice((0, 1, 65535, 60000)), rng.choice((0, 1, 65535, 60000)))
    if data.startswith(_JPEG):
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return data[: at + 5] + size + data[at + 9 :] if at >= 0 else flip(data, rng)
    at = data.find(b"IHDR")
    if at < 0:
        return flip(data, rng)
    wide = struct.pack(">II", rng.choice((0, 1, 40000, 2**31 - 1)), rng.choice((1, 30000, 40000)))
    body = b"IHDR" + wide + data[at + 12 : at + 17]
    return data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 21 :]
