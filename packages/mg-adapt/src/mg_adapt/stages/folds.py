"""``mg folds split`` and ``mg folds join``: leave people out of a split, and join what was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mg_adapt.folds import cross_validation_parts, out_of_fold_parts, out_of_fold_taint, read_folds
from mg_data.contract import Console, StageResult, StoreError, UsageError
from mg_data.store import Provenance, SplitStore, read_logits, read_split, write_logits, write_split


def split_fold(
    *,
    console: Console,
    split: Path,
    out: Path,
    fold: int,
    folds: str = "subject",
    purpose: str = "cross-validation",
) -> StageResult:
    """Write the split of one fold.

    Args:
        fold: 1 .. F. folds: ``subject`` or the number of folds.
        purpose: ``cross-validation``: the people of train and val become target, val and train of the fold;
            ``out-of-fold``: some of the validation people become the part ``held``, all else stays.

    Raises:
        UsageError, DataError: as :func:`mg_adapt.folds.cross_validation_parts` says.
    """
    parts = read_split(split)
    return _write_fold(parts, out, read_folds(folds), fold, purpose)


def _write_fold(parts: SplitStore, out: Path, folds: str | int, fold: int, purpose: str) -> StageResult:
    if purpose == "cross-validation":
        rows, names = cross_validation_parts(parts, folds, fold)
    elif purpose == "out-of-fold":
        rows, names = np.arange(len(parts)), out_of_fold_parts(parts, folds, fold)
    else:
        raise UsageError(f"--purpose '{purpose}': wanted cross-validation or out-of-fold")
    labels = np.where(names == "target", -1, parts.labels[rows])
    digest = write_split(
        out,
        dataset=parts.dataset,
        clip_ids=parts.clip_ids[rows],
        names=names,
        labels=labels,
        class_names=parts.class_names,
        vocabulary=parts.vocabulary,
        subject_ids=parts.subject_ids[rows],
        provenance=Provenance(
            command="mg folds split",
            config={"folds": folds, "fold": fold, "purpose": purpose},
            inputs={"split": parts.digest},
        ),
    )
    left_out = "target" if purpose == "cross-validation" else "held"
    people = sorted(set(parts.subject_ids[rows][names == left_out].tolist()))
    counts = {name: int((names == name).sum()) for name in dict.fromkeys(names.tolist())}
    return StageResult(
        data={"split": str(out), "digest": digest, "people": people, "clips": counts},
        text=f"{out}: {left_out} is {', '.join(people)}; "
        + ", ".join(f"{name} {count} clips" for name, count in counts.items()),
    )


def write_out_of_fold_splits(split: SplitStore, out: Path, folds: int) -> list[Path]:
    """Write ``NAME-fold1.h5`` ... beside ``NAME.h5``, each with a part of validation held out."""
    paths = [out.with_name(f"{out.stem}-fold{fold}{out.suffix}") for fold in range(1, folds + 1)]
    for fold, path in enumerate(paths, start=1):
        _write_fold(split, path, folds, fold, "out-of-fold")
    return paths


def join_folds(*, console: Console, stores: Sequence[Path], out: Path) -> StageResult:
    """Join one branch's logits of clips that its models were not trained on, one store a fold.

    A clip of the result counts as trained on only if the very model that answers for it was trained on it, so
    parameters of a vote may be fitted on it; a plain merge of stores takes the union and is refused there.

    Raises:
        StoreError: stores of another branch, class list or data set, or a clip in two of them.
    """
    if not stores:
        raise UsageError("mg folds join: name the logit stores of the folds")
    found = [read_logits(path) for path in stores]
    first = found[0]
    for store in found[1:]:
        for what in ("key", "class_names", "dataset", "space", "tta"):
            if getattr(store, what) != getattr(first, what):
                name = {"key": "branch", "class_names": "class list"}.get(what, what)
                raise StoreError(store.path, f"is of another {name} than {first.path}")
    ids = np.concatenate([store.clip_ids for store in found])
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise StoreError(found[-1].path, f"clip '{values[counts > 1][0]}' stands in two of the folds")
    order = np.argsort(ids)
    known = [store.labels for store in found if store.labels is not None]
    digest = write_logits(
        out,
        clip_ids=ids[order],
        values=np.concatenate([store.values for store in found])[order],
        present=np.concatenate([store.present for store in found])[order],
        class_names=first.class_names,
        vocabulary=first.vocabulary,
        dataset=first.dataset,
        labels=None if len(known) < len(found) else np.concatenate(known)[order],
        model=first.model,
        modality=first.modality,
        branch=first.branch,
        space=first.space,
        tta=first.tta,
        seed=first.seed,
        taint=out_of_fold_taint(found),
        provenance=Provenance(
            command="mg folds join",
            config={"folds": len(found)},
            inputs={f"fold{number}": store.digest for number, store in enumerate(found, start=1)},
        ),
    )
    return StageResult(
        data={"logits": str(out), "digest": digest, "branch": first.key, "clips": len(ids)},
        text=f"{first.key}: {len(ids)} clips of {len(found)} folds\n{out}",
    )
