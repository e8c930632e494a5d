"""``mg dann``: train a model on labelled source clips and against telling the target from them (DANN)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import mg_adapt
from mg_adapt.adversarial import DomainAdversary, LabelledOnly, domain_gap, join_domains
from mg_adapt.blame import named
from mg_adapt.branch import (
    build_losses,
    build_model,
    check_classes,
    check_recordable,
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
from mg_adapt.recipe import Recipe, check_adversarial, read_settings, resolve_recipe
from mg_adapt.source_free import target_answers
from mg_adapt.stages.train import find_mirror_classes, log_path, select_validation
from mg_adapt.stages.trained import trained_checkpoint
from mg_adapt.trackers import open_trackers
from mg_adapt.training.data import mirror_permutation, select_training_clips
from mg_adapt.training.engine import Engine
from mg_adapt.training.precision import with_precision
from mg_adapt.training.state import StateFolder
from mg_adapt.training.trainer import Trainer, TrainingTask
from mg_data.contract import Console, Modality, StageResult, UsageError
from mg_data.store import SplitStore, read_split, stored_digest

ADVERSARY = "domain-adversary"


def dann(
    *,
    console: Console,
    model: str,
    data: Path,
    split: Path,
    out: Path,
    weight: float = 1.0,
    hidden: int = 128,
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
) -> StageResult:
    """Train a registered model as ``mg train`` does, and let its feature hide the domain (Ganin et al. 2016).

    An epoch sees every labelled clip of the source and every clip of the target once. The target's labels
    are in no file that is read. The checkpoint says that it was *selected on* the target's clips: no label of
    theirs was learnt, true or given by a model, so its logits may make first-round pseudo-labels.

    Args:
        weight: of the domain loss beside the recipe's losses. hidden: units of the domain classifier.
        See ``mg train`` for the rest.

    Raises:
        UsageError: a setting that has no meaning without the target's labels (mixup, a class sampler), or
            that would select by validation.
        PluginError, StoreError, DataError: as their messages say; nothing is published then.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, found {seed}")
    if not weight > 0:
        raise UsageError(f"--weight must be positive, found {weight:g} (without it: mg train)")
    tables = read_settings(settings, set)
    chosen = resolve_branch(model, modality, preset, tables["model"], tables["modality"])
    recipe = resolve_recipe(chosen.model.recipe, tables["recipe"])
    check_adversarial(recipe)
    set_threads(threads)
    target_device = choose_device(device)
    recipe = with_precision(recipe, Engine(target_device), console)

    parts = read_split(split)
    source = open_modality(chosen, data, parts.dataset)
    check_classes(parts, data)
    check_recordable(chosen, source.input)
    labelled = select_training_clips(parts, tuple(use) or ("train",), source.clip_ids)
    clips, strangers = join_domains(labelled, parts, source.clip_ids)
    validation = select_validation(parts, labelled, source.clip_ids, recipe, console)
    mirror_classes = find_mirror_classes(parts.dataset, recipe, console)
    num_classes = len(parts.class_names)
    torch.manual_seed(seed)
    network = build_model(chosen, num_classes, source.input)
    feature_dim = probe_feature_dim(chosen, network, source, num_classes)
    losses, weights = _losses(recipe, labelled.labels, num_classes, feature_dim, hidden, strangers)
    weights[ADVERSARY] = float(weight)
    parameters = sum(item.numel() for item in network.parameters() if item.requires_grad)
    inputs = {"data": stored_digest(data), "split": parts.digest}
    inherited = weights_taint(chosen)
    inputs |= {name: file_digest(Path(path)) for name, path in (recipe.files() | chosen.files()).items()}
    label = branch or f"{chosen.model.name}/{chosen.modality.name}"
    console.say(
        f"{label}: {parameters:,} parameters, {len(labelled.clip_ids)} labelled clips and {strangers} of the "
        f"target, seed {seed}, {target_device}"
    )
    facts = _facts(chosen, source, recipe, parts, clips.sources, inputs, seed, weight, hidden)
    trainer = Trainer(
        TrainingTask(
            model=network,
            losses=losses,
            weights=weights,
            modality=source,
            clips=clips,
            recipe=recipe,
            seed=seed,
            # The last entry is what index -1 finds: an unlabelled clip stays one when it is mirrored.
            mirror=np.append(mirror_permutation(mirror_classes, num_classes), -1),
            validation=validation,
            model_name=chosen.model.name,
        ),
        device=target_device,
        state=StateFolder(out, hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()),
        log=log_path(out),
        console=console,
        label=label,
        state_every=state_every,
        trackers=open_trackers(tracker, out, console),
    )
    try:
        with deterministic_operations(recipe.deterministic):
            result = trainer.run()
    finally:
        trainer.trackers.close()
    checkpoint = trained_checkpoint(
        *(chosen, source.input, parts, recipe, result, data),
        taint=clips.taint.union(inherited),
        branch=branch,
        mirror_classes=mirror_classes,
        seed=seed,
        parameters=parameters,
        inputs=inputs,
    )
    digest = save_checkpoint(out, checkpoint)
    trainer.state.remove()
    network.load_state_dict(result.model_state)
    features = {
        known: target_answers(
            network,
            source,
            clips.clip_ids[(clips.labels >= 0) == known],
            batch_size=recipe.batch_size,
            device=target_device,
            who=named("models", chosen.model.name),
        )[1]
        for known in (True, False)
    }
    last = result.history[-1]
    found = {
        "checkpoint": str(out),
        "digest": digest,
        "branch": label,
        "parameters": parameters,
        "clips": len(labelled.clip_ids),
        "target_clips": strangers,
        "sources": clips.sources,
        "seed": seed,
        "weight": float(weight),
        "loss": last["loss"],
        "train_accuracy": last["train_accuracy"],
        "val_accuracy": last.get("val_accuracy"),
        "domain_gap": domain_gap(features[True], features[False], seed=seed),
        "seconds": round(sum(row["seconds"] for row in result.history), 3),
    }
    text = (
        f"{label}: {len(result.history)} epochs in {found['seconds']:.0f} s, loss {found['loss']:.4f}; a "
        f"linear classifier tells source from target in {found['domain_gap']:.1%} of the cases\n{out}"
    )
    return StageResult(data=found, text=text)


def _losses(
    recipe: Recipe,
    labels: NDArray[np.int64],
    num_classes: int,
    feature_dim: int,
    hidden: int,
    strangers: int,
) -> tuple[nn.ModuleDict, dict[str, float]]:
    """Return the recipe's losses over labelled samples, and the adversary."""
    losses, weights = build_losses(recipe, np.bincount(labels, minlength=num_classes), feature_dim)
    scale = (len(labels) + strangers) / len(labels)
    wrapped: dict[str, nn.Module] = {name: LabelledOnly(loss, scale) for name, loss in losses.items()}
    wrapped[ADVERSARY] = DomainAdversary(feature_dim, hidden)
    return nn.ModuleDict(wrapped), dict(weights)


def _facts(
    branch: Branch,
    source: Modality,
    recipe: Recipe,
    split: SplitStore,
    sources: Mapping[str, int],
    inputs: Mapping[str, str],
    seed: int,
    weight: float,
    hidden: int,
) -> list[Any]:
    """Return all that the weights depend on: a state of other facts is not resumed."""
    return [
        branch.model.name,
        dict(branch.model_options),
        branch.modality.name,
        dict(branch.modality_options),
        source.input.to_json(),
        recipe.decisive(),
        list(split.class_names),
        dict(sources),
        dict(inputs),
        [seed, weight, hidden],
        mg_adapt.__version__,
    ]
