"""``mg adapt``: pseudo-labels for the target from the vote of several models (paper 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mg_adapt.adapters import model_votes
from mg_adapt.blame import blamed, named
from mg_adapt.files import file_digest
from mg_adapt.folds import people_of
from mg_adapt.recipe import overlay_options
from mg_adapt.stages.folds import write_out_of_fold_splits
from mg_adapt.target import (
    VoteParameters,
    check_fitted_on,
    check_round,
    class_yield,
    join_target,
    read_vote_parameters,
    require_target,
    union_taint,
)
from mg_data.contract import (
    AdapterSpec,
    Console,
    PluginError,
    PseudoLabels,
    StageResult,
    TargetScores,
    UsageError,
)
from mg_data.plugins import registry, resolve
from mg_data.store import LogitsStore, Provenance, SplitStore, read_logits, read_split, write_pseudo


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
    folds: int = 0,
) -> StageResult:
    """Write the pseudo-labels that an adapter finds in the weighted vote of the target's logits.

    Args:
        params: ``fusion.json`` with the weights; without it all models weigh the same.
        threshold: alpha, of adapters that have one. temperature: tau of this vote, a setting of its own;
            ``fitted`` is the tau of ``params``, ``calibrated`` the one of lowest NLL on validation. The yield
            at the fitted tau is reported in any case.
        round: 1 refuses logits of models that trained on target clips.
        options: further options of the adapter.
        folds: after retraining on validation too, a vote may be fitted only on logits of models that left the
            clips out; so many splits for such models are written beside ``out`` (see ``mg folds``).

    Raises:
        StoreError, UsageError, TaintError: stores that do not fit one another, a vote that target clips
            chose, or a round too many.
        PluginError: the adapter's answer is no choice of target clips.
    """
    if not logits:
        raise UsageError("mg adapt: give at least one logit store of the target")
    if folds < 0:
        raise UsageError(f"--folds must be at least 0, found {folds}")
    parts = read_split(split)
    candidates = require_target(parts)
    if folds:  # too few people is said before anything is written
        people_of(parts, ("val",), folds)
    stores = [read_logits(path) for path in logits]
    known_target = check_round(stores, parts, round)
    if round > 1 and not known_target:
        console.warn(f"--round {round}: no model has trained on target clips yet, as after a first round")
    parameters = None if params is None else read_vote_parameters(params)
    if parameters is not None:
        check_fitted_on(parameters, parts)
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
    found = _choose(spec, scores, resolved)
    # An adapter without alpha writes 0: nothing was compared with the command's.
    alpha = float(resolved.get("threshold", 0.0))
    bar = f"above {alpha:g} " if "threshold" in resolved else ""
    votes = model_votes(scores)[found.rows]
    if not len(found.rows):
        console.warn(
            f"adapter '{adapter}' labels no target clip {bar}at tau {tau:g}: the pseudo-label store is empty"
        )
    digest = write_pseudo(
        out,
        clip_ids=joined.clip_ids[found.rows],
        labels=found.labels,
        confidence=found.confidence,
        votes=votes,
        model_names=joined.model_names,
        class_names=joined.class_names,
        threshold=alpha,
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
            inputs=_inputs(stores, parts, params),
        ),
    )
    data = {
        "pseudo": str(out),
        "digest": digest,
        "candidates": candidates,
        "labels": len(found.rows),
        "yield": len(found.rows) / candidates,
        "threshold": alpha,
        "temperature": tau,
        "round": round,
        "adapter": adapter,
        "models": _models(scores, found, votes, joined.weights.tolist()),
        "models_that_know_the_target": known_target,
        "agreement": _agreement(votes, found),
        "classes": class_yield(found.labels, found.confidence, joined.prior, candidates, joined.class_names),
        "taint_known": taint.known,
        "inputs": _inputs(stores, parts, params),
    }
    by = "" if adapter == "threshold" else f"by {adapter} "
    text = (
        f"{data['labels']} of {candidates} target clips labelled ({data['yield']:.1%}) {by}{bar}at "
        f"tau {tau:g}, mean agreement {data['agreement']:.1%}"
    )
    if parameters is not None:
        # How right these would be only 'mg score' can say, of a store made with --temperature fitted.
        exceeding = len(_choose(spec, joined.scores(parameters.temperature), resolved).rows)
        data["fitted_temperature"] = parameters.temperature
        data["yield_at_fitted_temperature"] = exceeding / candidates
        text += f"; at the fitted tau {parameters.temperature:g} it would be {exceeding / candidates:.1%}"
    splits = write_out_of_fold_splits(parts, out, folds)
    data["folds"] = [str(path) for path in splits]
    text += "".join(f"\n{path}" for path in (out, *splits))
    return StageResult(data=data, text=text)


def _inputs(stores: Sequence[LogitsStore], split: SplitStore, params: Path | None) -> dict[str, str]:
    """Return the digests of everything that was read, the vote's parameters included."""
    inputs = {"split": split.digest}
    if params is not None:
        inputs["params"] = file_digest(params)
    for store in stores:
        # A branch may bear any name.
        inputs[f"logits:{store.key}" if store.key in inputs else store.key] = store.digest
    return inputs


def _choose(spec: AdapterSpec, scores: TargetScores, options: Mapping[str, Any]) -> PseudoLabels:
    """Return an adapter's answer; PluginError if it raises or is no choice of distinct target clips."""
    choose = resolve(spec.factory)
    with blamed(named("adapters", spec.name), lambda: "the target's clips"):
        return _checked(choose(scores, **options), scores, spec.name)


def _checked(found: PseudoLabels, scores: TargetScores, adapter: str) -> PseudoLabels:
    """Return an adapter's answer; PluginError if it is no choice of distinct target clips."""
    clips, classes = scores.probs.shape
    rows, labels = np.asarray(found.rows), np.asarray(found.labels)
    wrong = ""
    if rows.ndim != 1 or not (rows.shape == labels.shape == np.shape(found.confidence)):
        wrong = "rows, labels and confidence of unequal shapes"
    elif len(rows) and (rows.min() < 0 or rows.max() >= clips or len(np.unique(rows)) != len(rows)):
        wrong = f"rows that are not distinct numbers of 0..{clips - 1}"
    elif len(rows) and (labels.min() < 0 or labels.max() >= classes):
        wrong = f"labels outside 0..{classes - 1}"
    if wrong:
        raise PluginError(f"adapter '{adapter}' returned {wrong}")
    return found


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
