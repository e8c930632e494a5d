"""``mg shot``: a trained model adapts to the target without the source (SHOT, Liang et al. 2020)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import mg_adapt
from mg_adapt.blame import named
from mg_adapt.branch import (
    build_losses,
    choose_device,
    data_taint,
    deterministic_operations,
    open_modality,
    set_threads,
)
from mg_adapt.checkpoint import load_checkpoint, save_checkpoint
from mg_adapt.choice import resolve_branch
from mg_adapt.recipe import Recipe, merge_recipes, read_settings
from mg_adapt.source_free import centroid_labels, find_classifier, target_answers
from mg_adapt.stages.predict import check_fit, load_model
from mg_adapt.stages.train import log_path
from mg_adapt.training.data import TrainingClips, mirror_permutation
from mg_adapt.training.engine import Engine
from mg_adapt.training.precision import with_precision
from mg_adapt.training.state import StateFolder
from mg_adapt.training.trainer import Trainer, TrainingTask
from mg_data.contract import Console, DataError, StageResult, UsageError
from mg_data.store import Taint, clip_keys, installed_versions, read_split, stored_digest

# Over the checkpoint's own recipe; --set wins. The classifier is frozen and everything else learns slowly.
LR_FACTOR = 0.1
_CHANGES = {
    "epochs": 15,
    "warmup_epochs": 0.0,
    "loss": {"name": "information-maximisation"},
    "auxiliary": [],
    "label_smoothing": 0.0,
    "sampler": "uniform",
    "mixup": 0.0,
    "cutmix": 0.0,
    "select": "last",
    "patience": 0,
}


def shot(
    *,
    console: Console,
    checkpoint: Path,
    data: Path,
    split: Path,
    out: Path,
    set: Sequence[str] = (),
    seed: int = 0,
    threads: int = 0,
    device: str = "auto",
    state_every: float = 15.0,
) -> StageResult:
    """Publish a copy of a checkpoint that learnt from the unlabelled target, its classifier left as it was.

    The model labels the target clips by centroids of its own features, once at the beginning (the authors
    renew the labels every epoch), and learns by :class:`mg_adapt.losses.InformationMaximisation`. No clip
    of the source is read. The new checkpoint says that it was *trained on* the target clips and is of the
    next round, so its logits are refused for pseudo-labels unless ``--round 2`` asks for them.

    Args:
        set: texts ``recipe.key=value`` over the checkpoint's recipe with 15 epochs and a tenth of its ``lr``.

    Raises:
        UsageError, PluginError, StoreError, DataError: as their messages say; nothing is published then.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, found {seed}")
    tables = read_settings(None, set)
    if tables["model"] or tables["modality"]:
        raise UsageError("mg shot: --set changes the recipe only; model and modality are the checkpoint's")
    set_threads(threads)
    target_device = choose_device(device)
    trained = load_checkpoint(checkpoint)
    known = {name: value for name, value in trained.recipe.items() if name not in _CHANGES}
    lr = LR_FACTOR * float(trained.recipe.get("lr", Recipe().lr))
    recipe = Recipe.from_dict(merge_recipes({**known, **_CHANGES, "lr": lr}, tables["recipe"]))
    if recipe.selects:
        raise UsageError("mg shot: no labels are read, so select=best and patience have nothing to go by")
    recipe = with_precision(recipe, Engine(target_device), console)
    parts = read_split(split)
    branch = resolve_branch(
        trained.model, trained.modality, "", trained.model_options, trained.modality_options
    )
    modality = open_modality(branch, data, parts.dataset)
    check_fit(checkpoint, trained, parts, data, modality)
    ids, _ = parts.select("target")
    held = ids[np.isin(ids, modality.clip_ids)]
    if len(held) < 2:
        raise DataError(f"{data}: holds {len(held)} of the {len(ids)} target clips, wanted at least 2")
    if len(held) < len(ids):
        console.warn(f"{len(ids) - len(held)} of {len(ids)} target clips are not in {data}: passed over")

    model = load_model(checkpoint, trained, branch)
    num_classes = len(parts.class_names)
    with console.progress(f"self-labels {trained.key}", len(held)) as progress:
        probs, features = target_answers(
            model,
            modality,
            held,
            batch_size=recipe.batch_size,
            device=target_device,
            progress=progress,
            who=named("models", trained.model),
        )
    labels = centroid_labels(probs, features)
    classifier = find_classifier(model, features.shape[1], num_classes, trained.model)
    classifier.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            f"mg shot: {trained.model} has nothing but its classifier, which stays as it is; take a "
            "model with layers in front of it"
        )
    taint = trained.taint.union(Taint.of(clip_keys(parts.dataset, held))).union(data_taint(data))
    clips = TrainingClips(clip_ids=held, labels=labels, sources={"target": len(held)}, taint=taint)
    losses, weights = build_losses(recipe, np.bincount(labels, minlength=num_classes), features.shape[1])
    inputs = {"checkpoint": trained.digest, "data": stored_digest(data), "split": parts.digest}
    facts = {"recipe": recipe.decisive(), "inputs": inputs, "seed": seed, "version": mg_adapt.__version__}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    trainer = Trainer(
        TrainingTask(
            model=model,
            losses=losses,
            weights=weights,
            modality=modality,
            clips=clips,
            recipe=recipe,
            seed=seed,
            mirror=mirror_permutation(trained.mirror_classes, num_classes),
            model_name=trained.model,
        ),
        device=target_device,
        state=StateFolder(out, key),
        log=log_path(out),
        console=console,
        label=f"shot {trained.key}",
        state_every=state_every,
    )
    with deterministic_operations(recipe.deterministic):
        result = trainer.run()
    adapted = dataclasses.replace(
        trained,
        recipe=recipe.to_json(),
        seed=seed,
        epochs=len(result.history),
        epoch=result.epoch,
        round=trained.round + 1,
        inputs=inputs,
        versions=installed_versions(),
        taint=taint,
        model_state=result.model_state,
        loss_state=result.loss_state,
        digest="",
    )
    digest = save_checkpoint(out, adapted)
    trainer.state.remove()
    changed = float((labels != probs.argmax(axis=1)).mean())
    last = result.history[-1]
    found = {
        "checkpoint": str(out),
        "digest": digest,
        "branch": trained.key,
        "clips": len(held),
        "self_labels_changed": changed,
        "loss": last["loss"],
        "self_label_accuracy": last["train_accuracy"],
        "seconds": round(sum(row["seconds"] for row in result.history), 3),
    }
    text = (
        f"{trained.key}: {len(result.history)} epochs on {len(held)} unlabelled clips, {changed:.1%} of the "
        f"answers relabelled by centroids\n{out}"
    )
    return StageResult(data=found, text=text)
