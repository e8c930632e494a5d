"""Prediction in shards, with loader processes, and of features: the same bits as in one piece."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mg_adapt_toy import CLASSES, FRAMES, POINTS, Drift, Talk, write_toy

from mg_adapt.inference import predict_answers
from mg_adapt.ray_launcher import ray_map
from mg_adapt.stages.predict import predict
from mg_adapt.stages.train import train
from mg_adapt.training.loading import views_of
from mg_data.contract import DataError, ModelOutput, PluginError, StageResult, StoreError, UsageError
from mg_data.store import Taint, merge_stores, read_features, read_logits, read_split, write_features

Toy = tuple[Path, Path]


@pytest.fixture
def trained(toy_plugin: None, tmp_path: Path) -> tuple[Path, Toy]:
    """A checkpoint and a corpus whose target does not fill whole batches."""
    toy = write_toy(tmp_path, target=101)
    train(
        console=Talk(),
        model="toy-net",
        data=toy[0],
        split=toy[1],
        out=tmp_path / "a",
        set=["recipe.flip=true"],
        preset="wide",
    )
    return tmp_path / "a", toy


def infer(trained: tuple[Path, Toy], out: Path, subset: str = "target", **options: Any) -> StageResult:
    checkpoint, (data, split) = trained
    arguments: dict[str, Any] = {"console": Talk(), "checkpoint": checkpoint, "data": data, "split": split}
    return predict(**arguments | {"subset": subset, "out": out} | options)


@pytest.mark.parametrize("extra", [{}, {"bn_adapt": True}])
def test_shards_joined_have_the_digest_of_one_piece(
    trained: tuple[Path, Toy], tmp_path: Path, extra: dict[str, Any]
) -> None:
    whole = infer(trained, tmp_path / "w.h5", features=tmp_path / "wf.h5", **extra).data
    parts = range(1, 4)
    for i in parts:
        infer(trained, tmp_path / f"{i}.h5", shard=f"{i}/3", features=tmp_path / f"f{i}.h5", **extra)
    sizes = [len(read_logits(tmp_path / f"{i}.h5")) for i in parts]
    assert sum(sizes) == 101
    assert min(sizes) > 0
    assert merge_stores([tmp_path / f"{i}.h5" for i in parts], tmp_path / "m.h5") == whole["digest"]
    merged = merge_stores([tmp_path / f"f{i}.h5" for i in parts], tmp_path / "mf.h5")
    assert merged == whole["features_digest"]
    with pytest.raises(StoreError, match=r"hold \d+ of 101 recordings; not given: 2/3"):
        merge_stores([tmp_path / "1.h5", tmp_path / "3.h5"], tmp_path / "m.h5")


def test_a_shard_without_a_clip_writes_nothing_and_a_wrong_one_is_refused(
    trained: tuple[Path, Toy], tmp_path: Path
) -> None:
    results = [infer(trained, tmp_path / f"{i}.h5", "val", shard=f"{i}/40") for i in range(1, 41)]
    assert sum(result.data["clips"] for result in results) == 9
    empty = next(i for i, result in enumerate(results, 1) if not result.data["clips"])
    assert "holds none of the 9 clips of 'val'" in results[empty - 1].text
    assert not (tmp_path / f"{empty}.h5").exists()
    with pytest.raises(UsageError, match="--clips: modality 'drift' has one view of each clip"):
        infer(trained, tmp_path / "t.h5", clips=3)
    with pytest.raises(UsageError, match="--clips must be at least 0, found -1"):
        infer(trained, tmp_path / "t.h5", clips=-1)
    with pytest.raises(UsageError, match="--shard is '5/4', wanted i/n"):
        infer(trained, tmp_path / "t.h5", shard="5/4")


def test_a_clip_has_the_same_logits_whatever_is_predicted_beside_it(toy: Toy) -> None:
    modality = Drift(toy[0])
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * FRAMES * POINTS, 64))

    class Answer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> ModelOutput:
            feature = model(x)
            return ModelOutput(feature @ torch.ones(64, 3), feature)

    ids = modality.clip_ids
    options: dict[str, Any] = {"num_classes": 3, "batch_size": 16}
    whole = predict_answers(Answer(), modality, ids, features=True, **options)
    for part in (ids[:1], ids[5:12], ids[::-1], ids[::3]):
        rows = [int(np.flatnonzero(ids == clip_id)[0]) for clip_id in part]
        alone = predict_answers(Answer(), modality, part, features=True, **options)
        assert np.array_equal(alone.logits, whole.logits[rows])
        assert alone.features is not None
        assert whole.features is not None
        assert np.array_equal(alone.features, whole.features[rows])


def test_loader_processes_do_not_change_a_prediction(trained: tuple[Path, Toy], tmp_path: Path) -> None:
    one = infer(trained, tmp_path / "1.h5", workers=0)
    two = infer(trained, tmp_path / "2.h5", workers=2)
    assert one.data["digest"] == two.data["digest"]


class Turns(Drift):
    """Three views of a clip: the coordinates times 1, 2 and 3."""

    def views(self, clip_id: str) -> list[Any]:
        return [factor * self.sample(clip_id, None) for factor in (1, 2, 3)]


class Mean(torch.nn.Module):
    """The feature is the mean of each coordinate, the logits are the feature."""

    calls = 0

    def forward(self, x: torch.Tensor) -> ModelOutput:
        self.calls += 1
        feature = x.mean(dim=(2, 3))
        return ModelOutput(feature, feature)


def test_features_are_the_mean_over_views_and_never_over_mirrored_ones(toy: Toy) -> None:
    modality, model = Turns(toy[0]), Mean()
    ids = modality.clip_ids[:8]
    mirror = np.array([1, 0, 2])
    found = predict_answers(model, modality, ids, num_classes=3, mirror=mirror, features=True, batch_size=24)
    once = np.stack([modality.sample(str(clip_id), None).mean(axis=(1, 2)) for clip_id in ids])
    assert found.features is not None
    assert np.allclose(found.features, 2 * once, atol=1e-6)
    flipped = (once * [-1, 1, 1])[:, mirror]
    assert np.allclose(found.logits, once + flipped, atol=1e-6)
    assert model.calls == 2  # eight clips, three views, mirrored or not: 48 samples in two passes


def test_features_of_all_clips_carry_labels_taint_and_origin(
    trained: tuple[Path, Toy], tmp_path: Path
) -> None:
    result = infer(trained, tmp_path / "all.h5", "all", features=tmp_path / "f.h5")
    found, scores = read_features(tmp_path / "f.h5"), read_logits(tmp_path / "all.h5")
    split = read_split(trained[1][1])
    assert found.features["feature"].shape == (len(split), 16)
    assert found.clip_ids.tolist() == sorted(split.clip_ids.tolist())
    assert found.labels is not None
    labels = dict(zip(split.clip_ids.tolist(), split.labels.tolist()))
    assert found.labels.tolist() == [labels[clip_id] for clip_id in found.clip_ids.tolist()]
    assert {labels[clip_id] for clip_id in split.select("target")[0]} == {-1}
    assert found.class_names == CLASSES
    assert np.array_equal(found.taint.trained_on, scores.taint.trained_on)
    assert found.taint.known
    assert found.provenance.inputs == scores.provenance.inputs
    assert found.provenance.config["model"] == "toy-net"
    assert result.data["features_digest"] == found.digest
    with pytest.raises(UsageError, match="--features and --out are both"):
        infer(trained, tmp_path / "f.h5", features=tmp_path / "f.h5")


def test_what_learns_from_features_inherits_their_taint(tmp_path: Path) -> None:
    from mg_adapt.branch import data_taint

    toy = write_toy(tmp_path)
    assert data_taint(toy[0]).known
    assert not len(data_taint(toy[0]).trained_on)
    values = {"feature": np.ones((2, 4))}
    write_features(tmp_path / "f.h5", clip_ids=["a", "b"], features=values, taint=Taint.of([3, 4], [5]))
    assert data_taint(tmp_path / "f.h5").trained_on.tolist() == [3, 4]
    write_features(tmp_path / "f.h5", clip_ids=["a", "b"], features=values)
    assert not data_taint(tmp_path / "f.h5").known
    signals = {"imu": [np.ones((3, 2)), np.ones((4, 2))]}
    write_features(tmp_path / "s.h5", clip_ids=["a", "b"], signals=signals)
    assert data_taint(tmp_path / "s.h5").known


class Broken(Drift):
    def sample(self, clip_id: str, rng: Any) -> Any:
        if clip_id == "c003":
            raise KeyError("frame 7")
        return super().sample(clip_id, rng)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_modality_that_raises_is_named_with_the_clip(toy: Toy, workers: int) -> None:
    modality = Broken(toy[0])
    with pytest.raises(PluginError, match=r"modality .*Broken failed on clip 'c003': KeyError: 'frame 7'$"):
        predict_answers(Mean(), modality, modality.clip_ids, num_classes=3, workers=workers)
    assert views_of(modality, "c001", True)[1].tolist() == [False, True]


def test_a_launcher_that_is_unknown_or_not_installed(
    trained: tuple[Path, Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--launcher 'slurm' is unknown"):
        infer(trained, tmp_path / "t.h5", launcher="slurm")
    with pytest.raises(UsageError, match="--launcher and --shard exclude each other"):
        infer(trained, tmp_path / "t.h5", launcher="ray", shard="1/2")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--launcher ray needs ray: pip install 'mg-adapt\[ray\]'"):
        infer(trained, tmp_path / "t.h5", launcher="ray")


@pytest.mark.extended
def test_tasks_of_ray_answer_as_one_process(
    trained: tuple[Path, Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    from several import fail_at, toy_answers_of_shard

    # Ray's workers know the installed plugins and this one, which stands on their path.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr("mg_adapt.stages.predict.answers_of_shard", toy_answers_of_shard)
    one = infer(trained, tmp_path / "1.h5", features=tmp_path / "1f.h5").data
    two = infer(trained, tmp_path / "2.h5", features=tmp_path / "2f.h5", launcher="ray", shards=3).data
    assert (two["digest"], two["features_digest"]) == (one["digest"], one["features_digest"])
    assert (
        read_logits(tmp_path / "2.h5").provenance.inputs == read_logits(tmp_path / "1.h5").provenance.inputs
    )
    # What a task raises arrives as it is.
    with pytest.raises(DataError, match=r"^clip 'c2' has no frames$"):
        ray_map(fail_at, lambda room: [(number, 2) for number in range(3)], Talk(), label="x")
