"""Records of further models over heatmaps. Imports the contract and nothing heavy."""

from __future__ import annotations

from mg_data.contract import ModelSpec

_RES2NET3D = ModelSpec(
    name="res2net3d",
    summary="SlowOnly 3D ResNet with Res2Net bottlenecks over heatmaps (Gao et al. 2021, Duan et al. 2022)",
    factory="mg_skeleton.models.res2net3d:build",
    modalities=("heatmap",),
    options={
        "size": 0,
        "eval_size": 0,
        "sigma": 0.6,
        "with_joints": True,
        "with_limbs": False,
        "base_channels": 32,
        "depths": (4, 6, 3),
        "inflate": (0, 1, 1),
        "spatial_strides": (2, 2, 2),
        "temporal_strides": (1, 1, 2),
        "stem_stride": 1,
        "scale": 4,
        "feature_dim": 0,
        "dropout": 0.5,
    },
    presets={
        "full": {"eval_size": 64},
        # For two processor cores.
        "small": {
            "sigma": 0.7,
            "base_channels": 24,
            "depths": (1, 2, 2),
            "inflate": (1, 1, 1),
            "temporal_strides": (1, 2, 1),
            "stem_stride": 2,
            "feature_dim": 128,
            "dropout": 0.3,
        },
    },
    modality_options={
        "full": {"frames": 48, "size": 56},
        "small": {"frames": 32, "size": 28, "short": "repeat", "crop_area": 0.8, "bones": 0.1},
    },
    recipe={
        "optimizer": "sgd",
        # Chosen: at posec3d's rate and clipping, 20 steps on a small batch diverge.
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "epochs": 100,
        "batch_size": 64,
        "schedule": "cosine",
        "clip_norm": 5.0,
        "flip": True,
        "loss": {"name": "cross-entropy", "options": {}},
    },
    source="Gao et al.: Res2Net, TPAMI 2021, arXiv 1904.01169; Duan et al., CVPR 2022, arXiv 2104.13586",
)

HEATMAP_MODELS = (_RES2NET3D,)
