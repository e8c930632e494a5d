"""mg-fusion alone, from its wheel, in an empty environment: light, and its commands work there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, mg

from mg_data.labels import write_labels
from mg_data.store import write_logits

pytestmark = [pytest.mark.extended, pytest.mark.slow]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    wheels = folder / "wheels"
    for package in ("mg-data", "mg-fusion"):
        subprocess.run(
            [
                sys.executable,
                "-m",
                "build",
                "--wheel",
                "--no-isolation",
                "-o",
                wheels,
                ROOT / "packages" / package,
            ],
            check=True,
            capture_output=True,
        )
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run(
        [
            sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python,
            "-c", ROOT / "constraints.txt", *sorted(wheels.glob("*.whl")),
        ],
        check=True,
        cwd=folder,
    )  # fmt: skip
    return python


def test_only_light_packages_come_along(environment: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "list", "--python", environment, "--format", "freeze"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {line.split("==")[0] for line in done.stdout.split()} - {"pip", "setuptools"}
    assert names == {"mg-data", "mg-fusion", "numpy", "h5py", "pluggy", "click"}


def test_fuse_and_score_work_there(environment: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"c{i}" for i in range(60)]
    truth = rng.integers(0, 3, 60)
    for name in ("a", "b"):
        values = rng.normal(size=(60, 3)) + 2 * np.eye(3)[truth]
        write_logits(
            tmp_path / f"{name}.h5",
            clip_ids=ids,
            values=values,
            class_names="xyz",
            model=name,
            modality="rgb",
        )
    write_labels(tmp_path / "labels.csv", ids, truth.tolist(), "xyz")
    python = str(environment)
    probs = tmp_path / "probs.h5"
    mg("fuse", tmp_path / "a.h5", tmp_path / "b.h5", "-o", probs, python=python)
    done = mg("score", probs, "--labels", tmp_path / "labels.csv", python=python)
    assert "accuracy" in done.stdout
    done = mg("train", "decoupled-stcnn", code=4, python=python)
    assert "'mg train' comes with mg-adapt, which is not installed: pip install mg-adapt" in done.stderr
