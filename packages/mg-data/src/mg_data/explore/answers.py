"""What a run's models answered, clip by clip: every logits and probs store of the run, joined by clip id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, StoreError
from mg_data.labels import read_labels
from mg_data.store import StoreFile, open_store, store_kind

# Votes over the branches, as `mg run` names them: no branches of their own.
VOTES = ("fused", "equal")
_VOTE_ORDER = {name: place for place, name in enumerate(VOTES)}


@dataclass(frozen=True)
class Column:
    """One model's, or one vote's, probabilities of all clips.

    branch: its name. round: 1 before pseudo-labels, 2 and more after; 0 for stores beside no round.
    probs: (N, K) float32, NaN where it has no answer.
    """

    branch: str
    round: int
    probs: NDArray[np.float32]

    @property
    def is_vote(self) -> bool:
        """Whether it is a vote over branches."""
        return self.branch in _VOTE_ORDER


@dataclass(frozen=True)
class Answers:
    """All columns over the same N clips.

    clip_ids, subsets: (N,) text, sorted by id; a subset is ``target``, ``val`` or "". truth: (N,) class
    indices, -1 where unknown. decisive: the column whose top class counts as the run's prediction.
    """

    name: str
    class_names: tuple[str, ...]
    clip_ids: NDArray[np.str_]
    subsets: NDArray[np.str_]
    truth: NDArray[np.int64]
    columns: tuple[Column, ...]
    decisive: int

    @property
    def prediction(self) -> NDArray[np.int64]:
        """(N,) class indices of the decisive column, -1 where it has no answer."""
        return top_class(self.columns[self.decisive].probs)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(N,) probability of the prediction, NaN where there is none."""
        probs = self.columns[self.decisive].probs
        return np.asarray(np.where(np.isnan(probs[:, 0]), np.nan, probs.max(axis=1)), np.float32)

    @property
    def disagreement(self) -> NDArray[np.int64]:
        """(N,) how many branches of the prediction's round name another class than the prediction."""
        last = self.columns[self.decisive].round
        wanted = self.prediction
        others = [top_class(item.probs) for item in self.columns if item.round == last and not item.is_vote]
        differ = [(found != wanted) & (found >= 0) for found in others]
        return np.sum(differ, axis=0, dtype=np.int64) if differ else np.zeros(len(wanted), np.int64)


def top_class(probs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (N,) the most probable class, -1 for rows of NaN."""
    known = ~np.isnan(probs[:, 0])
    return np.where(known, np.where(known[:, None], probs, 0).argmax(axis=1), -1)


def read_answers(folder: Path) -> Answers:
    """Read every score store of a run folder: those beside it and those of its ``roundN`` folders.

    Raises:
        DataError: no such folder, no score store in it. StoreError: one is damaged, or of other classes.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; give the folder that 'mg run -o' wrote")
    stores = [(number, path, open_store(path)) for number, path in _score_files(folder)]
    if not stores:
        raise DataError(f"{folder}: holds no logits or probs store; give the folder that 'mg run -o' wrote")
    classes = stores[0][2].class_names
    for _, path, store in stores:
        store.close()
        if store.class_names != classes:
            raise StoreError(path, f"has other classes than {stores[0][1].name}")
    ids = np.unique(np.concatenate([store.clip_ids for _, _, store in stores]))
    subsets = np.full(len(ids), "", dtype="U64")
    filled: dict[tuple[int, str], NDArray[np.float32]] = {}
    for number, path, store in stores:
        rows = np.searchsorted(ids, store.clip_ids)
        subset, branch = _named(path)
        if subset:
            subsets[rows] = subset
        probs = filled.setdefault((number, branch), np.full((len(ids), len(classes)), np.nan, np.float32))
        probs[rows] = _probabilities(store)
    keys = sorted(filled, key=lambda key: (key[0], _VOTE_ORDER.get(key[1], -1), key[1]))
    columns = tuple(Column(branch, number, filled[number, branch]) for number, branch in keys)
    return Answers(
        name=_run_name(folder),
        class_names=classes,
        clip_ids=ids,
        subsets=subsets,
        truth=_truth(folder / "data" / "labels.csv", ids, len(classes)),
        columns=columns,
        decisive=_decisive(columns),
    )


def _score_files(folder: Path) -> Iterator[tuple[int, Path]]:
    rounds = {0: folder}
    for path in folder.glob("round*"):
        text = path.name.removeprefix("round")
        if text.isdecimal() and path.is_dir():
            rounds[int(text)] = path
    for number, place in sorted(rounds.items()):
        for path in sorted(place.glob("*.h5")):
            if store_kind(path) in ("logits", "probs"):
                yield number, path


def _named(path: Path) -> tuple[str, str]:
    """Return subset and branch: ``target-joint.h5`` is joint's answers on the target."""
    subset, dash, branch = path.stem.partition("-")
    return (subset, branch) if dash and subset in ("target", "val", "train") else ("", path.stem)


def _probabilities(store: StoreFile) -> NDArray[np.float32]:
    """Return (n, K) probabilities at temperature 1, NaN for clips that the model did not see."""
    scores: Any = store
    if store.kind == "probs" or getattr(scores, "space", "") == "prob":
        probs = scores.values.astype(np.float64)
    else:
        logits = np.where(scores.present[:, None], scores.values, 0).astype(np.float64)
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
    probs[~scores.present] = np.nan
    return np.asarray(probs, np.float32)


def _decisive(columns: tuple[Column, ...]) -> int:
    """Return the place of the latest vote with fitted weights, else of the latest vote, else the last one."""
    ranks = [(item.branch == "fused", item.branch == "equal", item.round) for item in columns]
    return max(range(len(columns)), key=lambda place: (ranks[place], place))


def _run_name(folder: Path) -> str:
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return str(found["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.resolve().name


def _truth(path: Path, ids: NDArray[np.str_], classes: int) -> NDArray[np.int64]:
    if not path.exists():
        return np.full(len(ids), -1, np.int64)
    labels = read_labels(path)
    found = np.array([labels.get(str(clip_id), -1) for clip_id in ids], np.int64)
    if len(found) and found.max() >= classes:
        raise DataError(f"{path}: label {found.max()} is none of the {classes} classes of the stores")
    return found
