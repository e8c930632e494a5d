"""The probes that mg-rgb registers: small heads over stored features. Imports the contract alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import ModelSpec

# A vector has no mirror image, so nothing is flipped.
_RECIPE: Mapping[str, Any] = {
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 0.05,
    "epochs": 60,
    "batch_size": 32,
    "warmup_epochs": 3,
    "schedule": "cosine",
    "flip": False,
    "loss": {"name": "focal", "options": {"gamma": 2.0}},
    "backbone_lr_scale": 1.0,
    "log_every": 10,
}

PROBES = (
    ModelSpec(
        name="linear-probe",
        summary="linear classifier of stored features",
        factory="mg_rgb.probes:linear_probe",
        modalities=("features",),
        options={"standardise": True, "dropout": 0.0},
        presets={"small": {}},
        modality_options={"small": {}},
        recipe=_RECIPE,
    ),
    ModelSpec(
        name="mlp-probe",
        summary="perceptron of stored features, one hidden layer or more",
        factory="mg_rgb.probes:mlp_probe",
        modalities=("features",),
        options={"hidden": (512,), "standardise": True, "dropout": 0.5},
        presets={"small": {"hidden": (256,)}, "wide": {"hidden": (1024, 512)}},
        modality_options={"small": {}, "wide": {}},
        recipe=_RECIPE,
    ),
)
