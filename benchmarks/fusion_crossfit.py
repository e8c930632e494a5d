"""What fitted fusion is worth on clips it has not seen: ``python -m benchmarks.fusion_crossfit``.

Published score files of HMDB51 (``--data`` names the folder that holds dmcnet_hmdb51, as MG_SHARED_DATA does
for the tests): the four published combinations of models on three splits of 1,530 clips. Each method is
fitted on four fifths of the videos and answers the fifth; it is compared with the repository's hand weights
on logits (iframe 2, all others 1), which were chosen with these very clips in sight, and with equal weights.
All methods that were tried are in the result. "chosen" is no method of its own: in each fold it takes the one
that has the lowest NLL in folds within the other four fifths, so the choice has not seen the clips either.

Intervals are of 1,000 resamples of whole videos over the three splits together. The second table fits on 777
clips of few videos and asks the rest: what stacking makes of a small validation set (paper, section 4.4).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import re
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
Method = Callable[[Array, Array], Vote]


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

    def fit(logits: Array, labels: Array) -> Vote:
        if not spec.fit:
            return lambda more: run(more, np.ones(more.shape[:2], dtype=bool), **options)
        fitted = resolve(spec.fit)(logits, labels, np.ones(logits.shape[:2], dtype=bool), **options)
        return lambda more: run(more, np.ones(more.shape[:2], dtype=bool), fitted=fitted)

    return fit


def searched(**options: Any) -> Method:
    """Return fit_soft_vote with these options."""
    return lambda logits, labels: fit_soft_vote(logits, labels, **options).predict_proba


def bagged(logits: Array, labels: Array) -> Vote:
    """Return the mean of ten searches, each on clips drawn with replacement."""
    generator = np.random.default_rng(0)
    votes = []
    for _ in range(10):
        rows = generator.integers(0, len(labels), len(labels))
        votes.append(fit_soft_vote(logits[:, rows], labels[rows], weight_step=0.1))
    return lambda more: np.mean([vote.predict_proba(more) for vote in votes], axis=0)


def reference(models: list[str]) -> dict[str, Method]:
    """Return what takes no labels."""
    hand = [HAND.get(model, 1.0) for model in models]
    return {
        "hand weights on logits": fuser("log-mean", weights=hand),
        "equal weights": lambda logits, labels: lambda more: soft_vote(more, np.ones(len(more)), 1.0),
        "equal weights on logits": fuser("log-mean"),
    }


METHODS: dict[str, Method] = {
    "soft vote, accuracy (default)": searched(),
    "soft vote, macro-F1": searched(metric="macro_f1"),
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
    "class-weights": fuser("class-weights"),
    "bayesian-average": fuser("bayesian-average"),
}
STACKING: dict[str, Method] = {
    "stacking-logistic": fuser("stacking-logistic"),
    "stacking-logistic, C 0.01": fuser("stacking-logistic", inverse_penalty=0.01),
    "stacking-lightgbm": fuser("stacking-lightgbm"),
}


def nll(probs: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood."""
    return float(-np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-12)).mean())


def crossed(method: Method, logits: Array, labels: Array, fold: Array) -> Array:
    """Return (N, K): each fold answered by what was fitted on the others."""
    probs = np.empty(logits.shape[1:])
    for number in range(int(fold.max()) + 1):
        out = fold == number
        probs[out] = method(logits[:, ~out], labels[~out])(logits[:, out])
    return probs


def folds_of(labels: Array, videos: Array, count: int) -> Array:
    """Return the fold of each clip; a video is never in two."""
    fold = group_folds(labels, videos, count)
    assert fold is not None
    return fold


def chosen(logits: Array, labels: Array, videos: Array, fold: Array) -> tuple[Array, list[str]]:
    """Answer each fold by the method of lowest NLL in folds within the others; return their names too."""
    probs, names = np.empty(logits.shape[1:]), []
    for number in range(int(fold.max()) + 1):
        out = fold == number
        inner = folds_of(labels[~out], videos[~out], 2)
        losses = {
            name: nll(crossed(method, logits[:, ~out], labels[~out], inner), labels[~out])
            for name, method in METHODS.items()
        }
        names.append(min(losses, key=losses.__getitem__))
        probs[out] = METHODS[names[-1]](logits[:, ~out], labels[~out])(logits[:, out])
    return probs, names


def gain(probs: Array, other: Array, labels: Array, videos: Array) -> list[float]:
    """Return the gain of accuracy with its interval over videos, in per cent."""
    found = bootstrap_interval(probs, other, labels, "accuracy", videos)
    return [round(100 * found[key], 2) for key in ("gain", "gain_low", "gain_high")]


def table(answers: Mapping[str, Array], labels: Array, videos: Array) -> dict[str, Any]:
    """Return a row for each method: accuracy, NLL, gains."""
    hand, equal = answers["hand weights on logits"], answers["equal weights"]
    return {
        name: {
            "accuracy": round(100 * float((probs.argmax(axis=1) == labels).mean()), 2),
            "nll": round(nll(probs, labels), 4),
            "gain over hand weights": gain(probs, hand, labels, videos),
            "gain over equal weights": gain(probs, equal, labels, videos),
        }
        for name, probs in answers.items()
    }


def combination(folder: Path, models: list[str]) -> dict[str, Any]:
    """Cross-fit every method on the three splits of one combination."""
    answers: dict[str, list[Array]] = {}
    truth, sources, choices = [], [], []
    for split in (1, 2, 3):
        logits, labels, videos = load(folder, split, models)
        fold = folds_of(labels, videos, FOLDS)
        for name, method in {**reference(models), **METHODS, **STACKING}.items():
            answers.setdefault(name, []).append(crossed(method, logits, labels, fold))
        probs, names = chosen(logits, labels, videos, fold)
        answers.setdefault("chosen", []).append(probs)
        choices += names
        truth.append(labels)
        sources.append(videos)
    labels, videos = np.concatenate(truth), np.concatenate(sources)
    together = {name: np.concatenate(parts) for name, parts in answers.items()}
    return {
        "clips": len(labels),
        "videos": len(set(videos.tolist())),
        "methods": table(together, labels, videos),
        "chosen by fold": {name: choices.count(name) for name in sorted(set(choices))},
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
        for name, method in {**reference(models), **METHODS, **STACKING}.items():
            vote = method(logits[:, fit], labels[fit])
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
    result: dict[str, Any] = {
        "kind": "fusion-crossfit",
        "command": "python -m benchmarks.fusion_crossfit",
        "commit": commit(),
        "seed": 0,
        "inputs": {path.name: file_digest(path) for path in sorted(folder.glob("*.npz"))},
        "folds": FOLDS,
        "accuracy on 777 clips fitted on, and on other videos": small(folder),
    }
    for name, published in COMBINATIONS.items():
        result[name] = {"published": published, **combination(folder, name.split(", "))}
    (RESULTS / "fusion-crossfit.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
