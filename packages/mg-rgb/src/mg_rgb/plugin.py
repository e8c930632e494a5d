"""Records that mg-rgb contributes. Imports the contract and light record modules, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import ModalitySpec, ModelSpec, hookimpl


@hookimpl
def mg_register_modalities() -> Iterable[ModalitySpec]:
    """Return the modalities over frames (rgb, flow, taylor, depth ...) and the one over stored features."""
    from mg_rgb.records_modalities import MODALITIES

    return MODALITIES


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    """Return the video models, and the probes over stored features."""
    from mg_rgb.records_models import MODELS
    from mg_rgb.records_probes import PROBES

    return (*MODELS, *PROBES)
