"""Which model reads which modality, with all options resolved. No torch: recipes are checked early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_adapt.recipe import LossChoice, Recipe, nearest, overlay_options
from mg_data.contract import LossSpec, ModalitySpec, ModelSpec, UsageError
from mg_data.plugins import registry


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A model and what it reads, options resolved: defaults < preset < the user's table < ``--set``."""

    model: ModelSpec
    modality: ModalitySpec
    preset: str
    model_options: Mapping[str, Any]
    modality_options: Mapping[str, Any]

    def files(self) -> dict[str, str]:
        """Return the file that the model starts from, if its ``weights`` are one and not a name."""
        weights = self.model_options.get("weights")
        if not isinstance(weights, str) or not weights:
            return {}
        path = Path(weights).expanduser()
        return {"weights": str(path)} if path.is_file() else {}


def resolve_branch(
    model: str, modality: str, preset: str, model_table: Mapping[str, Any], modality_table: Mapping[str, Any]
) -> Branch:
    """Look up a branch; an empty ``modality`` takes the model's first one.

    Raises:
        PluginError: no such model or modality. UsageError: a modality the model does not take, an unknown
            preset or option.
    """
    found: ModelSpec = registry().get("models", model)
    name = modality or found.modalities[0]
    if name not in found.modalities:
        known = ", ".join(found.modalities)
        raise UsageError(
            f"model '{model}' does not read modality '{name}'{nearest(name, found.modalities)} "
            f"(it reads: {known})"
        )
    if preset and preset not in found.presets:
        known = ", ".join(found.presets) or "none"
        raise UsageError(
            f"model '{model}' has no preset '{preset}'{nearest(preset, found.presets)} (known: {known})"
        )
    reads: ModalitySpec = registry().get("modalities", name)
    return Branch(
        model=found,
        modality=reads,
        preset=preset or "",
        model_options=overlay_options(
            found.options, [found.presets.get(preset, {}), model_table], f"model '{model}'"
        ),
        modality_options=overlay_options(
            reads.options, [found.modality_options.get(preset, {}), modality_table], f"modality '{name}'"
        ),
    )


def resolve_loss(
    choice: LossChoice, kind: str, label_smoothing: float = 0.0
) -> tuple[LossSpec, dict[str, Any]]:
    """Look up a loss and resolve its options; those of the choice win over ``label_smoothing``.

    Raises:
        PluginError: no such loss. UsageError: one of another kind, an unknown option, or smoothed labels for
            a loss that has none.
    """
    spec: LossSpec = registry().get("losses", choice.name)
    if spec.kind != kind:
        raise UsageError(f"recipe: loss '{choice.name}' is of kind '{spec.kind}', wanted '{kind}'")
    defaults = {"label_smoothing": label_smoothing} if label_smoothing else {}
    if defaults and "label_smoothing" not in spec.options:
        raise UsageError(
            f"recipe.label_smoothing = {label_smoothing:g}: loss '{choice.name}' has no smoothed form, set "
            "recipe.label_smoothing = 0"
        )
    return spec, overlay_options(spec.options, [defaults, choice.options], f"loss '{choice.name}'")


def resolve_losses(recipe: Recipe) -> dict[str, tuple[LossSpec, dict[str, Any]]]:
    """Resolve all losses of a recipe: ``classification``, and the auxiliary ones under their names."""
    losses = {"classification": resolve_loss(recipe.loss, "classification", recipe.label_smoothing)}
    return losses | {choice.name: resolve_loss(choice, "auxiliary") for choice in recipe.auxiliary}
