"""Source-free adaptation: centroids by hand, a frozen classifier, and what the new checkpoint owns up to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mg_adapt.checkpoint import load_checkpoint
from mg_adapt.losses import InformationMaximisation
from mg_adapt.source_free import centroid_labels, find_classifier
from mg_adapt.stages.adapt import adapt
from mg_adapt.stages.predict import predict
from mg_adapt.stages.shot import shot
from mg_adapt.stages.train import train
from mg_data.contract import ModelOutput, PluginError, StageResult, TaintError, UsageError
from mg_data.store import clip_keys, read_split

Toy = tuple[Path, Path]


def run_shot(toy: Toy, checkpoint: Path, out: Path, *overrides: str, **options: Any) -> StageResult:
    from mg_adapt_toy import Talk

    arguments: dict[str, Any] = {"console": Talk(), "data": toy[0], "split": toy[1], "out": out}
    return shot(checkpoint=checkpoint, set=["recipe.epochs=3", *overrides], **arguments | options)


@pytest.fixture
def trained(toy: Toy, tmp_path: Path) -> Path:
    from mg_adapt_toy import Talk

    out = tmp_path / "joint.safetensors"
    settings = ["recipe.epochs=20", "recipe.flip=true"]
    train(console=Talk(), model="toy-net", data=toy[0], split=toy[1], out=out, set=settings)
    return out


def test_information_maximisation_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6]])
    mean = p.mean(axis=0)
    entropy = -(p * np.log(p)).sum() / 2
    diversity = -(mean * np.log(mean)).sum()
    labels = -(math.log(0.9) + math.log(0.4)) / 2
    loss = InformationMaximisation(class_counts=[1, 1], beta=0.5)
    found = loss(ModelOutput(torch.tensor(np.log(p) + 3.0), None), torch.tensor([0, 0]))
    assert float(found) == pytest.approx(entropy - diversity + 0.5 * labels, rel=1e-6)
    with pytest.raises(UsageError, match="beta must be at least 0"):
        InformationMaximisation(class_counts=[1, 1], beta=-1.0)


def test_a_clip_goes_to_the_nearest_centroid_even_against_the_models_answer() -> None:
    features = np.array([[4.0, 0], [4, 0.1], [0, 4], [0.1, 4], [0.2, 4]])
    probs = np.array([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0.9, 0], [0.6, 0.4, 0]])
    # The last clip lies with the second group; nobody answers the third class, so nobody gets it.
    assert centroid_labels(probs, features).tolist() == [0, 0, 1, 1, 1]


def test_the_classifier_stays_and_the_rest_learns(toy: Toy, tmp_path: Path, trained: Path) -> None:
    result = run_shot(toy, trained, tmp_path / "shot.safetensors", "recipe.loss.options.beta=0.1")
    before, after = load_checkpoint(trained), load_checkpoint(tmp_path / "shot.safetensors")
    for name in ("head.weight", "head.bias"):
        assert torch.equal(before.model_state[name], after.model_state[name])
    assert not torch.equal(before.model_state["stem.0.weight"], after.model_state["stem.0.weight"])
    ids, _ = read_split(toy[1]).select("target")
    own = np.union1d(before.taint.trained_on, clip_keys("toy", ids))
    assert np.array_equal(after.taint.trained_on, own)
    assert (before.round, after.round) == (1, 2)
    assert after.inputs["checkpoint"] == before.digest
    loss = {"name": "information-maximisation", "weight": 1.0, "options": {"beta": 0.1}}
    assert after.recipe["loss"] == loss
    assert after.recipe["lr"] == pytest.approx(before.recipe["lr"] / 10)
    assert result.data["clips"] == len(ids)
    run_shot(toy, trained, tmp_path / "again.safetensors", "recipe.loss.options.beta=0.1")
    assert load_checkpoint(tmp_path / "again.safetensors").digest == after.digest


def test_its_logits_make_no_first_round_pseudo_labels(toy: Toy, tmp_path: Path, trained: Path) -> None:
    from mg_adapt_toy import Talk

    run_shot(toy, trained, tmp_path / "shot.safetensors")
    logits = tmp_path / "t.h5"
    common: dict[str, Any] = {"console": Talk(), "split": toy[1]}
    predict(checkpoint=tmp_path / "shot.safetensors", data=toy[0], subset="target", out=logits, **common)
    with pytest.raises(TaintError, match="was trained on 12 pseudo-labelled target"):
        adapt(logits=[logits], out=tmp_path / "p.h5", **common)


def test_a_broken_off_adaptation_goes_on(
    toy: Toy, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_adapt_toy import Talk

    from mg_adapt.training.trainer import Trainer

    run_shot(toy, trained, tmp_path / "whole")
    done, real = 0, Trainer._step

    def step(self: Trainer, *args: Any) -> tuple[float, int, int]:
        nonlocal done
        if done == 4:
            raise InterruptedError
        done += 1
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(InterruptedError):
            run_shot(toy, trained, tmp_path / "part", state_every=0.0)
    # Loader processes have no influence on the weights, so a change of their number does not begin anew.
    talk = Talk()
    run_shot(toy, trained, tmp_path / "part", "recipe.workers=1", console=talk)
    assert any("resumed after 4 of" in line for line in talk.lines)
    whole, part = (load_checkpoint(tmp_path / name) for name in ("whole", "part"))
    assert all(torch.equal(value, part.model_state[key]) for key, value in whole.model_state.items())
    run_shot(toy, trained, tmp_path / "part")
    assert load_checkpoint(tmp_path / "whole").digest == load_checkpoint(tmp_path / "part").digest


def test_what_cannot_be_adapted_is_refused(toy: Toy, tmp_path: Path, trained: Path) -> None:
    with pytest.raises(UsageError, match="changes the recipe only"):
        run_shot(toy, trained, tmp_path / "a", "model.width=4")
    with pytest.raises(UsageError, match="no labels are read, so select=best and patience"):
        run_shot(toy, trained, tmp_path / "a", "recipe.select=best")
    with pytest.raises(PluginError, match=r"model 'x' has no linear layer from its feature \(8\) to 3"):
        find_classifier(torch.nn.Linear(3, 8), 8, 3, "x")
