"""The truth, from labels.csv or the labelled part of a split store. For scoring and fitting only."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError, StoreError
from mg_fusion.files import file_digest

# The first bytes of every HDF5 file.
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Labels by clip id.

    Args:
        path: file they came from. digest: of its content.
        labels: clip id -> class index >= 0; clips of unknown label are left out.
        class_names: class index -> name, as far as the file says.
        subjects: clip id -> subject, where the file knows one.
    """

    path: Path
    digest: str
    labels: dict[str, int]
    class_names: dict[int, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def check_classes(self, class_names: Sequence[str], store: Path) -> None:
        """Compare the class names of the truth with those of a store.

        Raises:
            StoreError: another class list, as when labels follow another numbering.
        """
        for index, name in sorted(self.class_names.items()):
            if index >= len(class_names) or class_names[index] != name:
                found = class_names[index] if index < len(class_names) else f"only {len(class_names)} classes"
                raise StoreError(
                    store,
                    f"class {index} is '{found}', but '{name}' in {self.path}",
                    "the labels follow another class list; import both from one data set",
                )

    def of(self, clip_ids: ArrayLike) -> NDArray[np.int64]:
        """Return (N,) labels, -1 where the truth is unknown."""
        return np.array([self.labels.get(str(clip), -1) for clip in np.asarray(clip_ids)], dtype=np.int64)

    def groups_of(self, clip_ids: ArrayLike) -> NDArray[np.str_] | None:
        """Return (N,) subjects, or None unless each clip's is known."""
        names = [self.subjects.get(str(clip), "") for clip in np.asarray(clip_ids)]
        return np.array(names) if names and all(names) else None


def read_truth(path: str | Path) -> Truth:
    """Read labels.csv (header ``clip_id,label,class_name``) or a split store.

    Raises:
        DataError: a csv that is not such a file, or one class index under two names.
        StoreError: a store that is no split or is damaged.
    """
    file = Path(path)
    try:
        with file.open("rb") as handle:
            is_store = handle.read(8) == _HDF5_SIGNATURE
    except OSError as error:
        raise DataError(f"{file}: labels cannot be read: {error.strerror}") from error
    return _from_split(file) if is_store else _from_csv(file)


def _from_split(path: Path) -> Truth:
    from mg_data.store import read_split

    split = read_split(path)
    known = split.labels >= 0
    return Truth(
        path=path,
        digest=split.digest,
        labels=dict(zip(split.clip_ids[known].tolist(), split.labels[known].tolist(), strict=True)),
        class_names=dict(enumerate(split.class_names)),
        subjects={
            clip: subject
            for clip, subject in zip(split.clip_ids.tolist(), split.subject_ids.tolist(), strict=True)
            if subject
        },
    )


def _from_csv(path: Path) -> Truth:
    from mg_data.labels import read_labels

    labels = read_labels(path)
    names: dict[int, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as handle:
        for row in list(csv.reader(handle))[1:]:
            if len(row) < 3 or not row[2] or int(row[1]) < 0:
                continue
            if names.setdefault(int(row[1]), row[2]) != row[2]:
                raise DataError(
                    f"{path}: class {row[1]} has two names, '{names[int(row[1])]}' and '{row[2]}'"
                )
    return Truth(
        path=path,
        digest=file_digest(path),
        labels={clip: label for clip, label in labels.items() if label >= 0},
        class_names=names,
    )
