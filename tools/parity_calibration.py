"""Calibration as public implementations compute it: ``python tools/parity_calibration.py``.

Makes an environment of its own with the peers (torch-uncertainty and netcal) by pip, runs them there on
scores that both sides can make (``packages/mg-fusion/tests/golden/calibration_rule.py``) and writes their
answers to ``calibration.json`` beside it, from which the ordinary tests read. ``--check`` writes nothing and
fails if the peers answer otherwise than what is there. ``--environment FOLDER`` keeps the environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from parity import prepare

GOLDEN = Path(__file__).resolve().parent.parent / "packages" / "mg-fusion" / "tests" / "golden"
ANSWERS = GOLDEN / "calibration.json"
# torch-uncertainty declares neither torchmetrics nor matplotlib, which it imports.
PEERS = ("torch-uncertainty==0.13.0", "netcal==1.4.0", "torchmetrics==1.9.0", "matplotlib")
TOLERANCE = 1e-6  # torch-uncertainty adds in float32
# Both peers' optimisers stop where the loss is flat to their eyes.
TEMPERATURE_TOLERANCE = 1e-3


def import_peers() -> dict[str, Any]:
    """Return what is compared with, past package files that import trainers and data sets."""

    def stand_in(name: str) -> types.ModuleType:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        module = types.ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[name] = module
        return module

    stand_in("torch_uncertainty")
    for name in ("metrics", "metrics.classification", "post_processing", "post_processing.calibration"):
        module = stand_in(f"torch_uncertainty.{name}")
        if name == "post_processing":
            from torch_uncertainty.post_processing.abstract import PostProcessing

            module.PostProcessing = PostProcessing  # type: ignore[attr-defined]
    from netcal.metrics import ECE
    from netcal.scaling import TemperatureScaling
    from torch_uncertainty.metrics.classification.brier_score import BrierScore
    from torch_uncertainty.metrics.classification.calibration.adaptive_calibration_error import (
        AdaptiveCalibrationError,
    )
    from torch_uncertainty.metrics.classification.calibration.calibration_error import CalibrationError
    from torch_uncertainty.metrics.classification.calibration.classwise_calibration_error import (
        ClasswiseCalibrationError,
    )
    from torch_uncertainty.metrics.classification.categorical_nll import CategoricalNLL
    from torch_uncertainty.post_processing.calibration.temperature_scaler import TemperatureScaler

    return {
        "AdaptiveCalibrationError": AdaptiveCalibrationError,
        "BrierScore": BrierScore,
        "CalibrationError": CalibrationError,
        "CategoricalNLL": CategoricalNLL,
        "ClasswiseCalibrationError": ClasswiseCalibrationError,
        "ECE": ECE,
        "TemperatureScaler": TemperatureScaler,
        "TemperatureScaling": TemperatureScaling,
    }


def load_rule() -> Any:
    """Return the module golden/calibration_rule.py."""
    spec = importlib.util.spec_from_file_location("calibration_rule", GOLDEN / "calibration_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers() -> dict[str, dict[str, float]]:
    """Return the peers' numbers for each problem; runs in their environment, in float64."""
    peers = import_peers()
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    rule = load_rule()
    found: dict[str, dict[str, float]] = {}
    for name in rule.PROBLEMS:
        logits, labels = rule.problem(name)
        probs = rule.probabilities(logits)
        classes = probs.shape[1]
        values, truth = torch.from_numpy(probs), torch.from_numpy(labels)
        row: dict[str, float] = {}
        for bins in rule.BINS:
            options = {"task": "multiclass", "num_classes": classes, "num_bins": bins, "norm": "l1"}
            row[f"torch-uncertainty/ece/{bins}"] = peers["CalibrationError"](**options)(values, truth).item()
            row[f"torch-uncertainty/ece_mass/{bins}"] = peers["AdaptiveCalibrationError"](**options)(
                values, truth
            ).item()
            if classes > 2:  # netcal takes two classes for one
                row[f"netcal/ece/{bins}"] = float(peers["ECE"](bins).measure(probs, labels))
        if classes > 2:  # torch-uncertainty too
            row["torch-uncertainty/classwise_ece"] = peers["ClasswiseCalibrationError"](
                num_classes=classes, num_bins=15
            )(values, truth).item()
        row["torch-uncertainty/brier"] = peers["BrierScore"](num_classes=classes)(values, truth).item()
        row["torch-uncertainty/nll"] = peers["CategoricalNLL"]()(values, truth).item()
        scaler = peers["TemperatureScaler"](lr=1.0, max_iter=500)
        data = torch.utils.data.TensorDataset(torch.from_numpy(logits), truth)
        scaler.fit(torch.utils.data.DataLoader(data, batch_size=len(labels)), progress=False)
        row["torch-uncertainty/temperature"] = float(scaler.temperature[0].item())
        if classes > 2:
            scaling = peers["TemperatureScaling"]()
            scaling.fit(probs, labels)
            # netcal multiplies, and fits the factor.
            row["netcal/temperature"] = float(1 / scaling.temperature.item())
        found[name] = row
    return found


def compare(new: dict[str, dict[str, float]], old: dict[str, dict[str, float]]) -> list[str]:
    """Return what differs between two sets of answers."""
    wrong = []
    for name in sorted(set(new) | set(old)):
        a, b = new.get(name, {}), old.get(name, {})
        for key in sorted(set(a) | set(b)):
            allowed = TEMPERATURE_TOLERANCE if key.endswith("temperature") else TOLERANCE
            if key not in a or key not in b or abs(a[key] - b[key]) > allowed:
                wrong.append(f"{name}/{key}: now {a.get(key)}, kept {b.get(key)}")
    return wrong


def main() -> int:
    """Make the environment, run the peers, write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--environment", type=Path, help="folder of the peers' environment, kept")
    parser.add_argument("--check", action="store_true", help="compare with what is kept, write nothing")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        given.generate.write_text(json.dumps(answers()), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        python = prepare((given.environment or Path(scratch) / "peers").absolute(), PEERS)
        out = Path(scratch) / "answers.json"
        subprocess.run([str(python), str(Path(__file__).resolve()), "--generate", str(out)], check=True)
        found = json.loads(out.read_text(encoding="utf-8"))
    if given.check:
        wrong = compare(found, json.loads(ANSWERS.read_text(encoding="utf-8")))
        print("\n".join(wrong) or "the peers' answers are those that are kept")
        return 1 if wrong else 0
    ANSWERS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{ANSWERS.stat().st_size} {ANSWERS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
