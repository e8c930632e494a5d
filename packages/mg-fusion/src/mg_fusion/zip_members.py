"""Members of a stranger's zip, which never take more memory than the zip says they do.

A copy of ``mg_data.zip_members``, which mg-data 1.0 does not have: it goes when mg-fusion needs 1.1.
``tests/test_zip_members.py`` keeps the two alike.
"""

from __future__ import annotations

import zipfile

# Others unpack without a limit, whatever length is asked for.
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what no writer of numbers or tables makes, before anything is unpacked.

    Args:
        size: of the whole file.

    Raises:
        ValueError: a member has no name, is packed in an unusual way, or claims more than the file has.
    """
    for info in archive.infolist():
        if not info.filename:
            raise ValueError("a member has no name")
        if info.compress_type not in _KINDS or info.flag_bits & 1:
            raise ValueError("a member is encrypted or packed by another way than deflate")
        if info.compress_size > size:
            raise ValueError(f"a member claims {info.compress_size} bytes of a file of {size} bytes")
        if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
            raise ValueError("a member that is not packed has two sizes")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a member's content, as long as the zip says that it is.

    Raises:
        ValueError: it is longer or shorter.
    """
    with archive.open(info) as file:
        # Without a length all that the packed bytes unfold to would be in memory first.
        data = file.read(info.file_size)
        if len(data) != info.file_size or file.read(1):
            raise ValueError(f"a member has not the {info.file_size} bytes that the zip claims")
    return data
