"""Domain-adversarial training: the reversed gradient, losses of labelled clips, a shift it overcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from mg_adapt.adversarial import UNLABELLED, DomainAdversary, LabelledOnly, domain_gap, reverse_gradient
from mg_adapt.checkpoint import load_checkpoint
from mg_adapt.losses import cross_entropy
from mg_adapt.stages.adapt import adapt
from mg_adapt.stages.dann import dann
from mg_adapt.stages.predict import predict
from mg_adapt.stages.train import train
from mg_data.contract import ModelOutput, StageResult, StoreError, UsageError
from mg_data.store import ClipsWriter, clip_keys, open_clips, read_logits, read_split, write_split

Toy = tuple[Path, Path]


def run(toy: Toy, out: Path, *overrides: str, **options: Any) -> StageResult:
    from mg_adapt_toy import Talk

    arguments: dict[str, Any] = {"console": Talk(), "model": "toy-net", "data": toy[0], "split": toy[1]}
    return dann(**arguments | {"out": out, "set": ["recipe.epochs=3", *overrides]} | options)


def target_accuracy(toy: Toy, checkpoint: Path) -> float:
    from mg_adapt_toy import CLASSES, Talk

    out = checkpoint.with_suffix(".h5")
    predict(console=Talk(), checkpoint=checkpoint, data=toy[0], split=toy[1], subset="target", out=out)
    store = read_logits(out)
    truth = np.array([int(clip_id[1:]) % len(CLASSES) for clip_id in store.clip_ids])
    return float((store.values.argmax(axis=1) == truth).mean())


def test_the_gradient_comes_back_reversed_and_scaled() -> None:
    feature = torch.tensor([[1.0, -2.0]], requires_grad=True)
    output = reverse_gradient(feature, 0.25)
    assert torch.equal(output, feature)
    (3.0 * output).sum().backward()
    assert feature.grad is not None
    assert feature.grad.tolist() == [[-0.75, -0.75]]


def test_the_adversary_learns_what_the_model_unlearns() -> None:
    torch.manual_seed(0)
    adversary = DomainAdversary(2, hidden=4)
    adversary.at_epoch(9, 10)
    feature = torch.tensor([[1.0, 0.0], [0.8, 0.1], [-1.0, 0.3]], requires_grad=True)
    target = torch.tensor([1, 0, UNLABELLED])
    loss = adversary(ModelOutput(feature, feature), target)
    # Two clips of the source weigh as much as the one of the target.
    errors = functional.binary_cross_entropy_with_logits(
        adversary.classifier(feature).squeeze(1).detach(), torch.tensor([1.0, 1.0, 0.0]), reduction="none"
    )
    assert loss.item() == pytest.approx(float((errors[0] + errors[1]) / 4 + errors[2] / 2), rel=1e-6)
    loss.backward()
    gradient = feature.grad
    assert gradient is not None
    with torch.no_grad():
        # A step against its gradient, as any optimizer makes, leaves the domains harder to tell apart.
        moved = feature - 0.1 * gradient
        assert float(adversary(ModelOutput(moved, moved), target)) > loss.item()
        assert float(adversary(ModelOutput(feature[:2], feature[:2]), target[:2])) == 0.0


def test_losses_see_labelled_samples_only_and_keep_their_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 3, generator=generator)
    target = torch.tensor([0, UNLABELLED, 2, 1, UNLABELLED, UNLABELLED])
    plain = cross_entropy(class_counts=[1, 1, 1])
    wrapped = LabelledOnly(plain, scale=2.0)
    known = target >= 0
    wanted = float(plain(ModelOutput(logits[known], logits[known]), target[known]))
    assert float(wrapped(ModelOutput(logits, logits), target)) == pytest.approx(wanted, rel=1e-6)
    nothing = wrapped(ModelOutput(logits, logits), torch.full((6,), UNLABELLED))
    assert float(nothing) == 0.0


def test_a_gap_is_one_for_domains_apart_and_a_half_for_one_and_the_same() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((400, 5))
    assert domain_gap(points[:200], points[200:] + 6) > 0.99
    assert abs(domain_gap(points[:200], points[200:]) - 0.5) < 0.1


@pytest.mark.slow
def test_it_overcomes_a_shift_of_the_target_that_training_on_the_source_does_not(
    toy_plugin: None, tmp_path: Path
) -> None:
    from mg_adapt_toy import Talk, write_toy

    toy = write_toy(tmp_path, train=60, val=9, target=60, shift=3.0)
    settings = ["recipe.epochs=100", "recipe.batch_size=32", "recipe.lr=0.005"]
    plain, adversarial = [], []
    for seed in (0, 1):
        train(
            console=Talk(), model="toy-net", data=toy[0], split=toy[1], out=tmp_path / "a", set=settings,
            seed=seed,
        )  # fmt: skip
        plain.append(target_accuracy(toy, tmp_path / "a"))
        run(toy, tmp_path / "b", *settings, seed=seed, weight=0.5, hidden=32)
        adversarial.append(target_accuracy(toy, tmp_path / "b"))
    assert np.mean(adversarial) > np.mean(plain) + 0.1


def test_the_target_is_selected_on_and_its_logits_make_first_round_pseudo_labels(
    toy: Toy, tmp_path: Path
) -> None:
    from mg_adapt_toy import Talk

    result = run(toy, tmp_path / "a.safetensors")
    split = read_split(toy[1])
    source, target = (clip_keys("toy", split.select(name)[0]) for name in ("train", "target"))
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert np.array_equal(found.taint.trained_on, np.sort(source))
    assert np.array_equal(found.taint.selected_on, np.sort(target))
    assert found.round == 1
    assert (result.data["clips"], result.data["target_clips"]) == (37, 12)
    assert 0 <= result.data["train_accuracy"] <= 1
    target_accuracy(toy, tmp_path / "a.safetensors")
    adapt(console=Talk(), logits=[tmp_path / "a.h5"], split=toy[1], out=tmp_path / "p.h5", threshold=0.0)


def test_a_mirrored_clip_without_label_stays_without(toy: Toy, tmp_path: Path) -> None:
    # The toy's classes 0 and 1 swap; were -1 read as the last class, the log would count its answers.
    run(toy, tmp_path / "a", "recipe.flip=true")
    again = run(toy, tmp_path / "b", "recipe.flip=true", seed=0)
    assert load_checkpoint(tmp_path / "b").digest == load_checkpoint(tmp_path / "a").digest
    assert again.data["train_accuracy"] <= 1


def test_it_checks_and_warns_as_a_training_does(toy: Toy, tmp_path: Path) -> None:
    from mg_adapt_toy import CLASSES, Talk

    split = read_split(toy[1])
    given: dict[str, Any] = {"clip_ids": split.clip_ids, "names": split.names, "labels": split.labels}
    write_split(tmp_path / "s.h5", dataset="toy", class_names=("right", "left", "still"), **given)
    with pytest.raises(StoreError, match=r"s\.h5: class 0 is 'right', in .*h5 it is 'left' \(split the"):
        run((toy[0], tmp_path / "s.h5"), tmp_path / "a")
    # A data set that no plugin knows, and a validation clip that has no data.
    clips = tmp_path / "strange.h5"
    with (
        ClipsWriter(clips, dataset="strange", class_names=CLASSES, layout="toy") as writer,
        open_clips(toy[0]) as store,
    ):
        for row, clip_id in enumerate(store.clip_ids.tolist()):
            if clip_id != "c040":
                joints = store.joints(row)
                writer.add(
                    clip_id=clip_id, subject_id="", video_id="", start=0, stop=len(joints), joints=joints
                )
    write_split(tmp_path / "s.h5", dataset="strange", class_names=CLASSES, **given)
    talk = Talk()
    run((clips, tmp_path / "s.h5"), tmp_path / "a", "recipe.epochs=1", "recipe.flip=true", console=talk)
    assert "warning: 1 validation clip(s) are missing in the data store and not scored" in talk.lines
    assert any("no plugin knows data set 'strange': flips are taken" in line for line in talk.lines)


def test_the_accuracy_is_that_of_the_labelled_clips_an_epoch_met(toy_plugin: None, tmp_path: Path) -> None:
    from mg_adapt_toy import write_toy

    # Nine clips in batches of eight: the last one, labelled or not, is left out.
    toy = write_toy(tmp_path, train=4, val=3, target=5)
    for seed in range(4):
        found = run(toy, tmp_path / "a.safetensors", "recipe.epochs=1", "recipe.batch_size=8", seed=seed).data
        rows = (tmp_path / "a.log.jsonl").read_text().splitlines()
        assert found["train_accuracy"] == json.loads(rows[-1])["train_accuracy"]
        assert found["train_accuracy"] in {right / met for met in (3, 4) for right in range(met + 1)}


class Killed(BaseException):
    """Not an error that anybody catches."""


def test_a_broken_off_training_goes_on(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(toy, tmp_path / "whole")
    done, real = 0, DomainAdversary.forward

    def forward(self: DomainAdversary, output: ModelOutput, target: torch.Tensor) -> torch.Tensor:
        nonlocal done
        if done == 10:
            raise Killed
        done += 1
        return real(self, output, target)

    with monkeypatch.context() as patch:
        patch.setattr(DomainAdversary, "forward", forward)
        with pytest.raises(Killed):
            run(toy, tmp_path / "part", state_every=0.0)
    run(toy, tmp_path / "part")
    assert load_checkpoint(tmp_path / "whole").digest == load_checkpoint(tmp_path / "part").digest


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("recipe.mixup=0.2", r"recipe\.mixup = 0\.2 has no meaning where many clips have no label"),
        ("recipe.sampler=class-balanced", r"recipe\.sampler = 'class-balanced' has no meaning"),
        ("recipe.select=best", r"recipe\.select = 'best' has no meaning"),
    ],
)
def test_settings_that_need_every_label_are_refused(
    toy: Toy, tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(toy, tmp_path / "a", setting)
    with pytest.raises(UsageError, match="--weight must be positive, found 0"):
        run(toy, tmp_path / "a", weight=0.0)
