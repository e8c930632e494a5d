"""Folds of people: whom a model leaves out, so that it can be asked about them. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_data.contract import DataError, UsageError
from mg_data.store import LogitsStore, SplitStore, Taint, clip_keys

BY_SUBJECT = "subject"


def read_folds(wanted: str | int) -> str | int:
    """Return ``subject`` or a number of folds.

    >>> read_folds("3")
    3

    Raises:
        UsageError: something else.
    """
    if wanted == BY_SUBJECT:
        return BY_SUBJECT
    try:
        count = int(wanted)
    except (TypeError, ValueError):
        count = 0
    if count < 1 or isinstance(wanted, bool | float):
        raise UsageError(f"folds: found '{wanted}', wanted 'subject' or a whole number of at least 1")
    return count


def groups_of_people(subjects: ArrayLike, folds: str | int, where: str = "") -> list[tuple[str, ...]]:
    """Deal people out to folds; a person is never in two.

    With ``subject`` everybody is a fold of their own, in the order of their names. Otherwise people are dealt
    out, the one with most clips first, each to the fold that has fewest clips so far. Nothing is drawn.

    Args:
        subjects: (N,) subject id of each clip. folds: ``subject`` or their number.
        where: what messages name.

    Raises:
        DataError: a clip of an unknown person, or fewer people than folds.

    >>> groups_of_people(["a", "b", "b", "b", "c", "c", "d"], 2)
    [('a', 'b'), ('c', 'd')]
    """
    people, counts = np.unique(np.asarray(subjects, np.str_), return_counts=True)
    if "" in people.tolist():
        raise DataError(
            f"{where}: {int(counts[people == ''].sum())} clip(s) have no known subject, so no fold can leave "
            "their people out"
        )
    if folds == BY_SUBJECT:
        return [(str(person),) for person in people]
    count = int(folds)
    if len(people) < count:
        raise DataError(f"{where}: {count} folds need as many people, found {len(people)}")
    groups: list[list[str]] = [[] for _ in range(count)]
    load = np.zeros(count, np.int64)
    for index in np.argsort(-counts, kind="stable"):
        place = int(load.argmin())
        groups[place].append(str(people[index]))
        load[place] += counts[index]
    return [tuple(sorted(group)) for group in groups]


def people_of(split: SplitStore, parts: Sequence[str], folds: str | int) -> list[tuple[str, ...]]:
    """Return the folds of the people in the named parts of a split."""
    rows = np.isin(split.names, list(parts))
    if not rows.any():
        raise DataError(f"{split.path}: has no clip in {' or '.join(parts)} to make folds of")
    return groups_of_people(split.subject_ids[rows], folds, str(split.path))


def cross_validation_parts(
    split: SplitStore, folds: str | int, fold: int
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Return the rows of a fold's clips and the part of each: the people of train and val in three new parts.

    The fold's people are the ``target``, whose labels nobody gets; those of the next fold are ``val``, on
    which the vote is fitted; all others are ``train``. The clips of the split's own target are left out.

    Args:
        fold: 1 .. F.

    Raises:
        DataError: fewer than three folds.
    """
    groups = people_of(split, ("train", "val"), folds)
    check_fold_count(len(groups), str(split.path))
    _check_fold(fold, len(groups))
    rows = np.flatnonzero(np.isin(split.names, ["train", "val"]))
    subjects = split.subject_ids[rows]
    names = np.full(len(rows), "train", dtype="<U6")
    names[np.isin(subjects, groups[fold - 1])] = "target"
    names[np.isin(subjects, groups[fold % len(groups)])] = "val"
    return rows, names


def check_fold_count(count: int, where: str) -> None:
    """Raise DataError for too few folds to cross-validate with; ``where`` is what the message names."""
    if count < 3:
        raise DataError(
            f"{where}: cross-validation needs at least 3 folds, found {count}: one is scored, one fits the "
            "vote, the others are trained on"
        )


def out_of_fold_parts(split: SplitStore, folds: str | int, fold: int) -> NDArray[np.str_]:
    """Return (N,) the parts of a split with one fold of the validation people in a part ``held``."""
    groups = people_of(split, ("val",), folds)
    _check_fold(fold, len(groups))
    names = split.names.astype("<U16")
    names[(split.names == "val") & np.isin(split.subject_ids, groups[fold - 1])] = "held"
    return names


def _check_fold(fold: int, count: int) -> None:
    if not 1 <= fold <= count:
        raise UsageError(f"--fold must lie in 1..{count}, found {fold}")


def out_of_fold_taint(stores: Sequence[LogitsStore]) -> Taint:
    """Return what the models of joined folds have seen, each clip asked of the model that answers for it.

    All models together have seen every clip, each as a stranger to the ones it left out. A clip of the
    stores counts as trained on (selected on) if the model that answers for it was; any other clip if one of
    the models was.
    """
    own = [clip_keys(store.dataset, store.clip_ids) for store in stores]
    everywhere = np.concatenate(own)
    trained: list[NDArray[np.uint64]] = []
    selected: list[NDArray[np.uint64]] = []
    for store, keys in zip(stores, own):
        for seen, found in ((store.taint.trained_on, trained), (store.taint.selected_on, selected)):
            found.append(seen[~np.isin(seen, everywhere) | np.isin(seen, keys)])
    known = all(store.taint.known for store in stores)
    return Taint.of(np.concatenate(trained), np.concatenate(selected), known)
