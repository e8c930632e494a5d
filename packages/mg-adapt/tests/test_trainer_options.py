"""Samplers, mixup, soft pseudo-labels, early stop, trackers, BatchNorm statistics: on the toy model."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mg_adapt.batch_norm import adapt_batch_norm, batch_norms
from mg_adapt.branch import build_model, deterministic_operations
from mg_adapt.checkpoint import load_checkpoint
from mg_adapt.choice import resolve_branch
from mg_adapt.stages.predict import predict
from mg_adapt.stages.train import train
from mg_adapt.trackers import Trackers
from mg_adapt.training.data import TrainingSamples, mirror_permutation, select_training_clips
from mg_adapt.training.mixup import Mix, draw_mix
from mg_adapt.training.precision import has_bfloat16
from mg_data.contract import DataError, InputSpec, ModelOutput, PluginError, StageResult, UsageError
from mg_data.store import clip_keys, read_logits, read_pseudo, read_split, write_pseudo

Toy = tuple[Path, Path]
MIXED = ("recipe.sampler=class-balanced", "recipe.mixup=0.4", "recipe.flip=true")


def run(toy: Toy, out: Path, *overrides: str, **options: Any) -> StageResult:
    from mg_adapt_toy import Talk

    arguments: dict[str, Any] = {"console": Talk(), "model": "toy-net", "data": toy[0], "split": toy[1]}
    return train(**arguments | {"out": out, "set": list(overrides)} | options)


def rows(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("setting", ["recipe.sampler=square-root", "recipe.mixup=0.4"])
def test_an_option_changes_the_weights_and_repeats_itself(toy: Toy, tmp_path: Path, setting: str) -> None:
    run(toy, tmp_path / "plain")
    run(toy, tmp_path / "a", setting)
    run(toy, tmp_path / "b", setting, "recipe.workers=2")
    plain, first, second = (load_checkpoint(tmp_path / name) for name in ("plain", "a", "b"))
    assert all(torch.equal(value, second.model_state[key]) for key, value in first.model_state.items())
    assert not torch.equal(plain.model_state["head.weight"], first.model_state["head.weight"])


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_for_devices_that_have_it(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    from mg_adapt_toy import Talk

    monkeypatch.setattr("mg_adapt.training.precision.has_bfloat16", lambda device: has)
    run(toy, tmp_path / "auto", "recipe.amp=auto")
    assert load_checkpoint(tmp_path / "auto").recipe["amp"] == ("bf16" if has else "none")
    talk = Talk()
    run(toy, tmp_path / "wished", "recipe.amp=bf16", console=talk)
    assert load_checkpoint(tmp_path / "wished").recipe["amp"] == "bf16"
    assert any("this cpu has no bfloat16" in text for text in talk.lines) != has


def test_a_processor_with_bfloat16_is_known_by_its_flags() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    if "flags" not in flags:
        pytest.skip("no x86 Linux")
    assert has_bfloat16(torch.device("cpu")) == bool({"avx512_bf16", "amx_bf16"}.intersection(flags))
    assert not has_bfloat16(torch.device("meta"))


@pytest.mark.parametrize("loss", ["ldam", "focal"])
@pytest.mark.parametrize("steps", [4, 11])
def test_a_broken_off_training_with_sampler_mixup_and_deferred_weights_goes_on(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str, steps: int
) -> None:
    from mg_adapt.training.trainer import Trainer

    extra = ("recipe.loss.options.reweight_after=0.5",) if loss == "ldam" else ()
    settings = (*MIXED, f"recipe.loss={loss}", *extra)
    run(toy, tmp_path / "whole", *settings)
    done, real = 0, Trainer._step

    def step(self: Trainer, *args: Any) -> tuple[float, int, int]:
        nonlocal done
        if done == steps:
            raise InterruptedError
        done += 1
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(InterruptedError):
            run(toy, tmp_path / "part", *settings, state_every=0.0)
    run(toy, tmp_path / "part", *settings)
    assert load_checkpoint(tmp_path / "whole").digest == load_checkpoint(tmp_path / "part").digest


def test_mixup_blends_pairs_and_keeps_the_type_of_frames() -> None:
    mix = Mix(0.25, torch.tensor([1, 0]))
    assert mix.inputs(torch.tensor([[0.0], [4.0]])).tolist() == [[3.0], [1.0]]
    frames = mix.inputs(torch.tensor([[0], [255]], dtype=torch.uint8))
    assert (frames.dtype, frames.tolist()) == (torch.uint8, [[191], [64]])
    assert mix.main(torch.tensor([7, 8])).tolist() == [8, 7]
    first, again = (draw_mix(0.4, 9, seed=1, epoch=2, step=3) for _ in range(2))
    assert first.lam == again.lam
    assert torch.equal(first.partner, again.partner)
    assert draw_mix(0.4, 9, seed=1, epoch=2, step=4).lam != first.lam


def test_blended_losses_are_the_loss_of_blended_targets() -> None:
    from mg_adapt.losses import Focal

    loss, mix = Focal(class_counts=[5, 2, 1]), draw_mix(0.4, 6, seed=0, epoch=0, step=0)
    output = ModelOutput(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), None)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    one_hot = torch.nn.functional.one_hot(y, 3).float()
    blended = mix.lam * loss(output, y) + (1 - mix.lam) * loss(output, y[mix.partner])
    soft = loss(output, mix.lam * one_hot + (1 - mix.lam) * one_hot[mix.partner])
    assert torch.allclose(blended, soft, atol=1e-6)


def pseudo_labels(toy: Toy, path: Path, probs: bool = True) -> Path:
    """Write pseudo-labels for the whole target: class 0 or 1 with probability 0.7."""
    ids, _ = read_split(toy[1]).select("target")
    labels = np.arange(len(ids)) % 2
    soft = np.full((len(ids), 3), 0.15)
    soft[np.arange(len(ids)), labels] = 0.7
    write_pseudo(
        path,
        clip_ids=ids,
        labels=labels,
        confidence=np.full(len(ids), 0.7),
        votes=labels[:, None],
        model_names=["m"],
        class_names=("left", "right", "still"),
        threshold=0.65,
        temperature=1.0,
        round=1,
        probs=soft if probs else None,
        dataset="toy",
    )
    return path


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_the_log_has_the_learning_rate_of_the_recipe(toy: Toy, tmp_path: Path, scale: float) -> None:
    run(toy, tmp_path / "a", f"recipe.backbone_lr_scale={scale}")
    # Three epochs of five steps: the last steps of each stand at 4, 9 and 14 of 15.
    wanted = [0.01 * (0.5 * (1 + math.cos(math.pi * step / 15))) for step in (4, 9, 14)]
    assert [row["lr"] for row in rows(tmp_path / "a.log.jsonl")] == wanted


def test_soft_pseudo_labels_are_learnt_as_probabilities_and_mirrored_with_the_sample(
    toy: Toy, tmp_path: Path
) -> None:
    from mg_adapt_toy import Drift

    pseudo = read_pseudo(pseudo_labels(toy, tmp_path / "p.h5"))
    modality = Drift(toy[0], noise=0.0)
    clips = select_training_clips(read_split(toy[1]), ("train",), modality.clip_ids, pseudo, soft=True)
    assert clips.probs is not None
    samples = TrainingSamples(modality, clips, seed=0, flip=True, mirror=mirror_permutation([(0, 1)], 3))
    for index, clip_id in enumerate(clips.clip_ids):
        x, y, _ = samples[0, index]
        mirrored = not np.array_equal(x, modality.sample(str(clip_id), None))
        own = clips.probs[index]
        assert own.argmax() == clips.labels[index]
        assert np.isclose(own.max(), 0.7 if clip_id in pseudo.clip_ids else 1.0)
        assert y.tolist() == (own[[1, 0, 2]] if mirrored else own).tolist()


def test_soft_and_hard_pseudo_labels_give_different_weights(toy: Toy, tmp_path: Path) -> None:
    pseudo = pseudo_labels(toy, tmp_path / "p.h5")
    semantic = 'recipe.auxiliary=["orthogonal-semantic"]'
    for name in ("hard", "soft", "mixed"):
        how = "hard" if name == "hard" else "soft"
        extra = ("recipe.mixup=0.5",) if name == "mixed" else ()
        settings = (f"recipe.pseudo_targets={how}", "recipe.flip=true", semantic, *extra)
        result = run(toy, tmp_path / name, *settings, pseudo=pseudo)
        assert 0 <= result.data["train_accuracy"] <= 1
    hard, soft = load_checkpoint(tmp_path / "hard"), load_checkpoint(tmp_path / "soft")
    assert not torch.equal(hard.model_state["head.weight"], soft.model_state["head.weight"])
    assert soft.recipe["pseudo_targets"] == "soft"


def test_soft_labels_need_probabilities_and_losses_that_take_them(toy: Toy, tmp_path: Path) -> None:
    without = pseudo_labels(toy, tmp_path / "without.h5", probs=False)
    with pytest.raises(DataError, match=r"without\.h5: has no probabilities, as recipe\.pseudo_targets"):
        run(toy, tmp_path / "a", "recipe.pseudo_targets=soft", pseudo=without)
    settings = ("recipe.loss=hard-only", "recipe.pseudo_targets=soft")
    with pytest.raises(UsageError, match="loss 'hard-only' takes classes only"):
        run(toy, tmp_path / "a", *settings, pseudo=pseudo_labels(toy, tmp_path / "p.h5"))
    # Mixup asks nothing of a loss: it is called for both of a pair's classes.
    run(toy, tmp_path / "a", "recipe.loss=hard-only", "recipe.mixup=0.3")


def test_training_ends_when_validation_has_not_improved_and_says_what_chose(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "a"
    result = run(toy, out, "recipe.patience=2", "recipe.epochs=40", "recipe.lr=0.0001")
    scores = [row["val_accuracy"] for row in rows(tmp_path / "a.log.jsonl")]
    best = scores.index(max(scores))
    assert len(scores) == best + 3 < 40
    found = load_checkpoint(out)
    assert (found.epochs, found.epoch, result.data["epoch"]) == (len(scores),) * 3
    ids, _ = read_split(toy[1]).select("val")
    assert np.array_equal(found.taint.selected_on, np.sort(clip_keys("toy", ids)))
    run(toy, out, "recipe.patience=2", "recipe.epochs=40", "recipe.lr=0.0001", "recipe.select=best")
    assert load_checkpoint(out).epoch == best + 1
    with pytest.raises(UsageError, match=r"recipe\.patience=2: validation is part of training"):
        run(toy, tmp_path / "b", "recipe.patience=2", use=["train", "val"])


def test_deterministic_operations_are_on_for_the_training_alone(toy: Toy, tmp_path: Path) -> None:
    run(toy, tmp_path / "plain")
    run(toy, tmp_path / "a", "recipe.deterministic=true")
    assert not torch.are_deterministic_algorithms_enabled()
    plain, found = load_checkpoint(tmp_path / "plain"), load_checkpoint(tmp_path / "a")
    assert all(torch.equal(value, found.model_state[key]) for key, value in plain.model_state.items())
    refused = pytest.raises(UsageError, match=r"recipe\.deterministic: .* does not have a deterministic")
    with refused, deterministic_operations(True):
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("foo_cuda does not have a deterministic implementation, but you set ...")
    with pytest.raises(RuntimeError, match="other"), deterministic_operations(True):
        raise RuntimeError("other")


def fake_tensorboard(monkeypatch: pytest.MonkeyPatch, fail: bool = False) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    class SummaryWriter:
        def __init__(self, log_dir: str) -> None:
            calls.append(("open", Path(log_dir).name))

        def add_scalar(self, name: str, value: float, global_step: int) -> None:
            if fail:
                raise OSError("disk full")
            calls.append((name, global_step, value))

        def close(self) -> None:
            calls.append(("close",))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return calls


def test_tensorboard_gets_the_numbers_of_every_epoch(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_tensorboard(monkeypatch)
    run(toy, tmp_path / "joint.safetensors", tracker=["tensorboard"])
    assert calls[0] == ("open", "joint.tensorboard")
    assert calls[-1] == ("close",)
    losses = [(step, value) for name, step, value in calls[1:-1] if name == "loss"]
    assert losses == [(row["epoch"], row["loss"]) for row in rows(tmp_path / "joint.log.jsonl")]


def test_a_tracker_that_fails_is_dropped_and_one_not_installed_is_an_error(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_adapt_toy import Talk

    fake_tensorboard(monkeypatch, fail=True)
    talk = Talk()
    run(toy, tmp_path / "a", tracker=["tensorboard"], console=talk)
    assert [line for line in talk.lines if "dropped" in line] == [
        "warning: tracker 'tensorboard' is dropped: OSError: disk full"
    ]
    assert Trackers({}, talk).close() is None
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        UsageError, match=r"needs the package tensorboard: pip install 'mg-adapt\[tensorboard"
    ):
        run(toy, tmp_path / "a", tracker=["tensorboard"])


def test_statistics_of_the_target_are_estimated_and_taint_as_selected_on(toy: Toy, tmp_path: Path) -> None:
    from mg_adapt_toy import Drift, Talk

    run(toy, tmp_path / "a")
    trained = load_checkpoint(tmp_path / "a")
    common: dict[str, Any] = {
        "console": Talk(), "checkpoint": tmp_path / "a", "data": toy[0], "split": toy[1], "subset": "target"
    }  # fmt: skip
    predict(**common, out=tmp_path / "plain.h5")
    predict(**common, out=tmp_path / "bn.h5", bn_adapt=True)
    predict(**common, out=tmp_path / "again.h5", bn_adapt=True, batch_size=3)
    plain, found, again = (read_logits(tmp_path / name) for name in ("plain.h5", "bn.h5", "again.h5"))
    assert not np.allclose(plain.values, found.values)
    assert np.allclose(found.values, again.values, atol=1e-6)
    keys = np.sort(clip_keys("toy", found.clip_ids))
    assert np.array_equal(found.taint.selected_on, keys)
    assert np.array_equal(found.taint.trained_on, trained.taint.trained_on)
    assert len(plain.taint.selected_on) == 0
    assert found.provenance.config["bn_adapt"] is True
    assert found.checkpoint_digest == trained.digest

    # The twelve target clips are one batch: the layer's mean is that of its input over these clips.
    model = build_model(resolve_branch("toy-net", "", "", {}, {}), 3, trained.input)
    model.load_state_dict(dict(trained.model_state))
    modality = Drift(toy[0])
    options: dict[str, Any] = {"flip": False, "batch_size": 32, "device": torch.device("cpu")}
    adapt_batch_norm(model, modality, found.clip_ids, **options)
    x = torch.from_numpy(np.stack([modality.sample(str(clip_id), None) for clip_id in found.clip_ids]))
    by_hand = model.stem[0](x).mean(dim=(0, 2, 3))
    (layer,) = batch_norms(model)
    assert torch.allclose(layer.running_mean, by_hand, atol=1e-5)
    assert not model.training
    assert layer.momentum == 0.1
    with pytest.raises(UsageError, match="the model has no BatchNorm layer"):
        adapt_batch_norm(torch.nn.Linear(2, 2), modality, found.clip_ids, **options)
    with pytest.raises(DataError, match="at least 2 clips, found 1"):
        adapt_batch_norm(model, modality, found.clip_ids[:1], **options)


@pytest.mark.parametrize("count", [3, 7])
def test_statistics_are_of_no_single_clip(toy: Toy, count: int) -> None:
    from mg_adapt_toy import Drift

    modality, sizes = Drift(toy[0]), []
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(72))
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    options: dict[str, Any] = {"flip": False, "batch_size": 2, "device": torch.device("cpu")}
    adapt_batch_norm(model, modality, modality.clip_ids[:count], **options)
    assert sum(sizes) == count
    assert min(sizes) >= 2


def test_the_file_of_given_anchors_is_named_by_its_digest(toy: Toy, tmp_path: Path) -> None:
    anchors = tmp_path / "anchors.csv"
    anchors.write_text("1,0\n0,1\n1,1\n")
    table = {"name": "orthogonal-semantic", "options": {"anchors_file": str(anchors)}}
    run(toy, tmp_path / "a", settings={"recipe": {"auxiliary": [table]}})
    found = load_checkpoint(tmp_path / "a")
    assert found.inputs["orthogonal-semantic.anchors_file"].startswith("sha256:")
    assert found.loss_state["orthogonal-semantic.anchors"].shape == (3, 8)


def test_a_model_that_cannot_be_built_is_named(toy: Toy) -> None:
    branch = resolve_branch("toy-net", "", "", {}, {})
    broken = dataclasses.replace(branch, model=dataclasses.replace(branch.model, factory="math:sqrt"))
    message = r"model 'toy-net' cannot be built with these options over an input of shape \(3, 8\): TypeError"
    with pytest.raises(PluginError, match=message):
        build_model(broken, 3, InputSpec(kind="signal", shape=(3, 8)))
