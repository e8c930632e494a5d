"""What fitted fusion is worth on clips it has not seen: ``python -m benchmarks.fusion_crossfit``.

Published score files of HMDB51 (``--data`` names the folder that holds dmcnet_hmdb51, as MG_SHARED_DATA does
for the tests): the four published combinations of models on three splits of 1,530 clips. Each method is
fitted on four fifths of the videos and answers the fifth; it is compared with the repository's hand weights
on logits (iframe 2, all others 1), which were chosen with these very clips in sight, and with equal weights.
All methods that were tried are in the result.

Two ways to fit: each split by itself, and one set of parameters for the three splits together, as the hand
weights are one set. A video that is in several splits is in one fold of all of them. "shrinkage by inner
folds" takes, in each fold, the shrinkage of log-linear that is best in five folds within the other four
fifths, so the choice has not seen the clips either.

Intervals are of 1,000 resamples of whole videos over the three splits together. The second table fits on 777
clips of few videos and asks the rest: what stacking makes of a small validation set (paper, section 4.4).
Ten minutes of one core; what costs more is named in ``LEFT_OUT``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record_run import RESULTS, commit
from mg_data.plugins import registry, resolve
from mg_fusion import fit_soft_vote, soft_vote
from mg_fusion.files import file_digest
from mg_fusion.folds import group_folds
from mg_fusion.intervals import bootstrap_interval

COMBINATIONS = {
    "iframe, mv, residual": 59.46,
    "iframe, mv, residual, gan": 61.81,
    "iframe, mv, residual, flow": 63.12,
    "iframe, mv, residual, flow, gan": 63.57,
}
HAND = {"iframe": 2.0}
FOLDS, SMALL = 5, 777

Array = np.ndarray[Any, Any]
Vote = Callable[[Array], Array]
# Fitted on (M, N, K) logits, labels and the videos of the clips.
Method = Callable[[Array, Array, Array], Vote]
SHRINKAGES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
LEFT_OUT = {
    "stacking-lightgbm on the four combinations": "half a minute a fit, 60 fits; it is in the small table",
    "a choice among all methods by inner folds": "fits each of them twice more in every fold; inner folds "
    "choose the shrinkage of log-linear only, whose fit takes hundredths of a second",
}


def load(folder: Path, split: int, models: list[str]) -> tuple[Array, Array, Array]:
    """Return (M, N, K) logits, labels and the video of each clip.

    Rows are joined by position, as the published numbers are; the names of the first model say the videos.
    """
    files = [np.load(folder / f"split{split}_{model}.npz") for model in models]
    names = [re.sub(r"[^0-9A-Za-z/.]", "_", name) for name in files[0]["name"].tolist()]
    # The name without action, view, quality and number: clips of one video share it.
    videos = np.array([name.rsplit("_", 6)[0] for name in names])
    return np.stack([file["logits"].astype(np.float64) for file in files]), files[0]["label"], videos


def fuser(name: str, **options: Any) -> Method:
    """Return a registered fuser, fitted if it has a fit."""
    spec = registry().get("fusers", name)
    run = resolve(spec.factory)

    def fit(logits: Array, labels: Array, videos: Array) -> Vote:
        if not spec.fit:
            return lambda more: run(more, np.ones(more.shape[:2], dtype=bool), **options)
        fitted = resolve(spec.fit)(logits, labels, np.ones(logits.shape[:2], dtype=bool), **options)
        return lambda more: run(more, np.ones(more.shape[:2], dtype=bool), fitted=fitted)

    return fit


def searched(**options: Any) -> Method:
    """Return fit_soft_vote with these options."""
    return lambda logits, labels, videos: fit_soft_vote(logits, labels, **options).predict_proba


def bagged(logits: Array, labels: Array, videos: Array) -> Vote:
    """Return the mean of ten searches, each on clips drawn with replacement."""
    generator = np.random.default_rng(0)
    votes = []
    for _ in range(10):
        rows = generator.integers(0, len(labels), len(labels))
        votes.append(fit_soft_vote(logits[:, rows], labels[rows], weight_step=0.1))
    return lambda more: np.mean([vote.predict_proba(more) for vote in votes], axis=0)


def by_inner_folds(better: Callable[[Array, Array], float]) -> Method:
    """Return log-linear with the shrinkage at which ``better`` is lowest in five folds within the clips."""

    def fit(logits: Array, labels: Array, videos: Array) -> Vote:
        inner = folds_of(labels, videos, FOLDS)
        losses = {}
        for shrinkage in SHRINKAGES:
            method = fuser("log-linear", shrinkage=shrinkage)
            losses[shrinkage] = better(crossed(method, logits, labels, videos, inner), labels)
        best = min(losses, key=losses.__getitem__)
        return fuser("log-linear", shrinkage=best)(logits, labels, videos)

    return fit


def nll(probs: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood."""
    return float(-np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-12)).mean())


def errors(probs: Array, labels: Array) -> float:
    """Return the share of wrong answers."""
    return float((probs.argmax(axis=1) != labels).mean())


def reference(models: list[str]) -> dict[str, Method]:
    """Return what takes no labels."""
    hand = [HAND.get(model, 1.0) for model in models]
    return {
        "hand weights on logits": fuser("log-mean", weights=hand),
        "equal weights": lambda logits, labels, videos: lambda more: soft_vote(more, np.ones(len(more)), 1.0),
        "equal weights on logits": fuser("log-mean"),
    }


