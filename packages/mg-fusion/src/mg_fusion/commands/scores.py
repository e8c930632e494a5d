"""``mg store from-scores`` and ``mg store to-scores``: score files of other projects."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import Console, DataError, StageResult, StoreError, UsageError
from mg_data.labels import write_labels
from mg_data.store import Provenance, PseudoStore, open_store, publish_text, write_logits
from mg_fusion.convert.names import MatchRule, NameMatch, check_unique, match_names
from mg_fusion.convert.read import ScoreFile, ScoreFormat, annotation_names, read_score_file
from mg_fusion.convert.write import write_score_file
from mg_fusion.files import file_digest
from mg_fusion.scoring import open_scored
from mg_fusion.submission import order_rows, read_ids
from mg_fusion.vote import FloatArray


def _as_keys(keys: Any) -> dict[str, str]:
    if keys and not isinstance(keys, Mapping):
        raise UsageError("keys: wanted name=value words, as scores=logits names=name")
    return dict(keys or {})


def _classes(found: ScoreFile, path: Path | None, against: tuple[str, ...], file: Path) -> list[str]:
    if path is not None:
        names = read_ids(path, what="class")
    elif against:
        names = list(against)
    elif found.class_names is not None:
        names = list(found.class_names)
    else:
        raise UsageError(
            f"from-scores: {file} names no classes; give --classes, one name a line, or --against"
        )
    if len(names) != found.values.shape[1]:
        raise DataError(
            f"{file}: has {found.values.shape[1]} scores a clip, but there are {len(names)} class names"
            + (f" in {path}" if path is not None else "")
        )
    return names


def _ordered(found: ScoreFile, classes: Sequence[str], file: Path, console: Console) -> FloatArray:
    """Return the scores in the order of the classes, where the file names its columns by them."""
    if found.class_names is None or list(found.class_names) == list(classes):
        return found.values
    if sorted(found.class_names) == sorted(classes):
        console.say(
            f"from-scores: the columns of {file} are in another order than the classes; taken by name"
        )
        return found.values[:, [found.class_names.index(name) for name in classes]]
    console.warn(
        f"from-scores: {file} calls its first class '{found.class_names[0]}', here it is '{classes[0]}'; "
        "columns are taken by position"
    )
    return found.values


def _space(values: FloatArray, asked: str, console: Console) -> str:
    if asked != "auto":
        return asked
    probable = bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) <= 1e-3).all())
    space = "prob" if probable else "logit"
    console.say(f"from-scores: taken as space '{space}'; --space says otherwise")
    return space


def _join(
    names: Sequence[str], ids: Path | None, wanted: Sequence[str] | None, match: MatchRule, console: Console
) -> NameMatch:
    if ids is not None:
        wanted = read_ids(ids)
    if wanted is None:
        if match != "exact":
            raise UsageError(f"from-scores: --match {match} needs the ids to match with: --ids or --against")
        return match_names(names, names)
    found = match_names(names, wanted, match)
    if found.changed:
        first = found.changed[0]
        console.warn(
            f"from-scores: {len(found.changed)} of {len(found.ids)} names are joined by rule '{match}' only, "
            f"the first is '{first[0]}' as '{first[1]}'"
        )
    if found.dropped:
        console.warn(
            f"from-scores: {len(found.dropped)} of {len(names)} names are none of the ids wanted and are "
            f"dropped, the first is '{found.dropped[0]}'"
        )
    if found.lacking:
        console.warn(
            f"from-scores: {len(found.lacking)} of {len(wanted)} ids wanted have no scores, the first is "
            f"'{found.lacking[0]}'"
        )
    return found


def _report(path: Path, names: Sequence[str], found: NameMatch) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "clip_id", "joined"))
    for row, clip in zip(found.rows.tolist(), found.ids, strict=True):
        writer.writerow((names[row], clip, "exact" if names[row] == clip else found.how))
    writer.writerows((name, "", "dropped") for name in found.dropped)
    writer.writerows(("", clip, "no scores") for clip in found.lacking)
    publish_text(path, text.getvalue())


def from_scores(
    *,
    console: Console,
    file: Path,
    out: Path,
    format: ScoreFormat,
    classes: Path | None = None,
    names: Path | None = None,
    split: str | None = None,
    ids: Path | None = None,
    against: Path | None = None,
    match: MatchRule = "exact",
    keys: Any = None,
    space: str = "auto",
    branch: str = "",
    model: str = "imported",
    modality: str = "unknown",
    dataset: str = "",
    labels_out: Path | None = None,
    report: Path | None = None,
) -> StageResult:
    """Run ``mg store from-scores``; see its ``--help``.

    Returns:
        data: ``out``, ``digest``, ``clips``, ``classes``, ``space``, ``match``, ``exact`` and ``changed``
        (joins), ``dropped``, ``lacking`` (numbers) and the names concerned in ``changed_names``,
        ``dropped_names``, ``lacking_ids``.
    """
    if ids is not None and against is not None:
        raise UsageError("from-scores: --ids and --against both say which ids are wanted; give one")
    if split is not None and names is None:
        raise UsageError("from-scores: --split is of the annotation pickle in --names; give it")
    # As long as nothing is known of the classes, a csv without header tells by itself whether it has names.
    known: Any = open_store(against) if against is not None else None
    if known is not None:
        known.close()
    count = (
        len(read_ids(classes, what="class"))
        if classes is not None
        else len(known.class_names)
        if known
        else 0
    )
    found = read_score_file(file, format, keys=_as_keys(keys), classes=count)
    class_names = _classes(found, classes, tuple(known.class_names) if known is not None else (), file)
    given = _names(found, names, split, file)
    values = _ordered(found, class_names, file, console)
    wanted = known.clip_ids.tolist() if known is not None else None
    joined = _join(given, ids, wanted, match, console)
    labels = _labels(found, joined, len(class_names), file, labels_out) if labels_out is not None else None
    chosen = _space(values, space, console)
    inputs = {"scores": file_digest(file)} | ({"against": known.digest} if known is not None else {})
    digest = write_logits(
        out,
        clip_ids=list(joined.ids),
        values=values[joined.rows],
        class_names=class_names,
        space=chosen,
        model=model,
        modality=modality,
        branch=branch or file.stem,
        dataset=dataset or (known.dataset if known is not None else ""),
        vocabulary=known.vocabulary if known is not None and classes is None else "",
        provenance=Provenance(
            command="mg store from-scores",
            config={
                "file": file.name,
                "format": format,
                "notes": list(found.notes),
                "match": match,
                "changed": [list(pair) for pair in joined.changed],
                "dropped": len(joined.dropped),
                "lacking": len(joined.lacking),
            },
            inputs=inputs,
        ),
    )
    if labels_out is not None and labels is not None:
        write_labels(labels_out, joined.ids, labels.tolist(), class_names)
    if report is not None:
        _report(report, given, joined)
    exact = len(joined.ids) - len(joined.changed)
    data = {
        "out": str(out),
        "digest": digest,
        "clips": len(joined.ids),
        "classes": len(class_names),
        "space": chosen,
        "notes": list(found.notes),
        "match": match,
        "exact": exact,
        "changed": len(joined.changed),
        "dropped": len(joined.dropped),
        "lacking": len(joined.lacking),
        "changed_names": [list(pair) for pair in joined.changed],
        "dropped_names": list(joined.dropped),
        "lacking_ids": list(joined.lacking),
    }
    how = f"{exact} exactly" + (f", {len(joined.changed)} by rule '{match}'" if joined.changed else "")
    return StageResult(
        data=data,
        text=f"{len(joined.ids)} clips, {len(class_names)} classes, space {chosen} -> {out}\n"
        f"joined {how}; dropped {len(joined.dropped)}; without scores {len(joined.lacking)}",
    )


def _labels(found: ScoreFile, joined: NameMatch, classes: int, file: Path, out: Path) -> NDArray[np.int64]:
    """Return the labels of the clips joined."""
    if found.labels is None:
        raise DataError(f"{file}: holds no labels, so there is no {out} to write; name them with --keys")
    labels = found.labels[joined.rows]
    if labels.min() < -1 or labels.max() >= classes:
        raise DataError(
            f"{file}: labels are {labels.min()}..{labels.max()}, wanted 0..{classes - 1} (-1: unknown)"
        )
    return labels


def _names(found: ScoreFile, path: Path | None, split: str | None, file: Path) -> list[str]:
    """Return the name of each row: the file's own, or those of ``--names`` by position."""
    if path is None:
        if found.names is None:
            raise UsageError(
                f"from-scores: {file} holds no names; give --names, one a line in the order of the scores"
            )
        return list(found.names)
    if found.names is not None:
        raise UsageError(f"from-scores: {file} holds names of its own; leave --names out (--ids to select)")
    try:
        with path.open("rb") as handle:
            pickle = handle.read(1) == b"\x80"
    except OSError as error:
        raise DataError(f"{path}: names cannot be read: {error.strerror}") from error
    names = annotation_names(path, split) if pickle else read_ids(path)
    check_unique(names, "name", str(path))
    if len(names) != len(found.values):
        raise DataError(f"{path}: has {len(names)} names, {file} has {len(found.values)} rows of scores")
    return names


