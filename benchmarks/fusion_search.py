"""The search for temperature and weights beside a plain numpy loop: ``python -m benchmarks.fusion_search``.

Every share of the weight in steps of 0.05 among four models (1,771) at 30 temperatures, on 777 clips: of
published score files (HMDB51, 51 classes; ``--data`` names the folder, as MG_SHARED_DATA does for the tests)
and synthetic ones of 32 classes. The loop votes for every setting with one matrix product and one argmax.
Both sides must find the same set of best settings; they take turns in one process with two threads. Besides,
``fit_soft_vote`` on a memory-mapped validation set of 20,000 clips: seconds, and memory beyond the imports'.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import publish
from benchmarks.measuring import ratio_of_rounds
from benchmarks.record_run import commit
from mg_fusion.search.bounds import TOLERANCE, best_settings
from mg_fusion.search.fit import TEMPERATURE_GRID
from mg_fusion.search.objective import VoteObjective, compositions

CLIPS, MAPPED = 777, 20_000
REAL_MODELS = ("iframe", "mv", "residual", "flow", "gan")
TEMPERATURES = np.array(TEMPERATURE_GRID)


def real(folder: Path, models: int) -> tuple[Any, Any]:
    """Return (M, 777, 51) logits of split 2 and labels."""
    files = [np.load(folder / f"split2_{name}.npz") for name in REAL_MODELS[:models]]
    rows = np.random.default_rng(0).permutation(len(files[0]["label"]))[:CLIPS]
    logits = np.stack([file["logits"].astype(np.float64) for file in files])
    return logits[:, rows], files[0]["label"][rows]


def synthetic(models: int) -> tuple[Any, Any]:
    """Return (M, 777, 32) logits of models of unequal strength, and labels of a long tail."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, 33)
    labels = generator.choice(32, CLIPS, p=share / share.sum())
    strength = np.linspace(1.5, 3.0, models)[:, None, None]
    return generator.normal(size=(models, CLIPS, 32)) * 1.5 + strength * np.eye(32)[labels], labels


def plain_loop(logits: Any, labels: Any, steps: Any) -> tuple[float, Any]:
    """Return the best accuracy and where it is reached, by voting for every setting."""
    models, clips, classes = logits.shape
    weights = steps / steps[0].sum()
    right = np.empty((len(TEMPERATURES), len(weights)))
    for row, tau in enumerate(TEMPERATURES):
        scaled = logits / tau
        exponent = np.exp(scaled - scaled.max(axis=2, keepdims=True))
        probs = (exponent / exponent.sum(axis=2, keepdims=True)).reshape(models, -1)
        for column, share in enumerate(weights):
            answer = (share @ probs).reshape(clips, classes).argmax(axis=1)
            right[row, column] = np.count_nonzero(answer == labels)
    return float(right.max() / clips), right == right.max()


def searched(logits: Any, labels: Any, steps: Any, metric: Any, judge: Any) -> tuple[float, Any]:
    """Return the same by the package's search, with all that it prepares."""
    objective = VoteObjective(logits, labels, np.ones(logits.shape[:2], dtype=bool))
    return best_settings(objective, TEMPERATURES, steps, metric, judge)


def every_value(logits: Any, labels: Any, steps: Any, metric: Any) -> tuple[float, Any]:
    """Return the same by valuing each setting on the classes that can win: the search before bounds."""
    objective = VoteObjective(logits, labels, np.ones(logits.shape[:2], dtype=bool))
    weights = steps / steps[0].sum()
    values = np.stack(
        [objective.evaluate(metric, objective.probabilities(tau), weights) for tau in TEMPERATURES]
    )
    return float(values.max()), values >= values.max() - TOLERANCE