METHODS: dict[str, Method] = {
    "soft vote, accuracy (default)": searched(),
    "soft vote, NLL by Newton": searched(metric="nll", method="newton"),
    "soft vote, own temperatures, accuracy": searched(temperature="per-model"),
    "soft vote, own temperatures, NLL by Newton": searched(
        temperature="per-model", metric="nll", method="newton"
    ),
    "soft vote, mean of ten searches on resamples": bagged,
    "log-linear, shrinkage 0": fuser("log-linear", shrinkage=0.0),
    "log-linear, shrinkage 10 (default)": fuser("log-linear"),
    "log-linear, shrinkage 30": fuser("log-linear", shrinkage=30.0),
    "log-linear, shrinkage 100": fuser("log-linear", shrinkage=100.0),
    "log-linear, shrinkage by inner folds, NLL": by_inner_folds(nll),
    "log-linear, shrinkage by inner folds, accuracy": by_inner_folds(errors),
    "class-weights": fuser("class-weights"),
    "bayesian-average": fuser("bayesian-average"),
}
STACKING: dict[str, Method] = {
    "stacking-logistic": fuser("stacking-logistic"),
    "stacking-logistic, C 0.01": fuser("stacking-logistic", inverse_penalty=0.01),
}
BOOSTED: dict[str, Method] = {"stacking-lightgbm": fuser("stacking-lightgbm")}
# Fitted on the three splits together too.
TOGETHER = (
    "soft vote, accuracy (default)",
    "log-linear, shrinkage 10 (default)",
    "log-linear, shrinkage by inner folds, NLL",
    "log-linear, shrinkage by inner folds, accuracy",
)


def crossed(method: Method, logits: Array, labels: Array, videos: Array, fold: Array) -> Array:
    """Return (N, K): each fold answered by what was fitted on the others."""
    probs = np.empty(logits.shape[1:])
    for number in range(int(fold.max()) + 1):
        out = fold == number
        probs[out] = method(logits[:, ~out], labels[~out], videos[~out])(logits[:, out])
    return probs


def folds_of(labels: Array, videos: Array, count: int) -> Array:
    """Return the fold of each clip; a video is never in two."""
    fold = group_folds(labels, videos, count)
    assert fold is not None
    return fold


def gain(probs: Array, other: Array, labels: Array, videos: Array) -> list[float]:
    """Return the gain of accuracy with its interval over videos, in per cent."""
    found = bootstrap_interval(probs, other, labels, "accuracy", videos)
    return [round(100 * found[key], 2) for key in ("gain", "gain_low", "gain_high")]


def table(answers: Mapping[str, Array], labels: Array, videos: Array) -> dict[str, Any]:
    """Return a row for each method: accuracy, NLL, gains."""
    hand, equal = answers["hand weights on logits"], answers["equal weights"]
    return {
        name: {
            "accuracy": round(100 * (1 - errors(probs, labels)), 2),
            "nll": round(nll(probs, labels), 4),
            "gain over hand weights": gain(probs, hand, labels, videos),
            "gain over equal weights": gain(probs, equal, labels, videos),
        }
        for name, probs in answers.items()
    }


def combination(folder: Path, models: list[str]) -> dict[str, Any]:
    """Cross-fit every method on the three splits of one combination."""
    splits = [load(folder, split, models) for split in (1, 2, 3)]
    logits = np.concatenate([split[0] for split in splits], axis=1)
    labels, videos = (np.concatenate([split[place] for split in splits]) for place in (1, 2))
    answers = {}
    for name, method in {**reference(models), **METHODS, **STACKING}.items():
        parts = [crossed(method, *split, folds_of(*split[1:], FOLDS)) for split in splits]
        answers[name] = np.concatenate(parts)
    fold = folds_of(labels, videos, FOLDS)
    for name in TOGETHER:
        answers[f"{name}; one fit for three splits"] = crossed(METHODS[name], logits, labels, videos, fold)
    return {
        "clips": len(labels),
        "videos": len(set(videos.tolist())),
        "methods": table(answers, labels, videos),
    }


def small(folder: Path) -> dict[str, Any]:
    """Fit on 777 clips of whole videos, answer those and the other videos."""
    models = ["iframe", "mv", "residual"]
    rows: dict[str, dict[str, list[float]]] = {}
    for split in (1, 2, 3):
        logits, labels, videos = load(folder, split, models)
        order = np.random.default_rng(split).permutation(np.unique(videos))
        rank = {video: place for place, video in enumerate(order.tolist())}
        by_video = np.argsort([rank[video] for video in videos.tolist()], kind="stable")
        fit = np.zeros(len(labels), dtype=bool)
        fit[by_video[:SMALL]] = True
        out = ~np.isin(videos, videos[fit])
        for name, method in {**reference(models), **METHODS, **STACKING, **BOOSTED}.items():
            vote = method(logits[:, fit], labels[fit], videos[fit])
            row = rows.setdefault(name, {"on the clips fitted on": [], "on other videos": []})
            for key, part in (("on the clips fitted on", fit), ("on other videos", out)):
                answer = vote(logits[:, part]).argmax(axis=1)
                row[key].append(float((answer == labels[part]).mean()))
    return {
        name: {key: round(100 * float(np.mean(values)), 2) for key, values in row.items()}
        for name, row in rows.items()
    }


def main() -> None:
    """Write results/fusion-crossfit.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data")))
    folder = parser.parse_args().data / "dmcnet_hmdb51"
    began = time.process_time()
    result: dict[str, Any] = {
        "kind": "fusion-crossfit",
        "command": "python -m benchmarks.fusion_crossfit",
        "commit": commit(),
        "seed": 0,
        "inputs": {path.name: file_digest(path) for path in sorted(folder.glob("*.npz"))},
        "folds": FOLDS,
        "left out": LEFT_OUT,
        "accuracy on 777 clips fitted on, and on other videos": small(folder),
    }
    for name, published in COMBINATIONS.items():
        result[name] = {"published": published, **combination(folder, name.split(", "))}
    result["cpu_seconds"] = round(time.process_time() - began)
    (RESULTS / "fusion-crossfit.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
