"""Training end to end on the toy model: what is learnt, what is written, and that it is repeatable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mg_adapt.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mg_adapt.stages.adapt import adapt
from mg_adapt.stages.dann import dann
from mg_adapt.stages.predict import predict
from mg_adapt.stages.train import train
from mg_adapt.training.data import TrainingSamples, mirror_permutation, select_training_clips
from mg_data.contract import DataError, StageResult, StoreError, UsageError
from mg_data.store import clip_keys, read_logits, read_pseudo, read_split, write_split

Toy = tuple[Path, Path]


def run(toy: Toy, out: Path, *overrides: str, **options: Any) -> StageResult:
    from mg_adapt_toy import Talk

    arguments: dict[str, Any] = {"console": Talk(), "model": "toy-net", "data": toy[0], "split": toy[1]}
    return train(**arguments | {"out": out, "set": list(overrides)} | options)


def infer(toy: Toy, checkpoint: Path, out: Path, subset: str, **options: Any) -> StageResult:
    from mg_adapt_toy import Talk

    return predict(
        console=Talk(), checkpoint=checkpoint, data=toy[0], split=toy[1], subset=subset, out=out, **options
    )


def same_weights(first: Checkpoint, second: Checkpoint) -> bool:
    assert set(first.model_state) == set(second.model_state)
    return all(torch.equal(value, second.model_state[name]) for name, value in first.model_state.items())


def test_it_learns_and_the_checkpoint_says_what_it_is(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "joint.safetensors"
    semantic = 'recipe.auxiliary=["orthogonal-semantic"]'
    result = run(toy, out, "recipe.epochs=25", "recipe.flip=true", semantic, branch="joint", preset="wide")
    assert result.data["val_accuracy"] >= 0.8
    found = load_checkpoint(out)
    assert (found.model, found.modality, found.branch, found.preset) == ("toy-net", "drift", "joint", "wide")
    assert found.model_options["width"] == 16
    assert found.class_names == ("left", "right", "still")
    assert found.mirror_classes == ((0, 1),)
    assert found.parameters == result.data["parameters"]
    assert found.inputs["split"] == read_split(toy[1]).digest
    assert "orthogonal-semantic.anchors" in found.loss_state
    ids, _ = read_split(toy[1]).select("train")
    assert np.array_equal(found.taint.trained_on, np.sort(clip_keys("toy", ids)))
    assert len(found.taint.selected_on) == 0
    assert not (tmp_path / "joint.safetensors.state").exists()
    rows = [json.loads(line) for line in (tmp_path / "joint.log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 26))
    assert {"loss", "lr", "train_accuracy", "seconds", "loader_seconds"} <= set(rows[0])
    assert "val_accuracy" in rows[-1]


@pytest.mark.parametrize("extra", [(), ("recipe.ema=0.9", "recipe.optimizer=sgd", "recipe.clip_norm=1")])
def test_twice_the_same_and_another_seed_another(toy: Toy, tmp_path: Path, extra: tuple[str, ...]) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(toy, tmp_path / name, *extra, seed=seed)
    first, second, third = (load_checkpoint(tmp_path / name) for name in "abc")
    assert same_weights(first, second)
    assert first.digest == second.digest
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not same_weights(first, third)


def test_loader_processes_do_not_change_the_result(toy: Toy, tmp_path: Path) -> None:
    run(toy, tmp_path / "a", "recipe.flip=true", "recipe.workers=0")
    run(toy, tmp_path / "b", "recipe.flip=true", "recipe.workers=2")
    assert same_weights(load_checkpoint(tmp_path / "a"), load_checkpoint(tmp_path / "b"))


def test_a_flipped_sample_bears_the_mirrored_label(toy: Toy) -> None:
    from mg_adapt_toy import Drift

    modality = Drift(toy[0], noise=0.0)
    clips = select_training_clips(read_split(toy[1]), ("train",), modality.clip_ids)
    samples = TrainingSamples(modality, clips, seed=0, flip=True, mirror=mirror_permutation([(0, 1)], 3))
    flips = 0
    for epoch in range(4):
        for index, (clip_id, label) in enumerate(zip(clips.clip_ids, clips.labels)):
            x, y, _ = samples[epoch, index]
            plain = modality.sample(str(clip_id), None)
            mirrored = not np.array_equal(x, plain)
            flips += mirrored
            assert np.array_equal(x, modality.flip(plain) if mirrored else plain)
            assert y == ((1, 0, 2)[label] if mirrored else label)
    assert 0.3 < flips / (4 * len(clips.labels)) < 0.7


def test_flip_averaging_is_the_mean_of_two_predictions(toy: Toy, tmp_path: Path) -> None:
    from mg_adapt_toy import Drift

    from mg_adapt.branch import build_model
    from mg_adapt.choice import resolve_branch
    from mg_adapt.inference import predict_logits

    out = tmp_path / "a"
    run(toy, out, "recipe.flip=true")
    infer(toy, out, tmp_path / "on.h5", "val")
    infer(toy, out, tmp_path / "off.h5", "val", flip=False)
    both, plain = read_logits(tmp_path / "on.h5"), read_logits(tmp_path / "off.h5")
    assert (both.tta, plain.tta) == ("flip", "none")

    class Mirrored(Drift):
        def sample(self, clip_id: str, rng: Any) -> Any:
            return self.flip(super().sample(clip_id, rng))

    trained = load_checkpoint(out)
    model = build_model(resolve_branch("toy-net", "", "", {}, {}), 3, trained.input)
    model.load_state_dict(dict(trained.model_state))
    mirrored = predict_logits(model, Mirrored(toy[0]), plain.clip_ids, num_classes=3)[:, [1, 0, 2]]
    assert np.allclose(both.values, (plain.values + mirrored) / 2, atol=1e-6)
    assert not np.allclose(both.values, plain.values)


def test_predictions_are_sorted_labelled_only_off_target_and_tainted(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "a"
    run(toy, out)
    for subset in ("val", "target"):
        infer(toy, out, tmp_path / f"{subset}.h5", subset)
    val, target = read_logits(tmp_path / "val.h5"), read_logits(tmp_path / "target.h5")
    assert val.clip_ids.tolist() == sorted(val.clip_ids.tolist())
    assert val.labels is not None
    assert target.labels is None
    assert val.checkpoint_digest == load_checkpoint(out).digest
    assert np.array_equal(val.taint.trained_on, load_checkpoint(out).taint.trained_on)


def test_a_clip_without_data_is_absent_in_predictions_and_refused_in_training(
    toy: Toy, tmp_path: Path
) -> None:
    out = tmp_path / "a"
    run(toy, out)
    split = read_split(toy[1])
    more = tmp_path / "more.h5"
    for names in (["target"], ["train"]):
        write_split(
            more,
            dataset="toy",
            clip_ids=[*split.clip_ids, "ghost"],
            names=[*split.names, *names],
            labels=[*split.labels, -1 if names == ["target"] else 0],
            class_names=split.class_names,
        )
        if names == ["target"]:
            infer((toy[0], more), out, tmp_path / "t.h5", "target")
            found = read_logits(tmp_path / "t.h5")
            assert found.present.tolist() == [clip_id != "ghost" for clip_id in found.clip_ids]
        else:
            with pytest.raises(DataError, match="missing in the data store: 'ghost'"):
                run((toy[0], more), tmp_path / "b")


def test_a_training_clip_without_label_is_named(toy: Toy, tmp_path: Path) -> None:
    split = read_split(toy[1])
    labels = split.labels.copy()
    labels[0] = -1
    broken = tmp_path / "broken.h5"
    write_split(
        broken,
        dataset="toy",
        clip_ids=split.clip_ids,
        names=split.names,
        labels=labels,
        class_names=split.class_names,
    )
    with pytest.raises(DataError, match=r"1 training clip\(s\) have no label: 'c000'"):
        run((toy[0], broken), tmp_path / "a")
    with pytest.raises(UsageError, match="the target has no labels"):
        run(toy, tmp_path / "a", use=["target"])


def test_a_loss_that_is_not_a_number_stops_and_names_the_clip(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the loss is nan at epoch 1, step \d: .*clip\(s\) c005$"):
        run(toy, tmp_path / "a", "modality.poison=c005")
    assert not (tmp_path / "a").exists()


def test_a_gradient_that_is_not_a_number_stops_before_the_step(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the gradient is nan at epoch 1, step 1 with finite input: lower"):
        run(toy, tmp_path / "a", "model.kink=true", "recipe.clip_norm=1.0")
    assert not (tmp_path / "a").exists()


def test_the_best_epoch_is_kept_and_taints_the_validation_clips(toy: Toy, tmp_path: Path) -> None:
    run(toy, tmp_path / "a", "recipe.select=best", "recipe.epochs=6")
    found = load_checkpoint(tmp_path / "a")
    rows = [json.loads(line) for line in (tmp_path / "a.log.jsonl").read_text().splitlines()]
    scores = [row["val_accuracy"] for row in rows]
    assert found.epoch == 1 + scores.index(max(scores))
    ids, _ = read_split(toy[1]).select("val")
    assert np.array_equal(found.taint.selected_on, np.sort(clip_keys("toy", ids)))
    with pytest.raises(UsageError, match="validation is part of training"):
        run(toy, tmp_path / "b", "recipe.select=best", use=["train", "val"])


def test_second_round_trains_on_train_val_and_pseudo_labels_and_says_so(toy: Toy, tmp_path: Path) -> None:
    from mg_adapt_toy import Talk

    run(toy, tmp_path / "a", "recipe.epochs=15")
    infer(toy, tmp_path / "a", tmp_path / "t.h5", "target")
    adapt(console=Talk(), logits=[tmp_path / "t.h5"], split=toy[1], out=tmp_path / "p.h5", threshold=0.4)
    result = run(toy, tmp_path / "b", pseudo=tmp_path / "p.h5", use=["train", "val"])
    pseudo = read_pseudo(tmp_path / "p.h5")
    assert result.data["sources"] == {"train": 37, "val": 9, "pseudo": len(pseudo)}
    found, split = load_checkpoint(tmp_path / "b"), read_split(toy[1])
    assert found.round == 2
    ids = np.concatenate([split.select("train", "val")[0], pseudo.clip_ids])
    assert np.array_equal(found.taint.trained_on, np.sort(clip_keys("toy", ids)))


def test_no_label_of_the_target_is_read_whatever_labels_csv_says(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poisoned truth beside the stores changes nothing, and no file but the given stores is opened."""
    import builtins

    from mg_data.labels import write_labels

    opened: list[str] = []
    real_open, real_path_open = builtins.open, Path.open

    def watch(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(file))
        return real_open(file, *args, **kwargs)

    def watch_path(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(self))
        return real_path_open(self, *args, **kwargs)

    split = read_split(toy[1])
    outcomes = []
    for poison in (0, 1):
        write_labels(tmp_path / "labels.csv", split.clip_ids, [poison] * len(split), split.class_names)
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", watch)
            patch.setattr(Path, "open", watch_path)
            run(toy, tmp_path / "a")
        outcomes.append(load_checkpoint(tmp_path / "a"))
    assert same_weights(*outcomes)
    assert not [name for name in opened if "labels" in Path(name).name]


