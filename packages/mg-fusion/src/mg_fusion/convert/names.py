"""Names of one file joined to the ids of another: exactly, or by a rule that is named and reported."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mg_fusion.errors import ScoresError, SettingError


def normalised(name: str) -> str:
    """Return a name without what file systems and scripts change: case, width, signs.

    Every run of characters other than letters and digits becomes one underscore.

    >>> normalised("clips/Chanta!____THAT (IS)_hair.avi")
    'clips_chanta_that_is_hair_avi'
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return "_".join(words)


MatchRule = Literal["exact", "casefold", "normalised"]
_RULES: dict[str, Callable[[str], str]] = {"casefold": str.casefold, "normalised": normalised}
MATCHES: tuple[MatchRule, ...] = get_args(MatchRule)


@dataclass(frozen=True, kw_only=True, eq=False)
class NameMatch:
    """How names were joined: the result of :func:`match_names`.

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


def match_names(names: Sequence[str], wanted: Sequence[str], how: MatchRule = "exact") -> NameMatch:
    """Join names to the ids wanted; equal ones first, then the rest by the rule.

    Nothing is joined by a rule in silence: ``changed`` lists the pairs that are not equal, ``dropped`` and
    ``lacking`` what is left over on either side.

    Args:
        names: N different names. wanted: different ids.
        how: ``exact``, ``casefold`` (case does not count) or ``normalised`` (Unicode form, case and every
            run of other signs than letters and digits do not count).

    Raises:
        SettingError: an unknown rule.
        ScoresError: a name or id twice, nothing joined, or a rule under which two names (or two ids) become
            one where either is needed.

    >>> found = match_names(["Jump!_1.avi", "run.avi"], ["jump__1.avi", "walk.avi"], "normalised")
    >>> found.changed, found.dropped, found.lacking
    ((('Jump!_1.avi', 'jump__1.avi'),), ('run.avi',), ('walk.avi',))
    """
    if how not in MATCHES:
        raise SettingError(f"match: found {how!r}, wanted one of {', '.join(MATCHES)}")
    names, wanted = [str(name) for name in names], [str(name) for name in wanted]
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
                raise ScoresError(
                    f"match {how}: the {what} '{several[0]}' and '{several[1]}' are one under this rule, so "
                    f"it cannot tell which is meant by '{name if several is found else found[0]}'; "
                    "rename them or match exactly"
                )
            joined[name] = place[found[0]]
            changed.append((found[0], name))
    if not joined:
        raise ScoresError(
            f"match {how}: none of the {len(names)} names is one of the {len(wanted)} ids wanted; "
            f"the first are '{names[0]}' and '{wanted[0]}'"
        )
    used = set(joined.values())
    return NameMatch(
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
        ScoresError: naming the first, or that there are none.
    """
    if not len(words):  # an array has no truth value
        raise ScoresError(f"{origin}: there is no {what}")
    first: dict[str, int] = {}
    for number, word in enumerate(words):
        if word in first:
            raise ScoresError(
                f"{origin}: the {what} '{word}' stands twice, in places {first[word] + 1} and {number + 1}"
            )
        first[word] = number


def _by_key(words: Sequence[str], rule: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        found.setdefault(rule(word), []).append(word)
    return found
