"""The veto effect (paper section 3.4): clips on which one overconfident model overrides the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mg_fusion.errors import ScoresError, SettingError
from mg_fusion.vote import FloatArray, check_scores, check_temperature, check_weights, softmax

IntArray = NDArray[np.int64]

# Shares of weight are sums that were rounded: closer than this to the majority is not above it.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Vetoes:
    """Clips that one model decided against the majority of the others: the result of :func:`find_vetoes`.

    Args:
        temperature: of the vote. rows: (V,) clips. model: (V,) who decided. confidence: (V,) of that model.
        answer: (V,) class the vote gives. rest_answer: (V,) class the vote gives without that model.
        agreement: (V,) share of the others' weight that answers ``rest_answer``.
    """

    temperature: float
    rows: IntArray
    model: IntArray
    confidence: FloatArray
    answer: IntArray
    rest_answer: IntArray
    agreement: FloatArray


def find_vetoes(
    logits: ArrayLike,
    weights: ArrayLike,
    temperature: float,
    present: ArrayLike | None = None,
    *,
    majority: float = 0.5,
) -> Vetoes:
    """Find the clips on which the soft vote follows one model against the majority of the rest.

    Model m vetoes a clip if the vote answers as m does, no other model of positive weight answers so, the
    vote without m answers another class, and more than ``majority`` of the others' weight answers that class
    by itself. With two models the rest is the other one.

    Args:
        logits: (M, N, K). weights: (M,). temperature: tau. present: (M, N).
        majority: share of the others' weight, from 0 to below 1.

    Raises:
        SettingError: weights, temperature or majority out of range.
        ScoresError: wrong shapes, non-finite scores, a clip that no model of positive weight answers.

    >>> sure, unsure = [9.0, 0.0], [0.0, 1.0]
    >>> find_vetoes([[sure], [unsure], [unsure]], [1, 1, 1], 1.0).model.tolist()
    [0]
    >>> find_vetoes([[sure], [unsure], [unsure]], [1, 2, 2], 1.0).model.tolist()
    []
    """
    scores, mask = check_scores(logits, present)
    shares = check_weights(weights, len(scores))[:, None] * mask
    tau = check_temperature(temperature)
    if not 0 <= majority < 1:
        raise SettingError(f"majority: found {majority}, wanted a share from 0 to below 1")
    if (shares.sum(axis=0) == 0).any():
        raise ScoresError("veto: a clip has no answer from a model of positive weight; leave it out")
    probs = np.stack([softmax(values, tau) for values in scores])
    top, answer = scores.argmax(axis=2), _vote(shares, probs).argmax(axis=1)
    weight = shares.sum(axis=0)
    supporters = ((top == answer) & (shares > 0)).sum(axis=0)
    found: list[tuple[IntArray, ...]] = []
    values: list[tuple[FloatArray, FloatArray]] = []
    for model in range(len(scores)):
        rest_weight = weight - shares[model]
        others = np.arange(len(scores)) != model
        # Added up anew: what is left of a difference tells classes apart that the others have equal.
        rest = _vote(shares[others], probs[others]).argmax(axis=1)
        agree = ((top == rest) & others[:, None]) * shares
        agreement = agree.sum(axis=0) / np.where(rest_weight > 0, rest_weight, 1.0)
        alone = (top[model] == answer) & (shares[model] > 0) & (supporters == 1)
        rows = np.flatnonzero(alone & (rest != answer) & (agreement > majority + _ROUNDING))
        found.append((rows, np.full(len(rows), model), answer[rows], rest[rows]))
        values.append((probs[model, rows].max(axis=1, initial=0.0), agreement[rows]))
    rows, model_of, answers, rests = (np.concatenate(parts) for parts in zip(*found, strict=True))
    confidence, agreements = (np.concatenate(parts) for parts in zip(*values, strict=True))
    order = np.argsort(rows, kind="stable")
    return Vetoes(
        temperature=tau,
        rows=rows[order].astype(np.int64),
        model=model_of[order].astype(np.int64),
        confidence=confidence[order],
        answer=answers[order].astype(np.int64),
        rest_answer=rests[order].astype(np.int64),
        agreement=agreements[order],
    )


def _vote(shares: FloatArray, probs: FloatArray) -> FloatArray:
    """Return (N, K) the weighted sum of (M, N, K) probabilities, added in the order of the soft vote."""
    total = np.zeros(probs.shape[1:])
    for share, values in zip(shares, probs, strict=True):
        total += share[:, None] * values
    return total


def effect(answer: int, rest: int, truth: int) -> str:
    """Return what a veto did: ``harmful``, ``helpful``, ``neither``, or "" where the truth is unknown."""
    if truth < 0:
        return ""
    return "helpful" if answer == truth else "harmful" if rest == truth else "neither"


def compare_vetoes(
    before: Vetoes, after: Vetoes, models: Sequence[str], labels: IntArray | None
) -> dict[str, Any]:
    """Return counts by model and effect before and after the temperature, and how many clips it freed."""

    def count(found: Vetoes) -> dict[str, Any]:
        row: dict[str, Any] = {
            "temperature": found.temperature,
            "clips": len(found.rows),
            "by_model": {key: int((found.model == m).sum()) for m, key in enumerate(models)},
        }
        if labels is not None:
            effects = [
                effect(int(a), int(r), int(labels[n]))
                for n, a, r in zip(found.rows, found.answer, found.rest_answer, strict=True)
            ]
            row |= {name: effects.count(name) for name in ("harmful", "helpful", "neither")}
        return row

    return {
        "before": count(before),
        "after": count(after),
        "freed": len(np.setdiff1d(before.rows, after.rows)),
        "new": len(np.setdiff1d(after.rows, before.rows)),
    }


HEADER = (
    "clip_id", "temperature", "model", "confidence", "answer", "rest_answer", "agreement", "truth", "effect",
)  # fmt: skip


def veto_rows(
    found: Vetoes,
    clip_ids: NDArray[np.str_],
    models: Sequence[str],
    class_names: Sequence[str],
    labels: IntArray | None,
) -> list[tuple[Any, ...]]:
    """Return the lines of a csv with the columns of :data:`HEADER`, one for each veto."""
    lines = []
    for place, row in enumerate(found.rows.tolist()):
        answer, rest = int(found.answer[place]), int(found.rest_answer[place])
        truth = -1 if labels is None else int(labels[row])
        lines.append(
            (
                str(clip_ids[row]),
                f"{found.temperature:g}",
                models[int(found.model[place])],
                f"{found.confidence[place]:.4f}",
                class_names[answer],
                class_names[rest],
                f"{found.agreement[place]:.4f}",
                class_names[truth] if truth >= 0 else "",
                effect(answer, rest, truth),
            )
        )
    return lines
