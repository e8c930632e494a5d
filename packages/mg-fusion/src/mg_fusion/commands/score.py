"""``mg score``: what stores are worth against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mg_data.contract import Console, StageResult, UsageError
from mg_data.store import LogitsStore, ProbsStore, PseudoStore, publish_json
from mg_fusion.scoring import (
    ScoredStore,
    default_name,
    open_scored,
    score_pseudo,
    score_store,
    training_counts,
)
from mg_fusion.table import percent, render_cells, results_table
from mg_fusion.truth import Truth, given_groups, read_truth

FORMAT = "mg-metrics"
VERSION = 1


def _target_ids(store: PseudoStore, others: Sequence[ScoredStore]) -> set[str] | None:
    """Return the target clips of a pseudo store: the ids of a scored store that holds just its candidates."""
    for other in others:
        if isinstance(other, PseudoStore) or (store.candidates and len(other.clip_ids) != store.candidates):
            continue
        if np.isin(store.clip_ids, other.clip_ids).all():
            return set(other.clip_ids.tolist())
    return None


def _row_names(stores: Sequence[ScoredStore], names: Sequence[str]) -> list[str]:
    if names and len(names) != len(stores):
        raise UsageError(f"score: found {len(names)} names, wanted {len(stores)}, one for each store")
    rows = list(names) or [default_name(store) for store in stores]
    twice = next((name for name in rows if rows.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"score: two rows are called '{twice}'; give each store a name with --names")
    return rows


def _warn_ungrouped(name: str, store: LogitsStore | ProbsStore, truth: Truth, console: Console) -> None:
    """Say that intervals over clips are narrower than they should be where clips of one person are alike."""
    labelled = store.clip_ids[(truth.of(store.clip_ids) >= 0) & store.present]
    if truth.groups_of(labelled) is None:
        console.warn(
            f"score: {name}: the groups of the clips are unknown, so its intervals take clips as independent "
            "and may be too narrow; give --groups"
        )


def score(
    *,
    console: Console,
    stores: Sequence[Path],
    labels: Path,
    names: Sequence[str] = (),
    out: Path | None = None,
    target_size: int | None = None,
    notes: Mapping[str, str] | None = None,
    against: Path | None = None,
    intervals: bool = False,
    groups: Path | None = None,
    group_by: str = "subject",
    counts: Path | None = None,
) -> StageResult:
    """Run ``mg score``; see its ``--help``.

    Clips without truth are counted and left out with a warning; none left is an error.

    Returns:
        data: the content of ``metrics.json``; text: the table.
    """
    grouped = given_groups(groups, group_by)
    truth = read_truth(labels)
    opened = [open_scored(path) for path in stores]
    rows = _row_names(opened, names)
    if notes and not isinstance(notes, Mapping):
        raise UsageError('score: --notes: wanted remarks by row name, as {"joint": "below its floor"}')
    remarks = dict(notes or {})
    unknown = [name for name in remarks if name not in rows]
    if unknown:
        raise UsageError(f"score: notes on {', '.join(unknown)}, but the rows are {', '.join(rows)}")
    other = open_scored(against) if against is not None else None
    if isinstance(other, PseudoStore):
        raise UsageError(f"score: {against} holds pseudo-labels; compare with logits or probs")
    scores: dict[str, dict[str, Any]] = {}
    for name, path, store in zip(rows, stores, opened, strict=True):
        if isinstance(store, PseudoStore):
            ids = _target_ids(store, [other for other in opened if other is not store])
            measured = score_pseudo(store, truth, target_ids=ids, target_size=target_size)
            if measured["yield"] is None:
                console.warn(f"score: {name}: no number of target clips, so no yield; give --target-size")
        else:
            measured = score_store(
                store,
                truth,
                groups=grouped,
                intervals=intervals,
                class_counts=training_counts(counts, store.class_names, path) if counts is not None else None,
                against=other,
            )
            if (intervals or other is not None) and grouped is None:
                _warn_ungrouped(name, store, truth, console)
            if measured.get("against", {}).get("left_out"):
                console.warn(
                    f"score: {name}: {measured['against']['left_out']} clips are not in both it and "
                    f"{against}, "
                    "and are left out of the comparison"
                )
            if measured["unanswered"]:
                console.warn(
                    f"score: {name}: {measured['unanswered']} labelled clips have no answer and are left out"
                )
        if measured["unlabelled"]:
            console.warn(
                f"score: {name}: {measured['unlabelled']} clips have no label in {labels} and are left out"
            )
        scores[name] = {**measured, "store": str(path), "digest": store.digest}
        if remarks.get(name):
            scores[name]["note"] = remarks[name]
    data = {
        "format": FORMAT,
        "version": VERSION,
        "labels": {"path": str(labels), "digest": truth.digest},
        "scores": scores,
    }
    if out is not None:
        publish_json(out, data)
    return StageResult(data=data, text=score_text(scores))


def score_text(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of results and, below it, that of pseudo-labels, as far as there are any."""
    measured = {name: row for name, row in scores.items() if row.get("kind") != "pseudo"}
    pseudo = {name: row for name, row in scores.items() if row.get("kind") == "pseudo"}
    parts = [results_table(measured)] if measured else []
    if pseudo:
        parts.append(
            render_cells(
                ["pseudo-labels", "labels", "of", "yield", "precision", "alpha", "tau"],
                [
                    [
                        name,
                        str(row["n"]),
                        str(row["candidates"] or "—"),
                        percent(row["yield"]),
                        percent(row["precision"]),
                        f"{row['threshold']:g}",
                        f"{row['temperature']:g}",
                    ]
                    for name, row in pseudo.items()
                ],
            )
        )
    parts += _comparison_text(measured)
    return "\n\n".join(parts)


def _comparison_text(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the tables of intervals, of groups of classes and of comparisons, as far as there are any."""
    parts = []
    with_intervals = {name: row["intervals"] for name, row in scores.items() if "intervals" in row}
    if with_intervals:
        header = ["95 % by bootstrap", "accuracy", "macro-F1", "class accuracy", "groups"]
        parts.append(
            render_cells(
                header,
                [
                    [
                        name,
                        *(
                            f"{percent(row[field]['low'])} to {percent(row[field]['high'])}"
                            for field in ("accuracy", "macro_f1", "mean_class_accuracy")
                        ),
                        str(row["groups"]),
                    ]
                    for name, row in with_intervals.items()
                ],
            )
        )
    compared = {name: row["against"] for name, row in scores.items() if "against" in row}
    if compared:
        header = ["against", "gain", "95 % by bootstrap", "only this right", "only that right", "McNemar p"]
        parts.append(
            render_cells(
                header,
                [
                    [
                        name,
                        percent(row["accuracy"]["gain"]),
                        f"{percent(row['accuracy']['low'])} to {percent(row['accuracy']['high'])}",
                        str(row["only_this"]),
                        str(row["only_other"]),
                        f"{row['p_value']:.3g}",
                    ]
                    for name, row in compared.items()
                ],
            )
        )
    return parts
