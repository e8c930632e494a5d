"""Errors on their way out of loader processes: handed over as values, raised where they can be read.

A DataLoader's process turns an exception into the text of its traceback; a user is to read one line that
names the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mg_adapt.training.worker_batches import own
from mg_data.contract import MgError, Modality, PluginError


def sample_of(modality: Modality, clip_id: str, rng: np.random.Generator | None) -> NDArray[Any]:
    """Return a sample of a clip; PluginError naming modality and clip for whatever a stranger's raises."""
    with _naming(modality, clip_id):
        return modality.sample(clip_id, rng)


def views_of(modality: Modality, clip_id: str, flip: bool) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return all views of a clip, (V, ...), each followed by its mirror image if asked for, and which are."""
    samples: list[NDArray[Any]] = []
    with _naming(modality, clip_id):
        for view in modality.views(clip_id):
            samples += [view, modality.flip(view)] if flip else [view]
        stacked = np.stack(samples)
    return stacked, (np.arange(len(samples)) % 2 == 1) & flip


class _naming:
    def __init__(self, modality: Modality, clip_id: str) -> None:
        self.modality, self.clip_id = modality, clip_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, MgError):
            name = f"{type(self.modality).__module__}.{type(self.modality).__qualname__}"
            raise PluginError(
                f"modality {name} failed on clip '{self.clip_id}': {type(error).__name__}: {error}"
            ) from error


class Carrying(Dataset[Any]):
    """A data set whose MgErrors are returned instead of raised."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, place: Any) -> Any:
        try:
            return self.dataset[place]
        except MgError as error:
            return error


class CarryingCollate:
    """A collate function that passes on the first error among the samples."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: Any) -> Any:
        """Return the batch, or an error in its place."""
        items = samples if isinstance(samples, list) else [samples]
        found = [item for item in items if isinstance(item, MgError)]
        if found:
            return found[0]
        try:
            return self.collate(samples)
        except MgError as error:
            return error


def raised(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches, each in this process's own memory; raise the error that stands in the place of one."""
    for batch in batches:
        if isinstance(batch, MgError):
            raise batch
        yield own(batch)
