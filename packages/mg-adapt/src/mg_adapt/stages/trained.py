"""The checkpoint of a training: the same record whichever stage trained it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mg_adapt.branch import data_taint
from mg_adapt.checkpoint import Checkpoint
from mg_adapt.choice import Branch
from mg_adapt.recipe import Recipe
from mg_adapt.training.trainer import TrainingResult
from mg_data.contract import InputSpec
from mg_data.store import SplitStore, Taint, installed_versions


def trained_checkpoint(
    chosen: Branch,
    given: InputSpec,
    split: SplitStore,
    recipe: Recipe,
    result: TrainingResult,
    data: Path,
    *,
    taint: Taint,
    branch: str,
    mirror_classes: tuple[tuple[int, int], ...],
    seed: int,
    round: int = 1,
    parameters: int,
    inputs: Mapping[str, str],
) -> Checkpoint:
    """Return what a training gave as a checkpoint; features in ``data`` hand their model's taint on."""
    return Checkpoint(
        model=chosen.model.name,
        model_options=chosen.model_options,
        preset=chosen.preset,
        modality=chosen.modality.name,
        modality_options=chosen.modality_options,
        input=given,
        branch=branch,
        class_names=split.class_names,
        vocabulary=split.vocabulary,
        dataset=split.dataset,
        mirror_classes=mirror_classes,
        recipe=recipe.to_json(),
        seed=seed,
        epochs=len(result.history),
        epoch=result.epoch,
        round=round,
        parameters=parameters,
        inputs=inputs,
        versions=installed_versions(),
        taint=taint.union(data_taint(data)),
        model_state=result.model_state,
        loss_state=result.loss_state,
    )
