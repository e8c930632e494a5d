"""The models that mg-rgb registers, with presets and default recipes. Imports the contract alone.

Every default of an option stands here once; factories get all of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mg_data.contract import ModelSpec, WeightsSpec
from mg_rgb.weights_records import (
    R2PLUS1D_18_WEIGHTS,
    SWIN3D_B_WEIGHTS,
    SWIN3D_S_WEIGHTS,
    SWIN3D_T_WEIGHTS,
)

_ALL = ("rgb", "flow", "taylor", "depth-motion", "depth", "frame-difference")
_SMALL_RECIPE: Mapping[str, Any] = {
    "optimizer": "adamw",
    "lr": 2e-3,
    "weight_decay": 0.05,
    "epochs": 40,
    "batch_size": 16,
    "warmup_epochs": 3,
    "schedule": "cosine",
    "amp": "bf16",
    "clip_norm": 5.0,
    "ema": 0.0,
    "flip": True,
    "label_smoothing": 0.1,
    "loss": {"name": "focal", "options": {"gamma": 2.0}},
    "auxiliary": ({"name": "orthogonal-semantic", "weight": 1.0, "options": {}},),
    "workers": 0,
    "backbone_lr_scale": 1.0,
}
# Fine-tuning of Kinetics weights (reference settings of Video Swin on micro-gestures; paper section 4.2:
# AdamW with a cosine).
_FINE_TUNING: Mapping[str, Any] = {
    **_SMALL_RECIPE,
    "lr": 1e-3,
    "epochs": 30,
    "batch_size": 8,
    "warmup_epochs": 2.5,
    "clip_norm": 20.0,
    "label_smoothing": 0.0,
    "workers": 4,
    "backbone_lr_scale": 0.1,
}
_NORMALISATION: Mapping[str, Any] = {"mean": None, "std": None}


def _swin(size: str, weights: tuple[WeightsSpec, ...], parameters: str) -> ModelSpec:
    return ModelSpec(
        name=f"swin3d-{size}",
        summary=f"Video Swin-{size.upper()} of torchvision, {parameters} parameters",
        factory=f"mg_rgb.models.swin3d:swin3d_{size}",
        modalities=_ALL,
        options={
            "weights": "",
            **_NORMALISATION,
            "feature_dim": 0,
            "dropout": 0.0,
            "stochastic_depth": 0.1,
        },
        presets={"paper": {}},
        modality_options={"paper": {"frames": 32, "stride": 2, "size": 224, "rotation_degrees": 0.0}},
        recipe=_FINE_TUNING,
        weights=weights,
        source="torchvision.models.video.swin_transformer",
    )


MODELS = (
    ModelSpec(
        name="r2plus1d-18",
        summary="R(2+1)D-18 of torchvision, 31.3 million parameters",
        factory="mg_rgb.models.r2plus1d:r2plus1d_18",
        modalities=_ALL,
        options={
            "weights": "",
            **_NORMALISATION,
            "feature_dim": 0,
            "dropout": 0.0,
            "channels_last": False,
        },
        presets={"paper": {}},
        modality_options={"paper": {"frames": 24, "stride": 2, "size": 224, "rotation_degrees": 0.0}},
        recipe=_FINE_TUNING,
        weights=R2PLUS1D_18_WEIGHTS,
        source="torchvision.models.video.resnet",
    ),
    ModelSpec(
        name="r2plus1d",
        summary="narrow R(2+1)D of torchvision's blocks, for training from scratch on a CPU",
        factory="mg_rgb.models.r2plus1d:r2plus1d",
        modalities=_ALL,
        options={
            "width": 16,
            "layers": (1, 1, 1, 1),
            "stem_kernel": 7,
            "stem_stride": 2,
            "temporal_strides": (1, 2, 2, 1),
            "weights": "",
            **_NORMALISATION,
            "feature_dim": 256,
            "dropout": 0.3,
            "channels_last": True,
        },
        presets={
            "tiny": {"width": 12, "layers": (1, 1, 1), "temporal_strides": (1, 2, 1)},
            "small": {},
        },
        modality_options={
            "tiny": {"frames": 8, "size": 48},
            "small": {"frames": 16, "size": 48},
        },
        recipe=_SMALL_RECIPE,
        source="torchvision.models.video.resnet (blocks)",
    ),
    _swin("t", SWIN3D_T_WEIGHTS, "28 million"),
    _swin("s", SWIN3D_S_WEIGHTS, "50 million"),
    _swin("b", SWIN3D_B_WEIGHTS, "88 million"),
    ModelSpec(
        name="swin3d",
        summary="narrow Video Swin of torchvision's class, for training from scratch on a CPU",
        factory="mg_rgb.models.swin3d:swin3d",
        modalities=_ALL,
        options={
            "patch": (2, 4, 4),
            "embed_dim": 32,
            "depths": (2, 2, 2),
            "heads": (2, 4, 8),
            "window": (4, 4, 4),
            "mlp_ratio": 3.0,
            "stochastic_depth": 0.1,
            "weights": "",
            **_NORMALISATION,
            "feature_dim": 256,
            "dropout": 0.1,
        },
        presets={
            "tiny": {
                "patch": (2, 8, 8),
                "embed_dim": 48,
                "depths": (2, 2),
                "heads": (3, 6),
                "stochastic_depth": 0.0,
            },
            "small": {},
        },
        modality_options={
            "tiny": {"frames": 8, "size": 64},
            "small": {"frames": 8, "size": 64},
        },
        recipe={**_SMALL_RECIPE, "lr": 1e-3, "clip_norm": 1.0},
        source="torchvision.models.video.swin_transformer",
    ),
)
