"""The models' scores of the unlabelled target, joined by clip id and voted (paper Eq. 2-3).

The vote is written out here: adaptation reads the fusion parameters as plain JSON and needs no mg-fusion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg_data.contract import DataError, StoreError, TaintError, TargetScores, UsageError
from mg_data.store import LogitsStore, SplitStore, Taint, clip_keys


@dataclass(frozen=True, kw_only=True)
class VoteParameters:
    """What ``fusion.json`` says.

    Args:
        weights: by branch. temperature: the fitted tau. calibrated: the tau of lowest NLL at these weights,
            or None in a file that does not say.
        fit_keys: keys of the clips it was fitted on.
    """

    weights: Mapping[str, float]
    temperature: float
    class_names: tuple[str, ...]
    fit_keys: NDArray[np.uint64]
    calibrated: float | None = None


def read_vote_parameters(path: Path) -> VoteParameters:
    """Read ``fusion.json``.

    Raises:
        StoreError: it is missing, no JSON, or not of format mg-fusion version 1.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(path, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(
            path, f"is no JSON file: {error}", "wanted fusion.json from 'mg fuse --fit'"
        ) from error
    if not isinstance(value, dict) or value.get("format") != "mg-fusion" or value.get("version") != 1:
        raise StoreError(
            path, "is no fusion parameters of version 1", "wanted fusion.json from 'mg fuse --fit'"
        )
    try:
        weights = {str(key): float(weight) for key, weight in value["weights"].items()}
        temperature = float(value["temperature"])
        class_names = tuple(str(name) for name in value.get("class_names", ()))
        stated = value.get("search", {}).get("calibrated_temperature")
        calibrated = None if stated is None else float(stated)
        fit_keys = np.array(
            [int(key, 16) for key in value.get("fitted_on", {}).get("clip_keys", ())], np.uint64
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(path, f"lacks or misstates {error}") from error
    sizes, taus = list(weights.values()), [temperature] if calibrated is None else [temperature, calibrated]
    if not sizes or not np.isfinite(sizes).all() or min(sizes) < 0 or sum(sizes) <= 0:
        raise StoreError(path, f"needs weights >= 0 with a positive sum, found {weights}")
    for tau in taus:
        if not 0 < tau < np.inf:
            raise StoreError(path, f"needs finite temperatures above 0, found {tau}")
    return VoteParameters(
        weights=weights,
        temperature=temperature,
        class_names=class_names,
        fit_keys=fit_keys,
        calibrated=calibrated,
    )


def tempered(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return softmax(L / tau) over the last axis (paper Eq. 2).

    >>> tempered(np.array([[800.0, 0.0]]), 1e-306).tolist()
    [[1.0, 0.0]]
    """
    # The maximum first: L / tau may overflow for a small tau, a difference below 0 gives 0 then.
    with np.errstate(over="ignore"):
        scaled = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    probs: NDArray[np.float64] = scaled / scaled.sum(axis=-1, keepdims=True)
    return probs


@dataclass(frozen=True, kw_only=True)
class TargetLogits:
    """Logits of M models for the N target clips: (M, N, K), ``present`` (M, N), ``weights`` (M,) of sum 1."""

    clip_ids: NDArray[np.str_]
    class_names: tuple[str, ...]
    model_names: tuple[str, ...]
    logits: NDArray[np.float64]
    present: NDArray[np.bool_]
    weights: NDArray[np.float64]
    prior: NDArray[np.float64]

    def probabilities(self, temperature: float) -> NDArray[np.float64]:
        """Return softmax(L_m / tau), (M, N, K), 0 where absent (paper Eq. 2)."""
        return tempered(self.logits, temperature) * self.present[:, :, None]

    def scores(self, temperature: float) -> TargetScores:
        """Return the weighted vote (paper Eq. 3); absent models' weights go to those that answer.

        A clip without any answer of positive weight gets all zeros: no threshold is exceeded there.
        """
        probs = self.probabilities(temperature)
        share = self.weights[:, None] * self.present
        total = share.sum(axis=0)
        voted = np.einsum("mn,mnk->nk", share, probs) / np.where(total > 0, total, 1.0)[:, None]
        return TargetScores(
            clip_ids=self.clip_ids,
            class_names=self.class_names,
            probs=voted,
            model_probs=probs,
            present=self.present,
            model_names=self.model_names,
            prior=self.prior,
        )


def join_target(
    stores: Sequence[LogitsStore], split: SplitStore, parameters: VoteParameters | None
) -> TargetLogits:
    """Join logit stores over the target clips of a split; rows of other clips are left aside.

    Raises:
        StoreError: unequal classes, another data set, a target clip that a store does not list.
        UsageError: two stores of one branch, or branches that do not fit the weights.
    """
    ids, _ = split.select("target")
    names = tuple(store.key for store in stores)
    if len(set(names)) != len(names):
        raise UsageError(
            f"two logit stores are of one branch in {', '.join(names)}: give each a name by --branch"
        )
    for store in stores:
        if store.class_names != split.class_names:
            found, wanted = len(store.class_names), len(split.class_names)
            raise StoreError(store.path, f"its {found} classes are not the {wanted} of {split.path}")
        if store.dataset and split.dataset and store.dataset != split.dataset:
            raise StoreError(store.path, f"is of data set '{store.dataset}', the split of '{split.dataset}'")
    rows = [store.rows(ids) for store in stores]
    labels = split.labels[(split.names != "target") & (split.labels >= 0)]
    counts = np.bincount(labels, minlength=len(split.class_names)).astype(np.float64)
    return TargetLogits(
        clip_ids=ids,
        class_names=split.class_names,
        model_names=names,
        logits=np.stack([store.as_log()[row] for store, row in zip(stores, rows)]),
        present=np.stack([store.present[row] for store, row in zip(stores, rows)]),
        weights=vote_weights(
            names,
            parameters,
            classes=split.class_names,
            option="--params",
            holder=str(split.path),
            lack="logits are",
        ),
        prior=counts / max(1.0, counts.sum()),
    )


def vote_weights(
    names: Sequence[str],
    parameters: VoteParameters | None,
    *,
    classes: Sequence[str],
    option: str,
    holder: str,
    lack: str,
) -> NDArray[np.float64]:
    """Return (M,) weights of sum 1 of the branches: those of a ``fusion.json``, or equal ones.

    Args:
        classes: class names of the branches' answers. option: the command's name of the file.
        holder: whose classes these are. lack: what of a branch is not given.

    Raises:
        UsageError: it is of other classes, or its branches are not the given ones.
    """
    if parameters is None:
        return np.full(len(names), 1 / len(names))
    if parameters.class_names and parameters.class_names != tuple(classes):
        raise UsageError(f"{option}: its {len(parameters.class_names)} classes are not those of {holder}")
    for name in names:
        if name not in parameters.weights:
            known = ", ".join(parameters.weights)
            raise UsageError(f"{option} has no weight for branch '{name}' (it has: {known})")
    for name, weight in parameters.weights.items():
        if weight > 0 and name not in names:
            raise UsageError(f"{option} gives weight {weight:g} to branch '{name}', whose {lack} not given")
    values = np.array([parameters.weights[name] for name in names])
    if values.sum() <= 0:
        raise UsageError(f"{option} gives weight 0 to every one of {', '.join(names)}")
    return np.asarray(values / values.sum(), np.float64)


def check_round(stores: Sequence[LogitsStore], split: SplitStore, round: int) -> int:
    """Refuse a further round that was not asked for; return how many models have trained on target clips.

    The paper makes one round: labels of models that have trained on labels of their own confirm themselves.

    Raises:
        TaintError: ``round`` is 1 and a model was trained on target clips of this split.
    """
    if round < 1:
        raise UsageError(f"--round must be at least 1, found {round}")
    ids, _ = split.select("target")
    keys = clip_keys(split.dataset, ids)
    known = [(store, store.taint.trained_overlap(keys)) for store in stores]
    used = [(store, overlap) for store, overlap in known if overlap]
    if used and round == 1:
        store, overlap = used[0]
        raise TaintError(
            f"{store.path}: branch '{store.key}' was trained on {overlap} pseudo-labelled target clip(s) "
            "already; give first-round logits, or ask for another round with --round 2"
        )
    return len(used)


def check_fitted_on(parameters: VoteParameters, split: SplitStore) -> None:
    """Refuse a vote that target clips chose: their labels would reach adaptation through its numbers.

    Raises:
        TaintError: the parameters were fitted on target clips of this split.
    """
    keys = clip_keys(split.dataset, split.select("target")[0])
    fitted = int(np.isin(keys, parameters.fit_keys).sum())
    if fitted:
        raise TaintError(
            f"--params: was fitted on {fitted} target clip(s) of {split.path}, whose labels adaptation may "
            "not know; fit it on validation clips with 'mg fuse --fit'"
        )


def union_taint(stores: Sequence[LogitsStore], split: SplitStore, parameters: VoteParameters | None) -> Taint:
    """Return what the pseudo-labels' ancestors have seen; clips of the vote's fit count as selected on."""
    taint = Taint.union_all(store.taint for store in stores)
    return taint if parameters is None else taint.union(Taint.of((), parameters.fit_keys))


def class_yield(
    labels: NDArray[np.int32],
    confidence: NDArray[np.float32],
    prior: NDArray[np.float64],
    candidates: int,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return for each class its labels against the source's class frequencies.

    ``labels``: how many it got; ``expected``: how many of all candidates the frequencies predict;
    ``ratio``: its share among the labels over its share in the source (None if it has none there);
    ``least_confidence``: the lowest probability among its labels (None without labels).
    """
    counts = np.bincount(labels, minlength=len(class_names))
    rows: list[dict[str, Any]] = []
    for index, (name, count, share) in enumerate(zip(class_names, counts, prior)):
        comparable = share > 0 and len(labels)
        rows.append(
            {
                "class": name,
                "labels": int(count),
                "expected": round(float(share) * candidates, 2),
                "ratio": round(float(count / len(labels) / share), 4) if comparable else None,
                "least_confidence": round(float(confidence[labels == index].min()), 6) if count else None,
            }
        )
    return rows


def require_target(split: SplitStore) -> int:
    """Return the number of target clips; DataError if there is none."""
    count = int((split.names == "target").sum())
    if not count:
        raise DataError(f"{split.path}: has no target clip, so there is nothing to adapt to")
    return count
