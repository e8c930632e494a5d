"""The list of clips: filtered, sorted and cut into pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import UsageError
from mg_data.explore.answers import Answers
from mg_data.explore.corrections import Corrections

PAGE = 100
_SORTS = ("id", "confidence", "-confidence", "disagreement", "-disagreement")


class Listing:
    """All clips of a run, to be asked for by what they are.

    Filters: ``id`` (part of the clip id), ``subject``, ``subset``, ``truth``, ``prediction`` (class names),
    ``right`` (``yes``, ``no``), ``least``, ``most`` (confidence), ``disagree`` (at least so many branches),
    ``marked`` (``yes``: with a correction), ``sort``, ``offset``.
    """

    def __init__(self, answers: Answers, subjects: Sequence[str], corrections: Corrections) -> None:
        self._answers = answers
        self._corrections = corrections
        self._ids: NDArray[np.str_] = answers.clip_ids
        self._subjects = np.array(subjects, dtype=np.str_)
        self._prediction = answers.prediction
        self._confidence = answers.confidence
        self._disagreement = answers.disagreement
        self._right = (answers.truth == self._prediction) & (answers.truth >= 0)

    def page(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Return the rows of one page, and how many clips there are and how many of those are right.

        Raises:
            UsageError: an unknown class or way to sort, a number that is none.
        """
        chosen = np.flatnonzero(self._chosen(asked))
        chosen = chosen[self._order(asked.get("sort", "id"), chosen)]
        offset = max(0, int(_number(asked, "offset", 0)))
        known = self._answers.truth[chosen] >= 0
        return {
            "total": len(chosen),
            "known": int(known.sum()),
            "right": int(self._right[chosen].sum()),
            "offset": offset,
            "page": PAGE,
            "clips": [self.row(int(place)) for place in chosen[offset : offset + PAGE]],
        }

    def row(self, place: int) -> dict[str, Any]:
        """Return what the list says of one clip."""
        clip_id = str(self._ids[place])
        confidence = float(self._confidence[place])
        said = self._corrections.of(clip_id)
        return {
            "id": clip_id,
            "subject": str(self._subjects[place]),
            "subset": str(self._answers.subsets[place]),
            "truth": self._name(self._answers.truth[place]),
            "prediction": self._name(self._prediction[place]),
            "confidence": None if np.isnan(confidence) else round(confidence, 4),
            "disagreement": int(self._disagreement[place]),
            "right": bool(self._right[place]) if self._answers.truth[place] >= 0 else None,
            "corrected": said.class_name,
            "flag": said.flag,
        }

    def _name(self, label: int) -> str | None:
        return self._answers.class_names[label] if label >= 0 else None

    def _chosen(self, asked: Mapping[str, str]) -> NDArray[np.bool_]:
        chosen = np.ones(len(self._ids), bool)
        if asked.get("id"):
            chosen &= np.char.find(np.char.lower(self._ids), asked["id"].lower()) >= 0
        if asked.get("subject"):
            chosen &= self._subjects == asked["subject"]
        if asked.get("subset"):
            chosen &= self._answers.subsets == asked["subset"]
        for name, labels in (("truth", self._answers.truth), ("prediction", self._prediction)):
            if asked.get(name):
                chosen &= labels == self._class(asked[name])
        if asked.get("right") in ("yes", "no"):
            chosen &= (self._right == (asked["right"] == "yes")) & (self._answers.truth >= 0)
        if asked.get("least"):
            chosen &= self._confidence >= _number(asked, "least", 0)
        if asked.get("most"):
            chosen &= self._confidence <= _number(asked, "most", 1)
        if asked.get("disagree"):
            chosen &= self._disagreement >= _number(asked, "disagree", 0)
        if asked.get("marked") == "yes":
            chosen &= np.array([not self._corrections.of(str(name)).is_empty for name in self._ids], bool)
        return chosen

    def _class(self, name: str) -> int:
        if name not in self._answers.class_names:
            raise UsageError(f"'{name[:60]}' is no class of this run")
        return self._answers.class_names.index(name)

    def _order(self, sort: str, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        if sort not in _SORTS:
            raise UsageError(f"clips are sorted by {', '.join(_SORTS)}, not by '{sort[:40]}'")
        if sort == "id":
            return np.arange(len(chosen))
        values = (self._confidence if sort.endswith("confidence") else self._disagreement)[chosen]
        return np.argsort(-values if sort.startswith("-") else values, kind="stable")


def _number(asked: Mapping[str, str], name: str, default: float) -> float:
    try:
        found = float(asked.get(name) or default)
    except ValueError:
        raise UsageError(f"{name} is '{asked[name][:40]}', wanted a number") from None
    if not np.isfinite(found):
        raise UsageError(f"{name} is '{asked[name][:40]}', wanted a number")
    return found
