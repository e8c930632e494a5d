"""Names of one file joined to the ids of another: exactly, or by a rule that is named and reported."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, UsageError


def normalised(name: str) -> str:
    """Return a name without what file systems and scripts change: case, width, signs.

    Every run of characters other than letters and digits becomes one underscore.

    >>> normalised("clips/Chanta!____THAT (IS)_hair.avi")
    'clips_chanta_that_is_hair_avi'
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return "_".join(words)


_RULES: dict[str, Callable[[str], str]] = {"casefold": str.casefold, "normalised": normalised}
MATCHES = ("exact", *_RULES)


@dataclass(frozen=True, kw_only=True, eq=False)
class Match:
    """How names were joined.

    Args:
        rows: (R,) places in the names. ids: (R,) the id each stands for. how: the rule.
        changed: pairs of name and id that the rule joined and that are not equal.
        dropped: names that are no id. lacking: ids that no name stands for.
    """

    rows: NDArray[np.int64]
    ids: tuple[str, ...]
    how: str
    changed: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...]
    lacking: tuple[str, ...]


def match_names(names: Sequence[str], wanted: Sequence[str], how: str = "exact") -> Match:
    """Join names to the ids wanted; equal ones first, then the rest by the rule.

    Args:
        names: N different names. wanted: different ids. how: one of :data:`MATCHES`.

    Raises:
        UsageError: an unknown rule. DataError: a name or id twice, nothing joined, or a rule under which two
            names
        (or two ids) become one where either is needed.
    """
    if how not in MATCHES:
        raise UsageError(f"match: found {how!r}, wanted one of {', '.join(MATCHES)}")
    for what, words in (("name", names), ("id wanted", wanted)):
        check_unique(words, what)
    place = {name: row for row, name in enumerate(names)}
    joined = {name: place[name] for name in wanted if name in place}
    changed: list[tuple[str, str]] = []
    rule = _RULES.get(how)
    if rule is not None:
        names_of, ids_of = _by_key(names, rule), _by_key(wanted, rule)
        for name in wanted:
            if name in joined:
                continue
            found = names_of.get(rule(name), [])
            if not found:
                continue
            alike = ids_of[rule(name)]
            if len(found) > 1 or len(alike) > 1:
                several, what = (found, "names") if len(found) > 1 else (alike, "ids")
                raise DataError(
                    f"match {how}: the {what} '{several[0]}' and '{several[1]}' are one under this "
                    "rule, so it "
                    f"cannot tell which is meant by '{name if several is found else found[0]}'; "
                    "rename them or "
                    "match exactly"
                )
            joined[name] = place[found[0]]
            changed.append((found[0], name))
    if not joined:
        raise DataError(
            f"match {how}: none of the {len(names)} names is one of the {len(wanted)} ids wanted; the "
            "first are "
            f"'{names[0]}' and '{wanted[0]}'"
        )
    used = set(joined.values())
    return Match(
        rows=np.array(list(joined.values()), dtype=np.int64),
        ids=tuple(joined),
        how=how,
        changed=tuple(changed),
        dropped=tuple(name for row, name in enumerate(names) if row not in used),
        lacking=tuple(name for name in wanted if name not in joined),
    )


def check_unique(words: Sequence[str], what: str, origin: str = "match") -> None:
    """Refuse a word that stands twice.

    Raises:
        DataError: naming the first, or that there are none.
    """
    if not words:
        raise DataError(f"{origin}: there is no {what}")
    first: dict[str, int] = {}
    for number, word in enumerate(words):
        if word in first:
            raise DataError(
                f"{origin}: the {what} '{word}' stands twice, in places {first[word] + 1} and {number + 1}"
            )
        first[word] = number


def _by_key(words: Sequence[str], rule: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        found.setdefault(rule(word), []).append(word)
    return found
