"""Calibration beside public implementations: ``python -m benchmarks.calibration_speed --peer ENVIRONMENT``.

``python tools/parity_calibration.py --environment ENVIRONMENT`` makes that folder. There the peers (netcal,
torch-uncertainty) are a server of timings and take turns with us, one thread each.
Measured are the fit of a temperature by NLL and the expected calibration error of 15 bins, for 32 classes
and as many clips as iMiGUE has for validation and for training. That answers agree is tested in mg-fusion.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine, publish
from benchmarks.peer import Peer, serve, time_call

SIZES = {"777": 777, "13,670": 13_670}
CLASSES, BINS = 32, 15
PEERS = ("netcal", "torch-uncertainty")
# The peers' iterations end by rules of their own; a call of ours is short and is repeated.
REPEATS = 5


def problem(clips: int) -> tuple[Any, Any, Any]:
    """Return (N, K) logits that are too confident, their probabilities and (N,) labels."""
    generator = np.random.default_rng(clips)
    labels = generator.integers(0, CLASSES, clips)
    logits = 2.5 * (generator.normal(size=(clips, CLASSES)) + 2.0 * np.eye(CLASSES)[labels])
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, shifted / shifted.sum(axis=1, keepdims=True), labels


def calls_of_ours() -> dict[str, Callable[[], Any]]:
    """Return our side, by measurement and number of clips."""
    from mg_fusion import expected_calibration_error, fit_temperature

    calls: dict[str, Callable[[], Any]] = {}
    for size, clips in SIZES.items():
        logits, probs, labels = problem(clips)
        calls[f"temperature, {size} clips"] = lambda x=logits, y=labels: fit_temperature(x, y)
        calls[f"ECE, {size} clips"] = lambda p=probs, y=labels: expected_calibration_error(p, y, bins=BINS)
    return calls


def calls_of_peers() -> dict[str, Callable[[], Any]]:
    """Return the peers' sides, their name before the measurement's."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
    from parity_calibration import import_peers  # type: ignore[import-not-found]

    peers = import_peers()
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    calls: dict[str, Callable[[], Any]] = {}
    for size, clips in SIZES.items():
        logits, probs, labels = problem(clips)
        tensors = torch.from_numpy(logits), torch.from_numpy(labels)
        values = torch.from_numpy(probs)
        whole = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=clips)

        def scale(whole: Any = whole) -> Any:
            return peers["TemperatureScaler"](lr=1.0, max_iter=500).fit(whole, progress=False)

        def error(values: Any = values, truth: Any = tensors[1]) -> Any:
            metric = peers["CalibrationError"](
                task="multiclass", num_classes=CLASSES, num_bins=BINS, norm="l1"
            )
            return metric(values, truth)

        def netcal_scale(probs: Any = probs, labels: Any = labels) -> Any:
            return peers["TemperatureScaling"]().fit(probs, labels)

        def netcal_error(probs: Any = probs, labels: Any = labels) -> Any:
            return peers["ECE"](BINS).measure(probs, labels)

        calls |= {
            f"torch-uncertainty temperature, {size} clips": scale,
            f"torch-uncertainty ECE, {size} clips": error,
            f"netcal temperature, {size} clips": netcal_scale,
            f"netcal ECE, {size} clips": netcal_error,
        }
    return calls


def measure(environment: Path, rounds: int) -> dict[str, Any]:
    """Return milliseconds of all sides and the ratios, medians of rounds in turns; the first warms up."""
    from benchmarks.measuring import ratio_of_rounds

    ours = calls_of_ours()
    peer = Peer(environment, Path(__file__), 1)
    seconds: dict[str, dict[str, list[float]]] = {
        name: {side: [] for side in ("ours", *PEERS)} for name in ours
    }
    for number in range(rounds + 1):
        for name, call in ours.items():
            found = {"ours": min(time_call(call) for _ in range(REPEATS))}
            found |= {side: peer.seconds(f"{side} {name}") for side in PEERS}
            if number:
                for side, value in found.items():
                    seconds[name][side].append(value)
    peer.close()
    return {
        name: {
            **{f"{side}_ms": round(1e3 * statistics.median(values), 3) for side, values in sides.items()},
            **{side: ratio_of_rounds(sides[side], sides["ours"], 2) for side in PEERS},
        }
        for name, sides in seconds.items()
    }


def main() -> None:
    """Write results/PROCESSOR/calibration-speed.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--peer", type=Path, help="environment of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(calls_of_peers())
        return
    if given.peer is None or not (given.peer / "bin" / "python").exists():
        parser.error(
            "no peers (--peer); make them by 'python tools/parity_calibration.py --environment FOLDER'"
        )
    from benchmarks.record_run import commit

    result = {
        "kind": "calibration-speed",
        "command": f"python -m benchmarks.calibration_speed --peer ENVIRONMENT --rounds {given.rounds}",
        "commit": commit(),
        "machine": machine("one thread"),
        **measure(given.peer.absolute(), given.rounds),
    }
    publish("calibration-speed", result)


if __name__ == "__main__":
    main()
