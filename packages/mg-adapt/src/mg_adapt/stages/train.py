"""``mg train``: one model on the labelled parts of a split, and on pseudo-labels if they are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import mg_adapt
from mg_adapt.branch import (
    build_losses,
    build_model,
    check_classes,
    check_recordable,
    check_soft_targets,
    choose_device,
    deterministic_operations,
    open_modality,
    probe_feature_dim,
    set_threads,
    weights_taint,
)
from mg_adapt.checkpoint import save_checkpoint
from mg_adapt.choice import Branch, resolve_branch
from mg_adapt.files import file_digest
from mg_adapt.recipe import Recipe, read_settings, resolve_recipe
from mg_adapt.stages.trained import trained_checkpoint
from mg_adapt.trackers import open_trackers
from mg_adapt.training.data import TrainingClips, mirror_permutation, select_training_clips
from mg_adapt.training.engine import Engine, open_engine
from mg_adapt.training.precision import with_precision
from mg_adapt.training.state import StateFolder
from mg_adapt.training.trainer import Trainer, TrainingTask
from mg_data.contract import Console, DataError, Modality, StageResult, UsageError
from mg_data.plugins import registry
from mg_data.store import (
    SplitStore,
    Taint,
    clip_keys,
    read_pseudo,
    read_split,
    stored_digest,
)


def train(
    *,
    console: Console,
    model: str,
    data: Path,
    split: Path,
    out: Path,
    pseudo: Path | None = None,
    use: Sequence[str] = ("train",),
    preset: str = "",
    modality: str = "",
    set: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    branch: str = "",
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    tracker: Sequence[str] = (),
    state_every: float = 15.0,
) -> StageResult | None:
    """Train a registered model and publish its checkpoint.

    A training that was killed goes on from its last state when it is called again with the same arguments.
    Under torchrun its processes share every batch; the first one writes and reports, the others return None.
    Labels come from the split store, which has none of the target.

    Args:
        use: labelled parts of the split to train on. pseudo: pseudo-labels of the target (paper 3.3).
        set: texts ``section.key=value`` over ``settings`` (tables ``recipe``, ``model``, ``modality``).
        tracker: registered trackers that get the numbers of every epoch.
        state_every: seconds between states within an epoch. See the record for the rest.

    Raises:
        UsageError, PluginError, StoreError, DataError: as their messages say; nothing is published then.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, found {seed}")
    tables = read_settings(settings, set)
    chosen = resolve_branch(model, modality, preset, tables["model"], tables["modality"])
    recipe = resolve_recipe(chosen.model.recipe, tables["recipe"])
    set_threads(threads)
    engine = open_engine(choose_device(device), device)
    console = engine.console(console)
    recipe = with_precision(recipe, engine, console)

    parts = read_split(split)
    labels = None if pseudo is None else read_pseudo(pseudo)
    source = open_modality(chosen, data, parts.dataset)
    check_classes(parts, data)
    check_recordable(chosen, source.input)
    soft = recipe.pseudo_targets == "soft"
    clips = select_training_clips(parts, tuple(use) or ("train",), source.clip_ids, labels, soft)
    if len(clips.clip_ids) < 2:
        raise DataError(f"{split}: {len(clips.clip_ids)} clip to train on, wanted at least 2")
    if clips.passed_over:
        console.warn(f"{clips.passed_over} pseudo-labelled clip(s) are not in {data} and are passed over")
    validation = select_validation(parts, clips, source.clip_ids, recipe, console)
    mirror_classes = find_mirror_classes(parts.dataset, recipe, console)

    num_classes = len(parts.class_names)
    torch.manual_seed(seed)
    network = build_model(chosen, num_classes, source.input)
    feature_dim = probe_feature_dim(chosen, network, source, num_classes)
    counts = np.bincount(clips.labels, minlength=num_classes)
    losses, weights = build_losses(recipe, counts, feature_dim)
    if clips.probs is not None:
        check_soft_targets(recipe, losses)
    parameters = sum(item.numel() for item in network.parameters() if item.requires_grad)

    inputs = {"data": stored_digest(data), "split": parts.digest}
    if labels is not None:
        inputs["pseudo"] = labels.digest
    # Read now: whoever writes there while the training runs does not change what it began with.
    inherited = weights_taint(chosen)
    inputs |= {name: file_digest(Path(path)) for name, path in (recipe.files() | chosen.files()).items()}
    label = branch or f"{chosen.model.name}/{chosen.modality.name}"
    sources = ", ".join(f"{name} {count}" for name, count in clips.sources.items())
    console.say(
        f"{label}: {parameters:,} parameters, {len(clips.clip_ids)} clips ({sources}), seed {seed}, "
        f"{engine.device}"
        + (f", {recipe.amp}" if recipe.amp != "none" else "")
        + (f", {engine.world} processes" if engine.world > 1 else "")
    )
    trainer = Trainer(
        TrainingTask(
            model=network,
            losses=losses,
            weights=weights,
            modality=source,
            clips=clips,
            recipe=recipe,
            seed=seed,
            mirror=mirror_permutation(mirror_classes, num_classes),
            validation=validation,
            model_name=chosen.model.name,
        ),
        device=engine.device,
        state=StateFolder(out, _training_key(chosen, source, recipe, clips, parts, inputs, seed, engine)),
        log=log_path(out),
        console=console,
        label=label,
        state_every=state_every,
        trackers=open_trackers(tracker if engine.first else (), out, console),
        engine=engine,
    )
    try:
        with deterministic_operations(recipe.deterministic):
            result = trainer.run()
    finally:
        trainer.trackers.close()
    if not engine.first:
        return None
    checkpoint = trained_checkpoint(
        *(chosen, source.input, parts, recipe, result, data),
        taint=_taint(clips, parts, validation, recipe).union(inherited),
        branch=branch,
        mirror_classes=mirror_classes,
        seed=seed,
        round=1 if labels is None else labels.round + 1,
        parameters=parameters,
        inputs=inputs,
    )
    digest = save_checkpoint(out, checkpoint)
    trainer.state.remove()
    return _report(out, digest, label, parameters, clips, result.history, result.epoch, seed)


