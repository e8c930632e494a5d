"""``scores-only``: a nearest-mean classifier of tables of numbers; it stands for any classifier you have.

A table is a csv with a header: ``clip_id``, ``label`` (empty where it is not known) and columns of numbers.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mg_scores_only.store import write_logits

# What no class may be divided by: a column that never varies says nothing.
_LEAST = 1e-6


@dataclass(frozen=True)
class Table:
    """(N,) ids, (N,) labels ("" is unknown), (N, D) numbers."""

    clip_ids: list[str]
    labels: list[str]
    numbers: NDArray[np.float64]


def read_table(path: Path) -> Table:
    """Read a csv.

    Raises:
        ValueError: it cannot be used; the message names file and line.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0][:2] != ["clip_id", "label"] or len(rows[0]) < 3:
        raise ValueError(f"{path}: wanted the header clip_id,label and columns of numbers")
    ids, labels, numbers = [], [], []
    for line, row in enumerate(rows[1:], start=2):
        try:
            values = [float(cell) for cell in row[2:]]
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        if len(row) != len(rows[0]) or not np.isfinite(values).all():
            raise ValueError(f"{path}, line {line}: wanted {len(rows[0])} cells, all numbers finite")
        ids.append(row[0])
        labels.append(row[1])
        numbers.append(values)
    if len(set(ids)) != len(ids):
        raise ValueError(f"{path}: a clip id stands twice")
    return Table(ids, labels, np.array(numbers))


def scores_of(train: Table, clips: Table, class_names: list[str]) -> NDArray[np.float32]:
    """Return (N, K): minus half the mean squared distance to each class's mean, in deviations of a column."""
    if train.numbers.shape[1] != clips.numbers.shape[1]:
        raise ValueError(
            f"{train.numbers.shape[1]} columns to learn from, {clips.numbers.shape[1]} to answer"
        )
    labels = np.array(train.labels)
    means = np.stack([train.numbers[labels == name].mean(axis=0) for name in class_names])
    spread = train.numbers - means[[class_names.index(label) for label in train.labels]]
    deviation = np.maximum(spread.std(axis=0), _LEAST)
    distances = ((clips.numbers[:, None] - means) / deviation) ** 2
    return np.asarray(-0.5 * distances.sum(axis=2), np.float32)


def main(arguments: list[str] | None = None) -> int:
    """Learn from one table, answer another, write a logit store."""
    parser = argparse.ArgumentParser(prog="scores-only", description=__doc__)
    parser.add_argument("train", type=Path, help="table to learn from")
    parser.add_argument("clips", type=Path, help="table to answer")
    parser.add_argument("-o", "--out", type=Path, required=True, help="logit store to write")
    parser.add_argument(
        "--classes", type=Path, required=True, help="class names, one a line, in the order of the others"
    )
    parser.add_argument("--dataset", required=True, help="name of the data set, as the other stores have it")
    given = parser.parse_args(arguments)
    try:
        names = given.classes.read_text(encoding="utf-8").splitlines()
        train, clips = read_table(given.train), read_table(given.clips)
        missing = sorted(set(names) - set(train.labels)) + sorted(set(train.labels) - set(names))
        if missing:
            raise ValueError(f"{given.train}: '{missing[0]}' is no class, or a class without a clip")
        write_logits(
            given.out,
            clip_ids=clips.clip_ids,
            values=scores_of(train, clips, names),
            class_names=names,
            dataset=given.dataset,
            model="nearest-mean",
            modality="table",
            trained_on=train.clip_ids,
        )
    except (OSError, ValueError) as error:
        print(f"scores-only: {error}", file=sys.stderr)
        return 1
    print(f"{given.out}: {len(clips.clip_ids)} clips, {len(names)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
