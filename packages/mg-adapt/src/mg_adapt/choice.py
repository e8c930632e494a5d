"""Which model reads which modality, with all options resolved. No torch: recipes are checked early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mg_adapt.recipe import nearest, overlay_options
from mg_data.contract import ModalitySpec, ModelSpec, UsageError
from mg_data.plugins import registry


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A model and what it reads, options resolved: defaults < preset < the user's table < ``--set``."""

    model: ModelSpec
    modality: ModalitySpec
    preset: str
    model_options: Mapping[str, Any]
    modality_options: Mapping[str, Any]


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
