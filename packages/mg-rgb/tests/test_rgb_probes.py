"""Probes over stored features: what a store gives, what a head learns of it through ``mg``."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mg_data.contract import InputSpec, ModelOutput, StoreError, UsageError
from mg_data.store import read_logits, write_features, write_split
from mg_rgb.modalities.features import Features
from mg_rgb.probes import linear_probe, mlp_probe

CLIPS, DIM, CLASSES = 240, 8, 3


def mg(*words: object) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "mg_data", *map(str, words), "--quiet", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def clouds() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Three classes in a plane of a space whose other numbers are large and say nothing."""
    rng = np.random.default_rng(0)
    labels = np.arange(CLIPS) % CLASSES
    values = 50 * rng.normal(size=(CLIPS, DIM)) + 300
    values[:, :2] = 0.01 * (rng.normal(size=(CLIPS, 2)) * 0.3 + np.array([[2, 0], [-2, 2], [0, -2]])[labels])
    return [f"c{number:03}" for number in range(CLIPS)], values.astype(np.float32), labels


@pytest.fixture
def store(tmp_path: Path) -> Path:
    ids, values, _ = clouds()
    write_features(tmp_path / "features.h5", clip_ids=ids, features={"pooled": values}, dataset="toy")
    return tmp_path / "features.h5"


def test_a_clip_has_its_own_row(store: Path) -> None:
    ids, values, _ = clouds()
    modality = pickle.loads(pickle.dumps(Features(store)))
    assert modality.input == InputSpec(kind="features", shape=(DIM,), extra={"modality": "features"})
    assert np.array_equal(modality.sample(ids[7], None), values[7])
    assert np.array_equal(modality.views(ids[7]), [values[7]])
    flipped = modality.flip(modality.sample(ids[7], None))
    flipped[:] = 0
    assert np.array_equal(modality.sample(ids[7], None), values[7]), "samples are copies"


def test_unit_length_and_noise(store: Path) -> None:
    ids, values, _ = clouds()
    assert np.linalg.norm(Features(store, unit_length=True).sample(ids[0], None)) == pytest.approx(
        1, abs=1e-6
    )
    noisy = Features(store, noise=0.5)
    assert np.array_equal(noisy.sample(ids[0], None), values[0])
    draws = np.stack([noisy.sample(ids[0], np.random.default_rng(seed)) for seed in range(400)])
    np.testing.assert_allclose(draws.std(axis=0), 0.5 * values.std(axis=0), rtol=0.2)


def test_a_feature_among_several_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "two.h5"
    write_features(path, clip_ids=["a"], features={"early": [[1.0, 2.0]], "late": [[3.0]]})
    assert Features(path, feature="late").sample("a", None).tolist() == [3.0]
    with pytest.raises(UsageError, match=r"holds 2 features \(early, late\): set the option feature"):
        Features(path)
    with pytest.raises(StoreError, match=r"holds no feature 'middle' \(it has: early, late\)"):
        Features(path, feature="middle")
    with pytest.raises(StoreError, match="holds no clip 'z'"):
        Features(path, feature="late").sample("z", None)
    with pytest.raises(UsageError, match=r"noise is -1.0, wanted 0 or more"):
        Features(path, feature="late", noise=-1.0)


@pytest.mark.parametrize(("build", "width"), [(linear_probe, DIM), (mlp_probe, 512)])
def test_a_probe_returns_what_its_classifier_reads(build, width: int) -> None:
    probe = build(CLASSES, input=InputSpec(kind="features", shape=(DIM,))).eval()
    output = probe(torch.rand(5, DIM))
    assert isinstance(output, ModelOutput)
    assert output.feature.shape == (5, width)
    assert torch.equal(probe.head(output.feature), output.logits)
    with pytest.raises(ValueError, match=r"batch has shape \(5, 3\), wanted \(N, 8\)"):
        probe(torch.rand(5, 3))


def test_probes_refuse_other_inputs() -> None:
    video = InputSpec(kind="video", shape=(3, 8, 32, 32))
    with pytest.raises(UsageError, match=r"model linear-probe: the modality gives video of shape \(3, 8"):
        linear_probe(3, input=video)
    with pytest.raises(UsageError, match=r"hidden is \[0\], wanted positive widths"):
        mlp_probe(3, input=InputSpec(kind="features", shape=(4,)), hidden=(0,))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["linear-probe", "mlp-probe"])
def test_a_probe_learns_what_features_tell_through_mg(model: str, store: Path, tmp_path: Path) -> None:
    ids, _, labels = clouds()
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
    trained = mg("train", model, *common, "-o", tmp_path / "probe.safetensors")
    assert trained["val_accuracy"] > 0.9
    mg("predict", tmp_path / "probe.safetensors", *common, "--subset", "target", "-o", tmp_path / "logits.h5")
    logits = read_logits(tmp_path / "logits.h5")
    truth = labels[[ids.index(str(clip_id)) for clip_id in logits.clip_ids]]
    assert (logits.values.argmax(axis=1) == truth).mean() > 0.9
