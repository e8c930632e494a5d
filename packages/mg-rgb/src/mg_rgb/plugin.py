"""Records that mg-rgb contributes. Imports the contract and light record modules, nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from mg_data.contract import ModalitySpec, ModelSpec, hookimpl


@hookimpl
def mg_register_modalities() -> Iterable[ModalitySpec]:
    """Return the frame modalities: rgb, depth, depth-motion, frame-difference."""
    from mg_rgb.records_modalities import MODALITIES

    return MODALITIES


@hookimpl
def mg_register_models() -> Iterable[ModelSpec]:
    """Return the video models: R(2+1)D and Video Swin, in the library's sizes and narrow."""
    from mg_rgb.records_models import MODELS

    return MODELS
