"""``mg submit``: a probs store as the challenge wants it, and the check of what goes there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from mg_data.contract import Console, DataError, StageResult
from mg_data.store import read_probs
from mg_fusion.files import file_digest
from mg_fusion.submission import (
    Dialect,
    check_submission,
    order_rows,
    read_ids,
    read_submission,
    write_submission,
)


def submit(
    *,
    console: Console,
    probs: Path,
    out: Path = Path("submission.zip"),
    dialect: Dialect = "2025",
    ids: Path | None = None,
) -> StageResult:
    """Run ``mg submit``; see its ``--help``.

    Returns:
        data: ``out``, ``digest`` of the file, ``clips``, ``dialect``, ``labels`` (the
        convention), ``probs`` digest.
    """
    store = read_probs(probs)
    if not store.present.all():
        raise DataError(
            f"{probs}: {int((~store.present).sum())} clips have no answer; a submission needs them all"
        )
    wanted = read_ids(ids) if ids is not None else None
    if wanted is None:
        console.say("submit: no --ids, so the set of clips is not checked against the challenge's list")
    rows = order_rows(store.clip_ids, wanted, str(ids))
    answers = store.values[rows].argmax(axis=1)
    classes = len(store.class_names)
    write_submission(out, store.clip_ids[rows].tolist(), answers.tolist(), classes=classes, dialect=dialect)
    used = len(np.unique(answers))
    return StageResult(
        data={
            "out": str(out),
            "digest": file_digest(Path(out)),
            "clips": len(rows),
            "dialect": dialect,
            "labels": f"challenge convention, 0..{classes - 1}",
            "classes_answered": used,
            "probs": store.digest,
        },
        text=f"{len(rows)} clips, labels 0..{classes - 1} (challenge convention), {used} classes answered "
        f"-> {out}",
    )


def check(
    *,
    console: Console,
    file: Path,
    ids: Path | None = None,
    classes: int = 32,
    dialect: Dialect | Literal["auto"] = "auto",
) -> StageResult:
    """Run ``mg submit check``; see its ``--help``.

    Returns:
        data: ``file``, ``member``, ``dialect``, ``clips``, ``classes_answered``, ``problems``.

    Raises:
        DataError: there are problems; its ``result`` lists them all.
    """
    found = read_submission(file)
    wanted = read_ids(ids) if ids is not None else None
    if wanted is None:
        console.say("submit check: no --ids, so the set of clips is not checked against the challenge's list")
    if not found.member:
        console.warn(f"{file}: is a bare csv; the challenge takes it in a zip")
    problems = check_submission(found, classes=classes, ids=wanted, dialect=dialect)
    used = len(set(found.targets))
    result = StageResult(
        data={
            "file": str(file),
            "member": found.member,
            "dialect": found.dialect,
            "clips": len(found.targets),
            "classes_answered": used,
            "problems": problems,
        },
        text="\n".join(problems)
        or f"{len(found.targets)} clips, dialect {found.dialect}, labels 0..{classes - 1}, {used} classes "
        "answered",
    )
    if problems:
        error = DataError(
            f"{file}: {len(problems)} problem{'s' if len(problems) > 1 else ''}, the first: {problems[0]}"
        )
        error.result = result
        raise error
    return result
