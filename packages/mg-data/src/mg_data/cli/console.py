"""Talk on stderr: messages, warnings and a progress bar; silent with --quiet.

Talk that cannot be written, such as into a file on a full disk, is lost; the work goes on.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from mg_data.cli.text import printable


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60:d}:{rest % 60:02d}"


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # nobody listens: the command ends, as others do
        raise
    except OSError:
        pass


class Bar:
    """A progress bar: redrawn in place on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO | None, label: str, total: int | None, live: bool) -> None:
        self._stream = stream
        self._label = label
        self._total = total
        self._done = 0
        self._note = ""
        self._began = self._shown = time.monotonic()
        self._live = live

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps as done; ``note`` replaces the text at the end of the line."""
        self._done += steps
        self._note = note or self._note
        now = time.monotonic()
        if self._stream and now - self._shown >= (0.1 if self._live else 10.0):
            self._shown = now
            self._draw(final=False)

    def _draw(self, final: bool) -> None:
        assert self._stream is not None
        elapsed = time.monotonic() - self._began
        if self._total:
            share = min(1.0, self._done / self._total)
            left = elapsed / share - elapsed if share > 0 else 0.0
            when = _clock(elapsed) if final else f"{_clock(elapsed)}, {_clock(left)} left"
            text = f"{self._label}: {self._done}/{self._total} {share:4.0%} [{when}]"
        else:
            text = f"{self._label}: {self._done} [{_clock(elapsed)}]"
        text += f" {self._note}" if self._note else ""
        _write(self._stream, f"\r\033[K{text}" + ("\n" if final else "") if self._live else f"{text}\n")

    def close(self) -> None:
        """Draw the last state."""
        if self._stream:
            self._draw(final=True)


class TerminalConsole:
    """The console of the ``mg`` command.

    Args:
        prefix: stands before every line, to tell parallel steps apart.
        live: redraw progress in place (default: if the stream is a terminal).
    """

    def __init__(
        self, quiet: bool = False, stream: TextIO | None = None, prefix: str = "", live: bool | None = None
    ) -> None:
        self.quiet = quiet
        self.prefix = prefix
        self._stream = stream
        self._live = live

    @property
    def _out(self) -> TextIO:
        return self._stream or sys.stderr

    def say(self, text: str) -> None:
        """Tell what is going on."""
        if not self.quiet:
            _write(self._out, f"{self.prefix}{printable(text)}\n")

    def warn(self, text: str) -> None:
        """Tell what the user should know even with --quiet."""
        _write(self._out, f"{self.prefix}warning: {printable(text)}\n")

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Bar]:
        """Show a progress bar while the block runs."""
        live = self._out.isatty() if self._live is None else self._live
        bar = Bar(None if self.quiet else self._out, self.prefix + label, total, live)
        try:
            yield bar
        finally:
            bar.close()
