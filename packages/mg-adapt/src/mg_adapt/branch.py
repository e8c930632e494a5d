"""From names to objects: a registered model over a registered modality, with all of its options resolved."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from mg_adapt.checkpoint import is_checkpoint, load_checkpoint
from mg_adapt.choice import Branch, resolve_losses
from mg_adapt.recipe import Recipe
from mg_adapt.training.loading import sample_of
from mg_data.contract import (
    InputSpec,
    LossSpec,
    MgError,
    Modality,
    ModelOutput,
    PluginError,
    StoreError,
    UsageError,
)
from mg_data.plugins import resolve
from mg_data.store import SplitStore, Taint, open_store, read_features, store_kind


def open_modality(branch: Branch, data: Path, dataset: str) -> Modality:
    """Open the data store of a branch.

    Raises:
        StoreError: it is of another kind, or of another data set than ``dataset`` (where both are named).
    """
    kind, wanted = store_kind(data), branch.modality.store_kind
    if kind != wanted:
        reason = f"is a store of kind '{kind}', modality '{branch.modality.name}' reads '{wanted}'"
        raise StoreError(data, reason)
    with open_store(data) as store:
        found = store.dataset
    if found and dataset and found != dataset:
        raise StoreError(data, f"is of data set '{found}', the split is of '{dataset}'")
    return build_modality(branch, data)


def build_modality(branch: Branch, data: Path) -> Modality:
    """Build the modality of a branch over a store of its kind.

    Raises:
        PluginError: the factory raises, other than an error of ours.
    """
    factory = resolve(branch.modality.factory)
    try:
        modality: Modality = factory(data, **branch.modality_options)
    except MgError:
        raise
    except Exception as error:  # whatever a stranger's factory makes of the options or of the store
        raise PluginError(
            f"modality '{branch.modality.name}' cannot read {data} with these options: {_reason(error)}; "
            "correct the modality's options"
        ) from error
    return modality


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def check_classes(split: SplitStore, data: Path) -> None:
    """Raise StoreError if the data store lists other classes than the split, or the same in another order."""
    with open_store(data) as store:
        ours, theirs = split.class_names, store.class_names
    if not theirs or ours == theirs:
        return
    for place, (name, other) in enumerate(zip(ours, theirs)):
        if name != other:
            found = f"class {place} is '{name}', in {data} it is '{other}'"
            break
    else:
        found = f"has {len(ours)} classes, {data} has {len(theirs)}"
    raise StoreError(split.path, found, "split the data again, or take the data it was made of")


def data_taint(data: Path) -> Taint:
    """Return what made the data: a features store's own taint, and nothing for recordings.

    Features are the answers of a model, and whatever learns from them inherits what that model has seen.
    Signals, which are recordings in a store of the same kind, have been given by no model.
    """
    if store_kind(data) != "features":
        return Taint.empty()
    store = read_features(data)
    return store.taint if store.features else Taint.empty()


def weights_taint(branch: Branch) -> Taint:
    """Return what the checkpoint that the model starts from has seen, and nothing for weights of others."""
    found = Taint.empty()
    for path in branch.files().values():
        if is_checkpoint(path):
            found = found.union(load_checkpoint(path).taint)
    return found


def check_recordable(branch: Branch, input_spec: InputSpec) -> None:
    """Raise PluginError for options or an input that no checkpoint could name: before training, not after."""
    facts = (dict(branch.model_options), dict(branch.modality_options), input_spec.to_json())
    try:
        json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"model '{branch.model.name}' over '{branch.modality.name}': options and InputSpec.extra must be "
            f"JSON values: {error}"
        ) from error


def build_model(
    branch: Branch, num_classes: int, input_spec: InputSpec, *, pretrained: bool = True
) -> nn.Module:
    """Build the model. ``pretrained=False`` leaves the option ``weights`` at its default, as for a
    checkpoint, which brings all weights itself and must not look for the file they once came from.

    Raises:
        PluginError: the factory raises, other than an error of ours, or returns no module.
    """
    options = dict(branch.model_options)
    if not pretrained and "weights" in options:
        options["weights"] = branch.model.options["weights"]
    factory = resolve(branch.model.factory)
    try:
        model = factory(num_classes, input=input_spec, **options)
    except MgError:
        raise
    except Exception as error:  # whatever a stranger's factory, or torch, makes of the options
        raise PluginError(
            f"model '{branch.model.name}' cannot be built with these options over an input of shape "
            f"{tuple(input_spec.shape)}: {_reason(error)}; correct the model's options"
        ) from error
    if not isinstance(model, nn.Module):
        raise PluginError(
            f"model '{branch.model.name}': its factory returned {type(model).__name__}, no nn.Module"
        )
    return model


def probe_feature_dim(branch: Branch, model: nn.Module, modality: Modality, num_classes: int) -> int:
    """Run one sample through the model and return d, the dimension of its feature.

    Raises:
        PluginError: the model raises, or does not return logits (1, K) and a feature (1, d).
    """
    name = f"model '{branch.model.name}'"
    if not len(modality.clip_ids):
        raise UsageError(f"modality '{branch.modality.name}' finds no clip in its store")
    sample = sample_of(modality, str(modality.clip_ids[0]), None)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.from_numpy(np.stack([sample])))
    except MgError:
        raise
    except Exception as error:  # whatever a stranger's model raises
        shape = (1, *sample.shape)
        raise PluginError(
            f"{name} failed on an input of shape {shape}: {type(error).__name__}: {error}"
        ) from error
    model.train(training)
    if not (isinstance(output, ModelOutput) and hasattr(output.logits, "shape")):
        raise PluginError(f"{name} returned {type(output).__name__}, wanted ModelOutput(logits, feature)")
    if tuple(output.logits.shape) != (1, num_classes) or output.feature.ndim != 2:
        found = f"logits {tuple(output.logits.shape)} and feature {tuple(output.feature.shape)}"
        raise PluginError(f"{name} returned {found}, wanted (1, {num_classes}) and (1, d)")
    return int(output.feature.shape[1])


def build_losses(
    recipe: Recipe, class_counts: ArrayLike, feature_dim: int
) -> tuple[nn.ModuleDict, dict[str, float]]:
    """Build the recipe's losses; return them and the weights of the auxiliary ones.

    The classification loss is kept under ``classification``, the auxiliary ones under their names.

    Raises:
        UsageError: an option of a loss is wrong, or ``recipe.label_smoothing`` meets a loss without it.
    """
    losses = {
        name: _build_loss(spec, options, class_counts, feature_dim)
        for name, (spec, options) in resolve_losses(recipe).items()
    }
    return nn.ModuleDict(losses), {choice.name: choice.weight for choice in recipe.auxiliary}


def _build_loss(
    spec: LossSpec, options: dict[str, Any], class_counts: ArrayLike, feature_dim: int
) -> nn.Module:
    if options.get("feature_dim") == 0:
        options = {**options, "feature_dim": feature_dim}
    factory = resolve(spec.factory)
    try:
        loss = factory(class_counts=class_counts, **options)
    except MgError:
        raise
    except Exception as error:  # whatever a stranger's factory makes of the options
        raise PluginError(
            f"loss '{spec.name}' cannot be built with these options: {_reason(error)}; correct the loss's "
            "options"
        ) from error
    if isinstance(loss, nn.Module):
        return loss
    if not callable(loss):
        raise PluginError(f"loss '{spec.name}': its factory returned {type(loss).__name__}, no callable")
    return _Function(loss)


def check_soft_targets(recipe: Recipe, losses: nn.ModuleDict) -> None:
    """Raise UsageError for a loss that does not say that it takes probabilities as targets."""
    names = {"classification": recipe.loss.name}
    for key, loss in losses.items():
        if not getattr(loss, "soft_targets", False):
            raise UsageError(
                f"recipe.pseudo_targets = 'soft': loss '{names.get(key, key)}' takes classes only; take "
                "another loss or pseudo_targets = 'hard'"
            )


class _Function(nn.Module):
    """A loss that is a plain function, wrapped so that all losses are modules."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.soft_targets = bool(getattr(function, "soft_targets", False))
        if hasattr(function, "at_epoch"):
            self.at_epoch = function.at_epoch

    def forward(self, output: ModelOutput, target: torch.Tensor) -> torch.Tensor:
        """Call the function."""
        loss: torch.Tensor = self.function(output, target)
        return loss


def choose_device(name: str) -> torch.device:
    """Return the device called ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:1``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: unknown (known: auto, cpu, cuda, cuda:N)") from error
    if device.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=device).item()
        except Exception as error:  # each kind of device that this torch is not built for has its own
            raise UsageError(
                f"--device {name}: cannot be used here (known: auto, cpu, cuda, cuda:N)"
            ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"--device {name}: this machine has no CUDA device, use --device cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise UsageError(f"--device {name}: this machine has {found} CUDA device(s), counted from 0")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return device


@contextmanager
def deterministic_operations(wanted: bool) -> Iterator[None]:
    """Allow deterministic torch operations only, for as long as the context lasts.

    Raises:
        UsageError: an operation of the model has no deterministic form on this device.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    # cuBLAS reads it when it is first used; without it some of its products differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        first = " ".join(str(error).split())[:160]
        raise UsageError(
            f"recipe.deterministic: {first} ... set deterministic = false, or --device cpu"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before)


def set_threads(threads: int) -> None:
    """Limit torch to so many threads; 0 leaves it as it is."""
    if threads < 0:
        raise UsageError(f"--threads must be at least 0, found {threads}")
    if threads:
        torch.set_num_threads(threads)
