"""Probes over stored features: what a store gives, what a head returns."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mg_data.contract import InputSpec, ModelOutput, StoreError, UsageError
from mg_data.store import write_features
from mg_rgb.modalities.features import Features
from mg_rgb.probes import linear_probe, mlp_probe

CLIPS, DIM, CLASSES = 240, 8, 3


def rows() -> tuple[list[str], np.ndarray]:
    """Return ids and vectors whose columns are of different sizes."""
    rng = np.random.default_rng(0)
    values = 50 * rng.normal(size=(CLIPS, DIM)) + 300
    values[:, :2] *= 0.001
    return [f"c{number:03}" for number in range(CLIPS)], values.astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    ids, values = rows()
    write_features(tmp_path / "features.h5", clip_ids=ids, features={"pooled": values}, dataset="toy")
    return tmp_path / "features.h5"


def test_a_clip_has_its_own_row(store: Path) -> None:
    ids, values = rows()
    modality = pickle.loads(pickle.dumps(Features(store)))
    assert modality.input == InputSpec(kind="features", shape=(DIM,), extra={"modality": "features"})
    assert np.array_equal(modality.sample(ids[7], None), values[7])
    assert np.array_equal(modality.views(ids[7]), [values[7]])
    flipped = modality.flip(modality.sample(ids[7], None))
    flipped[:] = 0
    assert np.array_equal(modality.sample(ids[7], None), values[7]), "samples are copies"


def test_unit_length_and_noise(store: Path) -> None:
    ids, values = rows()
    assert np.linalg.norm(Features(store, unit_length=True).sample(ids[0], None)) == pytest.approx(
        1, abs=1e-6
    )
    noisy = Features(store, noise=0.5)
    assert np.array_equal(noisy.sample(ids[0], None), values[0])
    draws = np.stack([noisy.sample(ids[0], np.random.default_rng(seed)) for seed in range(400)])
    np.testing.assert_allclose(draws.std(axis=0), 0.5 * values.std(axis=0), rtol=0.2)


def test_a_store_of_signals_alone_has_no_vector_to_name(tmp_path: Path) -> None:
    path = tmp_path / "signals.h5"
    write_features(path, clip_ids=["a"], signals={"inertial": [np.zeros((5, 6))]})
    with pytest.raises(StoreError, match=r"holds no feature, its signals \(inertial\) are no vectors"):
        Features(path)


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