def test_a_checkpoint_of_other_classes_or_a_damaged_one_is_refused(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "a"
    run(toy, out)
    split = read_split(toy[1])
    other = tmp_path / "other.h5"
    write_split(
        other,
        dataset="toy",
        clip_ids=split.clip_ids,
        names=split.names,
        labels=split.labels,
        class_names=("right", "left", "still"),
    )
    with pytest.raises(StoreError, match="its 3 classes are not the 3 of"):
        infer((toy[0], other), out, tmp_path / "t.h5", "val")
    content = bytearray(out.read_bytes())
    content[-3] ^= 1
    out.write_bytes(content)
    with pytest.raises(StoreError, match="its checksum differs"):
        load_checkpoint(out)
    out.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="is no readable safetensors file"):
        load_checkpoint(out)
    out.write_text("hello")
    with pytest.raises(StoreError, match="is no readable safetensors file"):
        load_checkpoint(out)
    with pytest.raises(StoreError, match="does not exist"):
        load_checkpoint(tmp_path / "nowhere")
    save_file({"x": torch.zeros(2)}, out)
    with pytest.raises(StoreError, match="without the header of mg"):
        load_checkpoint(out)


def test_a_checkpoint_brings_its_weights_and_looks_for_no_other_file(toy: Toy, tmp_path: Path) -> None:
    import dataclasses

    run(toy, tmp_path / "a")
    found = load_checkpoint(tmp_path / "a")
    pretrained = dataclasses.replace(found, model_options={**found.model_options, "weights": "kinetics"})
    save_checkpoint(tmp_path / "b", pretrained)
    infer(toy, tmp_path / "b", tmp_path / "t.h5", "val")
    assert len(read_logits(tmp_path / "t.h5")) == 9


def test_a_training_that_starts_from_a_checkpoint_inherits_what_it_has_seen(toy: Toy, tmp_path: Path) -> None:
    from mg_adapt_toy import Talk

    run(toy, tmp_path / "first", use=["val"])
    split = read_split(toy[1])
    keys = {part: set(clip_keys("toy", split.select(part)[0]).tolist()) for part in ("train", "val")}
    start = f"model.weights={tmp_path / 'first'}"
    run(toy, tmp_path / "second", start)
    found = load_checkpoint(tmp_path / "second")
    assert set(found.taint.trained_on.tolist()) == keys["train"] | keys["val"]
    dann(
        console=Talk(), model="toy-net", data=toy[0], split=toy[1], out=tmp_path / "third", set=[start]
    )  # fmt: skip
    assert keys["val"] <= set(load_checkpoint(tmp_path / "third").taint.trained_on.tolist())
    # Weights of somebody else have seen nothing of these clips.
    save_file(dict(found.model_state), tmp_path / "strange")
    run(toy, tmp_path / "fourth", f"model.weights={tmp_path / 'strange'}")
    assert set(load_checkpoint(tmp_path / "fourth").taint.trained_on.tolist()) == keys["train"]
