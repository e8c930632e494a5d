"""A probe learns what stored features tell, through ``mg train`` and ``mg predict``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import mg

from mg_data.store import read_logits, write_features, write_split

CLIPS, DIM, CLASSES = 240, 8, 3


def clouds() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Three classes in a plane of a space whose other numbers are large and say nothing."""
    rng = np.random.default_rng(0)
    labels = np.arange(CLIPS) % CLASSES
    values = 50 * rng.normal(size=(CLIPS, DIM)) + 300
    values[:, :2] = 0.01 * (rng.normal(size=(CLIPS, 2)) * 0.3 + np.array([[2, 0], [-2, 2], [0, -2]])[labels])
    return [f"c{number:03}" for number in range(CLIPS)], values.astype(np.float32), labels


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("model", ["linear-probe", "mlp-probe"])
def test_a_probe_learns_what_features_tell_through_mg(model: str, tmp_path: Path) -> None:
    ids, values, labels = clouds()
    store = tmp_path / "features.h5"
    write_features(store, clip_ids=ids, features={"pooled": values}, dataset="toy")
    names = np.array(["train", "train", "val", "target"])[np.arange(CLIPS) // 3 % 4]
    split = tmp_path / "split.h5"
    write_split(
        split,
        clip_ids=ids,
        names=names,
        labels=np.where(names == "target", -1, labels),
        class_names=["a", "b", "c"],
        vocabulary="toy",
        dataset="toy",
        subject_ids=[f"{name}-person" for name in names],
    )
    common = ("--data", store, "--split", split, "--threads", 1)
    words = ("--quiet", "--json", "-o", tmp_path / "probe.safetensors")
    trained = json.loads(mg("train", model, *common, *words).stdout)
    assert trained["val_accuracy"] > 0.9
    mg("predict", tmp_path / "probe.safetensors", *common, "--subset", "target", "-o", tmp_path / "logits.h5")
    logits = read_logits(tmp_path / "logits.h5")
    truth = labels[[ids.index(str(clip_id)) for clip_id in logits.clip_ids]]
    assert (logits.values.argmax(axis=1) == truth).mean() > 0.9