def to_scores(
    *,
    console: Console,
    store: Path,
    out: Path,
    format: ScoreFormat,
    ids: Path | None = None,
    keys: Any = None,
) -> StageResult:
    """Run ``mg store to-scores``; see its ``--help``.

    Returns:
        data: ``out``, ``digest`` of the file, ``clips``, ``format``, ``space``.
    """
    opened = open_scored(store)
    if isinstance(opened, PseudoStore):
        raise StoreError(store, "is a store of kind 'pseudo'", "give a logits or probs store")
    if not opened.present.all():
        raise DataError(
            f"{store}: {int((~opened.present).sum())} clips have no answer, which a score file cannot say; "
            "write a store without them"
        )
    if ids is None and format == "pyskl":
        raise UsageError("to-scores: a pyskl file holds no names, so its order is all: give --ids")
    wanted = read_ids(ids) if ids is not None else None
    rows = order_rows(opened.clip_ids, wanted, str(ids))
    space = getattr(opened, "space", "prob")
    named = _as_keys(keys)
    if format == "npz" and space == "prob":
        named.setdefault("scores", "probs")
    write_score_file(
        out,
        format,
        clip_ids=opened.clip_ids[rows].tolist(),
        values=opened.values[rows],
        class_names=opened.class_names,
        keys=named,
    )
    console.say(f"to-scores: the values are of space '{space}', as in the store")
    data = {
        "out": str(out),
        "digest": file_digest(out),
        "clips": len(rows),
        "format": format,
        "space": space,
    }
    return StageResult(data=data, text=f"{len(rows)} clips -> {out}")
