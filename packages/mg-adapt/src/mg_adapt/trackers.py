"""Trackers: where training scalars go besides the JSON-lines log that is always written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mg_data.contract import Console, Tracker, UsageError
from mg_data.plugins import registry, resolve


class TensorBoard:
    """Writes TensorBoard event files into ``folder``; needs the extra ``mg-adapt[tensorboard]``.

    Raises:
        UsageError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "tracker 'tensorboard' needs the package tensorboard: pip install 'mg-adapt[tensorboard]'"
            ) from error
        self._writer: Any = SummaryWriter(log_dir=str(folder))

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=epoch)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class Trackers:
    """The trackers of one training. One that raises is dropped with a warning: it must not end a training."""

    def __init__(self, trackers: Mapping[str, Tracker], console: Console) -> None:
        self._trackers = dict(trackers)
        self._console = console

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Hand on a row of the log."""
        values = {name: float(value) for name, value in row.items() if name != "epoch"}
        self._each(lambda tracker: tracker.scalars(int(row["epoch"]), values))

    def close(self) -> None:
        """Close all."""
        self._each(lambda tracker: tracker.close())

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:  # whatever a stranger's tracker raises
                self._console.warn(f"tracker '{name}' is dropped: {type(error).__name__}: {error}")
                del self._trackers[name]


def open_trackers(names: Sequence[str], checkpoint: Path, console: Console) -> Trackers:
    """Open registered trackers; each writes into ``<checkpoint's stem>.<tracker>/`` beside the checkpoint.

    Raises:
        PluginError: no such tracker. UsageError: its package is not installed.
    """
    opened: dict[str, Tracker] = {}
    for name in dict.fromkeys(names):
        spec = registry().get("trackers", name)
        folder = checkpoint.with_name(f"{checkpoint.stem}.{name}")
        opened[name] = resolve(spec.factory)(folder, **spec.options)
    return Trackers(opened, console)
