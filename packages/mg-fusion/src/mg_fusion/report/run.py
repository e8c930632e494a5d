"""A run folder as the report sees it. Every part is optional: what is absent or broken is said.

Nothing here draws or writes. The truth of the target is read, which only ``mg score`` and the pages may do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import MgError
from mg_data.store import PseudoStore, SplitStore, read_split, stored_digest
from mg_fusion.report.answers import Answers, read_answers
from mg_fusion.report.embed import Method
from mg_fusion.scoring import LabelledScores, label_scores, open_scored, training_counts
from mg_fusion.stores import JoinedScores, join_stores
from mg_fusion.truth import Truth, read_groups, read_truth
from mg_fusion.vote import SoftVote

# Rows of metrics.json that are made of several branches, or chosen among them.
SUMMARY_ROWS = ("single-best", "equal-weight", "fused")
PHASES = ("before", "after")


class AbsentError(Exception):
    """A part of the run folder is not there; the text says which."""


def json_object(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        AbsentError: no such file, or it holds something else.
    """
    if not path.exists():
        raise AbsentError(f"{path.name} is not in this run folder")
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise AbsentError(f"{path.name} holds no JSON object")
    return value


@dataclass
class Run:
    """What a run folder holds. ``problems`` maps a section or part to the reason why it is empty.

    Args:
        folder: of the run. name, seed, dataset: as run.json says.
        branches: of run.json. head: all of run.json. metrics: all of metrics.json.
        votes: fitted parameters by ``before`` and ``after`` pseudo-labels.
        truth: labels of the target, or None. embedding: how features are placed in a plane.
    """

    folder: Path
    name: str = ""
    seed: Any = None
    dataset: str = ""
    branches: list[dict[str, Any]] = field(default_factory=list)
    head: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    votes: dict[str, SoftVote] = field(default_factory=dict)
    truth: Truth | None = None
    embedding: Method = "auto"
    problems: dict[str, str] = field(default_factory=dict)

    def guard(self, section: str, read: Callable[[], Any]) -> Any:
        """Run a part's reader; on failure keep the reason and return None."""
        try:
            return read()
        except (AbsentError, MgError, OSError) as error:
            self.problems[section] = str(error)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError) as error:
            self.problems[section] = f"could not be read: {type(error).__name__}: {error}"
        return None

    @property
    def scores(self) -> Mapping[str, Mapping[str, Any]]:
        """Row name -> metrics."""
        found = self.metrics.get("scores", {})
        return found if isinstance(found, Mapping) else {}

    def latest(self, name: str) -> str:
        """Return ``NAME/after`` if metrics.json has that row, else ``NAME/before``.

        Raises:
            AbsentError: it has neither.
        """
        for phase in reversed(PHASES):
            if f"{name}/{phase}" in self.scores:
                return f"{name}/{phase}"
        raise AbsentError(
            self.problems.get("results", f"metrics.json holds neither {name}/after nor {name}/before")
        )

    def branch_names(self) -> list[str]:
        """Return the branches of run.json, then those that only metrics.json knows."""
        names = [str(item.get("name")) for item in self.branches]
        for key in self.scores:
            name, _, phase = key.rpartition("/")
            if phase in PHASES and name not in (*names, *SUMMARY_ROWS):
                names.append(name)
        return names

    def need_truth(self) -> Truth:
        """Return the truth, or raise AbsentError with the reason why there is none."""
        if self.truth is None:
            raise AbsentError(self.problems.get("truth", "there is no truth"))
        return self.truth

    def need_vote(self, phase: str = "") -> SoftVote:
        """Return the parameters of a phase (default: the last there is), or raise AbsentError."""
        found = self.votes.get(phase) or next(reversed(list(self.votes.values())), None)
        if found is None:
            raise AbsentError(self.problems.get("vote", "there is no fusion.json"))
        return found

    @cached_property
    def split(self) -> SplitStore:
        """The split store; AbsentError if it is not there."""
        path = self.folder / "data" / "split.h5"
        if not path.exists():
            raise AbsentError("data/split.h5 is not in this run folder")
        return read_split(path)

    @cached_property
    def class_counts(self) -> NDArray[np.int64] | None:
        """(K,) training clips of each class, as ``mg score --counts data/split.h5`` takes them, or None."""
        try:
            return training_counts(self.split.path, self.split.class_names, self.split.path)
        except (AbsentError, MgError):
            return None

    @cached_property
    def groups(self) -> tuple[str, dict[str, str]]:
        """What people or videos clips belong to: ``subject``, ``video`` or "" and clip id -> its name."""
        for by, name in (("subject", "split.h5"), ("subject", "clips.h5"), ("video", "clips.h5")):
            try:
                found = read_groups(self.folder / "data" / name, by)
            except MgError:
                continue
            if found:
                return by, found
        subjects = self.truth.subjects if self.truth is not None else {}
        return ("subject", dict(subjects)) if subjects else ("", {})

    def store_of(self, row: str) -> Path:
        """Return the store that a row of metrics.json was measured on, whether or not the folder was moved.

        Raises:
            AbsentError: it is not there, or holds other scores by now.
        """
        stated = Path(str(self.scores[row].get("store", "")))
        inside = [self.folder.joinpath(*stated.parts[-depth:]) for depth in (3, 2, 1)]
        path = next((item for item in (*inside, stated) if item.is_file()), None)
        if path is None:
            raise AbsentError(f"the store of row {row}, {stated.name}, is not in this run folder")
        found = stored_digest(path)
        if found != self.scores[row].get("digest", found):
            raise AbsentError(
                f"{path.name} is not the file that row {row} of metrics.json measured: its digest differs; "
                "score it again"
            )
        return path

    @cached_property
    def _opened(self) -> tuple[dict[str, LabelledScores], dict[str, str]]:
        truth = self.need_truth()
        found: dict[str, LabelledScores] = {}
        failed: dict[str, str] = {}
        for row, measured in self.scores.items():
            if measured.get("kind") not in ("logits", "probs") or row.startswith("single-best/"):
                continue
            try:
                store = open_scored(self.store_of(row))
                assert not isinstance(store, PseudoStore)
                found[row] = label_scores(store, truth)
            except (AbsentError, MgError) as error:
                failed[row] = str(error)
        return found, failed

    @property
    def labelled(self) -> dict[str, LabelledScores]:
        """Row -> probabilities and truth of its clips, for every row of scores whose store can be read.

        Raises:
            AbsentError: there is no such row, or no truth.
        """
        found, failed = self._opened
        if not found:
            reason = next(iter(failed.values()), self.problems.get("results", ""))
            raise AbsentError(reason or "metrics.json holds no row of scores")
        return found

    def readable(self) -> list[str]:
        """Return the rows of scores whose store can be read; none without the truth."""
        try:
            return list(self.labelled)
        except AbsentError:
            return []

    def scores_of(self, row: str) -> LabelledScores:
        """Return the labelled scores of one row, or raise AbsentError with the reason why not."""
        if row not in self.labelled:
            raise AbsentError(self._opened[1].get(row, f"metrics.json holds no row {row}"))
        return self.labelled[row]

    @cached_property
    def answers(self) -> Answers:
        """What every row answers on every labelled clip."""
        return read_answers(self.labelled, self.class_names(), self.groups[1])

    def class_names(self) -> tuple[str, ...]:
        """Return the K names that metrics.json states."""
        for row in self.scores.values():
            if "confusion" in row:
                return tuple(str(item["name"]) for item in row["per_class"])
        raise AbsentError(self.problems.get("results", "metrics.json holds no row of scores"))

    def branch_scores(self, phase: str) -> JoinedScores:
        """Return the target logits of all branches of a phase, joined by clip id.

        Raises:
            AbsentError: no branch has a logit store there.
        """
        rows = [f"{name}/{phase}" for name in self.branch_names() if f"{name}/{phase}" in self.scores]
        paths = [self.store_of(row) for row in rows if self.scores[row].get("kind") == "logits"]
        if not paths:
            raise AbsentError("there are no logit stores of the target to compute it from")
        return join_stores(paths, missing="allow")

    def shares(self, vote: SoftVote, joined: JoinedScores) -> NDArray[np.float64]:
        """Return (M,) weights that a vote gives the models joined, 0 to one that took no part in it.

        Raises:
            AbsentError: a model that it gives weight is not among them, so this is not its vote.
        """
        absent = [key for key, weight in vote.weights.items() if weight > 0 and key not in joined.keys]
        if absent:
            raise AbsentError(
                f"the target logits of {', '.join(absent)}, to which the vote gives weight, are not in this "
                "run folder"
            )
        return np.array([vote.weights.get(key, 0.0) for key in joined.keys])


