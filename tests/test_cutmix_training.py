"""CutMix through ``mg train``: a video model learns from mixed clips, the same ones on every run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import mg
from test_flip_average import CLIPS, write

from mg_data.datasets.utd_mhad import CLASS_NAMES
from mg_data.store import write_split

SETTINGS = {"modality": {"frames": 4, "size": 32}}


def train(folder: Path, name: str, **recipe: float) -> tuple[list[dict[str, float]], bytes]:
    """Train two epochs; return the log and the weights."""
    out = folder / f"{name}.safetensors"
    settings = SETTINGS | {"recipe": {"epochs": 2, "batch_size": 4, "warmup_epochs": 0, **recipe}}
    mg("train", "r2plus1d", "--preset", "tiny", "--modality", "rgb", "--data", folder / "rgb.h5", "--split",
       folder / "split.h5", "--settings", json.dumps(settings), "--threads", 1, "-o", out)  # fmt: skip
    log = (folder / f"{name}.log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in log.splitlines()], out.read_bytes()


@pytest.mark.extended
@pytest.mark.slow
def test_a_training_with_cutmix_repeats_and_differs_from_one_without(tmp_path: Path) -> None:
    write(tmp_path / "rgb.h5", "rgb", mirrored=False)
    write_split(
        tmp_path / "split.h5",
        dataset="utd-mhad",
        clip_ids=[f"c{number}" for number in range(CLIPS)],
        names=["train"] * CLIPS,
        labels=np.arange(CLIPS) % 4,
        class_names=CLASS_NAMES,
        subject_ids=[f"s{number}" for number in range(CLIPS)],
    )
    mixed, weights = train(tmp_path, "mixed", cutmix=1.0)
    again, same = train(tmp_path, "again", cutmix=1.0)
    plain, others = train(tmp_path, "plain")
    assert [row["loss"] for row in mixed] == [row["loss"] for row in again]
    assert weights == same
    assert weights != others
    assert [row["loss"] for row in mixed] != [row["loss"] for row in plain]
    done = mg("train", "r2plus1d", "--preset", "tiny", "--modality", "rgb", "--data", tmp_path / "rgb.h5",
              "--split", tmp_path / "split.h5", "--set", "recipe.cutmix=1.0", "--set", "recipe.mixup=0.2",
              "-o", tmp_path / "both.safetensors", code=2)  # fmt: skip
    assert "recipe.mixup and recipe.cutmix exclude each other" in done.stderr
