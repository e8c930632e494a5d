"""A file under HDF5 that survives a full disk.

HDF5 cannot close a file whose last writes failed: the process crashes when it tries to. So HDF5 is never told
of a failure. What the disk refuses is kept in memory instead, the error is remembered, and the writer asks
for it (:meth:`Disk.check`) after every clip and before the file gets its name.
"""

from __future__ import annotations

import io
import os
from pathlib import Path


class Disk(io.RawIOBase):
    """The file object that ``h5py.File`` writes through.

    ``error`` is the first error of the operating system, or None.
    """

    _handle = -1  # if the file cannot be opened, close() is called all the same

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._position = 0
        self._size = 0
        self._refused: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the OSError that a write met, if any did."""
        if self.error is not None:
            raise self.error

    def sync(self) -> None:
        """Wait until all is on the disk, or raise the OSError that it met."""
        os.fsync(self._handle)

    def readable(self) -> bool:
        """Return True: HDF5 reads back what it wrote."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; the end is that of everything written, refused or not."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, data: object, /) -> int:
        """Write all of ``data``; an error is remembered, not raised."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        begin = self._position
        if self.error is None:
            try:
                done = 0
                while done < len(view):
                    done += os.pwrite(self._handle, view[done:], begin + done)
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._refused.append((begin, view.tobytes()))
        self._position = begin + len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: object, /) -> int:
        """Fill the buffer from the position on, with zeros where nothing was written."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        begin = self._position
        found = 0
        try:
            found = os.preadv(self._handle, [view], begin)
        except OSError as error:
            self.error = self.error or error
        view[found:] = bytes(len(view) - found)
        for offset, data in self._refused:
            low, high = max(offset, begin), min(offset + len(data), begin + len(view))
            if low < high:
                view[low - begin : high - begin] = data[low - offset : high - offset]
        self._position = begin + len(view)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the file's length."""
        self._size = self._position if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._handle, self._size)
            except OSError as error:
                self.error = error
        return self._size

    def flush(self) -> None:
        """Do nothing: writes are not buffered here."""

    def close(self) -> None:
        """Close the file."""
        if not self.closed and self._handle >= 0:
            os.close(self._handle)
        super().close()