def open_run(folder: Path, embedding: Method = "auto") -> Run:
    """Read run.json, metrics.json, fusion.json and the truth, as far as they are there."""
    run = Run(folder=folder, embedding=embedding)
    run.head = run.guard("run", lambda: json_object(folder / "run.json")) or {}
    run.name = str(run.head.get("name") or folder.resolve().name)
    run.seed, run.dataset = run.head.get("seed"), str(run.head.get("dataset") or "")
    branches = run.head.get("branches")
    if isinstance(branches, list):
        run.branches = [dict(item) for item in branches if isinstance(item, Mapping)]
    run.metrics = run.guard("results", lambda: json_object(folder / "metrics.json")) or {}
    run.votes = run.guard("vote", lambda: _votes(folder)) or {}
    run.truth = run.guard("truth", lambda: _truth(run))
    return run


def _votes(folder: Path) -> dict[str, SoftVote]:
    """Return the parameters before and after pseudo-labels; the first are kept unless fitted again."""
    first = [folder / "round1" / "fusion.json", folder / "fusion.json"]
    path = next((item for item in first if item.exists()), None)
    if path is None:
        raise AbsentError("fusion.json is not in this run folder: temperature and weights were not fitted")
    before = SoftVote.load(path)
    again = folder / "round2" / "fusion.json"
    return {"before": before, "after": SoftVote.load(again) if again.exists() else before}


def _truth(run: Run) -> Truth:
    labels = run.metrics.get("labels")
    stated = str(labels.get("path", "")) if isinstance(labels, Mapping) else ""
    for path in (run.folder / "data" / "labels.csv", run.folder / stated, Path(stated)):
        if path.is_file():
            return read_truth(path)
    raise AbsentError("labels.csv is not in this run folder, nor where metrics.json says")
