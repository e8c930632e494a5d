"""The truth, from labels.csv or the labelled part of a split store. For scoring and fitting only."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError, StoreError, UsageError
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
                there = f"'{name}' in {self.path}"
                raise StoreError(
                    store,
                    f"class {index} is '{class_names[index]}', but {there}"
                    if index < len(class_names)
                    else f"has {len(class_names)} classes; class {index} is {there}",
                    "the labels follow another class list; import both from one data set",
                )

    def of(self, clip_ids: ArrayLike) -> NDArray[np.int64]:
        """Return (N,) labels, -1 where the truth is unknown."""
        return np.array([self.labels.get(str(clip), -1) for clip in np.asarray(clip_ids)], dtype=np.int64)

    def groups_of(self, clip_ids: ArrayLike) -> NDArray[np.str_] | None:
        """Return (N,) subjects, or None unless each clip's is known."""
        names = [self.subjects.get(str(clip), "") for clip in np.asarray(clip_ids)]
        return np.array(names) if names and all(names) else None


def is_store(path: Path) -> bool:
    """Return whether a file is HDF5 by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:
        return handle.read(8) == _HDF5_SIGNATURE


def read_truth(path: str | Path) -> Truth:
    """Read labels.csv (header ``clip_id,label,class_name``) or a split store.

    Raises:
        DataError: a csv that is not such a file, or one class index under two names.
        StoreError: a store that is no split or is damaged.
    """
    file = Path(path)
    try:
        return _from_split(file) if is_store(file) else _from_csv(file)
    except OSError as error:
        raise DataError(f"{file}: labels cannot be read: {error.strerror}") from error


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
        rows = csv.reader(handle)
        next(rows, None)  # the header
        for row in rows:
            if len(row) < 3 or not row[2] or int(row[1]) < 0:
                continue
            if names.setdefault(int(row[1]), row[2]) != row[2]:
                raise DataError(
                    f"{path}: class {row[1]} has two names, '{names[int(row[1])]}' and '{row[2]}'"
                )
    if min(labels.values(), default=0) < 0:
        labels = {clip: label for clip, label in labels.items() if label >= 0}
    return Truth(path=path, digest=file_digest(path), labels=labels, class_names=names)


def fit_labels(
    clip_ids: NDArray[np.str_],
    own: NDArray[np.int64] | None,
    truth: Truth | None,
    class_names: Sequence[str],
    store: Path,
) -> NDArray[np.int64]:
    """Return (N,) labels of all clips to fit on, from the truth or else from the stores themselves.

    Args:
        clip_ids: (N,). own: (N,) labels that the stores carry, or None. class_names, store: of the scores, to
            compare with those of the truth.

    Raises:
        DataError: a clip without a label. StoreError: another class list.
    """
    if truth is not None:
        truth.check_classes(class_names, store)
        found, origin = truth.of(clip_ids), str(truth.path)
    elif own is not None:
        found, origin = own, "the stores to fit on"
    else:
        raise DataError(
            "fit: the stores to fit on carry no labels; give --labels labels.csv or a split store"
        )
    unknown = clip_ids[found < 0]
    if len(unknown):
        raise DataError(
            f"{origin}: no label for {len(unknown)} of {len(found)} clips to fit on, "
            f"the first is '{unknown[0]}'; fit on labelled clips only"
        )
    if len(found) and found.max() >= len(class_names):
        raise DataError(
            f"{origin}: has label {found.max()}, but {store} has {len(class_names)} classes; "
            "the labels follow another class list"
        )
    return found


def read_groups(path: str | Path, by: str) -> dict[str, str]:
    """Return clip id -> subject or video; clips of unknown group are left out.

    Args:
        path: a clips store, a split store (subjects only), or a csv with the header ``clip_id,group``.

    Raises:
        StoreError: a store of another kind, or a split asked for videos.
        DataError: a csv that is not such a file.
    """
    from mg_data.store import open_clips, read_split, store_kind

    file = Path(path)
    try:
        stored = is_store(file)
        if not stored:
            with file.open(encoding="utf-8-sig", newline="") as handle:
                rows = [row for row in csv.reader(handle) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: groups cannot be read: {error}") from error
    if not stored:
        if not rows or rows[0] != ["clip_id", "group"] or any(len(row) != 2 for row in rows):
            raise DataError(f"{file}: wanted a clips or split store, or a csv with the header clip_id,group")
        found = {clip: group for clip, group in rows[1:] if group}
        if len({clip for clip, _ in rows[1:]}) != len(rows) - 1:
            raise DataError(f"{file}: lists a clip twice; each clip once")
        return found
    kind = store_kind(file)
    if kind == "clips":
        clips = open_clips(file)
        names = clips.subject_ids if by == "subject" else clips.video_ids
        return {clip: name for clip, name in zip(clips.clip_ids.tolist(), names.tolist()) if name}
    if kind == "split" and by == "subject":
        split = read_split(file)
        return {clip: name for clip, name in zip(split.clip_ids.tolist(), split.subject_ids.tolist()) if name}
    raise StoreError(file, f"is a store of kind '{kind}', which knows no {by}s", "give the clips store")


def given_groups(path: Path | None, by: str) -> dict[str, str] | None:
    """Return the groups of ``--groups``, or None without it; then the truth may know subjects.

    Raises:
        UsageError: something else than subjects is asked for, and there is nothing to ask. Else as
            :func:`read_groups`.
    """
    if path is not None:
        return read_groups(path, by)
    if by != "subject":
        raise UsageError(f"--group-by {by} belongs to --groups; give the clips store, which knows the {by}s")
    return None


def groups_of(
    clip_ids: NDArray[np.str_], truth: Truth | None, groups: Mapping[str, str] | None
) -> NDArray[np.str_] | None:
    """Return (N,) groups of clips: those given, else the subjects the truth knows, else None.

    Raises:
        DataError: groups were given, but not of every clip.
    """
    if groups is None:
        return truth.groups_of(clip_ids) if truth is not None else None
    absent = [clip for clip in clip_ids.tolist() if not groups.get(clip)]
    if absent:
        raise DataError(
            f"groups: {len(absent)} of {len(clip_ids)} clips have no group, the first is '{absent[0]}'; "
            "give the clips store they come from"
        )
    return np.array([groups[clip] for clip in clip_ids.tolist()])
