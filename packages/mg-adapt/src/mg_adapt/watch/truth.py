"""Annotated videos: a csv of segments, or a clips store with its labels.csv."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_adapt.recipe import nearest
from mg_adapt.watch.matching import Annotation
from mg_data.contract import DataError, StoreError
from mg_data.labels import read_labels
from mg_data.store import clip_keys, open_clips

# More frames than any recording has.
_MAX_FRAMES = 1 << 31
COLUMNS = ("video_id", "start", "stop", "class_name")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Annotations by video, in frames of the video.

    Args:
        keys: taint keys of the annotated clips by video; empty for a csv, whose clips have no name.
    """

    path: Path
    annotations: Mapping[str, Sequence[Annotation]]
    keys: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)


def read_truth(
    path: Path, class_names: Sequence[str], background: Collection[int] = (), labels: Path | None = None
) -> Truth:
    """Read annotations; those of background classes are left out, as nothing is recognised there.

    Args:
        path: a csv with the columns ``video_id, start, stop, class_name`` (frames, half-open; a row with a
            video alone says that nothing happens in it), or a clips store.
        labels: of a clips store; ``labels.csv`` beside it if not given.

    Raises:
        DataError, StoreError: it cannot be read, or names a class that the checkpoints do not know.
    """
    names = list(class_names)
    if path.suffix.lower() == ".csv":
        return _read_csv(path, names, background)
    return _read_store(path, names, background, labels or path.with_name("labels.csv"))


def _read_csv(path: Path, names: list[str], background: Collection[int]) -> Truth:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            header = tuple(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: annotations cannot be read: {error}") from error
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(f"{path}: lacks the column {missing[0]} (wanted {','.join(COLUMNS)})")
    found: dict[str, list[Annotation]] = {}
    for line, row in enumerate(rows, start=2):
        video, start, stop, name = ((row[column] or "").strip() for column in COLUMNS)
        if not video:
            raise DataError(f"{path}, line {line}: names no video")
        marked = found.setdefault(video, [])
        if not (start or stop or name):
            continue
        try:
            span = int(start), int(stop)
        except ValueError:
            raise DataError(
                f"{path}, line {line}: start and stop are '{start}' and '{stop}', wanted whole frame numbers"
            ) from None
        if not 0 <= span[0] < span[1] < _MAX_FRAMES:
            raise DataError(f"{path}, line {line}: frames {start} to {stop} are no span (stop is exclusive)")
        if name not in names:
            raise DataError(
                f"{path}, line {line}: the checkpoints know no class '{name}'{nearest(name, names)}"
            )
        if names.index(name) not in background:
            marked.append(Annotation(*span, names.index(name)))
    return Truth(path=path, annotations=found)


def _read_store(path: Path, names: list[str], background: Collection[int], labels: Path) -> Truth:
    with open_clips(path) as store:
        given = read_labels(labels)
        found: dict[str, list[Annotation]] = {}
        ids: dict[str, list[str]] = {}
        unlabelled = 0
        for row, clip_id in enumerate(str(name) for name in store.clip_ids):
            label = given.get(clip_id, -1)
            if label < 0:
                unlabelled += 1
                continue
            if label >= len(store.class_names):
                raise DataError(
                    f"{labels}: clip '{clip_id}' has class {label}, {path} has {len(store.class_names)}"
                )
            name, video = store.class_names[label], str(store.video_ids[row])
            if name not in names:
                raise StoreError(
                    path, f"clip '{clip_id}' is '{name}', a class that the checkpoints do not know"
                )
            ids.setdefault(video, []).append(clip_id)
            marked = found.setdefault(video, [])
            if names.index(name) not in background:
                marked.append(Annotation(int(store.start[row]), int(store.stop[row]), names.index(name)))
        if not found:
            raise DataError(f"{labels}: none of the {unlabelled} clips of {path} has a label")
        keys = {video: clip_keys(store.dataset, clips) for video, clips in ids.items()}
    return Truth(path=path, annotations=found, keys=keys)
