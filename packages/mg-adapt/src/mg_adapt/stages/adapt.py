"""``mg adapt``: pseudo-labels for the target from the vote of several models (paper 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mg_adapt.adapters import model_votes, threshold_rows
from mg_adapt.recipe import overlay_options
from mg_adapt.target import (
    VoteParameters,
    check_round,
    class_yield,
    join_target,
    read_vote_parameters,
    require_target,
    union_taint,
)
from mg_data.contract import Console, PseudoLabels, StageResult, TargetScores, UsageError
from mg_data.plugins import registry, resolve
from mg_data.store import Provenance, read_logits, read_split, write_pseudo


def adapt(
    *,
    console: Console,
    logits: Sequence[Path],
    split: Path,
    out: Path,
    params: Path | None = None,
    adapter: str = "threshold",
    threshold: float = 0.65,
    temperature: str | float = 1.0,
    round: int = 1,
    options: Mapping[str, Any] | None = None,
) -> StageResult:
    """Write the pseudo-labels that an adapter finds in the weighted vote of the target's logits.

    Args:
        params: ``fusion.json`` with the weights; without it all models weigh the same.
        threshold: alpha. temperature: tau of this vote, a setting of its own; ``fitted`` is the tau of
            ``params``, ``calibrated`` the one of lowest NLL on validation. The yield at the fitted tau is
            reported in any case.
        round: 1 refuses logits of models that trained on target clips.
        options: further options of the adapter.

    Raises:
        StoreError, UsageError, TaintError: stores that do not fit one another, or a round too many.
    """
    if not logits:
        raise UsageError("mg adapt: give at least one logit store of the target")
    parts = read_split(split)
    candidates = require_target(parts)
    stores = [read_logits(path) for path in logits]
    known_target = check_round(stores, parts, round)
    parameters = None if params is None else read_vote_parameters(params)
    tau = _temperature(temperature, parameters)
    joined = join_target(stores, parts, parameters)
    taint = union_taint(stores, parts, parameters)
    if not taint.known:
        console.warn(
            "some logits do not say what their model was trained on: the pseudo-labels' taint is unknown"
        )

    spec = registry().get("adapters", adapter)
    given: dict[str, Any] = {"threshold": threshold} if "threshold" in spec.options else {}
    resolved = overlay_options(spec.options, [given, options or {}], f"adapter '{adapter}'")
    scores = joined.scores(tau)
    found: PseudoLabels = resolve(spec.factory)(scores, **resolved)
    votes = model_votes(scores)[found.rows]
    if not len(found.rows):
        console.warn(f"no target clip exceeds {threshold} at tau {tau:g}: the pseudo-label store is empty")
    digest = write_pseudo(
        out,
        clip_ids=joined.clip_ids[found.rows],
        labels=found.labels,
        confidence=found.confidence,
        votes=votes,
        model_names=joined.model_names,
        class_names=joined.class_names,
        threshold=threshold,
        temperature=tau,
        round=round,
        candidates=candidates,
        probs=found.probs,
        taint=taint,
        dataset=parts.dataset,
        vocabulary=parts.vocabulary,
        provenance=Provenance(
            command="mg adapt",
            config={
                "adapter": adapter,
                "options": resolved,
                "temperature": tau,
                "round": round,
                "weights": dict(zip(joined.model_names, joined.weights.tolist())),
            },
            inputs={store.key: store.digest for store in stores} | {"split": parts.digest},
        ),
    )
    data = {
        "pseudo": str(out),
        "digest": digest,
        "candidates": candidates,
        "labels": len(found.rows),
        "yield": len(found.rows) / candidates,
        "threshold": threshold,
        "temperature": tau,
        "round": round,
        "adapter": adapter,
        "models": _models(scores, found, votes, joined.weights.tolist()),
        "models_that_know_the_target": known_target,
        "agreement": _agreement(votes, found),
        "classes": class_yield(found.labels, joined.prior, candidates, joined.class_names),
        "taint_known": taint.known,
    }
    text = (
        f"{data['labels']} of {candidates} target clips labelled ({data['yield']:.1%}) above {threshold} at "
        f"tau {tau:g}, mean agreement {data['agreement']:.1%}"
    )
    if parameters is not None:
        exceeding = len(threshold_rows(joined.scores(parameters.temperature), threshold))
        data["fitted_temperature"] = parameters.temperature
        data["yield_at_fitted_temperature"] = exceeding / candidates
        text += f"; at the fitted tau {parameters.temperature:g} it would be {exceeding / candidates:.1%}"
    return StageResult(data=data, text=f"{text}\n{out}")


def _temperature(wanted: str | float, parameters: VoteParameters | None) -> float:
    """Return tau as a number; ``fitted`` and ``calibrated`` are those that validation chose."""
    if wanted in ("fitted", "calibrated"):
        if parameters is None:
            raise UsageError(f"--temperature {wanted} needs --params, the fusion.json that holds it")
        if wanted == "fitted":
            return parameters.temperature
        if parameters.calibrated is None:
            raise UsageError(
                "--temperature calibrated: the fusion.json has none; fit it again with 'mg fuse'"
            )
        return parameters.calibrated
    try:
        tau = float(wanted)
    except ValueError:
        raise UsageError(
            f"--temperature must be a number, 'fitted' or 'calibrated', found '{wanted}'"
        ) from None
    if not (np.isfinite(tau) and tau > 0):
        raise UsageError(f"--temperature must be positive, found {wanted}")
    return tau


def _agreement(votes: np.ndarray, found: PseudoLabels) -> float:
    """Return the mean share of answering models that vote for the label themselves (0 without labels)."""
    if not len(found.rows):
        return 0.0
    answering = np.maximum((votes >= 0).sum(axis=1), 1)
    return float(((votes == found.labels[:, None]).sum(axis=1) / answering).mean())


def _models(
    scores: TargetScores, found: PseudoLabels, votes: np.ndarray, weights: Sequence[float]
) -> list[dict[str, Any]]:
    """Return for each model its weight, how many clips it answers, and how often it votes for the label."""
    return [
        {
            "branch": name,
            "weight": weights[place],
            "answers": int(scores.present[place].sum()),
            "votes_for_label": int((votes[:, place] == found.labels).sum()),
        }
        for place, name in enumerate(scores.model_names)
    ]
