"""Opening a video: from its own bytes alone, and so that a failing disk is told apart from a damaged file.

FFmpeg takes a failed read for the end of the file: the last picture is made up from half of its bytes, and
the video has fewer frames, without a word. And a file that calls itself a video may be a list of others, on
this machine or elsewhere, which FFmpeg would open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mg_data.contract import DataError, StoreError

# What FFmpeg may open besides the file it is given: by no protocol, as none is called so.
_NOTHING_ELSE = {"protocol_whitelist": "none"}
# Of the path, and not of the disk.
_NOT_THERE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class Source:
    """The bytes of a video, as FFmpeg asks for them; remembers the first read that failed."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.name = str(path)  # FFmpeg guesses the format by it where the content does not tell
        self._file = file
        self._error: OSError | None = None
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none after a failure."""
        try:
            return b"" if self._error else self._file.read(size)
        except OSError as error:
            self._error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place and return it, -1 where that is refused (FFmpeg tries such places)."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    def check(self) -> None:
        """Raise StoreError if a read failed."""
        if self._error is not None:
            reason = self._error.strerror or self._error
            raise StoreError(self.name, f"cannot be read: {reason}") from self._error


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Source]]:
    """Open a video; yield PyAV's container and the source it reads from.

    A picture is to be trusted once ``source.check()`` came back after it was decoded.

    Raises:
        DataError: missing, no video that FFmpeg reads, or a list of other files; here or in the block.
        StoreError: the disk failed, whatever was raised in the block.
    """
    import av

    try:
        file = path.open("rb", buffering=0)
    except _NOT_THERE as error:
        raise DataError(f"{path}: cannot be decoded: {error.strerror}") from error
    except OSError as error:
        raise StoreError(path, f"cannot be read: {error.strerror or error}") from error
    with file:
        source = Source(path, file)
        try:
            with av.open(source, "r", options=_NOTHING_ELSE) as container:
                yield container, source
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            source.check()
            raise DataError(f"{path}: cannot be decoded: {_reason(error)}") from error
        except DataError:
            source.check()
            raise
        source.check()


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):  # a table of a damaged file may claim any length
        return "it asks for more memory than FFmpeg gives; it may be damaged"
    if isinstance(error, UnicodeDecodeError):  # of FFmpeg's texts about the file
        return "it is damaged"
    return str(getattr(error, "strerror", None) or error)