def compare(sides: dict[str, Callable[[], tuple[float, Any]]], rounds: int) -> dict[str, Any]:
    """Time the sides in turns; the first is what the others are compared with.

    Raises:
        SystemExit: they do not find the same best settings.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    answers = {}
    for _ in range(rounds):
        for name, run in sides.items():
            began = time.perf_counter()
            answers[name] = run()
            seconds[name].append(time.perf_counter() - began)
    first, *others = sides
    for name in others:
        if not np.array_equal(answers[name][1], answers[first][1]):
            raise SystemExit(f"{name} and {first} do not find the same best settings")
    result: dict[str, Any] = {
        "best": round(answers[first][0], 6),
        "best settings": int(answers[first][1].sum()),
        "seconds": {name: round(statistics.median(times), 4) for name, times in seconds.items()},
    }
    for name in others:
        found = ratio_of_rounds(seconds[first], seconds[name], 1)
        result[f"{name}: times as fast as {first}"] = found["ratio"]
        result[f"{name}: range"] = found["ratio_range"]
    return result


def mapped() -> dict[str, Any]:
    """Search a validation set in a file that is mapped and not read; runs in a process of its own."""
    from benchmarks.fusion_scale import peak_mb
    from mg_fusion import fit_soft_vote

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 32, MAPPED)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "val.npy"
        table = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(4, MAPPED, 32))
        for model, strength in enumerate((1.5, 2.0, 2.5, 3.0)):
            table[model] = generator.normal(size=(MAPPED, 32)) * 1.5 + strength * np.eye(32)[labels]
        del table
        before = peak_mb()
        logits = np.load(file, mmap_mode="r")
        began = time.perf_counter()
        fitted = fit_soft_vote(logits, labels)
        return {
            "clips": MAPPED,
            "seconds": round(time.perf_counter() - began, 2),
            "file_mb": round(logits.nbytes / 2**20),
            "more_than_before_mb": round(peak_mb() - before),
            "best": fitted.value,
        }


def main() -> None:
    """Write results/PROCESSOR/fusion-search.json."""
    if sys.argv[1:] == ["--mapped"]:
        print(json.dumps(mapped()))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MG_SHARED_DATA", "../shared/data")))
    given = parser.parse_args()
    judges = {}
    if importlib.util.find_spec("numba") is not None:
        from mg_fusion.search.fast import judge_of

        judges = {"accuracy": judge_of("accuracy"), "macro_f1": judge_of("macro_f1")}
    result: dict[str, Any] = {
        "kind": "fusion-search",
        "command": "python -m benchmarks.fusion_search",
        "commit": commit(),
        "clips": CLIPS,
        "temperatures": len(TEMPERATURES),
        "threads": os.environ["OMP_NUM_THREADS"],
    }
    steps = np.array(list(compositions(20, 4)))
    for name, (logits, labels) in {
        "HMDB51 score files, 51 classes": real(given.data / "dmcnet_hmdb51", 4),
        "synthetic, 32 classes": synthetic(4),
    }.items():
        sides = {
            "plain loop": lambda x=logits, y=labels: plain_loop(x, y, steps),
            "numpy": lambda x=logits, y=labels: searched(x, y, steps, "accuracy", None),
        }
        if judges:
            # The first call compiles, or loads what an earlier run compiled.
            began = time.perf_counter()
            searched(logits, labels, steps, "accuracy", judges["accuracy"])
            result.setdefault("seconds of the first compiled search", round(time.perf_counter() - began, 2))
            sides["fast"] = lambda x=logits, y=labels: searched(x, y, steps, "accuracy", judges["accuracy"])
        result[f"accuracy, 1,771 weights of 4 models, {name}"] = compare(sides, given.rounds)
    logits, labels = real(given.data / "dmcnet_hmdb51", 5)
    five = np.array(list(compositions(20, 5)))
    sides = {
        "every setting": lambda: every_value(logits, labels, five, "macro_f1"),
        "numpy": lambda: searched(logits, labels, five, "macro_f1", None),
    }
    if judges:
        searched(logits, labels, five, "macro_f1", judges["macro_f1"])
        sides["fast"] = lambda: searched(logits, labels, five, "macro_f1", judges["macro_f1"])
    result["macro_f1, 10,626 weights of 5 models, HMDB51 score files"] = compare(sides, 1)
    words = [sys.executable, "-m", "benchmarks.fusion_search", "--mapped"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    result["fit_soft_vote, memory-mapped"] = json.loads(done.stdout)
    publish("fusion-search", result)


if __name__ == "__main__":
    main()