def log_path(checkpoint: Path) -> Path:
    """Return the log beside a checkpoint: ``joint.safetensors`` -> ``joint.log.jsonl``."""
    return checkpoint.with_name(checkpoint.stem + ".log.jsonl")


def select_validation(
    split: SplitStore,
    clips: TrainingClips,
    available: NDArray[np.str_],
    recipe: Recipe,
    console: Console,
) -> tuple[NDArray[np.str_], NDArray[np.int64]] | None:
    """Return the labelled validation clips that are not trained on, or None."""
    used = "val" in clips.sources
    wish = "recipe.select=best" if recipe.select == "best" else f"recipe.patience={recipe.patience}"
    if recipe.selects and used:
        raise UsageError(f"{wish}: validation is part of training, take select=last and patience=0")
    rows = np.flatnonzero((split.names == "val") & (split.labels >= 0))
    if used or not len(rows):
        if recipe.selects:
            raise DataError(f"{split.path}: {wish} needs labelled validation clips, found none")
        return None
    rows = rows[np.argsort(split.clip_ids[rows])]
    held = np.isin(split.clip_ids[rows], available)
    if not held.all():
        console.warn(f"{int((~held).sum())} validation clip(s) are missing in the data store and not scored")
    rows = rows[held]
    if not len(rows):
        if recipe.selects:
            raise DataError(f"{wish}: none of the validation clips is in the data store")
        return None
    return split.clip_ids[rows], split.labels[rows].astype(np.int64)


def find_mirror_classes(dataset: str, recipe: Recipe, console: Console) -> tuple[tuple[int, int], ...]:
    """Return the classes that swap under a flip; warn where flips are asked for and nobody knows them."""
    # A collection of its own, NAME:COLLECTION, has the classes of its importer.
    spec = registry().datasets.get(dataset.partition(":")[0])
    if spec is None:
        if recipe.flip:
            console.warn(
                f"no plugin knows data set '{dataset}': flips are taken to keep every class as it is"
            )
        return ()
    return tuple((int(left), int(right)) for left, right in spec.mirror_classes)


def _training_key(
    branch: Branch,
    source: Modality,
    recipe: Recipe,
    clips: TrainingClips,
    split: SplitStore,
    inputs: Mapping[str, str],
    seed: int,
    engine: Engine,
) -> str:
    """Return the key under which a training may resume: all that its weights depend on."""
    facts = {
        "model": branch.model.name,
        "model_options": dict(branch.model_options),
        "modality": branch.modality.name,
        "modality_options": dict(branch.modality_options),
        "input": source.input.to_json(),
        "recipe": recipe.decisive(),
        "sources": clips.sources,
        "class_names": split.class_names,
        "inputs": dict(inputs),
        "seed": seed,
        "version": mg_adapt.__version__,
    }
    if engine.world > 1:
        facts["processes"] = engine.world
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _taint(clips: TrainingClips, split: SplitStore, validation: Any, recipe: Recipe) -> Taint:
    if not recipe.selects or validation is None:
        return clips.taint
    return clips.taint.union(Taint.of((), clip_keys(split.dataset, validation[0])))


def _report(
    out: Path,
    digest: str,
    label: str,
    parameters: int,
    clips: TrainingClips,
    history: list[dict[str, Any]],
    epoch: int,
    seed: int,
) -> StageResult:
    last = history[epoch - 1]
    data = {
        "checkpoint": str(out),
        "digest": digest,
        "branch": label,
        "parameters": parameters,
        "clips": len(clips.clip_ids),
        "sources": clips.sources,
        "seed": seed,
        "epoch": epoch,
        "loss": last["loss"],
        "train_accuracy": last["train_accuracy"],
        "val_accuracy": last.get("val_accuracy"),
        "seconds": round(sum(row["seconds"] for row in history), 3),
    }
    scored = "" if data["val_accuracy"] is None else f", validation accuracy {data['val_accuracy']:.2%}"
    text = (
        f"{label}: {len(history)} epochs in {data['seconds']:.0f} s, loss {data['loss']:.4f}, "
        f"training accuracy {data['train_accuracy']:.2%}{scored}\n{out}"
    )
    return StageResult(data=data, text=text)
